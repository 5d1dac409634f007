"""`plan`: what would run, and why. The plan options as values are read here too."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrun.commands.base import App, put, put_json
from localrun.commands.calibration import rates
from localrun.commands.machine import machine
from localrun.commands.target import Target, locate
from localrun.errors import EngineMissing, LocalrunError, UsageError
from localrun.model.facts import Model
from localrun.plan.planner import make_plan
from localrun.plan.values import Plan, Wanted
from localrun.show.plan_text import plan_lines, survey_lines
from localrun.units import GIB, parse_size
from localrun.value import replace

# What only --json, --verify and a launch need is imported there: a dataclass costs half a millisecond.
if TYPE_CHECKING:
    from localrun.plan.compare import Difference
    from localrun.plan.survey import Row
    from localrun.recipe.values import Recipe
    from localrun.serving import Serving

#: Whose dry run `--verify` asks.
_VERIFIER = "embedded engine, dry run"


def wanted(app: App, options: dict[str, Any]) -> Wanted:
    """The flags as values; what was not given is None. Raises UsageError."""
    split = options.get("tensor_split")
    return Wanted(
        goal=options.get("goal") or app.session.config.goal,  # type: ignore[arg-type]
        quant=options.get("quant") if options.get("quant") != "auto" else None,
        ctx_size=options.get("ctx_size"),
        cache_type_k=options.get("cache_type_k"),
        cache_type_v=options.get("cache_type_v"),
        batch_size=options.get("batch_size"),
        ubatch_size=options.get("ubatch_size"),
        parallel=options.get("parallel"),
        n_gpu_layers=options.get("n_gpu_layers"),
        n_cpu_moe=options.get("n_cpu_moe"),
        override_tensor=tuple(options.get("override_tensor") or ()) or None,
        tensor_split=_split(split) if split else None,
        flash_attn=options.get("flash_attn"),
        threads=options.get("threads") or app.session.config.threads or None,
        cache_ram=_prompt_cache(app, options),
        mmproj_offload=options.get("mmproj_offload"),
        n_gpu_layers_draft=options.get("n_gpu_layers_draft"),
        spec_type=options.get("spec_type"),
    )


def _inside(app: App, options: dict[str, Any]) -> bool:
    return (options.get("engine") or app.session.config.engine) == "in-process"


def _prompt_cache(app: App, options: dict[str, Any]) -> int | None:
    """llama-server's; without a server there is none."""
    said = app.session.config.cache_ram
    return 0 if _inside(app, options) else parse_size(said) if said else None


def _split(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if not shares or min(shares) < 0 or not 0 < sum(shares) < inf:
        raise UsageError(
            f"--tensor-split {text!r} is not a list of shares", "for two cards: --tensor-split 3,1"
        )
    return shares


def serving(options: dict[str, Any]) -> Serving:
    from localrun.serving import Serving

    return Serving(
        engine=options.get("engine") or "",
        host=options.get("host"),
        port=options.get("port"),
        api_key=options.get("api_key"),
        rpc=options.get("rpc") or "",
        force=bool(options.get("force")),
    )


def command_of(recipe: Recipe) -> tuple[tuple[str, ...], dict[str, str]]:
    """argv and environment as they are shown: a key is never printed."""
    from localrun.recipe.environment import SECRET

    return recipe.argv, {name: "***" if name in SECRET else value for name, value in recipe.environment}


def planned(app: App, name: str | None, options: dict[str, Any], advise: bool = True) -> tuple[Target, Plan]:
    """What NAME means and what would run. Raises UsageError, ModelError, FetchError."""
    asked = wanted(app, options)
    target = locate(app, name, asked.quant)
    if options.get("mmproj") or options.get("model_draft"):
        from localrun.commands.beside import attach

        target = attach(target, options)
    host = machine(app, options)
    plan = make_plan(
        target.offered(elsewhere=host.simulated and asked.quant is None),
        host,
        asked,
        rates(app, host, options.get("engine") or ""),
        to_download=target.to_download,
        advise=advise,
        others=target.all_offers,
    )
    target = target.at(plan.model)
    if len(target.here) > 1 and not host.simulated:
        said = f"{plan.model.quant} of the {len(target.here)} quantizations on this machine; --quant names another"
        plan = replace(plan, reasons=(*plan.reasons, said))
    if advise and target.entry is not None and not _works_smaller(plan):
        from localrun.commands.others import other_models

        found = other_models(target.entry.name, host, asked, _machine_flags(options))
        plan = replace(plan, alternatives=(*plan.alternatives, *found))
    if not host.simulated and (app.session.paths.state / "residuals.json").exists():
        from localrun.commands.residual import known

        if said := known(app, host):
            plan = replace(plan, reasons=(*plan.reasons, said))
    return target, plan


def _machine_flags(options: dict[str, Any]) -> str:
    """The flags that describe the machine, as typed again."""
    import shlex

    typed = []
    for flag in ("hardware", "vram", "ram", "disk_free"):
        if (value := options.get(flag)) is not None:
            size = f"{value // GIB}GiB" if isinstance(value, int) and value % GIB == 0 else str(value)
            typed += [f"--{flag.replace('_', '-')}", size]
    return " " + shlex.join(typed) if typed else ""


def _works_smaller(plan: Plan) -> bool:
    """Whether the plan, or a smaller quant of the same model, fits and is no torture."""
    return plan.verdict == "fits" or any(
        a.verdict == "fits" and a.change.startswith("--quant") and a.generation >= 3
        for a in plan.alternatives
    )


def run(app: App, name: str | None, options: dict[str, Any], as_json: bool) -> int:
    target, plan = planned(app, name, options)
    rows = _survey(app, target, plan, options)
    differences = _verified(target, plan) if options.get("verify") else ()
    if options.get("svg"):
        _draw(plan, options["svg"])
    if as_json:
        from dataclasses import asdict

        from localrun.show.compare_text import compare_json
        from localrun.show.plan_json import plan_json

        document = plan_json(plan, *_command(app, target, plan, options))
        verified = {"verify": compare_json(differences, _VERIFIER)} if differences else {}
        put_json(document | verified | ({"quants": [asdict(row) for row in rows]} if rows else {}))
    else:
        for line in plan_lines(plan, app.out, explain=app.explain):
            put(line)
        if rows:
            put("")
            put("\n".join(survey_lines(rows, app.out)))
        if differences:
            from localrun.show.compare_text import compare_lines

            put("")
            for line in compare_lines(differences, _VERIFIER, app.out):
                put(line)
    return 0 if plan.verdict == "fits" else 1


def _survey(app: App, target: Target, plan: Plan, options: dict[str, Any]) -> tuple[Row, ...]:
    """All quants of a repository that was named without one, and of any model with --explain."""
    asked = target.name.startswith("hf:") or app.explain
    offers = target.offered(elsewhere=True) if target.entry else target.models
    if isinstance(offers, Model) or len(offers) < 2 or not asked:
        return ()
    from localrun.plan.survey import survey

    return survey(offers, plan.host, wanted(app, options))


def _verified(target: Target, plan: Plan) -> tuple[Difference, ...]:
    """The plan against the engine's own dry run. Raises UsageError where there is no file to run."""
    if target.path is None:
        raise UsageError(
            f"--verify needs the file, and {target.name} is not on this machine",
            f"localrun pull {target.pulled_as}",
        )
    from localrun.engine.verify import taken_in_dry_run
    from localrun.plan.compare import compare

    return compare(plan.memory, taken_in_dry_run(target.path, plan))


def _draw(plan: Plan, path: str) -> None:
    from localrun.show.plan_svg import plan_svg

    try:
        Path(path).write_text(plan_svg(plan), encoding="utf-8")
    except OSError as failed:
        raise LocalrunError(f"cannot write {path}: {failed.strerror}") from None


def _command(
    app: App, target: Target, plan: Plan, options: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """What `up` would start; nothing where no engine is here, or none is started."""
    if _inside(app, options):
        return (), {}
    from localrun.commands.beside import launched
    from localrun.engine import registry
    from localrun.recipe.chat_templates import template_file
    from localrun.serving import launch_for

    try:
        chosen = serving(options)
        engine = registry.choose(app.session.config, chosen.engine, plan.host)
        path = target.path or Path(plan.model.files[0].name)
        launch = launch_for(app.session.config, target.name, path, chosen)
        launch = replace(launched(launch, plan.model), chat_template_file=template_file(plan.model))
        return command_of(engine.recipe(plan, launch))
    except EngineMissing:
        return (), {}
