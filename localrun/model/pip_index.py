"""What pip knows: where a package is, under the user's own index, mirrors, proxies and certificates."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from localrun.errors import FetchError
from localrun.model import pip
from localrun.model.files import disk_errors
from localrun.model.sources import Net

#: By a file's ending, what keeps pip from looking at other kinds.
_KINDS = {".whl": "--only-binary", ".tar.gz": "--no-binary"}


def locate(project: str, version: str, folder: Path, net: Net, ending: str = ".whl") -> str:
    """The address of a project's wheel, or its `.tar.gz`; "" when this pip does not tell. Raises FetchError.

    `pip index versions -vv` names the links of the project's page and downloads none of them. A dry run
    with a report, the tidier question, carries the whole wheel before pip 23.3, and later too where the
    index has no separate metadata.
    """
    command = ["index", "versions", "-vv", _KINDS[ending], ":all:", "--retries", "2", project]
    try:
        told = _pip(command, folder, net)
    except FetchError as e:
        if str(e) == pip.UNREACHED:
            raise
        return ""  # an experimental command of pip's: it may be gone
    link = rf"Found link (\S+?{re.escape(ending)})(?:#\S*?)?,? .*version: {re.escape(version)}$"
    found = re.search(link, told, re.MULTILINE)
    return found[1] if found else ""


def take(project: str, version: str, folder: Path, net: Net) -> Path:
    """The wheel in `folder`, by `pip download`: not resumable, but it goes wherever pip goes."""
    pin = f"{project}=={version}"
    command = ["download", "--dest", str(folder), "--no-deps", "--progress-bar", "off"]
    _pip([*command, "--only-binary", ":all:", "--retries", "2", pin], folder, net)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip fetched {len(wheels)} wheels for {pin}, not one")
    return wheels[0]


def _pip(command: list[str], folder: Path, net: Net) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    with disk_errors(folder):
        folder.mkdir(parents=True)
    # Temporary files in `folder`, on the disk whose room was checked.
    return pip.run(command, {**net.env, "TMPDIR": str(folder)})
