"""The decode loop's Python side, over a libllama that does nothing."""

from __future__ import annotations

import ctypes
import gc
import weakref
from pathlib import Path

from localrun.native import Group, Loop
from localrun.native.loop import FUNCTIONS
from localrun.tokenizer import Tokenizer
from tests.tokenizer import tiny


def test_a_vocabulary_lives_while_a_forgotten_request_may_run(tmp_path: Path) -> None:
    nothing = ctypes.CFUNCTYPE(None)(lambda: None)
    address = ctypes.cast(nothing, ctypes.c_void_p).value
    assert address is not None
    loop = Loop(
        dict.fromkeys(FUNCTIONS, address), 1, 1, [Group(64, 0)], n_seq=1, n_ctx_seq=64, n_batch=8, n_vocab=256
    )
    vocab = Tokenizer.open(tiny.write(tmp_path / "tiny.gguf"), cache=False).vocab
    there = weakref.ref(vocab)
    assert loop.begin([1, 2], 4, text=vocab) is not None
    del vocab
    gc.collect()
    assert there() is not None
    loop.close()
    del loop
    gc.collect()
    assert there() is None
