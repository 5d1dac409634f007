"""The decode loop with the real default model in llama.cpp's library: what it says, reuses, and leaves behind."""

from __future__ import annotations

import ctypes as c
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from localrun.engine.dryrun import dry_run
from localrun.engine.in_process import GREEDY, InProcess, Sampling
from localrun.engine.libllama import Batch
from localrun.errors import EngineError, UsageError
from localrun.plan.values import Settings

pytestmark = pytest.mark.engine

SETTINGS = Settings(2304, parallel=3, ubatch_size=64, threads=1)
STORY = "Once upon a time there was a little"
LONG = "The quick brown fox jumps over the lazy dog. " * 40


@pytest.fixture(scope="module")
def model(default_model: Path) -> Iterator[InProcess]:
    with InProcess.open(default_model, SETTINGS) as opened:
        yield opened


def text_of(model: InProcess, prompt: str, n: int = 16, sampling: Sampling = GREEDY) -> str:
    return "".join(model.generate(model.tokenizer.encode(prompt), sampling, max_tokens=n))


def ids_of(model: InProcess, ids: list[int], n: int) -> list[int]:
    generation = model.generate(ids, GREEDY, max_tokens=n)
    for _ in generation:
        pass
    return generation.ids


def bare_greedy(path: Path, prompt: list[int], n: int) -> list[int]:
    """The same by ctypes alone: a model of its own, one decode after the other, numpy's argmax."""
    from localrun.engine.in_process import open_library
    from localrun.engine.llama_model import context_params, load_model, model_params, new_context

    library = open_library()
    params, _kept = model_params(library, SETTINGS)
    loaded = load_model(library, str(path), params)
    context = c.c_void_p(new_context(library, loaded, context_params(library, SETTINGS)))
    lib = library.c
    lib.llama_batch_init.restype, lib.llama_batch_init.argtypes = Batch, (c.c_int32,) * 3
    lib.llama_batch_free.argtypes, lib.llama_decode.argtypes = (Batch,), (c.c_void_p, Batch)
    lib.llama_get_logits_ith.restype = c.POINTER(c.c_float)
    vocab = lib.llama_vocab_n_tokens(c.c_void_p(lib.llama_model_get_vocab(c.c_void_p(loaded))))
    batch, made, at, todo = lib.llama_batch_init(64, 0, 1), [], 0, prompt
    for _ in range(n):
        batch.n_tokens = len(todo)
        for i, token in enumerate(todo):
            (c.c_int32 * 64).from_address(batch.token)[i] = token
            (c.c_int32 * 64).from_address(batch.pos)[i] = at + i
            (c.c_int32 * 64).from_address(batch.n_seq_id)[i] = 1
            (c.POINTER(c.c_int32) * 64).from_address(batch.seq_id)[i][0] = 0
            (c.c_int8 * 64).from_address(batch.logits)[i] = i == len(todo) - 1
        assert lib.llama_decode(context, batch) == 0
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, len(todo) - 1), (vocab,))
        at, todo = at + len(todo), [int(logits.argmax())]
        made += todo
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(c.c_void_p(loaded))
    return made


def test_greedy_ids_are_those_of_a_bare_loop(model: InProcess, default_model: Path) -> None:
    prompt = model.tokenizer.encode("The capital of France is")
    assert ids_of(model, prompt, 12) == bare_greedy(default_model, prompt, 12)


def test_several_at_once_say_what_each_says_alone(model: InProcess) -> None:
    prompts = ["The capital of France is", STORY, "def add(a, b):"]
    alone = [text_of(model, prompt) for prompt in prompts]
    together = [model.generate(model.tokenizer.encode(prompt), GREEDY, max_tokens=16) for prompt in prompts]
    assert ["".join(generation) for generation in together] == alone
    assert all(alone)


def test_one_more_than_there_are_sequences_is_refused(model: InProcess) -> None:
    ids = model.tokenizer.encode(STORY)
    running = [model.generate(ids, GREEDY, max_tokens=50) for _ in range(3)]
    with pytest.raises(EngineError, match="3 of 3 sequences"):
        model.generate(ids)
    for generation in running:
        generation.close()
    assert text_of(model, STORY, 2)


def test_the_ledger_is_what_llama_cpp_holds(model: InProcess, default_model: Path) -> None:
    from localrun.engine.in_process import Generation

    ids = model.tokenizer.encode(STORY)
    running: list[Generation] = [model.generate(ids[: 3 + i], GREEDY, max_tokens=4 + i) for i in range(3)]
    for generation in running:
        list(generation)
    lib, memory = model.library.c, c.c_void_p(model.library.c.llama_get_memory(c.c_void_p(model.context)))
    held = [lib.llama_memory_seq_pos_max(memory, c.c_int32(seq)) + 1 for seq in range(3)]
    assert [model.held(seq) for seq in range(3)] == held
    assert sorted(held) == [6, 8, 10]
    ledger = model.ledger()
    assert ledger.tokens == sum(held)
    assert ledger.bytes == sum(held) * 30 * 2 * 192 * 2
    assert ledger.until_full == model.n_ctx - 10
    assert ledger.bytes_capacity == sum(row.context for row in dry_run(str(default_model), SETTINGS))


def test_cancelled_in_the_middle_of_a_prompt_and_of_an_answer(model: InProcess) -> None:
    ids = model.tokenizer.encode(LONG)[:600]
    seen: list[int] = []

    def stop(read: int, _all: int) -> None:
        seen.append(read)
        generation.cancel()

    generation = model.generate(ids, GREEDY, max_tokens=100, on_prompt=stop)
    assert "".join(generation) == ""
    assert generation.finish == "cancelled"
    assert 64 <= seen[0] <= generation.state.n_read <= 192
    generation = model.generate(model.tokenizer.encode(STORY), GREEDY, max_tokens=200)
    for _ in generation:
        generation.cancel()
    assert generation.finish == "cancelled"
    assert generation.state.n_made <= 4
    assert text_of(model, "The capital of France is", 1) == " Paris"


def test_stop_strings_end_it_and_are_not_shown(model: InProcess) -> None:
    whole = text_of(model, STORY, 24)
    stop = whole[20:26]
    generation = model.generate(model.tokenizer.encode(STORY), GREEDY, max_tokens=24, stop=("\0never", stop))
    assert "".join(generation) == whole[: whole.index(stop)]
    assert generation.finish == "stop"


def test_a_seed_is_a_promise(model: InProcess) -> None:
    warm = Sampling(temperature=1.5, seed=7)
    assert text_of(model, STORY, 12, warm) == text_of(model, STORY, 12, warm)
    others = {text_of(model, STORY, 8, Sampling(temperature=1.5, seed=seed)) for seed in range(4)}
    assert len(others) > 1


def test_the_beginning_of_a_conversation_is_read_once(default_model: Path) -> None:
    with InProcess.open(default_model, Settings(512, threads=1)) as model:
        ids = model.tokenizer.encode(LONG)[:100]
        first = model.generate(ids, GREEDY, max_tokens=6)
        list(first)
        second = model.generate(ids + first.ids + ids[:5], GREEDY, max_tokens=4)
        list(second)
        assert first.state.n_kept == 0
        assert second.state.n_kept == 105  # the last token was sampled, and never read
        fresh = ids_of(model, ids[50:90], 4)
        again = model.generate(ids + first.ids + ids[:5], GREEDY, max_tokens=4)
        list(again)
        assert again.ids == second.ids
        assert again.state.n_kept == 0
        assert fresh
        assert model.meter().requests == 4


@pytest.mark.parametrize("spare", [0, 1, 2])
def test_a_context_that_fills(default_model: Path, spare: int) -> None:
    with InProcess.open(default_model, Settings(256, ubatch_size=256, threads=1)) as model:
        ids = model.tokenizer.encode(LONG)[: 256 - spare]
        assert len(ids_of(model, ids, 10)) == spare + 1
        assert model.held() == 256
        assert model.ledger().until_full == 0
        with pytest.raises(UsageError, match="the prompt has 257 tokens, the context 256"):
            model.generate(model.tokenizer.encode(LONG)[:257])
        assert model.generate(ids, GREEDY, max_tokens=1).state.finish in ("", "length")


def test_requests_that_cannot_be(model: InProcess) -> None:
    with pytest.raises(UsageError, match="empty"):
        model.generate([])
    with pytest.raises(UsageError, match="no token 49152"):
        model.generate([1, 49152])
    with pytest.raises(UsageError, match="no token -1"):
        model.generate([-1])
    with pytest.raises(UsageError, match="stop string"):
        model.generate([1], stop=("",))
    with pytest.raises(UsageError, match="out of range"):
        model.generate([1], Sampling(top_p=7.0))


def test_measured_as_llama_bench_does(model: InProcess) -> None:
    found = model.measure(70, 5, depth=10)
    assert (found.n_prompt, found.n_generate, found.depth) == (70, 5, 10)
    assert found.prompt_ns == found.first_ns > 0
    assert found.generate_ns > found.p50_ns > 0
    assert model.measure(0, 2).prompt_ns == 0
    assert model.measure(3, 0).generate_ns == 0
    with pytest.raises(UsageError, match="context"):
        model.measure(0, 1000, depth=700)


def test_other_threads_read_while_it_works(model: InProcess) -> None:
    done, seen = threading.Event(), [0]

    def watch() -> None:
        while not done.is_set():
            seen.append(model.meter().tokens_total)
            assert model.ledger().tokens >= 0

    watcher = threading.Thread(target=watch)
    watcher.start()
    text_of(model, STORY, 12)
    done.set()
    watcher.join()
    assert seen == sorted(seen)


def test_progress_and_what_ends_a_load(default_model: Path) -> None:
    seen: list[float] = []
    InProcess.open(default_model, Settings(256, threads=1), seen.append).close()
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def interrupt(_part: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InProcess.open(default_model, Settings(256, threads=1), interrupt)


def test_closed_twice_and_used_afterwards(default_model: Path) -> None:
    model = InProcess.open(default_model, Settings(256, threads=1))
    running = model.generate(model.tokenizer.encode(STORY))
    model.close()
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model.generate([1])
    assert len("".join(running)) < 2000
    assert running.finish == "cancelled"
    assert model.ledger().tokens >= 0


def test_closed_by_another_thread_while_one_reads(default_model: Path) -> None:
    model = InProcess.open(default_model, Settings(1024, threads=1))
    generation = model.generate(model.tokenizer.encode(STORY), GREEDY, ignore_eog=True)
    next(generation)
    closer = threading.Thread(target=model.close)
    closer.start()
    for _ in generation:
        pass
    closer.join()
    assert generation.finish == "cancelled"


def test_what_is_no_model_is_refused_in_llama_cpps_words(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("not a model")
    with pytest.raises(EngineError, match=r"magic|load|GGUF"):
        InProcess.open(path, Settings(256))
    with pytest.raises(EngineError, match="No such file"):
        InProcess.open(tmp_path / "none.gguf", Settings(256))
