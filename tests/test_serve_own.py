"""The real engine, started for one test: keys, two at once, a pasted line, a corrupt file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.asking import SMALL, answers, ask, question
from tests.user import User, until

pytestmark = pytest.mark.engine


def test_a_key_is_asked_for_and_travels_by_the_environment(owner: User) -> None:
    done = owner("up", "-d", *SMALL, "--api-key", "s3cret")
    assert done.code == 0, done
    root = owner.endpoint()
    for path in ("/v1/models", "/slots", "/metrics"):
        assert ask(root + path)[0] == 401
        assert ask(root + path, Authorization="Bearer s3cret")[0] == 200
    assert ask(f"{root}/v1/chat/completions", question(), Authorization="Bearer wrong")[0] == 401
    (pid,) = owner.engines()
    assert b"s3cret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert owner("env", "--json").json()["OPENAI_API_KEY"] == "s3cret"
    assert owner("run", "smollm2", "hi", "-n", "2").code == 0
    assert owner.ps()[0]["kv"]["tokens_used"] > 0, "ps asks with the key"
    assert owner("down").code == 0


def test_run_without_a_running_engine_starts_one_and_ends_it(owner: User) -> None:
    done = owner("run", "smollm2", "Say hi", "-n", "4", *SMALL)
    assert done.code == 0, done
    assert done.out.strip()
    assert owner.engines() == []
    assert owner.ps() == []


def test_two_models_run_at_once_on_two_ports(owner: User, default_model: Path) -> None:
    other = owner.home / "Other Model ä.gguf"
    other.symlink_to(default_model)
    starts = [owner.start("up", "-d", *SMALL), owner.start("up", "-d", *SMALL, other)]
    for start in starts:
        done = start.wait()
        assert done.code == 0, done
    running = {r["name"]: r for r in owner.ps()}
    assert running.keys() == {"smollm2", "Other Model ä"}
    assert len({r["endpoint"] for r in running.values()}) == 2
    assert owner("down").code == 2, "which one?"
    for name, r in running.items():
        listed = json.loads(ask(r["endpoint"] + "/models")[2])
        assert [m["id"] for m in listed["data"]] == [name]
    assert owner("run", "other model ä", "hi", "-n", "2").code == 0
    assert sorted(owner("down", "--all", "--json").json()["stopped"]) == sorted(running)
    assert owner.engines() == []


def test_the_line_that_a_dry_run_prints_starts_the_engine(owner: User) -> None:
    done = owner("up", "--dry-run", *SMALL)
    assert done.code == 0, done
    assert owner.engines() == []
    started = subprocess.Popen(
        ["sh", "-c", "exec " + done.out],
        env=owner.env,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = done.out.split("--port ")[1].split()[0]
        until(lambda: answers(f"http://127.0.0.1:{port}"), what="the pasted line")
        assert b"smollm2" in ask(f"http://127.0.0.1:{port}/v1/models")[2]
    finally:
        started.terminate()
        assert started.wait(30) == 0


def test_a_corrupt_model_is_one_line_and_no_process(owner: User, default_model: Path) -> None:
    """Whole header, half the weights: refused by us or by the engine, never half served."""
    half = owner.home / "half.gguf"
    with default_model.open("rb") as source:
        half.write_bytes(source.read(50_000_000))
    done = owner("up", "-d", *SMALL, half)
    assert done.code == 1
    assert done.err.count("localrun: ") == 1
    assert "Traceback" not in done.err
    assert owner.engines() == []
    assert owner.ps() == []
