"""`localrun quantize` against a quantizer that is played, and against llama-quantize where there is one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from localrun.engine.quantize import decide
from localrun.errors import UsageError
from localrun.model.header import read_model
from tests.model import tiny
from tests.user import User

#: Plays llama-quantize: copies the file, or fails as `FAKE_QUANTIZE` says.
PLAYED = """#!{python}
import os, shutil, sys
mode = os.environ.get("FAKE_QUANTIZE", "")
args = [a for a in sys.argv[1:] if not a.startswith("--")]
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
print("[   1/   4] token_embd.weight - [64, 96], type = f16", flush=True)
if mode == "fail":
    open(args[1], "w").write("half")
    print("llama_quantize: failed to quantize: no memory\\nmain: failed")
    sys.exit(1)
if mode == "silent":
    sys.exit(0)
if mode == "race":
    open({target!r}, "w").write("theirs")
shutil.copy(args[0], args[1])
print("[   4/   4] done", flush=True)
"""


@pytest.fixture
def quantizing(user: User, tmp_path: Path) -> User:
    """A user with a model of floats, `model-F16.gguf`, and the played quantizer on PATH."""
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    target = str(user.home / "model-Q8_0.gguf")
    program.write_text(PLAYED.format(python=sys.executable, log=str(tmp_path / "log"), target=target))
    program.chmod(0o755)
    user.env["PATH"] = f"{program.parent}{os.pathsep}{user.env['PATH']}"
    tiny.write(user.home / "model-F16.gguf")
    return user


def test_a_model_is_quantized_beside_itself(quantizing: User, tmp_path: Path) -> None:
    report = quantizing("quantize", "model-F16.gguf", "q8_0", "--json").json()
    assert report["path"] == str(quantizing.home / "model-Q8_0.gguf")
    assert report["bytes"] == (quantizing.home / "model-F16.gguf").stat().st_size
    said = (tmp_path / "log").read_text().split()
    assert said[0] == str(quantizing.home / "model-F16.gguf")
    assert said[2] == "Q8_0"
    assert sorted(p.name for p in quantizing.home.glob("*.gguf*")) == ["model-F16.gguf", "model-Q8_0.gguf"]


def refused(user: User, code: int, why: str, *args: str, **env: str) -> None:
    before = {p: p.read_bytes() for p in user.home.glob("*.gguf")}
    done = user("quantize", *args, env=env)
    assert done.code == code, done
    assert why in done.err
    assert {p: p.read_bytes() for p in user.home.glob("*.gguf")} == before
    assert not [p for p in user.home.iterdir() if p.name.endswith(".new")]


def test_a_file_that_is_there_is_not_overwritten(quantizing: User) -> None:
    (quantizing.home / "out.gguf").write_text("mine")
    refused(quantizing, 2, "is there already", "model-F16.gguf", "Q8_0", "-o", "out.gguf")
    refused(quantizing, 2, "is there already", "model-F16.gguf", "Q8_0", "-o", "model-F16.gguf")


def test_a_file_that_comes_meanwhile_is_not_overwritten(quantizing: User) -> None:
    done = quantizing("quantize", "model-F16.gguf", "Q8_0", env={"FAKE_QUANTIZE": "race"})
    assert done.code == 1, done
    assert "came into being meanwhile" in done.err
    assert (quantizing.home / "model-Q8_0.gguf").read_text() == "theirs"


@pytest.mark.parametrize(
    ("mode", "why"), [("fail", "failed to quantize: no memory"), ("silent", "wrote no file")]
)
def test_a_failure_leaves_nothing(quantizing: User, mode: str, why: str) -> None:
    refused(quantizing, 1, why, "model-F16.gguf", "Q8_0", FAKE_QUANTIZE=mode)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("model-F16.gguf", "Q9_Z"), "makes no Q9_Z"),
        (("model-F16.gguf", "IQ1_S"), "needs an importance matrix"),
        (("model-F16.gguf", "UD-Q4_K_XL"), "makes no UD-Q4_K_XL"),
        (("model-F16.gguf", "Q8_0", "-o", "none/x.gguf"), "is no folder"),
    ],
)
def test_what_cannot_be_made_is_refused(quantizing: User, args: tuple[str, ...], why: str) -> None:
    refused(quantizing, 2, why, *args)


def test_a_file_that_is_no_model_is_refused(quantizing: User) -> None:
    refused(quantizing, 1, "no such file", "none.gguf", "Q8_0")
    (quantizing.home / "text.gguf").write_text("hello")
    refused(quantizing, 1, "is not a GGUF file", "text.gguf", "Q8_0")


def test_without_a_quantizer_it_is_said_how_to_get_one(user: User) -> None:
    user.env["PATH"] = "/usr/bin:/bin"
    tiny.write(user.home / "model.gguf")
    done = user("quantize", "model.gguf", "Q8_0")
    assert done.code == 1
    assert "localrun engine install --native" in done.err


def test_quantizing_again_is_refused_unless_forced(default_model: Path, tmp_path: Path) -> None:
    model = read_model(default_model)
    with pytest.raises(UsageError, match="is quantized already"):
        decide(model, default_model, "Q4_K_M", tmp_path / "x.gguf", force=False)
    job = decide(model, default_model, "Q4_K_M", tmp_path / "x.gguf", force=True)
    assert job.requantize


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("SmolLM2-F16.gguf", "SmolLM2-Q8_0.gguf"), ("SmolLM2.BF16.gguf", "SmolLM2-Q8_0.gguf"),
        ("Scout-f16-00001-of-00003.gguf", "Scout-Q8_0.gguf"), ("qwen3.gguf", "qwen3-Q8_0.gguf"),
    ],
)  # fmt: skip
def test_the_new_file_is_named_after_its_quant(tmp_path: Path, name: str, made: str) -> None:
    model = read_model(tiny.write(tmp_path / "x.gguf"))
    assert decide(model, tmp_path / name, "Q8_0", None, force=False).target.name == made


@pytest.mark.engine
def test_the_size_is_what_llama_quantize_writes(user: User, default_model: Path, tmp_path: Path) -> None:
    """To the byte, through the real program, where an earlier native build is at hand."""
    from tests.native_engine import ready_engine

    server = ready_engine()
    if server is None:
        pytest.skip("no native build: make test-build")
    user.env["PATH"] = f"{server.parent}{os.pathsep}{user.env['PATH']}"
    whole = tmp_path / "smol-F16.gguf"
    first = user("quantize", str(default_model), "F16", "--force", "-o", whole, "--json").json()
    second = user("quantize", str(whole), "Q4_K_M", "--json").json()
    for report in (first, second):
        assert Path(report["path"]).stat().st_size == report["bytes"]
        # The header's own length changes with a few metadata values; the tensors' does not.
        assert abs(report["bytes"] - report["computed_bytes"]) < 4096
        assert read_model(Path(report["path"])).weights_bytes == report["weights_bytes"]
