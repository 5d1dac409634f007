"""Vision and drafting as a user asks for them: --mmproj, --model-draft, in plan, launch and Modelfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.expecting import one_line
from tests.fakes import tiny_gguf
from tests.projectors import PIXTRAL, write
from tests.user import User, until

TINY = PIXTRAL._replace(n_layers=2, n_embd=64, n_ff=128, n_head=4, n_out=64)
SCOUT = ("llama-4-scout", "--hardware", "rtx-4090", "--ram", "128GiB", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_gguf.write(tmp_path / "tiny.gguf", "llama")
    write(tmp_path / "mmproj-F16.gguf", TINY)
    return tmp_path


def test_vision_is_off_until_it_is_asked_for(user: User) -> None:
    """Memory matters: llama-server -hf would load 1.7 GiB that most never use."""
    plain, seeing = user("plan", *SCOUT).json(), user("plan", *SCOUT, "--mmproj", "auto").json()
    assert plain["companions"] == []
    assert any("--mmproj auto" in note for note in user("plan", *SCOUT[:-1]).out.splitlines())
    gpu, cpu = seeing["companions"]
    assert (gpu["what"], gpu["device"], gpu["weights"]) == ("mmproj", "CUDA0", 1_746_748_416)
    assert cpu["device"] == "CPU"
    assert seeing["memory"][0]["overhead"] - plain["memory"][0]["overhead"] > gpu["weights"]
    assert user("plan", *SCOUT, "--no-mmproj").json()["companions"] == []


def test_a_projector_kept_off_the_gpu_is_counted_in_ram(user: User) -> None:
    plan = user("plan", *SCOUT, "-mm", "auto", "--no-mmproj-offload").json()
    assert [c["device"] for c in plan["companions"]] == ["CPU"]
    assert plan["settings"]["mmproj_offload"] is False


def test_what_lies_beside_a_file_is_served_with_it(user: User, folder: Path) -> None:
    model, projector = str(folder / "tiny.gguf"), str(folder / "mmproj-F16.gguf")
    for asked in ("auto", projector):
        line = user("up", model, "--mmproj", asked, "--dry-run").out
        assert f"--mmproj {projector}" in line
    assert "--mmproj" not in user("up", model, "--dry-run").out
    line = user("up", model, "-md", model, "--dry-run").out
    assert f"--model-draft {model}" in line
    assert "--n-gpu-layers-draft" in line


def test_a_modelfile_names_projector_and_draft(user: User, folder: Path) -> None:
    model = str(folder / "tiny.gguf")
    text = user("modelfile", model, "--mmproj", "auto", "-md", model).out
    assert f"FROM {folder / 'mmproj-F16.gguf'}" in text
    assert f"DRAFT {model}" in text


def test_what_cannot_be_served_is_one_line(user: User, folder: Path) -> None:
    model = str(folder / "tiny.gguf")
    one_line(user("plan", "smollm2", "--mmproj", "auto"), 2, "no vision projector")
    one_line(user("plan", model, "--mmproj", model), 1, "no vision projector")
    one_line(user("plan", model, "--mmproj", "/nowhere.gguf"), 1, "no such file")
    one_line(user("plan", model, "-md", str(folder / "mmproj-F16.gguf")), 1, "vision projector")
    one_line(user("plan", model, "--spec-type", "draft-mtp"), 2, "next-token-prediction block")


@pytest.mark.engine
def test_the_engine_takes_projector_and_draft(user: User, folder: Path) -> None:
    """It starts, and its log tells of both."""
    model = str(folder / "tiny.gguf")
    started = user("up", model, "--mmproj", "auto", "-md", model, "-c", "512", "-d", "--json").json()
    assert started["state"] == "ready"
    # The engine writes its log from a thread of its own.
    until(lambda: "has vision encoder" in user("logs", "tiny").out)
    until(lambda: "loading draft model" in user("logs", "tiny").out)
    assert user("down").code == 0
