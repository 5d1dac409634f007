"""The memory picture of a plan as SVG: one bar for each device, components to scale, budget marked."""

from __future__ import annotations

from html import escape

from localrun.plan.values import DeviceMemory, Plan
from localrun.units import format_size

_WIDTH, _LEFT, _BAR, _ROW, _TOP = 960, 90, 30, 74, 84
_PARTS = (("weights", "#3b6ea5"), ("kv", "#d9822b"), ("compute", "#5b9a57"), ("overhead", "#8a8a8a"))
_NAMES = {"weights": "weights", "kv": "KV cache", "compute": "compute", "overhead": "other"}
_VERDICT = {"fits": "#2e7d32", "pages": "#b26a00", "too-big": "#b3261e"}
_FONT = 'font-family="system-ui, sans-serif"'


def plan_svg(plan: Plan) -> str:
    """A self-contained SVG document; no script, no reference to anything outside."""
    height = _TOP + _ROW * len(plan.memory) + 44
    rows = "".join(_row(d, _TOP + i * _ROW) for i, d in enumerate(plan.memory))
    speed = plan.speed.generation
    said = (
        f"{speed.expected:.1f} tok/s ({speed.low:.1f} to {speed.high:.1f}), estimated"
        if speed.expected
        else ""
    )
    s = plan.settings
    title = f"{plan.model.name} {plan.model.quant} on {plan.host.name}"
    facts = (
        f"context {s.ctx_size}, KV {s.cache_type_k}, n-gpu-layers {s.n_gpu_layers}, n-cpu-moe {s.n_cpu_moe}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img">'
        f"<title>{escape(title)}: {plan.verdict}</title>"
        f'<rect width="100%" height="100%" fill="#ffffff"/>'
        f"{_text(20, 32, title, 19, weight=600)}"
        f"{_text(20, 56, f'{facts}; {said}', 13, '#555555')}"
        f"{_text(_WIDTH - 20, 32, plan.verdict, 17, _VERDICT[plan.verdict], 600, 'end')}"
        f"{rows}{_legend(height - 22)}</svg>\n"
    )


def _row(d: DeviceMemory, y: int) -> str:
    whole = max(d.budget, d.total, 1)
    scale = (_WIDTH - _LEFT - 20) / whole
    x, out = float(_LEFT), ""
    for name, colour in _PARTS:
        size = getattr(d, name)
        width = size * scale
        if size:
            label = f"{_NAMES[name]} {format_size(size)}"
            out += f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="{_BAR}" fill="{colour}">'
            out += f"<title>{escape(label)}</title></rect>"
            if width > len(label) * 7.2:
                out += _text(x + 6, y + 20, label, 12, "#ffffff")
        x += width
    limit = _LEFT + d.budget * scale
    out += f'<rect x="{_LEFT}" y="{y}" width="{d.budget * scale:.1f}" height="{_BAR}" fill="none" stroke="#444444"/>'
    ends = f'y1="{y - 4}" y2="{y + _BAR + 4}"'
    out += f'<line x1="{limit:.1f}" x2="{limit:.1f}" {ends} stroke="#b3261e" stroke-width="2"/>'
    state = f"{format_size(d.total)} of {format_size(d.budget)} free"
    if d.total > d.budget:
        state += f", {format_size(d.total - d.budget)} over"
    return (
        _text(20, y + 20, d.device, 14, weight=600) + out + _text(_LEFT, y + _BAR + 18, state, 12, "#555555")
    )


def _legend(y: int) -> str:
    out, x = "", _LEFT
    for name, colour in _PARTS:
        out += f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
        out += _text(x + 18, y, _NAMES[name], 12, "#555555")
        x += 110
    return out + _text(x, y, "red line: what the device can give now", 12, "#555555")


def _text(
    x: float, y: float, text: str, size: int, fill: str = "#222222", weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" {_FONT} font-size="{size}" font-weight="{weight}" '
        f'fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'
    )
