"""A benchmark as SVG: tokens per second over prompt length, threads or depth, the plan's band behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from math import floor, log10

from localrun.bench.values import Measured, Report
from localrun.bench.words import differing, in_words, only
from localrun.hardware.identity import identity
from localrun.show.bench_text import rate
from localrun.show.text import printable
from localrun.units import format_size
from localrun.value import dataclass

_WIDTH, _TOP, _PLOT, _FOOT, _SIDE, _GAP = 960, 92, 280, 46, 64, 40
#: Of middle lightness: they stand out on white and on black.
_COLOURS = ("#4c8fd0", "#e08a2e", "#5fa85a", "#b76bc4", "#d9595c", "#2aa198", "#a38438", "#8a8a8a")
_LETTER = 7.0  # pixels of an average one at 12
_STYLE = (
    ".b{fill:#fff}.t{fill:#222}.m{fill:#555}.g{stroke:#ddd}.a{stroke:#888}"
    "@media(prefers-color-scheme:dark){.b{fill:#16181c}.t{fill:#e8e8e8}.m{fill:#a8a8a8}.g{stroke:#33363c}}"
    "text{font-family:system-ui,sans-serif}"
)
#: What an axis can run over, by field of a case or of the settings, and how it is called.
_AXES = {
    "prompt": (("n_prompt", "prompt tokens"), ("depth", "tokens before"), ("threads", "threads")),
    "generation": (("threads", "threads"), ("depth", "tokens before"), ("n_gen", "tokens generated")),
}


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    axis: str  # what the ticks are
    ticks: tuple[int, ...]
    series: tuple[tuple[str, tuple[tuple[int, Measured], ...]], ...]  # name; (tick's index, result)

    @property
    def top(self) -> float:
        """The highest value shown: bands that reach far above what was measured are cut."""
        found = [one for _, points in self.series for _, one in points]
        highest = max(one.spread.high for one in found)
        bands = [one.planned.high for one in found if one.planned]
        return _round_up(min(max([highest, *bands]), highest * 1.6))


def bench_svg(report: Report) -> str:
    """A self-contained SVG document; no script, no reference to anything outside."""
    panels = [p for p in (_panel(report, True), _panel(report, False)) if p]
    keys = max((len(p.series) for p in panels if len(p.series) > 1), default=0)
    height = _TOP + _PLOT + _FOOT + 20 * keys + 34
    model = report.plan.model
    title = f"{report.name} {model.quant}, {format_size(model.weights_bytes)}"
    where = f"{identity(report.plan.host)}; {report.build}; {report.date}"
    wide = (_WIDTH - _GAP * (len(panels) - 1)) / max(len(panels), 1)
    body = "".join(_draw(panel, i * (wide + _GAP), wide) for i, panel in enumerate(panels))
    note = "dots: median of the repetitions, bars: least to most (measured); shaded: what the plan foretold (estimated)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"<title>{_plain(title)}: tokens per second</title><style>{_STYLE}</style>"
        f'<rect width="100%" height="100%" class="b"/>'
        f"{_text(20, 32, title, 19, weight=600)}{_text(20, 54, where, 13, 'm')}{body}"
        f"{_text(20, height - 14, note, 12, 'm')}</svg>\n"
    )


def _panel(report: Report, prompts: bool) -> _Panel | None:
    found = [one for one in report.results if bool(one.case.n_prompt) == prompts]
    if not found:
        return None
    usual = _AXES["prompt" if prompts else "generation"]
    varied = [(f, name) for f, name in usual if len({_value(one, f) for one in found}) > 1]
    field, axis = varied[0] if varied else usual[0]
    ticks = tuple(sorted({_value(one, field) for one in found}))
    settings = [pair for pair in differing([one.settings for one in found]) if pair[0] != field]
    others = [(f, name) for f, name in varied[1:] if f != "threads"]
    series: dict[str, list[tuple[int, Measured]]] = {}
    for one in found:
        name = [f"{_value(one, f)} {text}" for f, text in others]
        name += [only(one.settings, settings)] if settings else []
        series.setdefault(", ".join(name) or in_words(one.settings), []).append(
            (ticks.index(_value(one, field)), one)
        )
    return _Panel(
        "prompt, tokens per second" if prompts else "generation, tokens per second",
        axis,
        ticks,
        tuple((name, tuple(sorted(points, key=lambda p: p[0]))) for name, points in series.items()),
    )


def _value(one: Measured, field: str) -> int:
    return int(getattr(one.settings if field == "threads" else one.case, field))


def _round_up(value: float) -> float:
    """The next figure whose quarters are plain ones."""
    step = 10.0 ** floor(log10(value)) if value > 0 else 1.0
    return next(m * step for m in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if m * step >= value)


def _draw(panel: _Panel, left: float, wide: float) -> str:
    x0, x1, y1, top = left + _SIDE, left + wide - 16, _TOP + _PLOT, panel.top
    out = _text(left + 20, _TOP - 14, panel.title, 13, weight=600)
    for i in range(5):
        y = y1 - _PLOT * i / 4
        out += f'<line class="{"g" if i else "a"}" x1="{x0:.1f}" x2="{x1:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        out += _text(x0 - 8, y + 4, f"{top * i / 4:g}", 12, "m", anchor="end")
    step = (x1 - x0) / len(panel.ticks)
    for i, tick in enumerate(panel.ticks):
        out += _text(x0 + step * (i + 0.5), y1 + 18, str(tick), 12, "m", anchor="middle")
    out += _text((x0 + x1) / 2, y1 + 36, panel.axis, 12, "m", anchor="middle")
    spread = min(22.0, step * 0.7 / len(panel.series))
    # Figures of neighbouring series would lie on each other; their titles tell them.
    labelled = len(panel.series) == 1 and step > 52

    def at(value: float) -> float:
        return y1 - _PLOT * min(value, top) / top

    for i, (_, points) in enumerate(panel.series):
        shift = (i - (len(panel.series) - 1) / 2) * spread
        places = [(x0 + step * (tick + 0.5) + shift, one) for tick, one in points]
        out += _series(places, _COLOURS[i % len(_COLOURS)], at, spread, labelled)
    return out + _legend(panel, x0, y1 + 58)


def _series(
    places: Sequence[tuple[float, Measured]],
    colour: str,
    at: Callable[[float], float],
    spread: float,
    labelled: bool,
) -> str:
    half, out = min(spread / 2, 8.0), ""
    for x, one in places:
        if one.planned:
            y, foot = at(one.planned.high), at(one.planned.low)
            out += (
                f'<rect x="{x - half:.1f}" y="{y:.1f}" width="{2 * half:.1f}" height="{max(foot - y, 1.0):.1f}" '
                f'fill="{colour}" opacity="0.22"/>'
            )
    if len(places) > 1:
        line = " ".join(f"{x:.1f},{at(one.spread.median):.1f}" for x, one in places)
        out += f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, one in places:
        s = one.spread
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{at(s.low):.1f}" y2="{at(s.high):.1f}"'
        out += f'<line {ends} stroke="{colour}" stroke-width="3"/>'
        out += f'<circle cx="{x:.1f}" cy="{at(s.median):.1f}" r="4" fill="{colour}">'
        out += f"<title>{_plain(_tip(one))}</title></circle>"
        if labelled:
            out += _text(x + half + 3, at(s.median) - 6, rate(s.median), 12)
    return out


def _tip(one: Measured) -> str:
    s = one.spread
    planned = f"; planned {rate(one.planned.low)} to {rate(one.planned.high)}" if one.planned else ""
    measured = f"{rate(s.median)} tok/s ({rate(s.low)} to {rate(s.high)})"
    return f"{one.case.name}, {in_words(one.settings)}: {measured}{planned}"


def _legend(panel: _Panel, x: float, y: float) -> str:
    if len(panel.series) < 2:
        return ""
    out = ""
    for i, (name, _) in enumerate(panel.series):
        out += (
            f'<circle cx="{x + 4:.1f}" cy="{y + 20 * i - 4:.1f}" r="5" fill="{_COLOURS[i % len(_COLOURS)]}"/>'
        )
        out += _text(x + 16, y + 20 * i, name, 12)
    return out


def _plain(text: str) -> str:
    return escape(printable(text))


def _text(
    x: float, y: float, text: str, size: int, style: str = "t", weight: int = 400, anchor: str = "start"
) -> str:
    # A title that is too long for the picture is set closer.
    room = _WIDTH - 20 - x
    fit = (
        f' textLength="{room:.0f}" lengthAdjust="spacingAndGlyphs"'
        if anchor == "start" and len(text) * _LETTER * size / 12 > room
        else ""
    )
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" class="{style}" '
        f'text-anchor="{anchor}"{fit}>{_plain(text)}</text>'
    )
