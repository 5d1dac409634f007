"""A benchmark as text, JSON and SVG."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from localrun.bench.values import Case, Earlier, Failed, Measured, Report
from localrun.benching import Progress
from localrun.plan.planner import make_plan
from localrun.plan.values import Band, Settings, Wanted
from localrun.show.bench_json import bench_json, history_json
from localrun.show.bench_svg import bench_svg
from localrun.show.bench_text import bench_lines, history_lines, progress_line, rate
from localrun.show.text import Style
from tests.oracle import host, sparse_model

PLAN = make_plan(sparse_model("smollm2"), host(), Wanted(ctx_size=4096, threads=2), advise=False)
F16 = Settings(4096, threads=2)
Q8 = replace(F16, cache_type_k="q8_0", cache_type_v="q8_0", threads=1)
BAND = Band(80.0, 100.0, 120.0)
RESULTS = (
    Measured(F16, Case(128, 0), (101.0, 99.0, 100.0), BAND),
    Measured(F16, Case(512, 0), (131.0,), BAND, calibrated=True),
    Measured(F16, Case(0, 64), (30.0, 31.0), Band(40.0, 50.0, 60.0)),
    Measured(Q8, Case(128, 0), (90.0, 91.0), BAND),
    Measured(Q8, Case(0, 64, 4096), (9.0,), None),
)
EARLIER = (
    Earlier("2026-01-01T00:00:00Z", "embedded 0", Case(128, 0), "t 2, ctk f16, ctv f16, ngl 0", 80.0, 1.0, 3),
    Earlier(
        "2026-02-01T00:00:00Z", "embedded 0.9", Case(128, 0), "t 2, ctk f16, ctv f16, ngl 0", 125.0, 1.0, 3
    ),
    Earlier(
        "2026-03-01T00:00:00Z", "embedded 0.9", Case(128, 0), "t 4, ctk f16, ctv f16, ngl 0", 999.0, 1.0, 3
    ),
)
ELSEWHERE = replace(EARLIER[1], build="ollama 1", median=1.0)
REPORT = Report(
    "smollm2", PLAN, "embedded", "embedded 1", "2026-11-25T17:00:00Z", 3, RESULTS, earlier=EARLIER
)


def text(report: Report) -> str:
    return "\n".join(bench_lines(report, Style(False)))


def test_the_table_shows_measured_beside_planned_and_what_changed() -> None:
    lines = [" ".join(line.split()) for line in text(REPORT).splitlines()]
    assert "pp128 2, f16, f16 100.0 99.0 to 101.0 1.00 100.0 (80.0 to 120.0) 1.00 -20.0 %" in lines
    assert "measured: medians of 3; planned: estimated, estimated from runs here" in text(REPORT)


def test_what_ran_outside_its_band_is_said() -> None:
    said = text(REPORT)
    assert "pp512 with t 2, ctk f16, ctv f16 ran at 131.0 tok/s, above the planned 80.0 to 120.0" in said
    assert (
        "tg64 with t 2, ctk f16, ctv f16 ran at 30.5 tok/s, below the planned 40.0 to 60.0 (estimated)"
        in said
    )
    assert "pp128 with" not in said


def test_neighbours_that_took_cores_are_told() -> None:
    cores = PLAN.host.cpu.threads_total
    quiet = tuple(replace(one, others=cores - 2.0) for one in RESULTS)
    assert "others kept" not in text(replace(REPORT, results=quiet))
    loud = tuple(replace(one, others=cores - 1.5) for one in RESULTS)
    assert f"others kept {cores - 1.5:.1f} of {cores} cores busy" in text(replace(REPORT, results=loud))


def test_failures_and_an_interrupt_are_said() -> None:
    failed = Failed("t 9", "the engine died\x1b[31m", "localrun logs")
    said = text(replace(REPORT, failures=(failed,), interrupted=True))
    assert "failed with t 9: the engine died�[31m" in said
    assert "interrupted" in said
    assert "interrupted" in text(replace(REPORT, results=(), interrupted=True))


def test_the_document_says_where_each_figure_comes_from() -> None:
    found = json.loads(json.dumps(bench_json(REPORT)))
    assert found["schema"] == "localrun.bench/1"
    first, second, _, _, last = found["results"]
    assert first["measured"] == {
        "median": 100.0, "min": 99.0, "max": 101.0, "stdev": 1.0, "samples": [101.0, 99.0, 100.0],
        "source": "measured",
    }  # fmt: skip
    assert first["planned"] == {"low": 80.0, "expected": 100.0, "high": 120.0, "source": "estimated"}
    assert (first["ratio"], first["place"]) == (1.0, "within")
    assert first["previous"] == {
        "date": "2026-02-01T00:00:00Z", "build": "embedded 0.9", "median": 125.0, "change_percent": -20.0,
    }  # fmt: skip
    assert second["planned"]["source"] == "estimated from runs here"
    assert (last["test"], last["planned"], last["ratio"], last["previous"]) == (
        "tg64 @ d4096",
        None,
        None,
        None,
    )


def test_the_history_compares_like_with_like() -> None:
    rows = history_json("smollm2", "here", EARLIER)["results"]
    assert [row["change_percent"] for row in rows] == [None, 56.25, None]
    lines = history_lines("smollm2", EARLIER, Style(False))
    assert "+56.2 % (another build)" in lines[2]
    assert history_lines("x", (), Style(False)) == ["no earlier benchmark of x on this hardware"]


def parsed(report: Report) -> ET.Element:
    return ET.fromstring(bench_svg(report))


def test_the_picture_is_well_formed_whatever_the_name() -> None:
    wild = "<script>&\"'\x1b\x00]]>\N{SNOWMAN}" + "x" * 200
    model = replace(PLAN.model, quant="<Q4>&")
    root = parsed(replace(REPORT, name=wild, build=wild, plan=replace(PLAN, model=model)))
    title = root.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text
    assert title.text.startswith("<script>&\"'��]]>\N{SNOWMAN}")
    assert not [e for e in root.iter() if e.tag.endswith("script")]


@pytest.mark.parametrize("kept", [slice(0, 1), slice(2, 3), slice(4, 5), slice(0, 2), slice(0, 5)])
def test_one_point_or_many_are_drawn_within_the_picture(kept: slice) -> None:
    root = parsed(replace(REPORT, results=RESULTS[kept]))
    dots = [e for e in root.iter() if e.tag.endswith("circle") and len(e)]
    assert len(dots) == len(RESULTS[kept])
    for e in root.iter():
        for x in ("cx", "x", "x1", "x2"):
            assert 0 <= float((e.get(x) or "0").rstrip("%")) <= 960, ET.tostring(e)
        for y in ("cy", "y", "y1", "y2"):
            assert 0 <= float(e.get(y) or 0) <= float(root.get("height") or 0), ET.tostring(e)


def test_many_settings_are_all_drawn() -> None:
    many = tuple(
        Measured(replace(F16, threads=n, ubatch_size=32 * n), Case(64 * n, 0), (1.0 * n,), BAND)
        for n in range(1, 30)
    )
    assert (
        sum(e.tag.endswith("circle") and len(e) > 0 for e in parsed(replace(REPORT, results=many)).iter())
        == 29
    )


def test_progress_is_one_line() -> None:
    one = progress_line(Progress(1, Case(128, 0), 1, (Case(0, 8), 31.25)), [F16, Q8], 3)
    assert one == "2/2 t 1, ctk q8_0, ctv q8_0: pp128, repetition 2 of 3; tg8 31.2 tok/s"
    assert progress_line(Progress(0, None), [F16], 3) == "starting the engine ..."
    assert progress_line(Progress(0, Case(8, 0), -1), [F16], 3) == "warming up ..."


def test_rates_have_three_figures() -> None:
    assert [rate(x) for x in (0.1234, 9.999, 12.34, 1234.5)] == ["0.12", "10.00", "12.3", "1234"]
