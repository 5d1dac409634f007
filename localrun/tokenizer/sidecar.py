"""Vocabularies kept ready to use beside the models: a file each in the cache folder, mapped and used in place.

A sidecar is found by the start of the model's file and its size, and believed only when the sum of all that the
vocabulary was read from is the sum that it was made with: no clock and no name says that a file is still the same.
Whatever is wrong with one, it is ignored, and replaced. Without a folder to write to all works as well, only slower.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from pathlib import Path

from localrun.native import tok_image
from localrun.native.tok import Vocab
from localrun.native.tok_image import NOTES, Label
from localrun.tokenizer.load import Loaded
from localrun.tokenizer.vocabulary import Vocabulary

SUFFIX = ".vocab"
#: Sidecars kept, the last used ones; one of Llama 3's 128k tokens takes 20 MB.
KEPT = 8
_HEAD = 4096
_NAME_SEED = (tok_image.BUILD, 0)
#: Its uses are noted once a day, so that what is used stays.
_DAY = 86400.0
_FLAGS = getattr(mmap, "MAP_POPULATE", 0) | getattr(mmap, "MAP_SHARED", 0)


def find(folder: Path, path: Path, rules: str) -> tuple[Vocabulary, Vocab] | None:
    """What was kept for this file, if it still is that file: without its tokens, which lie in the Vocab."""
    try:
        with path.open("rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return None  # what is read of a pipe is gone
            size = found.st_size
            image = _mapped(folder / _name(file.read(_HEAD), size, rules))
            label = tok_image.label_of(image) if image is not None else None
            if image is None or label is None or label.file_size != size or not 0 < label.prefix <= size:
                return None
            with _map(file.fileno(), label.prefix) as prefix:
                if tok_image.sum_of(label.seed, prefix) != label.sum:
                    return None
    except (OSError, ValueError):
        return None
    vocab = tok_image.open_image(image)
    return (_unpacked(label.notes), vocab) if vocab is not None else None


def keep(folder: Path, loaded: Loaded, vocab: Vocab, rules: str) -> None:
    """Writes a sidecar in one step, then removes those least used. Does nothing where that cannot be done."""
    seed = tok_image.new_seed()
    label = Label(
        seed,
        tok_image.sum_of(seed, memoryview(loaded.data)[: loaded.read]),
        loaded.read,
        loaded.file_size,
        _packed(loaded.vocabulary),
    )
    image = tok_image.image_of(vocab, label)
    if image is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _replace(folder / _name(loaded.data[:_HEAD], loaded.file_size, rules), image)
        _tidy(folder)


def _name(head: bytes, size: int, rules: str) -> str:
    first, second = tok_image.sum_of(_NAME_SEED, head + f"{size} {rules}".encode())
    return f"{first:016x}{second:016x}{SUFFIX}"


def _mapped(path: Path) -> mmap.mmap | None:
    """The whole file, if it is one that only this user can have written."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        found = os.fstat(descriptor)
        mine = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022 or not mine or found.st_size == 0:
            return None
        if found.st_mtime + _DAY < _now():
            with contextlib.suppress(OSError):
                os.utime(path)
        return _map(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def _map(descriptor: int, size: int) -> mmap.mmap:
    if not _FLAGS:
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    return mmap.mmap(descriptor, size, flags=_FLAGS, prot=mmap.PROT_READ)


def _now() -> float:
    import time

    return time.time()


def _replace(target: Path, image: bytearray) -> None:
    import tempfile

    descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".draft")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
        os.replace(draft, target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _tidy(folder: Path) -> None:
    """Keeps the newest, and no draft that a crash left. Another process may tidy at the same time."""
    found: list[tuple[float, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.suffix == SUFFIX:
                found.append((path.stat().st_mtime, path))
            elif path.suffix == ".draft" and path.stat().st_mtime + _DAY < _now():
                path.unlink()
    for _, path in sorted(found, reverse=True)[KEPT:]:
        path.unlink(missing_ok=True)


def _packed(vocabulary: Vocabulary) -> tuple[int, ...]:
    bos = -1 if vocabulary.bos is None else vocabulary.bos
    eos = -1 if vocabulary.eos is None else vocabulary.eos
    notes = (vocabulary.nfc, vocabulary.add_bos, bos, eos, vocabulary.space_prefix)
    return (*map(int, notes), *(0,) * (NOTES - len(notes)))


def _unpacked(notes: tuple[int, ...]) -> Vocabulary:
    nfc, add_bos, bos, eos, space_prefix, *_ = notes
    return Vocabulary(
        kind="kept",
        tokens=b"",
        count=0,
        nfc=bool(nfc),
        add_bos=bool(add_bos),
        bos=None if bos < 0 else bos,
        eos=None if eos < 0 else eos,
        space_prefix=bool(space_prefix),
    )
