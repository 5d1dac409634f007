"""From the NAME that a user typed to what can be planned, and on to the file that is served."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localrun.commands.base import App
from localrun.errors import FetchError, ModelError, UsageError
from localrun.model.facts import Model
from localrun.plan.choose import Offer
from localrun.plan.values import Plan
from localrun.value import dataclass, replace

if TYPE_CHECKING:
    from localrun.model.entry import Entry
    from localrun.model.facts import Projector
    from localrun.model.sources import HubRef, Net, UrlRef
    from localrun.model.variants import Variant
    from localrun.show.progress import Bars, Lines

DEFAULT = "smollm2"


@dataclass(frozen=True, slots=True)
class Target:
    """What a NAME means here. `models` is one read model, or every quantization that could be had."""

    name: str  # what it runs as
    models: Model | Sequence[Offer]
    path: Path | None  # the file, where it is on this machine
    obtain: Callable[[Plan], Path]  # fetches the quantization that was planned
    entry: Entry | None = None
    repo: HubRef | None = None  # where it comes from, and its projector with it
    projector: Callable[[], Projector | None] = lambda: None  # what it could see with
    here: tuple[
        tuple[Offer, Path], ...
    ] = ()  # the quantizations that are on this machine, where they were looked for
    address: str = ""  # what names it to other commands, where its own name does not

    @property
    def pulled_as(self) -> str:
        """What to type behind `localrun pull` or `plan`."""
        return self.address or self.name

    def all_offers(self) -> Sequence[Offer]:
        """Every quantization of the entry, asked for or not."""
        from localrun.commands.offers import offers_of

        return offers_of(self.entry) if self.entry else ()

    def to_download(self, model: Model) -> int:
        """Bytes that are not here yet."""
        beside = model.projector.file if model.projector else None
        missing = beside.bytes if beside and not os.path.isabs(beside.name) else 0
        local = self.path is not None or os.path.isabs(model.files[0].name)
        return missing + (0 if local else sum(file.bytes for file in model.files))

    def offered(self, elsewhere: bool) -> Model | Sequence[Offer]:
        """What a plan chooses from: the quantizations that are here, where any is; `elsewhere`, all there are.

        A file that is here stands for what is published as the same quantization: its header is read.
        """
        local = {offer.quant: offer for offer, _ in self.here}
        if elsewhere and local and self.entry:
            others = [offer for offer in self.all_offers() if offer.quant not in local]
            return [*local.values(), *others]
        return list(local.values()) if local else self.models

    def at(self, model: Model) -> Target:
        """The target once `model` was chosen of what is here."""
        path = next((path for offer, path in self.here if offer.quant == model.quant), None)
        return self if path is None else replace(self, path=path, obtain=lambda _: path)


def locate(app: App, name: str | None, quant: str | None) -> Target:
    """What `name` means, without fetching weights. Raises UsageError, ModelError, FetchError."""
    default = default_path(app)
    if (name is None or name == DEFAULT) and quant is None and default.exists():
        return _file(DEFAULT, default)
    from localrun.model.catalog import load_catalog
    from localrun.model.names import CatalogName, LocalPath, OllamaName, resolve

    catalog = load_catalog()
    named = resolve(name or DEFAULT, catalog)
    if isinstance(named, LocalPath):
        path = named.path.absolute()
        return replace(_file(path.stem, path), address=name or "")
    if isinstance(named, CatalogName):
        return _entry(app, named.entry, quant)
    if isinstance(named, OllamaName):
        return _ollama(f"{named.name}:{named.tag}")
    from localrun.model.sources import UrlRef

    return _url(app, named) if isinstance(named, UrlRef) else _hub(app, named, quant)


def default_path(app: App) -> Path:
    # The name alone: the module of the sources costs an import that `plan` need not pay.
    return app.session.paths.models / "SmolLM2-135M-Instruct.Q4_1.gguf"


def _file(name: str, path: Path) -> Target:
    from localrun.model.header import read_model

    return Target(name, read_model(path, name), path, lambda _: path, projector=lambda: _beside(path))


def _beside(path: Path) -> Projector | None:
    """The projector that lies beside a model."""
    from localrun.model.projector import beside, read_projector

    found = beside(path)
    return read_projector(found) if found else None


def _entry(app: App, entry: Entry, quant: str | None) -> Target:
    here = _on_disk(app, entry, quant)
    if here:
        _, path = here[0]
        return Target(
            entry.name, here[0][0].model(), path, lambda _: path, entry, _repo_of(path),
            lambda: _beside(path) or _published_projector(entry), here if not quant else (),
        )  # fmt: skip
    from localrun.commands.offers import offers_of

    try:
        offers = [_named(entry, quant)] if quant else offers_of(entry)
    except ModelError as wrong:
        raise UsageError(str(wrong), wrong.hint) from None
    return Target(
        entry.name, offers, None, lambda plan: _fetch_entry(app, entry, plan), entry,
        projector=lambda: _published_projector(entry),
    )  # fmt: skip


def _published_projector(entry: Entry) -> Projector | None:
    if entry.vision is None:
        return None
    from localrun.model.vision import projector_of

    return projector_of(entry.vision, f"{entry.name}: mmproj-F16.gguf")


def _repo_of(path: Path) -> HubRef | None:
    """The repository of a file in the shared cache."""
    from localrun.model.sources import HubRef

    folder = next((part for part in path.parts if part.startswith("models--")), "")
    return HubRef(folder.removeprefix("models--").replace("--", "/", 1)) if folder else None


def _named(entry: Entry, quant: str) -> Offer:
    from localrun.model.sized import model_for

    model = model_for(entry, quant)
    return Offer(model.quant, model.weights_bytes, lambda: model)


def _ollama(name: str) -> Target:
    """A model that Ollama has pulled, served from its own blob: nothing is copied or fetched."""
    from localrun.model.header import read_model
    from localrun.model.ollama_store import find, folders

    here = folders(os.environ, Path.home())
    store = next((folder for folder in here if folder.is_dir()), here[0])
    stored = find(store, name)
    path, label = stored.path, f"ollama:{name}"

    def projector() -> Projector | None:
        from localrun.model.projector import read_projector

        return read_projector(Path(stored.projector)) if stored.projector else None

    return Target(label, read_model(path, label), path, lambda _: path, projector=projector)


def _on_disk(app: App, entry: Entry, quant: str | None) -> tuple[tuple[Offer, Path], ...]:
    """The files of this entry that are here whole, in the quantization that was asked for; the largest first."""
    if entry.name == DEFAULT and quant in (None, "Q4_1") and default_path(app).exists():
        return (_local(entry.name, "Q4_1", default_path(app)),)
    repos = {f"models--{repo.name.replace('/', '--')}".lower() for repo in entry.repos if repo.name}
    return _cached(app, repos, quant, entry.name)


def _cached(app: App, folders: set[str], quant: str | None, name: str) -> tuple[tuple[Offer, Path], ...]:
    """What the shared cache holds whole of some repositories; of a quantization that is there twice, one."""
    if not app.session.paths.hf_hub.is_dir():
        return ()
    from localrun.model.store import local_models

    found = {
        model.quant.upper(): model
        for model in local_models(app.session.paths)
        if not model.missing
        and model.quant != "mmproj"
        and folders & {part.lower() for part in model.path.parts}
        and (not quant or model.quant.upper() == quant.upper())
    }
    ordered = sorted(found.values(), key=lambda model: model.bytes, reverse=True)
    return tuple(_local(name, model.quant, model.path, model.bytes) for model in ordered)


def _local(name: str, quant: str, path: Path, size: int = 0) -> tuple[Offer, Path]:
    @functools.cache
    def model() -> Model:
        from localrun.model.header import read_model

        return replace(read_model(path, name), quant=quant)

    return Offer(quant, size or path.stat().st_size, model), path


def _fetch_entry(app: App, entry: Entry, plan: Plan) -> Path:
    from localrun.model.sized import repo_of
    from localrun.model.sources import DEFAULT_MODEL, HubRef

    if entry.name == DEFAULT and plan.model.quant == "Q4_1":
        from localrun.model.fetch import ensure

        return ensure(DEFAULT_MODEL, app.session.paths, net(app), progress(app))
    found = repo_of(entry, plan.model.quant)
    if found is None or not found[0].name:
        raise FetchError(
            f"{entry.title} is not published as {plan.model.quant}",
            f"its original weights are at {entry.publisher}; llama.cpp's converter and llama-quantize make it",
        )
    return _pull(app, HubRef(found[0].name, plan.model.quant), _wants_projector(plan))


def _url(app: App, ref: UrlRef) -> Target:
    """An address: what is here already, else what its header says, read by range."""
    from localrun.model import url_model
    from localrun.model.retry import short_url
    from localrun.model.transfer import Http

    paths = app.session.paths
    label = Path(ref.name).stem
    here = url_model.find(ref, paths)
    if here is not None:
        return _file(label, here)
    if app.offline:
        why = f"{ref.name} is not on this machine, and --offline forbids to fetch it"
        raise FetchError(why, "run it once without --offline")
    with Http(net(app)) as http:
        files = url_model.published(http, ref)
        model = url_model.read(http, files, paths, label)

    def obtain(_: Plan) -> Path:
        bars = progress(app)
        return url_model.fetch(ref, files, paths, net(app), bars, bars.another)

    return Target(label, model, None, obtain, address=short_url(ref.url))


def _hub(app: App, ref: HubRef, quant: str | None) -> Target:
    """A repository: its headers are read by range, so that the plan is exact before any download."""
    from localrun.model.hub_source import list_repo
    from localrun.model.remote import RepoHeaders
    from localrun.model.transfer import Http
    from localrun.model.variants import choose, variants_of
    from localrun.value import replace

    ref = replace(ref, quant=quant or ref.quant)
    label = f"hf:{ref.repo}" + (f":{ref.quant}" if ref.quant else "")
    here = _cached(app, {f"models--{ref.repo.replace('/', '--')}".lower()}, ref.quant, label)
    if ref.quant and here:
        path = here[0][1]
        return replace(
            _file(label, path), repo=ref, projector=lambda: _beside(path) or _projector_in(app, ref)
        )
    if app.offline:
        return _file(label, _pull(app, ref))
    environment = os.environ
    with Http(net(app)) as http:
        repo = list_repo(http, ref, environment)
    variants = variants_of(repo.files)
    # Of none, `choose` says that there is none.
    chosen = variants if variants and not ref.quant else (choose(variants, ref.quant, ref.repo),)

    def read(v: Variant) -> Model:
        with Http(net(app)) as http:
            return RepoHeaders(http, repo, app.session.paths, environment).model(v)

    offers = [Offer(v.quant, v.bytes, functools.partial(read, v)) for v in chosen]
    return Target(
        label, offers, None,
        lambda plan: _pull(app, replace(ref, quant=plan.model.quant), _wants_projector(plan)),
        repo=ref, projector=lambda: _projector_in(app, ref), here=here,
    )  # fmt: skip


def _projector_in(app: App, ref: HubRef) -> Projector | None:
    """What a repository publishes to see with, read from its header; None for none, or offline."""
    if app.offline:
        return None
    from localrun.model.hub_source import list_repo
    from localrun.model.remote import RepoHeaders
    from localrun.model.transfer import Http
    from localrun.model.variants import projectors_of

    with Http(net(app)) as http:
        repo = list_repo(http, ref, os.environ)
        published = projectors_of(repo.files)
        if not published:
            return None
        return RepoHeaders(http, repo, app.session.paths, os.environ).projector(published[0])


def _wants_projector(plan: Plan) -> bool:
    """Whether one must be fetched with the model."""
    return plan.model.projector is not None and not os.path.isabs(plan.model.projector.file.name)


def _pull(app: App, ref: HubRef, mmproj: bool = False) -> Path:
    from localrun.model.pull import pull

    bars = progress(app)
    return pull(ref, app.session.paths, net(app), bars, mmproj=mmproj, bars=bars.another).files[0]


def net(app: App) -> Net:
    from localrun.model.sources import Net
    from localrun.units import parse_size

    limit = app.session.config.download_limit
    return Net(os.environ, app.offline, parse_size(limit) if limit else 0)


def progress(app: App) -> Bars | Lines:
    from localrun.show.progress import progress_for

    return progress_for(app.err)
