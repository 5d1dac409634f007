"""Models, downloads and the disk they lie on, as the doctor looks at them: quickly."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from localrun.config import Session
from localrun.doctor.values import Download, ModelFile
from localrun.errors import LocalrunError
from localrun.model.fetch import STAGING

#: A download that was touched within this many seconds may still go on.
_STILL = 60
_CHUNK = 4 << 20
#: The most that one look at the disk's speed reads, and for how long: bytes, seconds.
_MOST, _SECONDS = 128 << 20, 0.4
#: Headers are read for so long, seconds: a huge collection on a slow disk is looked at in part.
_PATIENCE = 0.8


def downloads(session: Session, now: float | None = None) -> tuple[Download, ...]:
    """What unfinished downloads left, ours and the Hugging Face cache's."""
    now = time.time() if now is None else now
    found = []
    for path in _leftovers(session):
        try:
            status = path.stat()
        except OSError:
            continue
        if now - status.st_mtime > _STILL:
            found.append(Download(str(path), getattr(status, "st_blocks", status.st_size // 512) * 512))
    return tuple(sorted(found, key=lambda d: d.path))


def _leftovers(session: Session) -> Iterator[Path]:
    try:
        yield from session.paths.models.rglob("*.part")
        yield from session.paths.hf_hub.glob("models--*/blobs/*.incomplete")
        yield from session.paths.hf_hub.glob("models--*/blobs/*.part")
    except OSError:
        return


def models(session: Session) -> tuple[ModelFile, ...]:
    """Every model that is here: whether it is whole, and whether it carries a chat template."""
    from localrun.model.store import local_models

    deadline = time.monotonic() + _PATIENCE
    found = []
    for model in local_models(session.paths):
        if model.quant == "mmproj" or time.monotonic() > deadline:
            continue
        if model.missing:
            many = "shard is" if model.missing == 1 else "shards are"
            why = f"{model.missing} {many} missing"
            found.append(ModelFile(model.name, False, False, why, str(model.path)))
        else:
            found.append(_model(model.name, model.path))
    return tuple(found)


def _model(name: str, path: Path) -> ModelFile:
    from localrun.model.header import read_model
    from localrun.recipe.chat_templates import template_file

    try:
        read = read_model(path, name)
    except LocalrunError as wrong:
        # A projector or an adapter is right as it is: no model to chat with, but no broken one.
        other = any(words in str(wrong) for words in ("not a model", "no weights"))
        return ModelFile(name, False, other, str(wrong), str(path), known=True)
    return ModelFile(name, read.chat_template, path=str(path), known=bool(template_file(read)))


def ollama_notes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What cannot be used of the models that Ollama pulled: blobs of a wrong size, or gone."""
    from localrun.model.ollama_store import folders, read_store

    home = Path(environ.get("HOME") or Path.home())
    return tuple(note for folder in folders(environ, home) for note in read_store(folder).notes)


def disk_speed(folder: Path) -> int:
    """Bytes per second of large reads from the models' disk, past the page cache; 0 where none can be timed."""
    path = _largest(folder)
    if path is None:
        return 0
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    except OSError:
        return 0  # tmpfs and some network file systems refuse
    if not hasattr(os, "O_DIRECT"):
        os.close(handle)
        return 0
    done, begin = 0, time.perf_counter()
    try:
        with mmap.mmap(-1, _CHUNK) as buffer:  # page-aligned, as direct reads need it
            while done < _MOST and time.perf_counter() - begin < _SECONDS:
                got = os.preadv(handle, [buffer], done)
                if got < _CHUNK:
                    break
                done += got
    except OSError:
        return 0
    finally:
        os.close(handle)
    seconds = time.perf_counter() - begin
    return int(done / seconds) if done >= 4 * _CHUNK and seconds > 0 else 0


def _largest(folder: Path) -> Path | None:
    best, size = None, 0
    try:
        for path in folder.rglob("*.gguf"):
            if STAGING not in path.parts and path.is_file() and path.stat().st_size > size:
                best, size = path, path.stat().st_size
    except OSError:
        pass
    return best
