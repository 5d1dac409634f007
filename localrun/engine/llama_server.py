"""A llama-server binary: on PATH, or named in the config."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from localrun.engine.base import Availability
from localrun.engine.embedded import Process
from localrun.errors import EngineMissing
from localrun.plan.values import Plan
from localrun.recipe.argv import REQUIRED, supported, to_argv
from localrun.recipe.environment import environment
from localrun.recipe.values import Launch, Recipe

#: A binary that cannot print its help within this many seconds is not one we can drive.
_PATIENCE = 20.0


class LlamaServer(Process):
    name = "llama-server"

    def __init__(self, named: str = "") -> None:
        """`named` is a path from the config; empty means PATH."""
        self._named = named
        self._flags: frozenset[str] | None = None

    def available(self) -> Availability:
        path = shutil.which(self._named or "llama-server")
        if path is None:
            why = f"{self._named}: not there or not executable" if self._named else "no llama-server on PATH"
            return Availability(False, why=why)
        return Availability(True, path=str(Path(path).absolute()))

    def lacks(self) -> tuple[str, ...]:
        """What the binary does not know and cannot be launched without. Runs its `--help`."""
        known = self._known(self.available().path)
        return tuple(sorted(REQUIRED - known)) if known else ()

    def _known(self, path: str) -> frozenset[str]:
        if self._flags is None:
            self._flags = known_flags(path)
        return self._flags

    def recipe(self, plan: Plan, launch: Launch) -> Recipe:
        found = self.available()
        if not found.usable:
            raise EngineMissing(found.why, "use --engine embedded")
        argv, _ = supported(to_argv(plan.settings, launch), self._known(found.path))
        return Recipe(self.name, (found.path, *argv), environment(launch, plan.host), plan.settings, launch)


def known_flags(path: str) -> frozenset[str]:
    """Every flag in the binary's `--help`; empty when it prints none. Raises EngineMissing."""
    try:
        stamp = os.stat(path).st_mtime_ns
    except OSError:
        stamp = 0
    return _known_flags(path, stamp)


@functools.lru_cache(maxsize=16)
def _known_flags(path: str, _stamp: int) -> frozenset[str]:
    try:
        done = subprocess.run([path, "--help"], capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise EngineMissing(f"{path} does not run: {failed}", "use --engine embedded") from None
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    return frozenset(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text))
