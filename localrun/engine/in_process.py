"""A model inside this process: llama.cpp's library, the C core's decode loop, and its own tokenizer.

    with InProcess.open(path, settings) as model:
        for text in model.generate(ids, Sampling(temperature=0), max_tokens=100):
            ...

The tokens are made in C on a thread of their own, which never holds the GIL; Python only picks up text. Several
requests may run at once, as many as settings.parallel, from any threads; a crash of llama.cpp is one of this process.
"""

from __future__ import annotations

import ctypes as c
import os
import random
import secrets
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from localrun.engine.generation import LOOK, Generation
from localrun.engine.libllama import Library, find
from localrun.engine.llama_model import (
    Progress,
    context_params,
    load_model,
    model_params,
    new_context,
    recommended,
)
from localrun.errors import EngineError, EngineMissing, LocalrunError, UsageError
from localrun.native.ledger import Group, LedgerReading
from localrun.native.loop import GREEDY, Loop, Request, Sampling, State
from localrun.native.meter import MeterSnapshot
from localrun.plan.values import Settings
from localrun.tokenizer import Tokenizer
from localrun.value import dataclass

__all__ = ["GREEDY", "Generation", "InProcess", "Measured", "Sampling"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What `InProcess.measure` found. Prompt and generation are measured apart, each behind `depth` tokens."""

    n_prompt: int
    n_generate: int
    depth: int
    prompt_ns: int  # n_prompt tokens read, and one sampled
    generate_ns: int  # n_generate times one token read and one sampled, greedily
    first_ns: int  # from the start of the prompt to the first token; = prompt_ns
    p50_ns: int  # from one generated token to the next
    p99_ns: int


class InProcess:
    """One model, one context. Made by `open`; closed by `close` or at the end of `with`."""

    def __init__(self, path: str, settings: Settings, library: Library, model: int, context: int) -> None:
        """Takes over `model` and `context`, libllama's pointers, also when it raises."""
        self.path, self.settings, self.library = path, settings, library
        self.context = context  # llama_context's address; for who knows what they do
        self._recommended: dict[str, Any] = recommended(library.c, model)
        self._tokenizer: Tokenizer | None = None
        self._lock = threading.Lock()
        try:
            self._loop = _loop(path, settings, library, model, context)
        except BaseException:
            _free(library, model, context)
            raise
        thread = threading.Thread(target=self._loop.work, name="localrun decode", daemon=True)
        # Also when the interpreter ends with the model open: llama.cpp must not be at work while it goes down.
        self._close = weakref.finalize(self, _end, self._loop, thread, library, model, context)
        thread.start()

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], settings: Settings, on_progress: Progress | None = None
    ) -> InProcess:
        """Loads the model of a GGUF file; `on_progress` hears 0 to 1, and what it raises ends the load.

        Raises EngineMissing without a library, EngineError in llama.cpp's words.
        """
        # A debugger that an abort would start takes seconds and says nothing to a user.
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")
        library = open_library()
        params, kept = model_params(library, settings)
        model = load_model(library, os.fspath(path), params, on_progress)
        del kept
        try:
            context = new_context(library, model, context_params(library, settings))
        except BaseException:
            library.c.llama_model_free(c.c_void_p(model))
            raise
        return cls(os.fspath(path), settings, library, model, context)

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all requests and frees the model. Harmless when it is closed."""
        self._close()

    @property
    def closed(self) -> bool:
        return not self._close.alive

    @property
    def tokenizer(self) -> Tokenizer:
        """The file's own. Raises ModelError for a vocabulary that is not handled."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = Tokenizer.open(self.path)
            return self._tokenizer

    def sampling(self, **chosen: Any) -> Sampling:
        """What the file recommends, else llama.cpp's defaults, with fields of Sampling chosen otherwise."""
        return Sampling(**self._recommended | chosen)

    @property
    def n_ctx(self) -> int:
        """Tokens that one sequence can hold."""
        return self._loop.n_ctx_seq

    def generate(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling | None = None,
        *,
        max_tokens: int | None = None,
        stop: Iterable[str] = (),
        ignore_eog: bool = False,
        special: bool = False,
        on_prompt: Callable[[int, int], None] | None = None,
    ) -> Generation:
        """The text that follows, as an iterator that has begun already. What the KV cache holds of the prompt's
        beginning is not read again. `special` shows control tokens; `on_prompt` hears how many prompt tokens of how
        many are read.

        Raises UsageError for an empty or too long prompt and for parameters out of range, EngineError when as many
        requests run as there are sequences.
        """
        sampling = sampling or self.sampling()
        request = self._begin(
            prompt_ids,
            self.n_ctx if max_tokens is None else max_tokens,
            sampling,
            seed=secrets.randbits(64) if sampling.seed is None else sampling.seed,
            text=self.tokenizer.vocab,
            stop=tuple(stop),
            ignore_eog=ignore_eog,
            special=special,
        )
        return Generation(request, self.check, on_prompt)

    def measure(self, n_prompt: int, n_generate: int, depth: int = 0) -> Measured:
        """Reads `n_prompt` random tokens behind `depth` others, and generates `n_generate` behind `depth`, as
        llama-bench does; times are those of the loop's own clock. Raises UsageError where the context is too small."""
        chance = random.Random(n_prompt * 1_000_003 + depth)  # noqa: S311 - any tokens will do
        ids = [chance.randrange(self._loop.n_vocab) for _ in range(depth + max(n_prompt, 1))]
        prompt, made = None, None
        if n_prompt:
            prompt = self._timed(ids, depth, 1)[0]
        if n_generate:
            made, meter = self._timed(ids[: depth + 1], depth, n_generate)
            if made.finish == "context":
                raise UsageError(
                    f"{depth} and {n_generate} tokens do not fit a context of {self.n_ctx}", "a larger -c"
                )
        prompt_ns = prompt.first_at - prompt.began if prompt else 0
        return Measured(
            n_prompt=n_prompt,
            n_generate=n_generate,
            depth=depth,
            prompt_ns=prompt_ns,
            generate_ns=made.last_at - made.began if made else 0,
            first_ns=prompt_ns,
            p50_ns=meter.p50_ns if made else 0,
            p99_ns=meter.p99_ns if made else 0,
        )

    def _timed(self, ids: list[int], depth: int, max_tokens: int) -> tuple[State, MeterSnapshot]:
        if depth:
            self._run(ids[:depth], 0, keep=None)
        return self._run(ids, max_tokens, keep=depth)

    def _run(self, ids: list[int], max_tokens: int, keep: int | None) -> tuple[State, MeterSnapshot]:
        request = self._begin(ids, max_tokens, GREEDY, keep=keep, ignore_eog=True)
        try:
            while not (state := request.read(LOOK, text=False)[1]).finish:
                pass
            meter = request.meter()
        finally:
            request.end()
        self.check(state)
        return state, meter

    def _begin(self, ids: Sequence[int], max_tokens: int, sampling: Sampling, **more: Any) -> Request:
        if self.closed:
            raise EngineError("the model was closed")
        self.library.errors.clear()
        request = self._loop.begin(ids, max_tokens, sampling, **more)
        if request is None:
            n = self.settings.parallel
            raise EngineError(f"{n} of {n} sequences are at work", "a larger --parallel")
        return request

    def check(self, state: State) -> None:
        """Raises EngineError for a request that ended in a failure, EngineError's words being llama.cpp's own."""
        if state.finish == "decode":
            raise EngineError(
                f"llama.cpp could not go on (llama_decode: {state.code}): {self.library.why('no reason given')}"
            )
        if state.finish == "logits":
            raise EngineError(
                "the model computes no usable numbers (NaN)", "the file may be damaged: fetch it again"
            )
        if state.finish == "memory":
            raise EngineError("no memory left for the text")

    def meter(self) -> MeterSnapshot:
        """Speeds of all requests together; any thread, at any time."""
        return self._loop.meter()

    def ledger(self) -> LedgerReading:
        """What the KV cache holds; any thread, at any time."""
        return self._loop.ledger()

    def held(self, seq: int = 0) -> int:
        """Tokens of one sequence in the KV cache."""
        return self._loop.held(seq)


def open_library() -> Library:
    """The library that a model would be run with. Raises EngineMissing, EngineError."""
    found = find()
    if not found:
        raise EngineMissing("no llama.cpp library here", "pip install xllamacpp")
    return Library(found[0])


def _loop(path: str, settings: Settings, library: Library, model: int, context: int) -> Loop:
    lib, m, ctx = library.c, c.c_void_p(model), c.c_void_p(context)
    if lib.llama_model_has_encoder(m) or lib.llama_model_is_diffusion(m) or not lib.llama_get_memory(ctx):
        raise EngineError("this model does not generate token by token", "use --engine embedded")
    vocab = lib.llama_model_get_vocab(m)
    return Loop(
        library.loop_functions(),
        context,
        vocab,
        _groups(path, settings, int(lib.llama_n_ctx_seq(ctx))),
        n_seq=lib.llama_n_seq_max(ctx),
        n_ctx_seq=lib.llama_n_ctx_seq(ctx),
        # A part of a prompt is what the engine computes at once: progress and cancelling come between two.
        n_batch=min(lib.llama_n_batch(ctx), lib.llama_n_ubatch(ctx)),
        n_vocab=lib.llama_vocab_n_tokens(c.c_void_p(vocab)),
        n_swa=max(lib.llama_model_n_swa(m), 0),
        unified=settings.kv_unified,
    )


def _groups(path: str, settings: Settings, n_ctx: int) -> list[Group]:
    """What the KV cache is made of; tokens alone where the bytes are not known: recurrent states."""
    from localrun.model.header import read_model
    from localrun.plan.kv import STATEFUL
    from localrun.plan.kv_groups import kv_groups

    try:
        model = read_model(Path(path))
        if model.architecture not in STATEFUL:
            found = kv_groups(model.shape, settings, model.architecture)
            return [Group(g.cells, g.row_bytes, g.kind, g.window) for g in found]
    except LocalrunError:
        pass
    return [Group(n_ctx, 0)]


def _end(loop: Loop, thread: threading.Thread, library: Library, model: int, context: int) -> None:
    loop.close()
    thread.join()
    _free(library, model, context)


def _free(library: Library, model: int, context: int) -> None:
    library.c.llama_free(c.c_void_p(context))
    library.c.llama_model_free(c.c_void_p(model))
