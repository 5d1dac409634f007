"""`bench` on the real engine and the real default model."""

from __future__ import annotations

import signal
import xml.etree.ElementTree as ET

import pytest

from tests.commands.test_bench import calm
from tests.expecting import nothing_left, one_line
from tests.user import User

pytestmark = pytest.mark.engine

QUICK = ("smollm2", "-t", "1", "-p", "32", "-n", "32", "-r", "2")


def test_the_default_model_is_measured_and_the_next_plan_knows_it(owner: User) -> None:
    found = owner("bench", *QUICK, "-ctk", "f16,q8_0", "-d", "0,64", "--svg", "out.svg", "--json").json()
    assert [(r["test"], r["settings"]["cache_type_v"]) for r in found["results"]] == [
        (test, kind)
        for kind in ("f16", "q8_0")
        for test in ("pp32", "tg32", "pp32 @ d64", "tg32 @ d64")
    ]  # fmt: skip
    for one in found["results"]:
        assert 0.5 < one["measured"]["min"] <= one["measured"]["median"] <= one["measured"]["max"] < 1e5
    assert found["build"].startswith("embedded 20")
    assert ET.parse(owner.home / "out.svg").getroot().get("role") == "img"
    nothing_left(owner)
    told = owner("plan", "smollm2", "-t", "1", "--json").json()["speed"]["calibrated"]
    # On a busy machine each is told, and none is believed.
    by_kind = (found["results"][:4], found["results"][4:])
    assert told == any(calm({"results": some}) for some in by_kind)
    assert all(one["others_busy_cores"] is not None for one in found["results"])


def test_a_running_model_is_measured_where_it_runs_and_goes_on(owner: User) -> None:
    assert owner("up", "-d", "smollm2", "-t", "1", "-c", "1024").code == 0
    before = owner.engines()
    done = owner("bench", *QUICK, "-n", "0")
    assert "smollm2 runs with these settings" in done.err
    assert owner.engines() == before
    assert owner.ps()[0]["kv"]["tokens_used"] == 32
    owner("down")


def test_keys_and_values_of_different_types(owner: User) -> None:
    found = owner("bench", *QUICK, "-n", "0", "-ctk", "q4_0", "-ctv", "f16", "--json").json()
    assert found["results"][0]["settings"]["cache_type_k"] == "q4_0"
    nothing_left(owner)


def test_the_engine_in_this_process_is_measured_by_its_own_clock(owner: User) -> None:
    found = owner("bench", *QUICK, "-d", "0,64", "--engine", "in-process", "--json").json()
    assert [r["test"] for r in found["results"]] == ["pp32", "tg32", "pp32 @ d64", "tg32 @ d64"]
    assert all(r["measured"]["min"] > 0.5 for r in found["results"])
    assert found["engine"] == "in-process"
    assert owner.ps() == []
    one_line(owner("bench", "smollm2", "--engine", "in-process", "--rpc", "127.0.0.1:1"), 2, "no RPC")


def test_an_interrupt_ends_the_engine_in_this_process(owner: User) -> None:
    measuring = owner.start("bench", *QUICK, "-r", "900", "--engine", "in-process")
    assert measuring.process.stderr
    for line in measuring.process.stderr:
        if line.startswith(b"tg32"):
            break
    measuring.signal(signal.SIGINT)
    done = measuring.wait()
    assert done.code == 130, done
    assert "interrupted" in done.out
    assert "Traceback" not in done.err
