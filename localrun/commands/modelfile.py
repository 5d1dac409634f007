"""`modelfile`: a plan as an Ollama Modelfile with the environment beside it; or a file judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from localrun.commands.base import App, put, put_json
from localrun.commands.plan import planned
from localrun.errors import LocalrunError, UsageError
from localrun.plan.values import Plan


def run(app: App, name: str | None, options: dict[str, Any], as_json: bool) -> int:
    if options.get("check"):
        return _check(options["check"], as_json)
    if name is None:
        raise UsageError("which model?", "localrun modelfile NAME, or --check FILE")
    from localrun.recipe.modelfile_extras import extras_for
    from localrun.recipe.modelfile_plan import Extras, modelfile_for

    target, plan = planned(app, name, options)
    plan = _with_paths(plan, target.path)
    extras = extras_for(target.entry, plan.model) if target.entry else Extras()
    if target.path is not None:
        extras = extras._replace(tag="")
    export = modelfile_for(plan, extras, force=bool(options.get("force")))
    if as_json:
        put_json(
            {
                "schema": "localrun.modelfile/1",
                "text": export.text,
                "environment": dict(export.environment),
                "lost": list(export.lost),
            }
        )
    elif options.get("output"):
        _write(Path(options["output"]), export.text, app.yes)
        app.tell(f"wrote {options['output']}; its last lines tell the environment that it needs")
    else:
        put(export.text.rstrip("\n"))
    return 0


def _with_paths(plan: Plan, path: Path | None) -> Plan:
    """The plan with absolute paths: Ollama takes a missing path for a model's name and pulls it."""
    if path is None:
        return plan
    files = tuple(
        replace(f, name=str((path.parent / Path(f.name).name).absolute())) for f in plan.model.files
    )
    return replace(plan, model=replace(plan.model, files=files))


def _write(path: Path, text: str, yes: bool) -> None:
    if path.exists() and not yes:
        raise UsageError(f"{path} exists", "--yes replaces it")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as failed:
        raise LocalrunError(f"cannot write {path}: {failed.strerror}") from None


def _check(file: str, as_json: bool) -> int:
    """Judge a Modelfile as Ollama's parser would: 1 for what it refuses, 0 with warnings."""
    from localrun.recipe.modelfile_check import check

    path = Path(file)
    try:
        source = path.read_bytes()
    except OSError as failed:
        raise LocalrunError(f"cannot read {file}: {failed.strerror}") from None
    findings = check(source, directory=str(path.absolute().parent), exists=lambda p: Path(p).exists())
    if as_json:
        put_json({"schema": "localrun.check/1", "findings": [f._asdict() for f in findings]})
    else:
        for f in findings:
            fix = f"  ({f.fix})" if f.fix else ""
            put(f"{file}:{f.line}:{f.column}: {f.severity}: {f.text}{fix}")
        if not findings:
            put(f"{file}: Ollama takes it as it is")
    return 1 if any(f.severity == "error" for f in findings) else 0
