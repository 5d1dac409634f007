"""Runs pip: the one place that does, for packages as for engines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from localrun.errors import FetchError
from localrun.model.retry import redact

UNREACHED = "the package index cannot be reached"
_HINT = "check the network and pip's settings (`pip config list`)"


def require() -> None:
    from importlib.util import find_spec

    if find_spec("pip") is None:
        raise FetchError("pip is not installed beside localrun", "install pip there: `python -m ensurepip`")


def run(arguments: Sequence[str], env: Mapping[str, str], python: str = sys.executable) -> str:
    """What pip says on its standard output. Raises FetchError with the line of its that says most."""
    # -P: without it a folder named pip in the current directory would be run.
    argv = [python, "-P", "-m", "pip", *arguments, "--no-input"]
    env = {**env, "PIP_NO_COLOR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as e:
        raise FetchError(f"pip could not be started: {e.strerror}") from None
    if done.returncode:
        raise FetchError(_complaint(done.stdout + done.stderr), _HINT)
    return done.stdout


def _complaint(told: str) -> str:
    """The line of pip's that says most, without passwords."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    if any("NewConnectionError" in line or "NameResolutionError" in line for line in lines):
        return UNREACHED
    return redact(f"pip: {(errors or lines or ['it gave no reason'])[0]}")[:300]
