"""The engines that `engine install --native` put into the user's data folder."""

from __future__ import annotations

import os
from pathlib import Path


def installed(data: Path) -> tuple[Path, ...]:
    """The llama-server of each, the newest first; drafts of a build that goes on do not count."""
    servers = [p for p in (data / "engines").glob("[!.]*/bin/llama-server") if os.access(p, os.X_OK)]
    return tuple(sorted(servers, key=lambda p: p.stat().st_mtime, reverse=True))
