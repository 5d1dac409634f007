"""The ledger that `ps` shows against the real engine: its buffers in capacity, its slots in use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.asking import ask
from tests.conftest import finish, make_user
from tests.random_models import chunked, dense, latent, write_random
from tests.shapes import Named
from tests.user import User

pytestmark = pytest.mark.engine

MIB = 1 << 20
TINY = {
    "full": Named("llama", replace(dense(3, 256, 4, 2, 256, 512, 64), n_ctx_train=65536)),
    "full, chunked": Named("llama4", replace(chunked(4, 256, 2, 1, 2, 256, 512), n_ctx_train=65536)),
    "MLA": Named("deepseek2", latent(2, 512, 16, 16, 2, 256, 512)),
    "MLA, indexer": Named(
        "deepseek32",
        replace(latent(2, 512, 16, 16, 2, 256, 512), indexer_heads=2, indexer_head_dim=128, indexer_top_k=64),
    ),
}


@pytest.fixture(params=TINY)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, User]]:
    user = make_user(tmp_path / "home")
    write_random(user.home / "tiny.gguf", TINY[request.param], "F16")
    context = "12288" if "chunked" in request.param else "2048"
    done = user("up", "-d", "-t", "1", "-c", context, "tiny.gguf")
    assert done.code == 0, done
    yield request.param, user
    user("down")
    finish(user)


def cache(user: User) -> dict[str, Any]:
    (one,) = user.ps()
    found: dict[str, Any] = one["kv"]
    return found


def test_capacity_is_the_engine_s_and_use_is_what_its_slots_hold(running: tuple[str, User]) -> None:
    names, user = running
    before = cache(user)
    log = user("logs").out
    allocated = [float(x) for x in re.findall(r"KV buffer size = +([\d.]+) MiB", log)]
    assert [g["name"] for g in before["groups"]] == names.split(", ")
    assert [g["bytes_capacity"] / MIB for g in before["groups"]] == pytest.approx(allocated, abs=0.01)
    assert before["bytes_capacity"] == sum(g["bytes_capacity"] for g in before["groups"])
    assert (before["tokens_used"], before["bytes_used"], before["high_water"]) == (0, 0, 0)

    prompt = [300 + i % 200 for i in range(8200 if "chunked" in names else 100)]
    root = user.endpoint()
    status, _, body = ask(f"{root}/completion", {"prompt": prompt, "n_predict": 9, "ignore_eos": True})
    assert status == 200, body
    after = cache(user)
    # The newest token was sampled and is not in the cache yet.
    held = len(prompt) + 8
    assert after["tokens_used"] == held
    assert after["until_full"] == after["tokens_capacity"] - held
    assert after["high_water"] >= held
    for group in after["groups"]:
        cells = (held - 1) % 8192 + 1 if group["name"] == "chunked" else held
        assert group["cells_used"] == cells
        assert group["bytes_used"] * group["cells_capacity"] == group["bytes_capacity"] * cells

    ask(f"{root}/completion", {"prompt": prompt[:50], "n_predict": 1, "cache_prompt": False})
    least = cache(user)
    assert least["tokens_used"] == 50
    assert least["high_water"] == after["high_water"], "the engine remembers the most"
