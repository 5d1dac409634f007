"""The build that ran faster here is taken: by comparable runs only, and the usual order otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localrun.engine.measured import key_of, record_run
from localrun.engine.preference import faster, prefer, speeds
from localrun.hardware.identity import identity
from localrun.hardware.probe import detect
from localrun.plan.calibrate import Run
from tests.fakes import llama_server
from tests.plan.test_calibrate import ran
from tests.user import User

NATIVE, WHEEL = "llama-server /e/bin/llama-server", "embedded 2026.1"


def times(off: float, count: int = 3, model: str = "llama Q4_1 1 2") -> list[Run]:
    return [ran(off, model)] * count


def test_without_measurements_the_usual_order_stays() -> None:
    assert prefer((NATIVE, WHEEL), {}) == (NATIVE, "")
    assert prefer((NATIVE, WHEEL), {WHEEL: times(0.5)}) == (NATIVE, "")


def test_the_faster_is_taken_and_it_is_said_why() -> None:
    build, why = prefer((NATIVE, WHEEL), {NATIVE: times(1.2), WHEEL: times(1.0)})
    assert build == WHEEL
    assert why == f"{WHEEL} generated 1.20 times as fast here as {NATIVE} (measured, 3 runs of each)"
    build, why = prefer((NATIVE, WHEEL), {NATIVE: times(1.0), WHEEL: times(1.2)})
    assert build == NATIVE
    assert why == f"{NATIVE} generated 1.20 times as fast here as {WHEEL} (measured, 3 runs of each)"


@pytest.mark.parametrize(("off", "count", "taken"), [
    (1.2, 1, NATIVE), (1.3, 1, WHEEL), (1.08, 2, NATIVE), (1.12, 2, WHEEL), (1.02, 9, NATIVE), (1.05, 9, WHEEL),
])  # fmt: skip
def test_few_runs_must_differ_by_more(off: float, count: int, taken: str) -> None:
    runs = {NATIVE: times(off, count), WHEEL: times(1.0, count)}
    assert prefer((NATIVE, WHEEL), runs)[0] == taken


def test_only_the_same_models_in_like_settings_are_compared() -> None:
    slow, fast = times(2.0), times(1.0)
    assert faster(fast, [replace(run, model="other") for run in slow]) == (1.0, 0)
    assert faster(fast, [replace(run, ram=run.ram * 2) for run in slow]) == (1.0, 0)
    assert faster(fast, [replace(run, figures=1) for run in slow]) == (1.0, 0)
    assert faster(fast, [replace(run, generation=float("nan")) for run in slow]) == (1.0, 0)
    assert faster(fast, slow) == (pytest.approx(2.0), 3)


def test_what_small_differences_in_settings_make_falls_out() -> None:
    """10 % more to read in each token, and 10 % slower: neither build is faster."""
    (run,) = times(1.0, 1)
    more = [replace(run, ram=run.ram * 1.1, fixed=run.fixed * 1.1, generation=run.generation / 1.1)] * 3
    assert faster(times(1.0), more) == (pytest.approx(1.0), 3)


def test_one_wild_run_decides_nothing() -> None:
    runs = {NATIVE: [*times(1.0), *times(4.0, 1)], WHEEL: times(1.2)}
    assert prefer((NATIVE, WHEEL), runs)[0] == NATIVE


def test_of_three_the_fastest_is_taken() -> None:
    runs = {"a": times(1.2), "b": times(1.1), "c": times(0.9)}
    assert prefer(("a", "b", "c"), runs)[0] == "c"


def test_speeds_are_those_of_the_model_that_most_builds_ran() -> None:
    found = speeds({NATIVE: [*times(1.0), *times(1.0, 1, "deepseek2 Q8_0 1 2")], WHEEL: times(2.0)})
    assert found.model == "llama Q4_1"
    assert found.rates == {NATIVE: 10.0, WHEEL: 5.0}
    assert speeds({NATIVE: []}).model == ""


# ---- two engines on one machine ------------------------------------------------------------------


def measured(user: User, build: str, off: float) -> None:
    for run in times(off):
        record_run(user.state / "runs.json", key_of(identity(detect()), build), run)


def taken(user: User) -> str:
    (one,) = (e["kind"] for e in user("engine", "list", "--json").json()["engines"] if e["default"])
    return str(one)


def test_up_takes_the_engine_that_was_measured_faster(faker: User, fake_bin: Path) -> None:
    (release,) = (
        e["release"] for e in faker("engine", "list", "--json").json()["engines"] if e["kind"] == "xllamacpp"
    )
    assert taken(faker) == "llama-server"
    assert "none of them was measured here" in faker("engine", "list").out
    server, wheel = f"llama-server {fake_bin / 'llama-server'}", f"embedded {release}"
    measured(faker, server, 1.3)
    assert taken(faker) == "llama-server"
    assert "only one of them was measured here" in faker("engine", "list").out
    measured(faker, wheel, 1.0)
    assert taken(faker) == "xllamacpp"
    listed = faker("engine", "list").out
    assert f"* is what `up` takes: {wheel} generated 1.30 times as fast here as {server}" in listed
    assert "7.7" in listed
    assert "10.0" in listed
    launched = faker("up", faker.home / "tiny.gguf", "--dry-run").out
    assert "localrun.engine.host" in launched
    named = faker("up", faker.home / "tiny.gguf", "--dry-run", "--engine", "llama-server").out
    assert named.startswith(str(fake_bin)), "what the user names is kept"


def test_of_two_builds_of_ours_the_faster_is_taken_whatever_its_age(user: User) -> None:
    from tests.model import tiny

    tiny.write(user.home / "tiny.gguf")
    engines = user.home / ".local/share/localrun/engines"
    for name in ("old", "new"):
        (engines / name / "bin").mkdir(parents=True)
        llama_server.install(engines / name / "bin")
    old, new = (engines / name / "bin/llama-server" for name in ("old", "new"))
    assert user("up", user.home / "tiny.gguf", "--dry-run").out.startswith(str(new))
    measured(user, f"llama-server {old}", 1.0)
    measured(user, f"llama-server {new}", 1.2)
    assert user("up", user.home / "tiny.gguf", "--dry-run").out.startswith(str(old))
    for damage in ("{", '{"schema": "localrun.runs/1", "runs": {"x": 3}}'):
        (user.state / "runs.json").write_text(damage)
        assert user("up", user.home / "tiny.gguf", "--dry-run").out.startswith(str(new))
