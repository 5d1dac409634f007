"""Several quantizations of one model on the disk: the goal chooses among them, before any download."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sparse import write_sparse
from tests.user import User

NAME = "bartowski--Meta-Llama-3.1-8B-Instruct-GGUF"


@pytest.fixture
def keeper(user: User) -> User:
    """Q2_K and Q8_0 of Llama 3.1 8B in the shared cache, sparse."""
    folder = user.home / ".cache/huggingface/hub" / f"models--{NAME}"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    for quant in ("Q2_K", "Q8_0"):
        write_sparse(folder / f"snapshots/abc/Meta-Llama-3.1-8B-Instruct-{quant}.gguf", "llama-8b", quant)
    return user


def planned(keeper: User, *flags: str) -> tuple[str, str, list[str]]:
    plan = keeper("plan", "llama-3.1-8b", "--json", "--offline", "-c", "4096", *flags).json()
    return plan["model"]["quant"], Path(plan["model"]["files"][0]["name"]).name, plan["reasons"]


def test_the_goal_chooses_among_what_is_here(keeper: User) -> None:
    """Not the largest, as it was; and nothing is fetched for it."""
    quality, file, reasons = planned(keeper, "--for", "quality")
    assert (quality, file) == ("Q8_0", "Meta-Llama-3.1-8B-Instruct-Q8_0.gguf")
    assert any("2 quantizations on this machine" in reason for reason in reasons)
    quick = keeper("up", "llama-3.1-8b", "--dry-run", "--for", "quality", "--offline")
    assert "Q8_0.gguf" in quick.out


def test_a_quantization_that_is_named_wins(keeper: User) -> None:
    quant, file, _ = planned(keeper, "--quant", "Q2_K", "--for", "quality")
    assert (quant, file) == ("Q2_K", "Meta-Llama-3.1-8B-Instruct-Q2_K.gguf")


def test_on_a_machine_that_is_not_here_all_that_is_published_counts(keeper: User) -> None:
    quants = {row["quant"] for row in keeper("plan", "llama-3.1-8b", "--json", "--explain").json()["quants"]}
    assert {"Q2_K", "Q8_0", "Q4_K_M"} <= quants
    elsewhere = keeper("plan", "llama-3.1-8b", "--json", "--hardware", "rtx-3060", "--vram", "8GiB").json()
    assert elsewhere["model"]["quant"] not in ("Q2_K", "Q8_0")
