"""A command in a terminal: what it shows, and what is typed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests.user import User, shell_code

#: Makes the terminal the controlling one, so that a typed Ctrl-C is a SIGINT to the foreground group.
_TAKE = (
    "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9])")


class Terminal:
    def __init__(
        self, user: User, *args: str | Path, columns: int = 220, env: dict[str, str] | None = None
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.raw = ""
        self._found = 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE, *user.command(*args)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**user.env, "TERM": "xterm-256color", **(env or {})},
            cwd=user.home,
            start_new_session=True,
        )
        user._started.append(self.process)
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    @property
    def text(self) -> str:
        """All that was shown, without escape sequences."""
        return _ESCAPES.sub("", self.raw)

    def expect(self, pattern: str, patience: float = 60.0) -> re.Match[str]:
        """Read until `pattern` was shown after what the last call found."""
        deadline = time.monotonic() + patience
        while not (found := re.compile(pattern).search(self.text, self._found)):
            assert time.monotonic() < deadline, f"never shown: {pattern!r} in\n{self.text}"
            assert self._read(deadline - time.monotonic()), f"ended without {pattern!r}:\n{self.text}"
        self._found = found.end()
        return found

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt_prompt(self, patience: float = 60.0) -> int:
        """Ctrl-C until it ends; the shell's exit code.

        Python's readline shows the prompt, then waits: a signal in between is noticed with the next key.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.type("\x03")
            pause = time.monotonic() + 1
            while time.monotonic() < pause and self._read(1):
                pass
            with contextlib.suppress(subprocess.TimeoutExpired):
                return shell_code(self.process.wait(0.1))
        raise AssertionError(f"still runs:\n{self.text}")

    def wait(self, patience: float = 60.0) -> int:
        """The shell's exit code."""
        deadline = time.monotonic() + patience
        while self._read(max(0.1, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"still runs:\n{self.text}"
        return shell_code(self.process.wait(max(0.1, deadline - time.monotonic())))

    def _read(self, patience: float) -> bool:
        """Read what there is; False at the end."""
        if not select.select([self._master], [], [], max(0.0, patience))[0]:
            return True
        with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
            data = os.read(self._master, 65536)
            self.raw += data.decode("utf-8", "replace")
            return bool(data)
        return False
