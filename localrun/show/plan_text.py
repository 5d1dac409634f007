"""A plan as a page of text: verdict, memory by device, settings, speed, reasons, what else works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from localrun.plan.values import DeviceMemory, Plan
from localrun.show.text import Style, bar, printable, table
from localrun.units import format_count, format_size

if TYPE_CHECKING:
    from localrun.plan.survey import Row

_VERDICTS = {
    "fits": ("green", "fits"),
    "pages": ("yellow", "pages from disk"),
    "too-big": ("red", "does not fit"),
}
_SIZES = {
    "header": "read from the file",
    "rules": "computed by llama.cpp's quantization rules",
    "published": "as published, no header read yet",
}
_BAR = 40


def plan_lines(plan: Plan, style: Style, explain: bool = False) -> list[str]:
    """The page, without a final newline."""
    return [
        *_head(plan, style),
        "",
        *_memory(plan, style),
        "",
        *_settings(plan, style),
        *_speed(plan, style),
        *_ladder(plan, style),
        *_section("reasons", plan.reasons if explain else plan.reasons[:6], style),
        *_section("could change", plan.fixes if explain else plan.fixes[:4], style),
        *_alternatives(plan, style),
    ]


def _head(plan: Plan, style: Style) -> list[str]:
    model, host = plan.model, plan.host
    colour, words = _VERDICTS[plan.verdict]
    active = f", {format_count(model.parameters_active)} active" if model.shape.n_expert else ""
    lines = [
        f"{style('bold', printable(model.name))}  {style(colour, words)} on {printable(host.name)}",
        f"  {model.quant}, {format_size(model.weights_bytes)} of weights ({_SIZES[model.size_source]}), "
        f"{format_count(model.parameters)} parameters{active}",
        f"  {_machine(plan)}",
    ]
    return lines + [f"  note: {printable(note)}" for note in (*model.notes, *host.notes)]


def _machine(plan: Plan) -> str:
    host = plan.host
    kind = "given" if host.simulated else "measured"
    kinds: dict[str, int] = {}
    for g in host.gpus:
        text = f"{printable(g.name)} with {format_size(g.vram_free)} free of {format_size(g.vram_total)}"
        kinds[text] = kinds.get(text, 0) + 1
    gpus = [f"{n} x {text}" if n > 1 else text for text, n in kinds.items()]
    ram = f"RAM {format_size(host.ram.available)} available of {format_size(host.ram.total)}"
    return f"{', '.join([*gpus, ram])}, {host.cpu.cores} cores ({kind})"


def _memory(plan: Plan, style: Style) -> list[str]:
    head = ["memory (computed)", "weights", "KV", "compute", "other", "total", "free now", ""]
    rows = [[style("bold", cell) if cell else "" for cell in head]]
    for d in plan.memory:
        cells = [format_size(n) for n in (d.weights, d.kv, d.compute, d.overhead, d.total, d.budget)]
        rows.append([d.device, *cells, _picture(d)])
    if style.colour:
        # Escape codes have no width; align before colouring the head.
        rows[0] = head
        lines = table(rows, right=range(1, 7))
        return [style("bold", lines[0]), *lines[1:]]
    return table(rows, right=range(1, 7))


def _picture(d: DeviceMemory) -> str:
    whole = max(d.budget, d.total, 1)
    parts = ((d.weights, "█"), (d.kv, "▓"), (d.compute + d.overhead, "▒"))
    over = f" {format_size(d.total - d.budget)} over" if d.total > d.budget else ""
    return bar([(n / whole, c) for n, c in parts], _BAR) + over


def _settings(plan: Plan, style: Style) -> list[str]:
    s = plan.settings
    words = [f"ctx-size {s.ctx_size}", f"KV {s.cache_type_k}"]
    if s.cache_type_v != s.cache_type_k:
        words[-1] += f"/{s.cache_type_v}"
    words += [f"ubatch {s.ubatch_size}", f"threads {s.threads}", f"parallel {s.parallel}"]
    if plan.host.gpus:
        words.insert(0, f"n-gpu-layers {s.n_gpu_layers}")
    if s.n_cpu_moe:
        words.insert(1, f"n-cpu-moe {s.n_cpu_moe}")
    kv = (
        f"{plan.kv.cells} cells, {format_size(plan.kv.bytes)}"
        f" ({plan.kv.bytes_per_token / 1024:.1f} KiB a token)"
    )
    return [
        f"{style('bold', 'settings')}  {', '.join(words)}",
        f"{style('bold', 'KV cache')}  {kv}, computed",
    ]


def _speed(plan: Plan, style: Style) -> list[str]:
    g, p = plan.speed.generation, plan.speed.prompt
    if g.expected <= 0:
        return [f"{style('bold', 'speed')}     unknown: {plan.speed.bound_by}"]
    source = "calibrated on this machine" if plan.speed.calibrated else "estimated, not calibrated"
    return [
        f"{style('bold', 'speed')}     {_rate(g.expected)} tok/s ({_rate(g.low)} to {_rate(g.high)}), prompt "
        f"{p.expected:.0f} tok/s ({p.low:.0f} to {p.high:.0f}); bound by {plan.speed.bound_by}; {source}"
    ]


def _rate(tokens_per_second: float) -> str:
    """One decimal; of less than a token in ten seconds two digits, for 0.0 would say nothing."""
    return f"{tokens_per_second:.1f}" if tokens_per_second >= 0.095 else f"{tokens_per_second:.2g}"


def _ladder(plan: Plan, style: Style) -> list[str]:
    if not plan.ladder:
        return []
    steps = [
        f"{ctx // 1024}K {verdict}" + (f" {_rate(rate)}" if rate else "")
        for ctx, verdict, rate in plan.ladder
    ]
    told = [i for i, (_, _, rate) in enumerate(plan.ladder) if rate]
    if told:
        steps[told[-1]] += " tok/s"
    return [f"{style('bold', 'context')}   {' | '.join(steps)}"]


def _section(title: str, lines: tuple[str, ...], style: Style) -> list[str]:
    return ["", style("bold", title), *(f"  - {printable(line)}" for line in lines)] if lines else []


def _alternatives(plan: Plan, style: Style) -> list[str]:
    if not plan.alternatives:
        return []
    rows = [
        [f"  {a.change}", a.verdict, f"{_rate(a.generation)} tok/s" if a.generation else ""]
        for a in plan.alternatives
    ]
    return ["", style("bold", "what would work"), *table(rows, right=(2,))]


def survey_lines(rows: Sequence[Row], style: Style) -> list[str]:
    """Every quantization, best first."""
    cells = [["quant", "size", "verdict", "tok/s", "context"]]
    for row in rows:
        if row.why_not:
            cells.append([row.quant, format_size(row.bytes), row.why_not, "", ""])
        else:
            rate = _rate(row.rate) if row.rate else ""
            cells.append([row.quant, format_size(row.bytes), row.verdict, rate, str(row.ctx_size)])
    lines = table([[printable(cell) for cell in line] for line in cells], right=(1, 3, 4))
    return [style("bold", lines[0]), *lines[1:]]
