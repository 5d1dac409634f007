"""A benchmark as a table: measured, spread, planned beside it, and what changed since the last time."""

from __future__ import annotations

from collections.abc import Sequence

from localrun.bench.statistics import change, place
from localrun.bench.values import Earlier, Measured, Report, disturbed
from localrun.bench.words import differing, in_words, only
from localrun.benching import Progress
from localrun.hardware.identity import identity
from localrun.plan.values import Settings
from localrun.show.bench_json import before_it, previous, source
from localrun.show.text import Style, printable, table
from localrun.units import format_size


def bench_lines(report: Report, style: Style) -> list[str]:
    model = report.plan.model
    lines = [
        f"{style('bold', printable(report.name))}  {printable(model.quant)}, {format_size(model.weights_bytes)}; "
        f"{printable(report.build)}; {printable(identity(report.plan.host))}"
    ]
    lines += _table(report, style)
    varied = differing([one.settings for one in report.results])
    lines += [style("yellow", said) for one in report.results if (said := remark(one, varied))]
    if said := neighbours(report):
        lines.append(style("yellow", said))
    for failed in report.failures:
        lines.append(style("red", f"failed with {failed.what}: {printable(failed.why)}"))
        if failed.hint:
            lines.append(f"  {printable(failed.hint)}")
    if report.interrupted:
        lines.append(style("yellow", "interrupted: this is what was measured until then"))
    return lines


def _table(report: Report, style: Style) -> list[str]:
    if not report.results:
        return []
    all_settings = [one.settings for one in report.results]
    varied = differing(all_settings)
    head = ["test", "tok/s", "min to max", "stdev", "planned", "ratio", "before"]
    rows = [[head[0], *([", ".join(short for _, short in varied)] if varied else []), *head[1:]]]
    for one in report.results:
        rows.append(
            [one.case.name, *([_values(one.settings, varied)] if varied else []), *_figures(one, report)]
        )
    first = 2 if varied else 1
    lines = table(rows, right=(first, first + 2, first + 4, first + 5))
    said = {source(one) for one in report.results if one.planned}
    note = f"measured: medians of {report.repetitions}" + (
        f"; planned: {', '.join(sorted(said))}" if said else ""
    )
    varied_shorts = {short for _, short in varied}
    common = [w for w in in_words(all_settings[0]).split(", ") if w.split()[0] not in varied_shorts]
    return [style("dim", f"{', '.join(common)}; {note}"), "", style("bold", lines[0]), *lines[1:], ""]


def _values(settings: Settings, varied: Sequence[tuple[str, str]]) -> str:
    return ", ".join(word.split(" ", 1)[1] for word in only(settings, varied).split(", "))


def _figures(one: Measured, report: Report) -> list[str]:
    s, p = one.spread, one.planned
    before = previous(one, report.engine, report.earlier)
    return [
        rate(s.median),
        f"{rate(s.low)} to {rate(s.high)}",
        rate(s.stdev),
        f"{rate(p.expected)} ({rate(p.low)} to {rate(p.high)})" if p else "-",
        f"{s.median / p.expected:.2f}" if p and p.expected > 0 else "-",
        f"{change(s.median, before.median):+.1f} %" if before else "-",
    ]


def remark(one: Measured, varied: Sequence[tuple[str, str]] = ()) -> str:
    """What is to be said where the plan was wrong; empty where it held. `varied`: the settings to name."""
    if one.planned is None or (where := place(one.spread.median, one.planned)) == "within":
        return ""
    p, settings = one.planned, f" with {only(one.settings, varied)}" if varied else ""
    return (
        f"{one.case.name}{settings} ran at {rate(one.spread.median)} tok/s, {where} the planned "
        f"{rate(p.low)} to {rate(p.high)} ({source(one)})"
    )


def neighbours(report: Report) -> str:
    """That others took what the engine's threads would have used; empty where they did not."""
    cores = report.plan.host.cpu.threads_total
    if not any(disturbed(one, cores) for one in report.results):
        return ""
    most = max(one.others or 0.0 for one in report.results)
    return (
        f"others kept {most:.1f} of {cores} cores busy meanwhile (measured): idle, this machine is faster; "
        "no plan is calibrated by it"
    )


def rate(value: float) -> str:
    """Three figures, as far as they matter."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def progress_line(progress: Progress, setups: Sequence[Settings], repetitions: int) -> str:
    """One line of what is going on, for a terminal."""
    varied = only(setups[progress.setup], differing(setups))
    where = f"{progress.setup + 1}/{len(setups)} {varied}: " if len(setups) > 1 else ""
    if progress.case is None:
        return f"{where}starting the engine ..."
    if progress.turn < 0:
        return f"{where}warming up ..."
    last = f"; {progress.last[0].name} {rate(progress.last[1])} tok/s" if progress.last else ""
    return f"{where}{progress.case.name}, repetition {progress.turn + 1} of {repetitions}{last}"


def history_lines(name: str, earlier: Sequence[Earlier], style: Style) -> list[str]:
    if not earlier:
        return [f"no earlier benchmark of {printable(name)} on this hardware"]
    rows = [["date", "test", "tok/s", "stdev", "change", "settings", "build"]]
    for i, e in enumerate(earlier):
        before = before_it(earlier, i)
        moved = f"{change(e.median, before.median):+.1f} %" if before else "-"
        other = " (another build)" if before and before.build != e.build else ""
        rows.append(
            [
                printable(e.date), e.case.name, rate(e.median), rate(e.stdev), moved + other,
                printable(e.settings), printable(e.build),
            ]
        )  # fmt: skip
    lines = table(rows, right=(2, 3, 4))
    return [style("bold", lines[0]), *lines[1:]]
