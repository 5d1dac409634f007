"""`localrun bench` as it is typed, on the fake engines: 500 tokens a second in, 20 out."""

from __future__ import annotations

import json
import os
import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.asking import free_port
from tests.expecting import nothing_left, one_line
from tests.fakes.ollama_server import binary
from tests.user import Done, User, until

QUICK = ("tiny.gguf", "-t", "1", "-c", "512", "-p", "32", "-n", "8", "-r", "2")


@pytest.fixture
def faker(faker: User) -> User:
    """Looks for a port elsewhere: other suites on this machine have engines of the same name on the usual one."""
    faker.env["LOCALRUN_PORT"] = str(free_port())
    return faker


def bench(user: User, *args: str, fault: str = "", **more: Any) -> Done:
    return user("bench", *QUICK, *args, env={"FAKE_LLAMA": fault}, **more)


def test_the_table_and_the_files(faker: User) -> None:
    done = bench(faker, "-o", "out.json", "--svg", "out.svg")
    assert done.code == 0, done
    rows = {
        w[0]: w[1:]
        for line in done.out.splitlines()
        if (w := line.split())[1:2] == ["500.0"] or "20.0" in w[1:2]
    }
    assert rows["pp32"][:4] == ["500.0", "500.0", "to", "500.0"]
    assert rows["tg8"][:4] == ["20.0", "20.0", "to", "20.0"]
    assert "planned: estimated" in done.out
    assert "tg8 ran at 20.0 tok/s, below the planned" in done.out
    found = json.loads((faker.home / "out.json").read_text())
    assert [(r["test"], r["measured"]["median"], r["place"]) for r in found["results"]][1] == (
        "tg8",
        20.0,
        "below",
    )
    assert ET.parse(faker.home / "out.svg").getroot().tag.endswith("svg")
    nothing_left(faker)


DOCUMENT = {
    "schema": str, "name": str, "date": str, "hardware": str, "engine": str, "build": str, "repetitions": int,
    "interrupted": bool, "failures": list, "results": list,
    "model": {"architecture": str, "quant": str, "weights_bytes": int, "parameters": int},
}  # fmt: skip
RESULT = {
    "test": str, "n_prompt": int, "n_gen": int, "n_depth": int, "settings": dict, "ratio": float, "place": str,
    "others_busy_cores": (float, type(None)),
    "measured": {"median": float, "min": float, "max": float, "stdev": float, "samples": list, "source": str},
    "planned": {"low": float, "expected": float, "high": float, "source": str},
    "previous": {"date": str, "build": str, "median": float, "change_percent": float},
}  # fmt: skip


def check(value: Any, shape: Any) -> None:
    """`value` has the shape's keys, all and no others, and its types."""
    if not isinstance(shape, dict):
        assert isinstance(value, shape), (value, shape)
        return
    assert value.keys() == shape.keys()
    for key, inner in shape.items():
        check(value[key], inner)


def test_json_is_the_documented_document(faker: User) -> None:
    bench(faker)
    found = bench(faker, "--json").json()
    check(found, DOCUMENT)
    assert found["schema"] == "localrun.bench/1"
    for one in found["results"]:
        check(one, RESULT)
        assert one["previous"]["change_percent"] == 0.0
        assert len(one["measured"]["samples"]) == 2
    docs = (Path(__file__).parents[2] / "docs/bench.md").read_text()
    for key in (*DOCUMENT, *RESULT, *RESULT["measured"], *RESULT["planned"], *RESULT["previous"]):  # type: ignore[misc]
        assert f'"{key}"' in docs, f"docs/bench.md leaves out {key}"


def test_a_sweep_launches_each_settings_once_and_measures_all_cases(faker: User) -> None:
    done = faker(
        "bench", "tiny.gguf", "-t", "1,2", "-ctk", "f16,f32", "-p", "16-32*2", "-n", "4", "-d", "0,64", "-r", "1",
        "--json",
    )  # fmt: skip
    results = done.json()["results"]
    assert len(results) == 2 * 2 * 2 * 3
    seen = {
        (r["settings"]["threads"], r["settings"]["cache_type_k"], r["settings"]["cache_type_v"])
        for r in results
    }
    assert seen == {(1, "f16", "f16"), (2, "f16", "f16"), (1, "f32", "f32"), (2, "f32", "f32")}
    assert [r["test"] for r in results[:6]] == [
        "pp16",
        "pp32",
        "tg4",
        "pp16 @ d64",
        "pp32 @ d64",
        "tg4 @ d64",
    ]
    assert {r["planned"] is None for r in results if r["n_depth"] and r["n_prompt"]} == {True}
    assert done.err.count("starting the engine") == 4
    nothing_left(faker)


def calm(found: dict[str, Any]) -> bool:
    """Whether the engine's one thread had a core to itself, as far as was counted."""
    cores = os.cpu_count() or 1
    return all((one["others_busy_cores"] or 0) + 1 <= cores + 0.3 for one in found["results"])


def test_results_are_kept_and_compared_and_calibrate_the_next_plan(faker: User) -> None:
    assert faker("bench", *QUICK, "--history").out == "no earlier benchmark of tiny on this hardware\n"
    ran = [bench(faker, "-n", "64", "--json").json() for _ in range(2)]
    rows = faker("bench", "tiny.gguf", "--history", "--json").json()["results"]
    assert [(r["test"], r["change_percent"]) for r in rows] == [
        ("pp32", None), ("tg64", None), ("pp32", 0.0), ("tg64", 0.0)
    ]  # fmt: skip
    assert "+0.0 %" in faker("bench", "tiny.gguf", "--history").out.splitlines()[4]
    quiet = [calm(found) for found in ran]
    assert ran[1]["results"][1]["planned"]["source"] == (
        "estimated from runs here" if quiet[0] else "estimated"
    )
    if not any(quiet):
        assert not (faker.state / "runs.json").exists(), "a neighbour's load says nothing of the machine"
        return
    ((_, kept),) = json.loads((faker.state / "runs.json").read_text())["runs"].items()
    assert [round(run["generation"]) for run in kept] == [20] * sum(quiet)
    assert kept[0]["held"] == 32
    assert faker("plan", "tiny.gguf", "-t", "1", "-c", "512", "--json").json()["speed"]["calibrated"]


def test_a_damaged_history_is_no_reason_to_fail(faker: User) -> None:
    faker.state.mkdir(parents=True)
    (faker.state / "bench.json").write_text('{"schema": "localrun.bench-history/1", "results": 5')
    assert bench(faker).code == 0
    assert len(faker("bench", "tiny.gguf", "--history", "--json").json()["results"]) == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-p", ""), "-p ''"), (("-p", "-1"), "-p '-1'"), (("-n", "x"), "-n 'x'"), (("-n", "1,,2"), "-n"),
        (("-d", "-5"), "-d"), (("-t", "0"), "-t '0'"), (("-t", ""), "-t"), (("-ctk", ""), "-ctk"),
        (("-ctk", "f16,"), "empty value"), (("-ctk", "q9_9"), "not a cache type"),
        (("-ctv", "f16,q9_9"), "-ctv q9_9: not a cache type"),
        (("-p", "0", "-n", "0"), "nothing to measure"), (("-p", "600"), "pp600 needs a context of 602"),
        (("-c", "256", "-p", "0", "-n", "300"), "tg300 needs a context of 302"),
        (("-p", "32", "-n", "0", "-d", "500"), "pp32 @ d500 needs a context of 534"), (("-p", "9" * 30), "-p"),
        (("-p", "1-100000"), "more than 64 values"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_in_one_line_before_anything_starts(
    faker: User, args: tuple[str, ...], said: str
) -> None:
    one_line(faker("bench", "tiny.gguf", *args), 2, said)
    assert not (faker.state / "logs").exists()


@pytest.mark.parametrize("args", [("-r", "0"), ("-r", "x"), ("-p",), ("--engine", "none")])
def test_wrong_options_are_refused(faker: User, args: tuple[str, ...]) -> None:
    assert faker("bench", "tiny.gguf", *args).code == 2


def test_a_wrong_list_is_told_before_a_model_is_fetched(faker: User) -> None:
    done = faker("bench", "llama-3.1-8b", "-p", "x", "--offline")
    one_line(done, 2, "-p 'x'")


def test_an_unknown_model_is_wrong_usage(faker: User) -> None:
    one_line(faker("bench", "no-such-model"), 2, "no-such-model")


@pytest.mark.parametrize("option", ["-o", "--svg"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(faker: User, option: str) -> None:
    for path in ("missing/out", "."):
        done = bench(faker, option, path)
        one_line(done, 1, "cannot write")
        assert "starting" not in done.err


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("die", "failed to find a memory slot"), ("refuse", "exceeds the available context size"),
        ("mute", "tells no timings"), ("nonsense", "make no sense"), ("hang", "did not answer within"),
    ],
)  # fmt: skip
def test_an_engine_that_fails_in_mid_bench(faker: User, fault: str, said: str) -> None:
    faker.env["LOCALRUN_READY_TIMEOUT"] = "1" if fault == "hang" else "60"
    done = bench(faker, fault=f"bench-{fault}")
    one_line(done, 1, said)
    nothing_left(faker)


def test_an_answer_that_is_cut_short(faker: User) -> None:
    one_line(bench(faker, "-p", "0", fault="bench-short"), 1, "generated 1 tokens of 9")


def test_an_engine_that_does_not_start(faker: User) -> None:
    one_line(bench(faker, fault="die:kv"), 1, "no memory for the KV cache")
    nothing_left(faker)


@pytest.mark.parametrize("types", ["f16,q8_0", "q8_0,f16"])
def test_of_several_settings_one_that_is_refused_does_not_cost_the_others(faker: User, types: str) -> None:
    done = bench(faker, "-ctk", types, "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert len(found["results"]) == 2
    assert [f["settings"] for f in found["failures"]] == ["t 1, ctk q8_0"]
    one_line(done, 1, "1 of 2 settings could not be measured", "blocks of 32, which do not divide")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_shows_what_was_measured_and_leaves_nothing(faker: User, number: int) -> None:
    faker.env["FAKE_LLAMA"] = "bench-wait"
    measuring = faker.start("bench", *QUICK, "-r", "500", "-o", "out.json")
    assert measuring.process.stderr
    for line in measuring.process.stderr:
        if line.startswith(b"tg8"):
            break
    measuring.signal(number)
    done = measuring.wait()
    assert done.code == 130, done
    assert "interrupted" in done.out
    assert "pp32" in done.out
    assert "Traceback" not in done.err
    found = json.loads((faker.home / "out.json").read_text())
    assert found["interrupted"]
    assert found["results"][0]["measured"]["samples"]
    nothing_left(faker)
    assert faker("bench", "tiny.gguf", "--history", "--json").json()["results"]


def test_an_interrupt_while_the_engine_loads_leaves_nothing(faker: User) -> None:
    starting = faker.start("bench", *QUICK, env={"FAKE_LLAMA": "never"})
    until(faker.is_loading, what="the record")
    starting.signal(signal.SIGINT)
    assert starting.wait().code == 130
    nothing_left(faker)


def test_a_model_that_runs_with_these_settings_is_measured_where_it_runs(faker: User) -> None:
    assert faker("up", "-d", "tiny.gguf", "-t", "1", "-c", "512").code == 0
    done = faker("bench", "tiny.gguf", "-p", "32", "-n", "8", "-r", "1")
    assert "tiny runs with these settings" in done.err
    assert "starting the engine" in done.err
    assert "pp32" in done.out
    assert len(faker.engines()) == 1
    assert [r["name"] for r in faker.ps()] == ["tiny"]
    other = faker("bench", "tiny.gguf", "-p", "32", "-n", "0", "-r", "1", "-ub", "64", "--json").json()
    assert other["results"][0]["settings"]["ubatch_size"] == 64
    assert [r["name"] for r in faker.ps()] == ["tiny"]
    faker("down")


def test_a_model_that_another_build_serves_is_not_measured_for_this_one(faker: User) -> None:
    """Results are kept by build: those of another one must not be filed under it."""
    assert faker("up", "-d", "tiny.gguf", "-t", "1", "-c", "512").code == 0
    (path,) = (faker.state / "run").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"build": "llama-server another"}))
    done = faker("bench", "tiny.gguf", "-p", "32", "-n", "8", "-r", "1")
    assert done.code == 0
    assert "runs with these settings" not in done.err
    faker("down")


def test_what_a_killed_bench_left_is_ended_by_the_next(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "bench-wait"
    killed = faker.start("bench", *QUICK, "-r", "500")
    until(faker.is_ready, what="the engine")
    assert faker.ps()[0]["name"] == "bench:tiny"
    second = bench(faker)
    one_line(second, 2, "another bench of tiny runs")
    killed.signal(signal.SIGKILL)
    killed.wait()
    (left,) = faker.engines()
    assert bench(faker).code == 0
    assert left not in faker.engines()
    nothing_left(faker)


# ---- Ollama ----------------------------------------------------------------------------------------


@pytest.fixture
def with_ollama(faker: User, tmp_path: Path) -> User:
    pytest.importorskip("ollama", reason="the optional package ollama is not installed")
    (tmp_path / "ollama-bin").mkdir()
    faker.env["PATH"] = f"{tmp_path / 'ollama-bin'}:{faker.env['PATH']}"
    return faker


def ollama(user: User, tmp_path: Path, *args: str, **faults: Any) -> Done:
    binary(tmp_path / "ollama-bin", **faults)
    return user("bench", *QUICK, "--engine", "ollama", *args)


def test_ollama_is_measured_by_its_own_counts(with_ollama: User, tmp_path: Path) -> None:
    found = ollama(with_ollama, tmp_path, "--json").json()
    assert [(r["test"], round(r["measured"]["median"])) for r in found["results"]] == [
        ("pp32", 500),
        ("tg8", 20),
    ]
    assert found["engine"] == "ollama"
    nothing_left(with_ollama)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("dies", "ollama serve ended"), ("refuses", "context"), ("mute", "no timings"),
        ("nonsense", "read -1 tokens of 32"), ("ends early", "cannot be told to go on"),
    ],
)  # fmt: skip
def test_ollama_that_fails_in_mid_bench(with_ollama: User, tmp_path: Path, fault: str, said: str) -> None:
    prompts = ("-p", "0") if fault == "ends early" else ()
    one_line(ollama(with_ollama, tmp_path, *prompts, raw=fault), 1, said)
    nothing_left(with_ollama)


def test_ollama_cannot_measure_a_prompt_behind_others(with_ollama: User, tmp_path: Path) -> None:
    one_line(ollama(with_ollama, tmp_path, "-d", "64"), 2, "Ollama does not tell what of a prompt was cached")
    nothing_left(with_ollama)
