"""A download in progress: `NAME.part`, and beside it what is known of the file that it is a part of.

The bytes are a prefix of the file that the validator names or, while it comes over several connections,
the beginnings of its segments: whoever is killed in between leaves at worst fewer of them, and the sha256
over all has the last word.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from localrun.errors import FetchError
from localrun.model.files import disk_errors, place, read_small, write_small
from localrun.model.segments import Segments

#: What lies beside a part: what it is a part of, and how much of each segment is there.
SUFFIXES = (".part", ".part.json", ".part.done")
_CHUNK = 1 << 20


class Part:
    """Opens or begins `target`'s part. Its folder must exist; only one process may have it open.

    `write` and `write_segment` may be called by several threads, one for each segment.
    """

    def __init__(self, target: Path, reading: Callable[[int], None] = lambda _: None) -> None:
        self.path, self._about, self._counts = _paths(target)
        self._lock, self._digesting = threading.Lock(), threading.Lock()
        about = read_small(self._about)
        etag = about.get("etag")
        self.etag = etag if isinstance(etag, str) else ""
        self.total = _whole_number(about.get("total"))  # 0 = not known
        with disk_errors(self.path):
            # Not in append mode: that would ignore where a segment belongs.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            self.size, self._segments = _held(target)
            if not self.size:
                self._file.truncate(0)
            self._forget()
            self._digest_what_is_there(reading)

    def _forget(self) -> None:
        self._digest, self._digested = hashlib.sha256(), 0
        self._front = 0 if self._segments else self.size
        self._advance_front()

    def _advance_front(self) -> None:
        """Moves the end of what is there without a gap."""
        if self._segments is None:
            self._front = self.size
            return
        while self._front < self.total:
            i = self._front // self._segments.step
            self._front = i * self._segments.step + self._segments.done[i]
            if self._front < self._segments.end(i):
                return

    def restart(self, etag: str = "", total: int = 0) -> None:
        """Drops what is there; the file to come has this validator and length."""
        with disk_errors(self.path):
            # In this order: an empty part is right beside any validator, old bytes beside a new one are not.
            self._file.truncate(0)
            self.etag, self.total = etag, total
            self._drop_segments()
            self._write_about()
        self.size = 0
        self._forget()

    def claim(self, etag: str) -> bool:
        """Whether `etag` is the file's; the first that is told becomes it."""
        with self._lock:
            if etag and not self.etag:
                self.etag = etag
                with disk_errors(self.path):
                    self._write_about()
            return not etag or etag == self.etag

    def divide(self, total: int, step: int) -> Segments:
        """The segments to come, those of an earlier run or new ones; what is there is kept."""
        if self._segments is None:
            self.total = total
            with disk_errors(self.path):
                # The counts first: they mean nothing until the note speaks of them.
                segments = Segments.begin(self._counts, total, step, self.size)
                self._segments = segments
                self._write_about()
            self._forget_front()
        assert self._segments is not None
        return self._segments

    def _forget_front(self) -> None:
        self._front = 0
        self._advance_front()

    def _write_about(self) -> None:
        about: dict[str, object] = {"etag": self.etag, "total": self.total}
        if self._segments is not None:
            about["segment"] = self._segments.step
        write_small(self._about, json.dumps(about))

    def _drop_segments(self) -> None:
        if self._segments is not None:
            self._segments.close()
        self._segments = None

    @property
    def divided(self) -> bool:
        return self._segments is not None

    def write(self, data: bytes) -> None:
        """Adds to the end of a part that has no segments."""
        self._put(self.size, data, -1)

    def write_segment(self, i: int, data: bytes) -> None:
        """Adds to the end of what is there of segment `i`."""
        assert self._segments is not None
        self._put(i * self._segments.step + self._segments.done[i], data, i)

    def _put(self, at: int, data: bytes, segment: int) -> None:
        left = memoryview(data)
        while left:
            with self._lock, disk_errors(self.path):
                self._file.seek(at)
                written = self._file.write(left)
                # Counted at once, so that the sizes are right even if the next write fails.
                self.size += written
                if self._segments is not None:
                    self._segments.add(segment, written)
                self._advance_front()
            self._digest_written(at, left[:written])
            at, left = at + written, left[written:]

    def _digest_written(self, at: int, data: memoryview) -> None:
        """Follows with the digest, unless another thread does: what that leaves is read again later."""
        if not self._digesting.acquire(blocking=False):
            return
        try:
            if at == self._digested:
                self._digest.update(data)
                self._digested += len(data)
            if self._digested < self._front:
                self._digest_what_is_there()
        finally:
            self._digesting.release()

    def _digest_what_is_there(self, reading: Callable[[int], None] = lambda _: None) -> None:
        if self._digested == self._front:
            return
        with disk_errors(self.path), self.path.open("rb", buffering=0) as file:
            file.seek(self._digested)
            while self._digested < self._front:
                data = file.read(min(_CHUNK, self._front - self._digested))
                if not data:
                    raise FetchError(f"{self.path} was cut short by another program", "run it again")
                self._digest.update(data)
                self._digested += len(data)
                reading(len(data))

    @property
    def sha256(self) -> str:
        """Of the bytes so far, up to the first gap."""
        with self._digesting:
            self._digest_what_is_there()
            return self._digest.copy().hexdigest()

    def adopt(self, path: Path) -> None:
        """Takes a whole file on the same disk in place of what is there."""
        self.restart()
        self.close()
        with disk_errors(self.path):
            path.replace(self.path)
            self._file = self.path.open("r+b", buffering=0)
            # The length, so that the next run takes it for whole.
            self.size = self.total = os.fstat(self._file.fileno()).st_size
            self._forget()
            self._digest_what_is_there()
            self._write_about()

    def close(self) -> None:
        with self._lock:
            self._file.close()
            if self._segments is not None:
                self._segments.close()

    def discard(self) -> None:
        """Closes and removes it."""
        self.close()
        for path in (self.path, self._about, self._counts):
            path.unlink(missing_ok=True)

    def hand_over(self, target: Path) -> None:
        """Makes the bytes become `target`."""
        self.close()
        # The file first: killed in between, notes without bytes are left, which are harmless.
        place(self.path, target)
        self._about.unlink(missing_ok=True)
        self._counts.unlink(missing_ok=True)


def held(target: Path) -> int:
    """Bytes of `target` that an unfinished download has; 0 = there is none."""
    return _held(target)[0]


def _held(target: Path) -> tuple[int, Segments | None]:
    path, note, counts = _paths(target)
    about = read_small(note)
    total, step = _whole_number(about.get("total")), _whole_number(about.get("segment"))
    try:
        length = path.stat().st_size
    except OSError:
        return 0, None
    if not about or (total and length > total):
        return 0, None
    if not step:
        return length, None
    segments = Segments.load(counts, total, step, length) if total else None
    return (segments.size, segments) if segments else (0, None)


def _paths(target: Path) -> tuple[Path, Path, Path]:
    part, about, counts = (target.with_name(target.name + suffix) for suffix in SUFFIXES)
    return part, about, counts


def _whole_number(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
