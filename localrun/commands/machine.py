"""The machine that a command plans for: this one, or one that --hardware and the like describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localrun.commands.base import App
from localrun.hardware.facts import Host


def bandwidth_file(app: App) -> Path:
    return app.session.paths.state / "bandwidth.json"


def machine(app: App, options: dict[str, Any], measure: bool = False) -> Host:
    """Raises UsageError for an unknown profile.

    `measure`: take half a second to measure RAM's bandwidth if that was never done on this hardware.
    """
    profile, vram, ram = options.get("hardware"), options.get("vram"), options.get("ram")
    disk = options.get("disk_free")
    if profile:
        from localrun.hardware.profiles import profile as imagined

        host = imagined(profile)
    else:
        from localrun.hardware.probe import detect

        host = detect(app.session.paths.hf_hub)  # where all but the default model is kept
        if measure or bandwidth_file(app).exists():
            from localrun.hardware.calibration import calibrated, measure_ram

            host = calibrated(host, bandwidth_file(app), measure_ram if measure else None, again=measure)
    if vram is not None or ram is not None or disk is not None:
        from localrun.hardware.sizes import override

        host = override(host, vram, ram, disk)
    return host
