"""Reads everything that the checks judge. Quick (2 s at most), no network, and no device woken up.

What cannot be read is left at the value of a machine without a fault: the doctor tells what it knows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from localrun.config import Session
from localrun.doctor import files, hub, linux, mac
from localrun.doctor.values import Facts, Holding
from localrun.engine.inventory import default_first, inventory
from localrun.engine.tools import pinned
from localrun.hardware import cgroup, pci, system
from localrun.hardware.facts import Gpu, Host
from localrun.hardware.probe import detect

_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def gather(session: Session, environ: Mapping[str, str] = os.environ) -> Facts:
    """The facts of this machine and this user's set-up."""
    from localrun import running

    host = detect(session.paths.models, environ)
    memory = system.memory()
    good, bad = running.records(session)
    alive = [record for record in good if running.is_alive(record)]
    port = session.config.port
    folder = session.paths.models
    is_linux = sys.platform == "linux"
    return Facts(
        config=session.config,
        host=host,
        limits=cgroup.read_limits() if is_linux else cgroup.Limits(),
        ram_machine=memory.total,
        swap_total=linux.meminfo("SwapTotal"),
        hugepages=linux.meminfo("Hugetlb"),
        thp=linux.chosen("sys/kernel/mm/transparent_hugepage/enabled"),
        governors=linux.governors("scaling_governor"),
        scaling_driver=next(iter(linux.governors("scaling_driver")), ""),
        energy=next(iter(linux.governors("energy_performance_preference")), ""),
        profile=linux.text("sys/firmware/acpi/platform_profile") or mac.power_mode(),
        engines=default_first(inventory(session, environ), session.config, host),
        devices=linux.devices(pci.read_cards()) if is_linux else (),
        holdings=_holdings(host, {record.handle.pid for record in alive}),
        port_holder=linux.port_holder(session.config.host, port),
        port_ours=any(record.handle.endpoint.endswith(f":{port}/v1") for record in alive),
        proxies=tuple(name for name in _PROXIES if environ.get(name)),
        no_proxy=environ.get("no_proxy") or environ.get("NO_PROXY") or "",
        models_dir=str(folder),
        models_writable=os.access(system.existing(str(folder)), os.W_OK | os.X_OK),
        disk_speed=files.disk_speed(folder),
        disk_kind=linux.filesystem(system.existing(str(folder))),
        broken_state=tuple(str(broken.path) for broken in bad),
        dead=tuple(r.name for r in good if not running.is_alive(r) and not running.is_owned(r)),
        lost=tuple(name for name, _ in running.lost(session)),
        downloads=files.downloads(session),
        broken=hub.broken(session),
        models=files.models(session),
        ollama_notes=files.ollama_notes(environ),
        pinned=pinned(),
    )


def _holdings(host: Host, ours: set[int]) -> tuple[Holding, ...]:
    if not any(gpu.backend == "cuda" and gpu.uuid for gpu in host.gpus):
        return ()
    from localrun.hardware import nvml

    def of(gpu: Gpu) -> list[Holding]:
        return [Holding(gpu.name, h.pid, h.name, h.vram, h.pid in ours) for h in nvml.holders(gpu)]

    return tuple(holding for gpu in host.gpus if gpu.uuid for holding in of(gpu))


def homes(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Every path by which the home folder may be named."""
    named = [environ.get("HOME", ""), str(Path.home())]
    return tuple(dict.fromkeys(p for home in named if home for p in (home, os.path.realpath(home))))


def user_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
