"""From the NAME that a user typed to a model that can be planned, and to the file that is served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localrun.commands.base import App
from localrun.model.facts import Model

DEFAULT = "smollm2"


@dataclass(frozen=True, slots=True)
class Target:
    name: str  # what it runs as
    model: Model
    path: Path | None  # None: not on this machine yet


def local_target(app: App, name: str | None) -> Target:
    """NAME as a file on this machine, fetched if need be. Raises UsageError, ModelError, FetchError."""
    from localrun.model.header import read_model

    path, label = _file(app, name)
    return Target(label, read_model(path, label), path)


def _file(app: App, name: str | None) -> tuple[Path, str]:
    if name is None or name == DEFAULT:
        from localrun.model.fetch import ensure
        from localrun.model.sources import DEFAULT_MODEL

        return ensure(DEFAULT_MODEL, app.session.paths, net(app), progress(app)), DEFAULT
    path = Path(name).expanduser().absolute()
    return path, path.stem


def net(app: App) -> Any:
    import os

    from localrun.model.sources import Net
    from localrun.units import parse_size

    limit = app.session.config.download_limit
    return Net(os.environ, app.offline, parse_size(limit) if limit else 0)


def progress(app: App) -> Any:
    from localrun.show.progress import progress_for

    return progress_for(app.err)
