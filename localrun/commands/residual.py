"""After a load: what the engine says it took against the plan, shown in a line and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from localrun.commands.base import App
from localrun.engine import residuals
from localrun.engine.registry import build_of
from localrun.hardware.facts import Host
from localrun.hardware.identity import identity
from localrun.plan.values import Plan

if TYPE_CHECKING:
    from localrun.engine.base import Allocation, Engine


def residual_file(app: App) -> Path:
    return app.session.paths.state / "residuals.json"


def keep(app: App, allocated: tuple[Allocation, ...], plan: Plan, engine: Engine) -> str:
    """Keep the launch's residual; the line that tells it, empty where the engine told nothing."""
    from localrun.plan.compare import Taken, compare, total_share

    taken = [Taken(a.device, a.weights + a.repack, a.kv, a.compute) for a in allocated]
    differences = compare(plan.memory, taken)
    if not taken or not differences or plan.companions:
        # The log names buffers, not whose they are: a projector's would count as the model's.
        return ""
    total = total_share(differences)
    worst = max(differences, key=lambda d: abs(d.taken - d.planned))
    launch = residuals.Launch(
        build_of(engine), plan.model.name, round(total, 5), round(worst.share, 5), worst.component
    )
    residuals.add(residual_file(app), identity(plan.host), launch)
    parts = ", ".join(f"{d.component} {percent(d.share)}" for d in differences)
    return f"the engine allocated {percent(total)} against the plan: {parts} (measured)"


def known(app: App, host: Host) -> str:
    """What earlier launches on this hardware were off by; empty where there was none."""
    launches = residuals.load(residual_file(app), identity(host))
    if not launches:
        return ""
    low, high = min(one.total for one in launches), max(one.total for one in launches)
    times = "the last launch" if len(launches) == 1 else f"the last {len(launches)} launches"
    band = percent(low) if percent(low) == percent(high) else f"{percent(low)} to {percent(high)}"
    return f"{times} here took {band} against the plan (measured, {launches[-1].engine})"


def percent(share: float) -> str:
    """A signed share; what rounds to nothing has no sign."""
    return "0.0 %" if abs(share) < 0.0005 else f"{share * 100:+.1f} %"
