"""The decode loop of the C core: requests in, text and tokens out. It knows libllama by addresses alone.

One thread sits in `Loop.work`, in C and without the GIL, from the first request to `close`; all other calls may come
from any thread.
"""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localrun._ffi import ffi, lib
from localrun.errors import EngineError, UsageError
from localrun.native.ledger import Group, LedgerReading, group_rows, reading_of
from localrun.native.meter import MeterSnapshot, snapshot_of
from localrun.value import dataclass

if TYPE_CHECKING:
    from localrun.native.tok import Vocab

#: libllama's functions that the loop calls, by the names of lr_loop_api's fields.
FUNCTIONS = {
    "decode": "llama_decode",
    "get_logits_ith": "llama_get_logits_ith",
    "get_memory": "llama_get_memory",
    "seq_rm": "llama_memory_seq_rm",
    "seq_pos_min": "llama_memory_seq_pos_min",
    "set_abort_callback": "llama_set_abort_callback",
    "is_eog": "llama_vocab_is_eog",
}
#: Why a request ended; "" while it runs.
FINISH = {
    lib.LR_LOOP_RUNNING: "",
    lib.LR_LOOP_EOG: "eog",
    lib.LR_LOOP_STOP: "stop",
    lib.LR_LOOP_LENGTH: "length",
    lib.LR_LOOP_CONTEXT: "context",
    lib.LR_LOOP_CANCELLED: "cancelled",
    lib.LR_LOOP_DECODE: "decode",
    lib.LR_LOOP_LOGITS: "logits",
    lib.LR_LOOP_MEMORY: "memory",
}
_ALL = 2**32 - 1
_ROOM = 16384


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen, in llama.cpp's order and with its defaults. A temperature of 0 is greedy."""

    temperature: float = 0.8
    top_k: int = 40  # 0: off
    top_p: float = 0.95  # 1: off
    min_p: float = 0.05  # 0: off
    seed: int | None = None  # None: another each time


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class State:
    """How far a request is. Times are ns of time.monotonic_ns()'s clock; 0 = not yet."""

    finish: str  # a value of FINISH
    code: int  # llama_decode's answer, with "decode"
    n_prompt: int
    n_kept: int  # prompt tokens that the cache held already
    n_read: int  # prompt tokens in the cache
    n_made: int  # tokens generated, an end token included
    began: int
    read_at: int
    first_at: int
    last_at: int


class Loop:
    """One context of libllama at work. Raises EngineError for one that cannot be."""

    def __init__(
        self,
        functions: Mapping[str, int],
        context: int,
        vocab: int,
        groups: Sequence[Group],
        *,
        n_seq: int,
        n_ctx_seq: int,
        n_batch: int,
        n_vocab: int,
        n_swa: int = 0,
        unified: bool = False,
    ) -> None:
        """`functions` are addresses by the keys of FUNCTIONS, `context` and `vocab` libllama's pointers; they must
        outlive the loop."""
        setup = ffi.new("lr_loop_setup *")
        for field in FUNCTIONS:
            kind = ffi.typeof("lr_loop_api").fields
            setattr(setup.api, field, ffi.cast(dict(kind)[field].type, functions[field]))
        rows = group_rows(groups)
        setup.context, setup.vocab = ffi.cast("void *", context), ffi.cast("void *", vocab)
        setup.groups, setup.n_groups, setup.unified = rows, len(groups), unified
        setup.n_seq, setup.n_ctx_seq, setup.n_batch = n_seq, n_ctx_seq, n_batch
        setup.n_vocab, setup.n_swa = n_vocab, n_swa
        out = ffi.new("lr_loop **")
        status = lib.lr_loop_new(setup, out)
        if status == lib.LR_E_MEMORY:
            raise MemoryError
        if status != lib.LR_OK:
            raise EngineError(f"the decode loop cannot use this context: {_words(status)}")
        self.n_ctx_seq, self.n_vocab = n_ctx_seq, n_vocab
        self._n_groups = len(groups)
        self._texts: dict[
            int, Vocab | None
        ] = {}  # of each sequence's newest request: the worker reads it to the end
        self._handle = ffi.gc(out[0], lib.lr_loop_free)

    def begin(
        self,
        ids: Sequence[int],
        max_tokens: int,
        sampling: Sampling = GREEDY,
        *,
        seed: int = 0,
        text: Vocab | None = None,
        stop: Sequence[str] = (),
        keep: int | None = None,
        ignore_eog: bool = False,
        special: bool = False,
    ) -> Request | None:
        """A request, or None when all sequences are busy. `text` makes text of tokens; `keep` is the most that is
        reused of the cache (None: all). Raises UsageError for what the loop refuses."""
        tokens = ids if isinstance(ids, array) and ids.typecode == "i" else array("i", ids)
        stops = [part.encode("utf-8", "replace") for part in stop]
        request = ffi.new("lr_loop_request *")
        kept = (
            ffi.from_buffer("int32_t[]", tokens),
            ffi.from_buffer(b"".join(stops)),
            ffi.new("uint32_t[]", [*map(len, stops), 0]),
        )
        request.tokens, request.stops, request.stop_sizes = kept
        request.n_tokens, request.n_stops, request.max_tokens = len(tokens), len(stops), min(max_tokens, _ALL)
        s = request.sample
        s.temperature, s.top_k, s.top_p, s.min_p = (
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.min_p,
        )
        request.seed = seed & (2**64 - 1)
        request.text = text.handle if text is not None else ffi.NULL
        request.keep = _ALL if keep is None else keep
        request.ignore_eog, request.special = ignore_eog, special
        seq = ffi.new("uint32_t *")
        status = lib.lr_loop_begin(self._handle, request, seq)
        if status == lib.LR_AGAIN:
            return None
        if status != lib.LR_OK:
            raise self._refusal(status, tokens, sampling, stops)
        self._texts[seq[0]] = text
        return Request(self, seq[0], text)

    def _refusal(self, status: int, tokens: array[int], sampling: Sampling, stops: list[bytes]) -> Exception:
        if status == lib.LR_E_MEMORY:
            return MemoryError()
        if status == lib.LR_END:
            return EngineError("the model was closed")
        if status == lib.LR_FULL:
            return UsageError(
                f"the prompt has {len(tokens)} tokens, the context {self.n_ctx_seq}",
                "a larger -c, or a shorter prompt",
            )
        if not tokens:
            return UsageError("the prompt is empty")
        if wrong := [token for token in tokens if not 0 <= token < self.n_vocab]:
            return UsageError(f"no token {wrong[0]}: the vocabulary has {self.n_vocab}")
        if not all(stops) or status == lib.LR_E_LIMIT:
            return UsageError("a stop string is empty, or there are more than 64")
        return UsageError(f"sampling parameters out of range: {sampling}")

    def work(self) -> None:
        """Works until `close`. For one thread of its own."""
        lib.lr_loop_work(self._handle)

    def close(self) -> None:
        """Cancels all requests and lets `work` return; then the context may be freed. What came can still be read."""
        lib.lr_loop_close(self._handle)

    def meter(self, window: int = 2_000_000_000) -> MeterSnapshot:
        """All requests together; the time between two rests counts as one request."""
        return self._meter(_ALL, window)

    def _meter(self, seq: int, window: int) -> MeterSnapshot:
        return snapshot_of(lambda r: lib.lr_loop_meter(self._handle, seq, window, r))

    def ledger(self) -> LedgerReading:
        r = ffi.new("lr_ledger_reading *")
        while (status := lib.lr_loop_ledger(self._handle, r)) == lib.LR_AGAIN:
            pass
        assert status == lib.LR_OK
        return reading_of(r, self._n_groups)

    def held(self, seq: int) -> int:
        """Tokens of one sequence in the KV cache."""
        return int(lib.lr_loop_held(self._handle, seq))


class Request:
    """One prompt and what is made of it. `end` gives its sequence back."""

    def __init__(self, loop: Loop, seq: int, text: Vocab | None) -> None:
        self._loop = loop
        self._text = text
        self._buffer = ffi.new("uint8_t[]", _ROOM) if text is not None else ffi.NULL
        self._n = ffi.new("size_t *")
        self._state = ffi.new("lr_loop_state *")
        self._decoder = codecs.getincrementaldecoder("utf-8")(
            "replace"
        )  # a character may be cut by the buffer's end
        self.seq = seq

    def read(self, patience: float = 0.0, text: bool = True) -> tuple[str, State]:
        """The text that has come. Waits up to `patience` seconds for some, for the end, or for more of the prompt to be
        read; without `text` not for text. When State.finish is set and the text empty, all has come."""
        room = _ROOM if text and self._text is not None else 0
        status = lib.lr_loop_read(
            self._loop._handle, self.seq, self._buffer, room, int(patience * 1e9), self._n, self._state
        )
        assert status == lib.LR_OK, "read after end"
        s: Any = self._state
        came = self._decoder.decode(ffi.buffer(self._buffer, self._n[0])[:]) if self._n[0] else ""
        return came, State(
            FINISH[s.finish],
            s.code,
            s.n_prompt,
            s.n_kept,
            s.n_read,
            s.n_made,
            s.began,
            s.read_at,
            s.first_at,
            s.last_at,
        )

    def ids(self) -> list[int]:
        """The tokens generated so far."""
        lib.lr_loop_ids(self._loop._handle, self.seq, ffi.NULL, 0, self._n)
        ids = ffi.new("int32_t[]", self._n[0] + 1)
        room = self._n[0]
        lib.lr_loop_ids(self._loop._handle, self.seq, ids, room, self._n)
        return list(ffi.unpack(ids, min(room, self._n[0]))) if room else []

    def cancel(self) -> None:
        lib.lr_loop_cancel(self._loop._handle, self.seq)

    def meter(self, window: int = 2_000_000_000) -> MeterSnapshot:
        return self._loop._meter(self.seq, window)

    def end(self) -> None:
        """Cancels what still runs, waits until it has stopped, and gives the sequence back."""
        while lib.lr_loop_end(self._loop._handle, self.seq) == lib.LR_AGAIN:
            self.cancel()
            self.read(0.1, text=False)


def _words(status: int) -> str:
    return str(ffi.string(lib.lr_status_text(status)).decode("ascii"))


def batch_layout() -> dict[str, tuple[int, int]]:
    """Offset and bytes of each field of llama_batch as the loop passes it; "" is the whole."""
    kind = ffi.typeof("lr_llama_batch")
    fields = {name: (field.offset, ffi.sizeof(field.type)) for name, field in kind.fields}
    return {"": (0, ffi.sizeof(kind)), **fields}
