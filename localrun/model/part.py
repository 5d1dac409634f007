"""A download in progress: `NAME.part`, and beside it what is known of the file that it is a part of.

The bytes of the part are always a prefix of the file that the validator names: whoever is killed in
between leaves at worst a shorter part, and the sha256 over all of it has the last word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from localrun.model.files import disk_errors, place, read_small, write_small

_CHUNK = 1 << 20


class Part:
    """Opens or begins `target`'s part. Its folder must exist; only one process may have it open."""

    def __init__(self, target: Path, reading: Callable[[int], None] = lambda _: None) -> None:
        self.path = target.with_name(target.name + ".part")
        self._about = target.with_name(target.name + ".part.json")
        self._digest = hashlib.sha256()
        self.size = 0
        about = read_small(self._about)
        etag, total = about.get("etag"), about.get("total")
        self.etag = etag if isinstance(etag, str) else ""
        self.total = total if type(total) is int and total >= 0 else 0  # 0 = not known
        with disk_errors(self.path):
            self._file = self.path.open("ab+", buffering=0)
            if not about or (self.total and self.path.stat().st_size > self.total):
                self._file.truncate(0)
            self._read_what_is_there(reading)

    def _read_what_is_there(self, reading: Callable[[int], None]) -> None:
        self._file.seek(0)
        while data := self._file.read(_CHUNK):
            self._digest.update(data)
            self.size += len(data)
            reading(len(data))

    def restart(self, etag: str = "", total: int = 0) -> None:
        """Drops what is there; the file to come has this validator and length."""
        with disk_errors(self.path):
            # In this order: an empty part is right beside any validator, old bytes beside a new one are not.
            self._file.truncate(0)
            write_small(self._about, json.dumps({"etag": etag, "total": total}))
        self._digest = hashlib.sha256()
        self.size, self.etag, self.total = 0, etag, total

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            with disk_errors(self.path):
                written = self._file.write(left)
            # Counted at once, so that size and digest are right even if the next write fails.
            self._digest.update(left[:written])
            self.size += written
            left = left[written:]

    @property
    def sha256(self) -> str:
        """Of the bytes so far."""
        return self._digest.copy().hexdigest()

    def adopt(self, path: Path) -> None:
        """Takes a whole file on the same disk in place of what is there."""
        self.restart()
        self.close()
        with disk_errors(self.path):
            path.replace(self.path)
            self._file = self.path.open("ab+", buffering=0)
            self._read_what_is_there(lambda _: None)
            # The length, so that the next run takes it for whole.
            self.total = self.size
            write_small(self._about, json.dumps({"etag": "", "total": self.total}))

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        """Closes and removes it."""
        self.close()
        for path in (self.path, self._about):
            path.unlink(missing_ok=True)

    def hand_over(self, target: Path) -> None:
        """Makes the bytes become `target`."""
        self.close()
        # The file first: killed in between, a validator without bytes is left, which is harmless.
        place(self.path, target)
        self._about.unlink(missing_ok=True)
