"""A program that works for a while and says how far it is: run in a process group of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from localrun.errors import EngineError


def follow(argv: Sequence[str], each: Callable[[bytes], None], env: Mapping[str, str] | None = None) -> int:
    """Gives each line of its output, both streams together, to `each`; returns its exit status.

    Whatever ends the waiting, Ctrl-C included, ends the whole group: a compiler below cmake must not go on.
    Raises EngineError where it cannot be started.
    """
    try:
        child = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as failed:
        raise EngineError(f"cannot start {argv[0]}: {failed.strerror}") from None
    assert child.stdout is not None
    try:
        for line in child.stdout:
            each(line)
        return child.wait()
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    finally:
        child.stdout.close()
