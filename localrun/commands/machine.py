"""The machine that a command plans for: this one, or one that --hardware and the like describe."""

from __future__ import annotations

from typing import Any

from localrun.commands.base import App
from localrun.hardware.facts import Host


def machine(app: App, options: dict[str, Any]) -> Host:
    """Raises UsageError for an unknown profile."""
    profile, vram, ram = options.get("hardware"), options.get("vram"), options.get("ram")
    disk = options.get("disk_free")
    if profile:
        from localrun.hardware.profiles import profile as imagined

        host = imagined(profile)
    else:
        from localrun.hardware.probe import detect

        host = detect(app.session.paths.models)
    if vram is not None or ram is not None or disk is not None:
        from localrun.hardware.profiles import override

        host = override(host, vram, ram, disk)
    return host
