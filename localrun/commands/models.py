"""`show`, `list`, `pull`, `rm`: models and their files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from localrun.commands.base import App, put, put_json
from localrun.commands.plan import planned
from localrun.commands.target import Target, locate
from localrun.errors import UsageError
from localrun.model.facts import Model
from localrun.show.model_text import catalog_lines, local_lines, model_json, model_lines, offer_lines
from localrun.units import format_size

if TYPE_CHECKING:
    from localrun.model.store import LocalModel


def show(app: App, name: str | None, as_json: bool) -> None:
    """One model; a catalogue entry that is not here shows every quantization it is published in."""
    target = locate(app, name, None)
    app.because(_sources(target))
    if isinstance(target.models, Model):
        if as_json:
            put_json(model_json(target.models, target.path))
            return
        lines = model_lines(target.models, target.path, app.out)
    else:
        first = target.models[0].model()
        if as_json:
            offers = [{"quant": o.quant, "bytes": o.bytes} for o in target.models]
            put_json(
                model_json(first, None)
                | {"quant": None, "files": [], "weights_bytes": None, "quants": offers}
            )
            return
        lines = [*model_lines(first, None, app.out), *offer_lines(target.models, app.out)]
    put("\n".join(lines))


def _sources(target: Target) -> Iterator[str]:
    """Where the figures of a model come from."""
    if target.path:
        yield f"sizes and shape: read from {target.path}"
    if target.entry is None:
        return
    from localrun.model.catalog import load_catalog, sources

    entry, known = target.entry, sources(load_catalog())
    for what, tags in (
        ("shape", entry.shape_source),
        ("parameters", entry.parameters_source),
        ("licence", entry.license.source),
        ("sampling", entry.sampling_source),
        ("chat template", entry.template.source),
        *((f"files of {repo.name}", repo.source) for repo in entry.repos),
    ):
        yield f"{what}: " + "; ".join(known.get(tag, tag) for tag in tags.split(", "))


def list_models(app: App, as_json: bool) -> None:
    from localrun.model.catalog import load_catalog
    from localrun.model.store import disk_use, local_models

    here = (*local_models(app.session.paths), *_ollamas())
    catalog = load_catalog()
    if as_json:
        put_json(
            {
                "schema": "localrun.list/1",
                "local": [
                    {
                        "name": m.name,
                        "path": str(m.path),
                        "quant": m.quant,
                        "bytes": m.bytes,
                        "disk": m.disk,
                        "source": m.source,
                        "complete": not m.missing,
                    }
                    for m in here
                ],
                "catalog": list(catalog.names),
            }
        )
        return
    put("\n".join([*local_lines(here, disk_use(here), app.out), "", *catalog_lines(catalog.names, app.out)]))


def _ollamas() -> tuple[LocalModel, ...]:
    """What Ollama has pulled: served as `ollama:NAME` from its own blobs, removed by Ollama."""
    import os
    from pathlib import Path

    from localrun.model.ollama_store import folders, read_store
    from localrun.model.store import LocalModel

    stored = [
        m for folder in folders(os.environ, Path.home()) if folder.is_dir() for m in read_store(folder).models
    ]
    return tuple(
        LocalModel(
            "ollama:" + m.name.short.removesuffix(":latest"),
            m.path,
            (m.path,),
            m.bytes,
            m.bytes,
            "ollama",
            m.quant,
        )
        for m in stored
    )


def pull(app: App, name: str | None, quant: str | None, mmproj: str | None, as_json: bool) -> None:
    """Fetch what `up` would serve here, or the quantization that is named; with --mmproj what it sees with."""
    quant = None if quant == "auto" else quant
    target = locate(app, name, quant)
    path = target.path
    if path is None or len(target.here) > 1 or mmproj:
        target, plan = planned(app, name, {"quant": quant, "mmproj": mmproj}, advise=False)
        if missing := target.to_download(plan.model):
            app.tell(f"{target.name}: {plan.model.quant}, {format_size(missing)}")
        app.because(plan.reasons)
        path = target.obtain(plan)
        if mmproj:
            from localrun.commands.beside import obtained

            obtained(app, target, plan, path)
    if as_json:
        put_json({"name": target.name, "path": str(path), "bytes": path.stat().st_size})
    else:
        put(str(path))


def _of_address(app: App, name: str) -> str:
    """What `rm` takes for the model that came from an address."""
    from localrun.model.sources import UrlRef, parse_url
    from localrun.model.split import shard_names
    from localrun.model.url_model import folder_of

    ref = parse_url(name)
    if not isinstance(ref, UrlRef):
        return f"hf:{ref.repo}" + (f":{ref.quant}" if ref.quant else "")
    return str(folder_of(ref, app.session.paths) / shard_names(ref.name)[0])


def _file_of(app: App, name: str) -> str:
    """The file that a catalogue name or alias stands for here; any other name as it is."""
    from localrun.model.catalog import load_catalog
    from localrun.model.store import local_models

    entry = load_catalog().find(name)
    if entry is None or any(name in (m.name, str(m.path)) for m in local_models(app.session.paths)):
        return name
    target = locate(app, entry.name, None)
    if target.path is None:
        raise UsageError(f"{entry.name} is not on this machine", "localrun list shows what is here")
    if len(target.here) > 1:
        quants = ", ".join(offer.quant for offer, _ in target.here)
        raise UsageError(
            f"{entry.name} is here as {quants}: rm takes one", f"localrun rm {target.here[0][1]}, for example"
        )
    return str(target.path)


def remove(app: App, name: str, as_json: bool) -> None:
    from localrun.model.store import find
    from localrun.model.store import remove as delete

    if name.lower().startswith("ollama:"):
        raise UsageError(f"{name} is Ollama's", f"ollama rm {name.partition(':')[2]}")
    wanted = name
    if "://" in name:
        wanted = _of_address(app, name)
    wanted = _file_of(app, wanted)
    model = find(app.session.paths, wanted)
    if not app.yes:
        import sys

        if not sys.stdin.isatty():
            raise UsageError(f"rm {model.name} needs --yes here: there is no terminal to ask on")
        answer = input(f"delete {model.name}, {format_size(model.disk)} in {len(model.files)} files? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            app.tell("nothing deleted")
            return
    freed = delete(app.session.paths, wanted)
    if as_json:
        put_json({"removed": model.name, "freed": freed})
    else:
        put(f"deleted {model.name}, {format_size(freed)} freed")
