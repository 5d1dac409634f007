"""A vocabulary in the C core and what encodes with it: bytes in, arrays of ids out."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from localrun._ffi import ffi, lib
from localrun.errors import ModelError

if TYPE_CHECKING:
    from localrun.native.int_list import Ints

Bytes = bytes | bytearray | memoryview
PRES = {
    "gpt-2": lib.LR_PRE_GPT2,
    "digits": lib.LR_PRE_DIGITS,
    "llama3": lib.LR_PRE_LLAMA3,
    "qwen2": lib.LR_PRE_QWEN2,
    "qwen35": lib.LR_PRE_QWEN35,
    "gpt-4o": lib.LR_PRE_GPT4O,
    "tekken": lib.LR_PRE_TEKKEN,
    "deepseek-v3": lib.LR_PRE_DEEPSEEK3,
    "deepseek-llm": lib.LR_PRE_DEEPSEEK_LLM,
    "deepseek-coder": lib.LR_PRE_DEEPSEEK_CODER,
}
KINDS = {"merges": lib.LR_VOCAB_MERGES, "ranks": lib.LR_VOCAB_RANKS, "spm": lib.LR_VOCAB_SPM}
NORMAL, UNKNOWN, CONTROL = lib.LR_TOKEN_NORMAL, lib.LR_TOKEN_UNKNOWN, lib.LR_TOKEN_CONTROL
USER_DEFINED, BYTE = lib.LR_TOKEN_USER_DEFINED, lib.LR_TOKEN_BYTE
#: Ids per call of the core: 256 KiB, so that they stay in the cache until they are copied on.
ROOM = 1 << 16
#: Long texts have more, so that their ids are copied on at one go: growing an array by parts costs a sixth of all.
MOST = 1 << 20
#: So few ids are not worth a table of ints.
FEW = 4096


class Vocab:
    """A vocabulary in the core. Any number of threads may encode with it at once."""

    def __init__(
        self,
        *,
        kind: str,
        tokens: bytes | memoryview,
        count: int,
        types: bytes | None = None,
        scores: bytes | memoryview | None = None,
        merges: bytes | memoryview = b"",
        merge_count: int = 0,
        pre: str = "gpt-2",
        llama_cpp: bool = False,
        letters: bool = False,
        ignore_merges: bool = False,
        space_prefix: bool = False,
    ) -> None:
        """`tokens` and `merges` are packed as in GGUF, each string behind its length in 8 bytes. Raises ModelError."""
        for name, column, width in (("types", types, 1), ("scores", scores, 4)):
            if column is not None and len(column) < count * width:
                raise ModelError(f"the vocabulary has {count} tokens, but fewer {name}")
        source = ffi.new("lr_vocab_source *")
        source.tokens = ffi.from_buffer(tokens)
        source.tokens_size, source.count = len(tokens), count
        kept = [ffi.from_buffer(part) for part in (tokens, merges, types or b"", scores or b"")]
        source.tokens, source.merges = kept[0], kept[1]
        source.types = kept[2] if types is not None else ffi.NULL
        source.scores = kept[3] if scores is not None else ffi.NULL
        source.merges_size, source.merge_count = len(merges), merge_count
        source.kind, source.pre = KINDS[kind], PRES[pre]
        source.rules = lib.LR_RULES_LLAMA_CPP if llama_cpp else lib.LR_RULES_OWN
        source.letters, source.ignore_merges, source.space_prefix = letters, ignore_merges, space_prefix
        out = ffi.new("lr_vocab **")
        status = lib.lr_vocab_new(source, out)
        if status == lib.LR_E_FORMAT:
            why = ffi.string(lib.lr_vocab_fault_text(source.fault)).decode()
            raise ModelError(f"the vocabulary cannot be used: {why}, at {source.index}")
        _check(status)
        self._hold(out[0], None)

    def _hold(self, vocab: object, owner: object) -> None:
        self._owner = owner  # of the bytes that a vocabulary borrows; freed after it
        self.handle = ffi.gc(vocab, lib.lr_vocab_free)
        self.count = int(lib.lr_vocab_count(self.handle))
        self._idle: list[_Run] = []
        self._ints: Ints | None = None

    @classmethod
    def adopt(cls, vocab: object, owner: object) -> Vocab:
        """A vocabulary that the core made in another way. `owner` is kept alive with it."""
        self = cls.__new__(cls)
        self._hold(vocab, owner)
        return self

    def token(self, token: int) -> bytes:
        """The bytes of one token. IndexError where there is none."""
        text, size = ffi.new("uint8_t const **"), ffi.new("size_t *")
        if not 0 <= token < self.count or lib.lr_vocab_token(self.handle, token, text, size) != lib.LR_OK:
            raise IndexError(f"no token {token}: the vocabulary has {self.count}")
        return bytes(ffi.buffer(text[0], size[0]))

    def decode(self, ids: array[int], special: bool) -> bytes:
        """The bytes of all these tokens, without those of control tokens unless `special`."""
        raw, size = ffi.from_buffer("int32_t[]", ids), ffi.new("size_t *")
        status = lib.lr_vocab_decode(self.handle, raw, len(ids), special, ffi.NULL, 0, size)
        if status == lib.LR_E_ARGUMENT:
            raise IndexError(f"no token {ids[size[0]]}: the vocabulary has {self.count}")
        out = bytearray(size[0])
        into = ffi.from_buffer("uint8_t[]", out)
        _check(lib.lr_vocab_decode(self.handle, raw, len(ids), special, into, len(out), size))
        return bytes(out)

    def specials(self, text: Bytes, special: bool) -> Iterator[tuple[int, int, int]]:
        """Start, end and id of each special token in the text."""
        raw, size, found = ffi.from_buffer(text), len(text), ffi.new("size_t[2]")
        token, at = ffi.new("int32_t *"), 0
        while lib.lr_special_find(self.handle, raw, at, size, special, found, found + 1, token) == lib.LR_OK:
            yield found[0], found[1], token[0]
            at = found[1]

    def special_texts(self) -> Iterator[bytes]:
        """The text of each special token."""
        token, index = ffi.new("int32_t *"), 0
        while lib.lr_special_at(self.handle, index, token) == lib.LR_OK:
            yield self.token(token[0])
            index += 1

    def to_list(self, parts: Iterable[memoryview]) -> list[int]:
        """Ids of this vocabulary as a list."""
        ids = array("i")
        for part in parts:
            ids.frombytes(part.cast("B"))
        if len(ids) < FEW:
            return ids.tolist()
        if self._ints is None:
            from localrun.native.int_list import Ints

            self._ints = Ints(self.count)
        return self._ints.list_of(ids)

    def encode(self, text: Bytes, special: int, owner: object = None) -> Iterator[memoryview]:
        """The ids, some ten thousand at a time, each array good until the next. The text is taken as well formed;
        `owner` is kept alive meanwhile.
        `special`: 1 finds all special tokens in it, 0 user-defined ones, -1 none."""
        try:
            run = self._idle.pop()
        except IndexError:
            run = _Run(self)
        yield from run.encode(text, special)
        del owner
        # One that was left in the middle is dropped: it stands somewhere in another text.
        self._idle.append(run)


class _Run:
    """One encoding at a time: its place, its cache, its array."""

    def __init__(self, vocab: Vocab) -> None:
        out = ffi.new("lr_tok_run **")
        _check(lib.lr_tok_run_new(vocab.handle, out))
        self._vocab = vocab.handle  # must outlive the run
        self._handle = ffi.gc(out[0], lib.lr_tok_run_free)
        self._place = ffi.new("size_t[3]")  # at, count, need
        self._at, self._count, self._need = (self._place + i for i in range(3))
        self._resize(ROOM)

    def _resize(self, room: int) -> None:
        self._room = room
        self._ids = ffi.new("int32_t[]", room)
        self._view = memoryview(ffi.buffer(self._ids)).cast("B").cast("i")

    def encode(self, text: Bytes, special: int) -> Iterator[memoryview]:
        place, raw, size = self._place, ffi.from_buffer(text), len(text)
        place[0] = 0
        usual = max(ROOM, min(size // 2, MOST))
        if self._room < usual:
            self._resize(usual)
        while True:
            status = self._step(raw, size, special)
            if place[1]:
                yield self._view[: place[1]]
            if self._room > MOST:
                self._resize(usual)
            if not place[1] and status == lib.LR_FULL:
                self._resize(max(place[2], ROOM))
            if status != lib.LR_FULL:
                break
        _check(status)

    def _step(self, raw: Any, size: int, special: int) -> int:
        def work() -> int:
            return lib.lr_tok_encode(  # type: ignore[no-any-return]
                self._handle, raw, size, special, self._at, self._ids, self._room, self._count, self._need
            )

        if self._room <= MOST:
            return work()
        # One piece of so many bytes may take seconds.
        from localrun.native import interruptible

        return interruptible.run(work, lambda: lib.lr_tok_cancel(self._handle))


def utf8_in_place(text: str) -> memoryview:
    """A str's UTF-8 where Python itself keeps it, as long as the str lives: encoding a long text anew each time costs
    a quarter of its tokenization. Raises UnicodeEncodeError for surrogates."""
    import ctypes

    utf8 = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
    utf8.restype, utf8.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.POINTER(ctypes.c_ssize_t))
    size = ctypes.c_ssize_t()
    address = utf8(text, ctypes.byref(size))
    return memoryview(ffi.buffer(ffi.cast("uint8_t *", address), size.value))


def _check(status: int) -> None:
    if status == lib.LR_E_MEMORY:
        raise MemoryError
    if status != lib.LR_OK:
        raise ModelError(ffi.string(lib.lr_status_text(status)).decode())


def is_utf8(text: Bytes) -> bool:
    return bool(lib.lr_utf8_valid(ffi.from_buffer(text), len(text)) == len(text))


def as_llama_cpp_reads(text: Bytes) -> bytes:
    """With U+FFFD for each byte that begins no character, as llama.cpp's BPE sees it."""
    raw = ffi.from_buffer(text)
    out = bytearray(lib.lr_utf8_llama(raw, len(text), ffi.NULL))
    lib.lr_utf8_llama(raw, len(text), ffi.from_buffer("uint8_t[]", out))
    return bytes(out)


def nfc_spans(text: Bytes, most: int | None = None, tier: str | None = None) -> list[tuple[int, int]]:
    """Where this UTF-8 may not be in normal form C: each stretch can be normalized by itself, the rest needs it not.
    `most`: how many are enough. `tier`: as if the CPU were of this kind."""
    raw, size = ffi.from_buffer(text), len(text)
    room = min(most or 1024, 1024)
    at, places = ffi.new("size_t *"), ffi.new("size_t[]", 2 * room)
    name = ffi.NULL if tier is None else tier.encode()
    found: list[int] = []
    while at[0] < size and (most is None or len(found) < 2 * most):
        count = lib.lr_nfc_spans(raw, size, at, places, room, name)
        found += ffi.unpack(places, 2 * count)
    return list(zip(found[::2], found[1::2], strict=True))
