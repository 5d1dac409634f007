"""The decode loop over other caches than a plain one: keys only, chunks, cells that sequences share. Random weights."""

from __future__ import annotations

import ctypes as c
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from localrun.engine.dryrun import dry_run
from localrun.engine.in_process import GREEDY, InProcess
from localrun.plan.values import Settings
from tests.random_models import chunked, dense, latent, write_random
from tests.shapes import Named

pytestmark = pytest.mark.engine

SHAPES = {
    "llama": Named("llama", dense(2, 256, 4, 2, 512, 400, 64)),
    "deepseek2": Named("deepseek2", latent(4, 256, 4, 16, 6, 256, 400), gate_bias=True),
    "llama4": Named("llama4", replace(chunked(4, 128, 1, 1, 4, 64, 400), n_ctx_train=32768)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("random")
    for name, named in SHAPES.items():
        write_random(folder / f"{name}.gguf", named, "F16")
    return {name: folder / f"{name}.gguf" for name in SHAPES}


def some(n: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(400) for _ in range(n)]


def last_ids(model: InProcess, ids: list[int], n: int) -> list[int]:
    """What is generated, as tokens: these vocabularies have no text worth reading."""
    request = model._begin(ids, n, GREEDY, ignore_eog=True)
    while not request.read(1.0, text=False)[1].finish:
        pass
    found = request.ids()
    request.end()
    return found


@pytest.fixture(params=[(name, unified) for name in SHAPES for unified in (False, True)], ids=str)
def model(request: pytest.FixtureRequest, models: dict[str, Path]) -> Iterator[InProcess]:
    name, unified = request.param
    settings = Settings(768, parallel=3, ubatch_size=32, kv_unified=unified, threads=1)
    with InProcess.open(models[name], settings) as opened:
        yield opened


def positions(model: InProcess) -> list[int]:
    lib = model.library.c
    memory = c.c_void_p(lib.llama_get_memory(c.c_void_p(model.context)))
    return [lib.llama_memory_seq_pos_max(memory, c.c_int32(seq)) + 1 for seq in range(3)]


def test_sequences_do_not_disturb_each_other_and_beginnings_are_reused(model: InProcess) -> None:
    prompts = [some(40 + 30 * i, i) for i in range(3)]
    alone = [last_ids(model, prompt, 12) for prompt in prompts]
    running = [model._begin(prompt, 12, GREEDY, keep=0, ignore_eog=True) for prompt in prompts]
    together = []
    for request in running:
        while not request.read(1.0, text=False)[1].finish:
            pass
        together.append(request.ids())
    assert together == alone
    assert [model.held(seq) for seq in range(3)] == positions(model)
    assert model.ledger().tokens == sum(positions(model))
    for request in running:
        request.end()
    # Half of a prompt that is in the cache, and something else behind it.
    mixed = prompts[2][:50] + some(20, 9)
    again = last_ids(model, mixed, 12)
    request = model._begin(mixed, 12, GREEDY, keep=0, ignore_eog=True)
    while not (state := request.read(1.0, text=False)[1]).finish:
        pass
    assert state.n_kept == 0
    assert request.ids() == again
    request.end()


def test_the_ledger_has_the_cache_that_the_engine_allocates(model: InProcess) -> None:
    rows = dry_run(model.path, model.settings)
    assert model.ledger().bytes_capacity == sum(row.context for row in rows)


def test_one_more_than_fits_is_told_by_the_engine_or_by_the_ledger(model: InProcess) -> None:
    n = model.n_ctx
    state, _ = model._run(some(n - 3, 1), 50, keep=0)
    assert (state.finish, state.n_made) == ("context", 4)
    state, _ = model._run(some(30, 2), 5, keep=None)
    assert state.finish == "length"
    assert model.ledger().tokens == sum(positions(model))


@pytest.mark.slow
def test_a_chunk_that_is_over_is_not_taken_for_a_beginning(models: dict[str, Path]) -> None:
    """Chunked layers have let go of what a shorter prompt would need again."""
    settings = Settings(10240, ubatch_size=512, threads=1)
    long = some(9500, 4)
    with InProcess.open(models["llama4"], settings) as model:
        fresh = last_ids(model, long[:4000], 4)
        model._run(long, 1, keep=None)
        assert model.held() == 9500
        request = model._begin(long[:4000], 4, GREEDY, ignore_eog=True)
        while not (state := request.read(1.0, text=False)[1]).finish:
            pass
        assert request.ids() == fresh
        assert state.n_kept == 0
        request.end()


def test_nothing_leaks(models: dict[str, Path]) -> None:
    """Requests, and models opened and closed. The first rounds fill allocators; a leak goes on."""
    process, settings = psutil.Process(), Settings(256, threads=1)

    def rounds(n: int) -> None:
        for i in range(n):
            with InProcess.open(models["llama"], settings) as model:
                for k in range(10):
                    model._run(some(20, i + k), 3, keep=0)

    rounds(8)
    grown = []
    for _ in range(3):
        before = process.memory_info().rss
        rounds(8)
        grown.append(process.memory_info().rss - before)
    assert min(grown) < 8 * 40_000, grown  # a model has 2 MB, its loop 0.1
