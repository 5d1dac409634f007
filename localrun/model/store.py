"""The models that lie on this disk: ours, and those in the cache that all Hugging Face tools share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from localrun.config import Paths
from localrun.errors import FetchError, UsageError
from localrun.model import hub_cache
from localrun.model.fetch import STAGING
from localrun.model.files import disk_errors
from localrun.model.split import split_of
from localrun.model.variants import RepoFile, projectors_of, variants_of
from localrun.value import dataclass

HUB, OURS = "hugging face", "models"


@dataclass(frozen=True, slots=True)
class LocalModel:
    name: str  # as `rm` takes it
    path: Path  # its file, or its first shard
    files: tuple[Path, ...]  # in load order
    bytes: int  # of its files
    disk: int  # bytes that removing it would free: 0 while another snapshot holds the same blobs
    source: str  # HUB or OURS
    quant: str
    missing: int = 0  # shards that are not here


def local_models(paths: Paths) -> tuple[LocalModel, ...]:
    """What is here, by name. A folder that cannot be read is left out: `list` must work on half a disk."""
    holders = _holders(paths.hf_hub)
    found = [*_in_folder(paths.models), *_in_hub(paths.hf_hub, holders)]
    return tuple(sorted(found, key=lambda m: (m.name, str(m.path))))


def disk_use(models: Iterable[LocalModel]) -> int:
    """Bytes on the disk of all of them together, each file counted once however many names it has."""
    seen: dict[tuple[int, int], int] = {}
    for model in models:
        for path in model.files:
            try:
                status = path.stat()
            except OSError:
                continue
            seen[status.st_dev, status.st_ino] = _allocated(status)
    return sum(seen.values())


def find(paths: Paths, name: str) -> LocalModel:
    """The model of that name. Raises UsageError with the closest names."""
    models = local_models(paths)
    for model in models:
        if name in (model.name, str(model.path)):
            return model
    import difflib

    near = difflib.get_close_matches(name, [m.name for m in models], 3)
    hint = "did you mean " + " or ".join(near) + "?" if near else "localrun list shows what is here"
    raise UsageError(f"no model {name!r} on this machine", hint)


def remove(paths: Paths, name: str) -> int:
    """Removes a model's files; returns the bytes that this gave back to the disk.

    A blob of the shared cache goes only when no other snapshot leads to it.
    """
    from localrun.model.url_model import forget

    model = find(paths, name)
    holders = _holders(paths.hf_hub)
    for path in model.files:
        with disk_errors(path):
            blob = hub_cache.inside(paths.hf_hub, path) if model.source == HUB else None
            path.unlink(missing_ok=True)
            if blob is not None and holders.get(blob, {path}) <= {path}:
                blob.unlink(missing_ok=True)
                (paths.cache / "verified" / blob.name).unlink(missing_ok=True)
            elif model.source == OURS:
                (paths.models / STAGING / f"{path.name}.verified").unlink(missing_ok=True)
                if path.parent != paths.models:
                    forget(path, paths)
    return model.disk


def _in_folder(folder: Path) -> list[LocalModel]:
    try:
        paths = [p for p in folder.rglob("*.gguf") if STAGING not in p.parts and p.is_file()]
    except OSError:
        return []
    files = {RepoFile(p.relative_to(folder).as_posix(), p.stat().st_size): p for p in paths}
    return [
        _model(v.files[0].path.removesuffix(".gguf"), tuple(files[f] for f in v.files), OURS, v.quant, {})
        for v in variants_of(files)
    ]


def _in_hub(hub: Path, holders: dict[Path, set[Path]]) -> list[LocalModel]:
    found = []
    for repo, commit in _snapshots(hub):
        try:
            files = dict(hub_cache.snapshot_files(hub, repo, commit))
            variants = variants_of(files)
        except (FetchError, OSError):
            continue  # a link that leads out of the cache: not shown, not used
        here = hub_cache.read_ref(hub, repo, "main")
        for variant in variants:
            name = (
                f"hf:{repo}:{variant.quant}" if commit == here else f"hf:{repo}@{commit[:12]}:{variant.quant}"
            )
            found.append(_model(name, tuple(files[f] for f in variant.files), HUB, variant.quant, holders))
        for file in projectors_of(files):
            found.append(_model(f"hf:{repo}:{file.path}", (files[file],), HUB, "mmproj", holders))
    return found


def _model(
    name: str, files: tuple[Path, ...], source: str, quant: str, holders: dict[Path, set[Path]]
) -> LocalModel:
    statuses = [path.stat() for path in files]
    own = [
        _allocated(status)
        for path, status in zip(files, statuses, strict=True)
        if status.st_nlink == 1 and holders.get(path.resolve(), {path}) <= {path}
    ]
    split = split_of(files[0].name)
    expected = split[2] if split else 1
    total = sum(status.st_size for status in statuses)
    return LocalModel(name, files[0], files, total, sum(own), source, quant, max(0, expected - len(files)))


def _allocated(status: os.stat_result) -> int:
    # Sparse files take less than their length; Windows does not say.
    blocks = getattr(status, "st_blocks", None)
    return status.st_size if blocks is None else blocks * 512


def _snapshots(hub: Path) -> list[tuple[str, str]]:
    """Repository and commit of every snapshot."""
    try:
        folders = sorted(hub.glob("models--*--*/snapshots/*"))
    except OSError:
        return []
    return [
        (f.parts[-3].removeprefix("models--").replace("--", "/", 1), f.name) for f in folders if f.is_dir()
    ]


def _holders(hub: Path) -> dict[Path, set[Path]]:
    """For every blob, the snapshot paths that lead to it."""
    holders: dict[Path, set[Path]] = {}
    for repo, commit in _snapshots(hub):
        root = hub_cache.folder_of(hub, repo) / "snapshots" / commit
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder) / name
                holders.setdefault(path.resolve(), set()).add(path)
    return holders
