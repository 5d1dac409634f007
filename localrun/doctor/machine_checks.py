"""Checks of the machine: driver, GPU, permissions, memory, power. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from localrun.doctor.values import Facts, Finding
from localrun.engine.install import cuda_of_driver
from localrun.engine.inventory import uses_gpu
from localrun.units import GIB, MIB, format_size

#: The default model with its cache takes less; below this nothing starts.
_LEAST_RAM = 512 * MIB
_LITTLE_RAM = 2 * GIB
#: What draws the screen: to be known, not to be killed.
_DESKTOP = frozenset(
    {"Xorg", "Xwayland", "gnome-shell", "kwin_wayland", "kwin_x11", "plasmashell", "sway", "Hyprland"}
    | {"weston", "mutter", "cosmic-comp", "gdm-x-session", "labwc", "niri", "WindowServer", "dwm.exe"}
)
#: A note of detection -> what mends it. The first that is in the note counts.
_DRIVER_FIXES = (
    ("kernel module is not loaded", "sudo modprobe nvidia"),
    ("reboot", "sudo reboot"),
    ("outside this container", "docker run --gpus all ..."),
    ("libnvidia-ml.so.1 is missing", "sudo apt install nvidia-utils  # or the driver package of this system"),
    ("no driver for it", "sudo ubuntu-drivers install  # or the driver package of this system"),
    ("no permission", 'sudo usermod -aG video,render "$USER"  # then log in again'),
    ("nvidia-ml-py is not installed", "pip install nvidia-ml-py"),
    ("MIG mode without an instance", "sudo nvidia-smi mig -cgi 0 -C"),
    ("CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES"),
)


def driver(facts: Facts) -> Iterator[Finding]:
    """What detection could not read of a GPU stops that GPU, not every run."""
    for note in facts.host.notes:
        fix = next((fix for words, fix in _DRIVER_FIXES if words in note), "")
        if fix:
            yield Finding("driver", "warn", note, fix)
    for gpu in facts.host.gpus:
        told = f", driver {gpu.driver}" if gpu.driver else ""
        yield Finding("gpu", "ok", f"{gpu.name} ({gpu.backend}{told}), {format_size(gpu.vram_free)} free")


def gpu_engine(facts: Facts) -> Iterator[Finding]:
    """A GPU that the plan counts on and the engine cannot use."""
    used = next((e for e in facts.engines if e.used), None)
    if used is None or not facts.host.gpus:
        return
    gpu = facts.host.gpus[0]
    if uses_gpu(used.seen, facts.host.gpus):
        yield Finding(
            "gpu engine", "ok", f"{used.kind} {used.label} was built with {_list(used.seen.backends)}"
        )
        return
    other = next((e for e in facts.engines if e.used and uses_gpu(e.seen, facts.host.gpus)), None)
    built = f"with {_list(used.seen.backends)}" if used.seen.backends else "for the CPU only"
    text = f"{used.kind} {used.label} cannot use the {gpu.name}: it was built {built}"
    if other is not None:
        name = "embedded" if other.kind == "xllamacpp" else other.kind
        yield Finding("gpu engine", "fail", f"{text}; {other.kind} can", f"export LOCALRUN_ENGINE={name}")
    else:
        yield Finding("gpu engine", "fail", text, "localrun engine install")


def cuda(facts: Facts) -> Iterator[Finding]:
    """The CUDA runtime of the build against what the driver can run."""
    gpu = next((g for g in facts.host.gpus if g.backend == "cuda"), None)
    used = next((e for e in facts.engines if e.used and e.seen.cuda), None)
    if gpu is None or used is None:
        return
    most = cuda_of_driver(gpu.driver)
    needs = int(used.seen.cuda.split(".")[0])
    if most and most[0] < needs:
        runs = f"driver {gpu.driver} runs up to {most[0]}.{most[1]}"
        text = f"{used.kind} {used.label} needs CUDA {used.seen.cuda}, {runs}"
        yield Finding("cuda", "fail", text, "localrun engine install")


def permissions(facts: Facts) -> Iterator[Finding]:
    for device in facts.devices:
        if not device.usable:
            group = device.group if device.group and device.group != "root" else "render"
            text = f"{device.path} may not be used by this user: its GPU stays unused"
            yield Finding(
                "permissions", "fail", text, f'sudo usermod -aG {group} "$USER"  # then log in again'
            )


def limits(facts: Facts) -> Iterator[Finding]:
    memory, cpus = facts.limits.memory, facts.limits.cpus
    if memory is not None and facts.ram_machine and memory < facts.ram_machine // 2:
        text = (
            f"a cgroup limits this process to {format_size(memory)} of {format_size(facts.ram_machine)} RAM"
        )
        fix = f"docker update --memory {facts.ram_machine // GIB}g --memory-swap -1 CONTAINER"
        yield Finding("limits", "warn", text, fix)
    if cpus is not None and facts.host.cpu.threads_total and cpus < facts.host.cpu.threads_total / 2:
        text = f"a cgroup limits this process to {cpus:g} of {facts.host.cpu.threads_total} CPUs"
        yield Finding(
            "limits", "warn", text, f"docker update --cpus {facts.host.cpu.threads_total} CONTAINER"
        )


def memory(facts: Facts) -> Iterator[Finding]:
    ram = facts.host.ram
    said = f"{format_size(ram.available)} of {format_size(ram.total)} RAM available"
    show = "ps -eo rss,pid,comm --sort=-rss | head"
    if ram.available < _LEAST_RAM:
        yield Finding("memory", "fail", f"{said}: no model starts", show)
    elif ram.available < _LITTLE_RAM:
        yield Finding("memory", "warn", f"{said}: only the smallest models fit", show)
    else:
        yield Finding("memory", "ok", said)
    swapped = facts.swap_total - ram.swap_free
    if facts.swap_total and swapped > facts.swap_total // 2 and ram.available < ram.total // 10:
        yield Finding("swap", "warn", f"{format_size(swapped)} are swapped out: weights would follow", show)
    if ram.total and facts.hugepages > ram.total // 10:
        text = f"{format_size(facts.hugepages)} RAM are set aside as huge pages, which no engine uses"
        yield Finding("huge pages", "warn", text, "sudo sysctl vm.nr_hugepages=0")
    if facts.thp == "never":
        text = "transparent huge pages are off: caches and repacked weights are read through small pages"
        fix = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
        yield Finding("huge pages", "warn", text, fix)


def power(facts: Facts) -> Iterator[Finding]:
    if facts.profile in ("low-power", "quiet"):
        mac = facts.host.system == "darwin"
        text = "Low Power Mode is on" if mac else f"the power profile is {facts.profile}"
        fix = "sudo pmset -a lowpowermode 0" if mac else "powerprofilesctl set performance"
        yield Finding("power", "warn", text, fix)
    # Drivers that decide by themselves call their usual mode "powersave".
    by_itself = facts.scaling_driver in ("intel_pstate", "amd-pstate-epp")
    if "powersave" in facts.governors and not by_itself:
        text = "the CPU's frequency governor is powersave: its lowest frequency, whatever the load"
        yield Finding("power", "warn", text, "sudo cpupower frequency-set -g performance")
    elif facts.energy == "power":
        text = "the CPU prefers saving energy over speed"
        yield Finding("power", "warn", text, "powerprofilesctl set performance")


def vram(facts: Facts) -> Iterator[Finding]:
    """Others on the GPU, by name; those of less than 64 MiB are the desktop's own small change."""
    for held in facts.holdings:
        if held.ours or (held.vram is not None and held.vram < 64 * MIB):
            continue
        size = format_size(held.vram) if held.vram is not None else "memory"
        name = held.name or "a program outside this container"
        text = f"{name} (process {held.pid}) holds {size} of {held.gpu}"
        if held.name in _DESKTOP:
            yield Finding("vram", "ok", text)
            continue
        yield Finding("vram", "warn", text, f"kill {held.pid}  # ends {name}")


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)


CHECKS = (driver, gpu_engine, cuda, permissions, limits, memory, power, vram)
