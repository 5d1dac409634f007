"""`modelfile`: a Modelfile for this machine and the environment beside it; `--check` judges one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from localrun.commands.base import App, put, put_json
from localrun.commands.target import Target
from localrun.errors import LocalrunError, UsageError
from localrun.plan.values import Plan
from localrun.recipe.modelfile_plan import CURRENT, Export, Extras
from localrun.value import replace


def write(app: App, name: str | None, options: dict[str, Any], as_json: bool) -> int:
    """Print or write the Modelfile of a plan; what goes beside it is said aside."""
    from localrun.commands.plan import planned
    from localrun.recipe.modelfile_plan import modelfile_for

    target, plan = planned(app, name, options)
    extras, plan = _extras(target, plan)
    export = modelfile_for(plan, extras, server=_server(options), force=bool(options.get("force")))
    app.because((*plan.reasons, *plan.fixes))
    if options.get("output"):
        _save(Path(options["output"]), export.text, app.yes)
    if as_json:
        put_json({"schema": "localrun.modelfile/1", "modelfile": export.text,
                  "environment": dict(export.environment), "lost": list(export.lost)})  # fmt: skip
    elif not options.get("output"):
        put(export.text.rstrip("\n"))
    if not as_json:
        _beside(app, export, options.get("env_form") or "shell")
    return 0


def _server(options: dict[str, Any]) -> tuple[int, int, int]:
    from localrun.recipe.modelfile_params import version

    if not options.get("ollama_version"):
        return CURRENT
    found = version(options["ollama_version"])
    if found is None:
        raise UsageError(f"not a version of Ollama: {options['ollama_version']!r}", "write it as 0.30.0")
    return found


def _extras(target: Target, plan: Plan) -> tuple[Extras, Plan]:
    """What the catalogue adds; files by their paths, or a tag while they are not here."""
    if target.path is not None:
        from localrun.model.header import read_model

        plan = replace(plan, model=replace(plan.model, files=read_model(target.path, target.name).files))
    beside = _companions(plan)
    if target.entry is None:
        return beside, plan
    from localrun.recipe.modelfile_extras import extras_for, tag_for

    tag = "" if target.path else tag_for(target.entry, plan.model)
    extras = extras_for(target.entry, plan.model)
    lost = (*extras.lost, *beside.lost)
    return replace(extras, tag=tag, mmproj=beside.mmproj, draft=beside.draft, lost=lost), plan


def _companions(plan: Plan) -> Extras:
    """A projector and a draft that are here, as FROM and DRAFT."""
    projector, draft = plan.model.projector, plan.model.draft
    here = projector is not None and os.path.isabs(projector.file.name)
    lost = (
        []
        if projector is None or here
        else ["vision: the projector is not on this machine; pull it, then name it"]
    )
    return Extras(
        mmproj=projector.file.name if projector is not None and here else "",
        draft=draft.files[0].name if draft else "",
        lost=tuple(lost),
    )


def _save(path: Path, text: str, yes: bool) -> None:
    if path.exists() and not yes and path.read_text(encoding="utf-8", errors="replace") != text:
        raise LocalrunError(f"{path} exists and says something else", "--yes replaces it")
    path.write_text(text, encoding="utf-8")


def _beside(app: App, export: Export, form: str) -> None:
    from localrun.recipe import ollama_env

    make = {
        "shell": ollama_env.shell_lines,
        "systemd": ollama_env.systemd_drop_in,
        "launchctl": ollama_env.launchctl_lines,
    }[form]
    for line in make(export.environment).splitlines():
        app.tell(line)
    for what in export.lost:
        app.tell(f"neither can say: {what}")


def check(app: App, file: str, name: str | None, options: dict[str, Any], as_json: bool) -> int:
    """Judge a Modelfile: 1 when Ollama's parser would refuse it. `-` is standard input."""
    from localrun.recipe.modelfile_check import check as judge

    try:
        source = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as failed:
        raise UsageError(f"cannot read {file}: {failed.strerror}") from None
    plan = None
    if name:
        from localrun.commands.plan import planned

        plan = planned(app, name, options, advise=False)[1]
    folder = "" if file == "-" else str(Path(file).absolute().parent)
    found = judge(source, directory=folder, exists=os.path.exists, plan=plan, server=_server(options))
    if as_json:
        from dataclasses import asdict

        put_json({"schema": "localrun.modelfile-check/1", "findings": [asdict(f) for f in found]})
    else:
        for f in found:
            put(f"{file}:{f.line}:{f.column}: {f.severity}: {f.text}" + (f" ({f.fix})" if f.fix else ""))
        if not found:
            put(f"{file}: fine")
    return 1 if any(f.severity == "error" for f in found) else 0
