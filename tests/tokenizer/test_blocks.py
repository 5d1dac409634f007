"""Long texts: in blocks that change nothing, in memory that does not grow, and left at once when interrupted."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from localrun._ffi import ffi, lib

from localrun.native import interruptible
from localrun.native.tok import PRES
from localrun.tokenizer import Tokenizer, blocks
from tests.tokenizer import tiny
from tests.tokenizer.references import NAMES, gguf_path, ours
from tests.tokenizer.texts import CODE, NATURAL, random_bytes, random_text


def lines(r: random.Random) -> bytes:
    """A text of many lines of every kind, often with places to cut at."""
    ends = ("\n", "\n", " \n", "\n\n", "\r\n", "\u3000\n", "\u2028", "!\n", "。\n", "x\n")
    return "".join(random_text(r, i) + r.choice(ends) for i in range(60)).encode()


def cuts(text: bytes) -> list[int]:
    return [found.end() for found in blocks._PLACE.finditer(text)]


@pytest.mark.parametrize("pre", PRES)
def test_every_cut_is_the_end_of_a_piece_with_and_without_what_follows(pre: str) -> None:
    def ends(text: bytes, rules: int) -> set[int]:
        room, count = ffi.new("size_t[]", len(text) + 1), ffi.new("size_t *")
        assert lib.lr_split_all(PRES[pre], rules, text, len(text), room, len(text) + 1, count) == lib.LR_OK
        return set(ffi.unpack(room, count[0]))

    r, found = random.Random(1), 0
    for _ in range(60):
        text = lines(r)
        for rules in (lib.LR_RULES_OWN, lib.LR_RULES_LLAMA_CPP):
            whole = ends(text, rules)
            for cut in cuts(text):
                left, right = ends(text[:cut], rules), ends(text[cut:], rules)
                assert whole == left | {cut + end for end in right}, text
                found += 1
    assert found > 500


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mistral-v1"])
@pytest.mark.parametrize("rules", ["own", "llama.cpp"])
def test_blocks_encode_to_what_the_text_does(name: str, rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, r = ours(name, rules), random.Random(2)
    texts = [lines(r) for _ in range(20)] + ["".join((*NATURAL.values(), CODE)).encode()]
    texts += [b"\n".join(random_bytes(r, i) + b"x\nA" for i in range(50)) for _ in range(10)]
    texts.append("e\u0301\ne\u0301\nE\u0301 x\nE\u0301".encode() * 50)
    wanted = [tokenizer.encode(text, special=True) for text in texts]
    monkeypatch.setattr(blocks, "BLOCK", 64)
    monkeypatch.setattr("localrun.tokenizer.tokenizer.BLOCK", 64)
    monkeypatch.setattr(blocks, "_REACH", 32)
    assert tokenizer.can_cut
    for text, ids in zip(texts, wanted, strict=True):
        assert tokenizer.encode(text, special=True) == ids
        stream = blocks.blocks_from(io.BytesIO(text).read)
        assert [*itertools.chain(*(tokenizer.encode(block, special=True) for block in stream))] == ids


def test_blocks_join_to_the_text_and_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 64)
    monkeypatch.setattr(blocks, "_REACH", 16)
    r = random.Random(3)
    for text in (b"", b"x" * 500, b"x\ny" * 100, *(lines(r) for _ in range(30))):
        for found in ([*blocks.blocks_of(text)], [*blocks.blocks_from(io.BytesIO(text).read)]):
            assert b"".join(found) == text
            assert set(itertools.accumulate(map(len, found[:-1]))) <= {*cuts(text)}
    assert max(map(len, blocks.blocks_of(b"line\n" * 1000))) <= 64


def test_a_special_token_that_holds_a_cut_forbids_cutting(tmp_path: Path) -> None:
    from tests import gguf_bytes

    types = [1] * 256 + [1] * 5 + [4]
    more = (gguf_bytes.pair("tokenizer.ggml.token_type", "array", ("int32", types)),)
    for special, allowed in (("x\nA", False), ("<|end|>\n", True)):
        path = tiny.write(tmp_path / "tiny.gguf", tiny.header((*tiny.WORDS, special), more=more))
        tokenizer = Tokenizer.open(path)
        assert tokenizer.can_cut is allowed
        assert 261 in tokenizer.encode(special)
    assert not ours("mistral-v1").can_cut


def test_what_interrupts_the_wait_ends_the_work_first() -> None:
    told = threading.Event()

    ended: list[bool] = []

    def interrupt() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        told.wait()
        ended.append(True)
        return 3

    for _ in range(50):
        told.clear()
        ended.clear()
        with pytest.raises(KeyboardInterrupt):
            interruptible.run(interrupt, told.set)
        assert ended
    assert interruptible.run(lambda: 7, told.set) == 7


def test_a_second_interrupt_does_not_leave_the_work_behind() -> None:
    told = threading.Event()
    interrupts: list[int] = []
    ended: list[bool] = []

    def work() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        told.wait()
        ended.append(True)
        return 3

    def cancel() -> None:
        interrupts.append(1)
        if len(interrupts) < 3:
            raise KeyboardInterrupt
        told.set()

    with pytest.raises(KeyboardInterrupt):
        interruptible.run(work, cancel)
    assert ended


def test_one_endless_word_can_be_interrupted_and_the_tokenizer_used_on() -> None:
    tokenizer = Tokenizer.open(gguf_path("gpt-2"))
    word = bytes(random.Random(4).choices(b"abcdefghijklmnopqrstuvwxyz", k=1 << 24))

    def interrupt() -> None:
        while all(thread.name != "localrun-core" for thread in threading.enumerate()):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        tokenizer.count(word)
    watcher.join()
    for thread in threading.enumerate():
        if thread.name == "localrun-core":
            with contextlib.suppress(RuntimeError):  # it has not begun yet
                thread.join()  # it ends: it was told to
    assert tokenizer.encode("word") == [4775]


def test_an_interrupted_command_ends_with_130(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "tiny.gguf")
    argv = [sys.executable, "-m", "localrun", "tokenize", str(path), "--count"]
    environment = {**os.environ, "HOME": str(tmp_path), "LOCALRUN_TOKENIZER_CACHE": "0"}
    command = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert command.stdin is not None
    # It has taken more than a pipe holds: it is reading. What comes between two reads is seen behind the next.
    command.stdin.write(b"line\n" * 200_000)
    command.send_signal(signal.SIGINT)
    with pytest.raises(BrokenPipeError):
        command.stdin.writelines(itertools.repeat(b"line\n" * 200_000, 100))
    assert command.wait() == 130
    assert command.stdout is not None
    assert command.stdout.read() == b""
    command.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        command.stdin.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads its peak memory where Linux tells it")
def test_a_gigabyte_through_a_pipe_takes_the_memory_of_a_block(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "tiny.gguf")
    part = b"the thing\n" * 100_000
    argv = [sys.executable, "-m", "localrun", "tokenize", str(path), "--count"]
    environment = {**os.environ, "HOME": str(tmp_path), "LOCALRUN_TOKENIZER_CACHE": "0"}
    command = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert command.stdin is not None
    for _ in range(1000):
        command.stdin.write(part)
    # It waits for more; what rusage tells of it begins with this process's own peak.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{command.pid}/status").read_text())
    out, _ = command.communicate()
    assert int(out) == 1000 * len(Tokenizer.open(path, cache=False).encode(part))
    assert peak is not None
    assert int(peak[1]) * 1024 < 250e6
