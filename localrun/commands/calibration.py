"""What ran here before, as rates for the next plan: measured speeds replace estimated ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from localrun.commands.base import App
from localrun.hardware.facts import Host
from localrun.plan.rates import DEFAULT, FILL, Rates

if TYPE_CHECKING:
    from localrun.engine.base import Engine
    from localrun.plan.values import Plan

#: Fewer tokens than this tell more about the start of a request than about the machine.
_ENOUGH_TOKENS = 32


def run_file(app: App) -> Path:
    return app.session.paths.state / "runs.json"


def rates(app: App, host: Host, engine_name: str) -> Rates:
    """The estimates' constants, calibrated by what ran on this hardware with this engine's build."""
    if host.simulated or not run_file(app).exists():
        return DEFAULT
    from localrun.engine import registry
    from localrun.engine.measured import key_of, rates_for
    from localrun.errors import LocalrunError
    from localrun.hardware.identity import identity

    try:
        engine = registry.choose(app.session.config, engine_name, host)
    except LocalrunError:
        return DEFAULT
    measured = host.ram.bandwidth if host.ram.bandwidth_source == "measured" else 0
    return rates_for(run_file(app), key_of(identity(host), registry.build_of(engine)), float(measured))


def keep(
    app: App, plan: Plan, engine: Engine, tokens: int, generation: float, prompt: float, held: int = FILL
) -> None:
    """Keep one measured run; rates in tokens per second, `held` tokens in the cache. Too short tells nothing."""
    if plan.host.simulated or tokens < _ENOUGH_TOKENS or generation <= 0:
        return
    from localrun.engine.measured import key_of, record_run
    from localrun.engine.registry import build_of
    from localrun.hardware.identity import identity
    from localrun.plan.calibrate import run_of

    run = run_of(plan, generation, prompt, held)
    record_run(run_file(app), key_of(identity(plan.host), build_of(engine)), run)
