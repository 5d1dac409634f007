"""How much is there of each segment of a file that comes over several connections at once.

Kept in a file of its own, 8 bytes for each segment, written after the bytes that it counts: whoever is
killed in between leaves a count that is at worst too low.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from localrun.model.files import write_bytes


class Segments:
    """`done[i]` bytes are there of segment `i`, from its beginning. All but the last are `step` bytes long."""

    def __init__(self, path: Path, total: int, step: int, done: list[int]) -> None:
        self.total, self.step, self.done = total, step, done
        self._path = path
        self._file: BinaryIO | None = None

    @classmethod
    def begin(cls, path: Path, total: int, step: int, prefix: int) -> Segments:
        """Counts for a file of which the first `prefix` bytes are there. OSError passes."""
        count = -(-total // step)
        done = [max(0, min(step, total - i * step, prefix - i * step)) for i in range(count)]
        write_bytes(path, struct.pack(f"<{count}Q", *done))
        return cls(path, total, step, done)

    @classmethod
    def load(cls, path: Path, total: int, step: int, length: int) -> Segments | None:
        """What was kept of a file that has `length` bytes on the disk; None where that cannot be true."""
        count = -(-total // step)
        try:
            done = list(struct.unpack(f"<{count}Q", path.read_bytes()))
        except (OSError, struct.error):
            return None
        for i, n in enumerate(done):
            if n > min(step, total - i * step) or (n and i * step + n > length):
                return None
        return cls(path, total, step, done)

    @property
    def size(self) -> int:
        """Bytes that are there, of all segments together."""
        return sum(self.done)

    def end(self, i: int) -> int:
        """Where segment `i` ends in the file."""
        return min(self.total, (i + 1) * self.step)

    def add(self, i: int, n: int) -> None:
        """`n` bytes more of segment `i` have been written. OSError passes."""
        if self._file is None:
            self._file = self._path.open("r+b", buffering=0)
        self.done[i] += n
        self._file.seek(8 * i)
        self._file.write(struct.pack("<Q", self.done[i]))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
