"""Machines that are not here: what `--hardware`, `--vram`, `--ram` and `--disk-free` describe.

The figures stand in profiles.toml, read only when a profile is asked for.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

from localrun.errors import UsageError
from localrun.hardware import apple, cards
from localrun.hardware.facts import Backend, Cpu, Gpu, Host, Ram
from localrun.hardware.sizes import available
from localrun.units import GIB, MIB, parse_size
from localrun.value import replace

_MANY = re.compile(r"(\d{1,2})\s*[xX×]\s*-?\s*(?=\D*\d)(.+)")
_MOST = 16  # GPUs that llama.cpp accepts (GGML_CUDA_MAX_DEVICES)


def profile(name: str) -> Host:
    """The machine called `name`, case and separators ignored: `RTX 4090`, `2x rtx-4090`, `m3-max-36gb`.

    Raises UsageError with the closest names for one that is not known.
    """
    match = _MANY.fullmatch(name.strip())
    count, single = (int(match[1]), match[2]) if match else (1, name)
    if not 1 <= count <= _MOST:
        raise UsageError(f"{name!r}: between 1 and {_MOST} GPUs", "for example 2x rtx-4090")
    host = _find(single)
    if count == 1:
        return host
    if not host.gpus or any(gpu.unified for gpu in host.gpus):
        raise UsageError(f"{name!r}: there is only one {host.name}", "several cards: 2x rtx-4090")
    return _several(host, count)


def profile_names() -> tuple[str, ...]:
    """Every name that `profile` lists; more cards are known by their vendor's name."""
    apples = _entries("apple")
    sized = [f"{chip}-{size}gb" for chip, entry in apples.items() for size in entry["ram"]]
    return ("cpu", "cpu-server", *_texts()["card"], *_texts()["unified"], *apples, *sized)


def _find(name: str) -> Host:
    key = _key(name)
    for known in ("cpu", "cpu-server"):
        if _key(known) == key:
            return _machine("server" if known == "cpu-server" else "cpu", known)
    kinds = (("card", _card), ("unified", _unified))
    for section, build in kinds:
        for known in _texts()[section]:
            if _key(known) == key:
                return build(known, _entry(section, known))
    for section, build in kinds:
        for known, entry in _entries(section).items():
            gib = round(entry.get("vram", 0) / 1024)
            if key in _names(known, gib) | _names(entry["name"], gib):
                return build(known, entry)
    for known, entry in _entries("apple").items():
        if key.startswith(_key(known)) and key[len(_key(known)) :] in ("", *_sizes(entry["ram"])):
            return _apple(known, entry, key[len(_key(known)) :])
    spec = next(
        (spec for spec in cards.specs() if spec.vram and key in _names(spec.name, spec.vram // GIB)), None
    )
    if spec is not None:
        return _from_table(spec)
    raise _unknown(name)


def _several(host: Host, count: int) -> Host:
    """A desktop board splits its lanes between two cards and holds no third."""
    gpu, name = host.gpus[0], f"{count}x {host.name}"
    desktops = (_entry("machine", "desktop")["cpu"], _entry("machine", "desktop-ddr4")["cpu"])
    if host.cpu.name in desktops and count > 2:
        host = _machine("workstation", name)
    elif host.cpu.name in desktops:
        gpu = replace(gpu, link=min(gpu.link, max(_giga(15.75), gpu.link // 2)))
    return replace(host, name=name, gpus=tuple(replace(gpu, index=i) for i in range(count)))


def _names(name: str, gib: int) -> set[str]:
    """A card's name, without its family, and each with its size: `a100-80gb`, `rtx-3060-12gb`, `4090`."""
    short = {_key(name), *(_key(name).removeprefix(family) for family in ("rtx", "rx", "arc"))}
    return short | {f"{key}{gib}gb" for key in short}


def _sizes(ram: list[int]) -> list[str]:
    return [text for size in ram for text in (f"{size}gb", f"{size}g", f"{size}gib", str(size))]


def _unknown(name: str) -> UsageError:
    import difflib

    names = {_key(known): known for known in profile_names()}
    close = difflib.get_close_matches(_key(name), list(names), n=4, cutoff=0.5)
    listed = ", ".join(names[key] for key in close) or "rtx-4090, 2x rtx-3090, h100, m3-max-36gb, cpu"
    return UsageError(f"no hardware profile {name!r}", f"closest: {listed}")


def _key(name: str) -> str:
    """Letters and digits, without the makers' names."""
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    for maker in ("nvidia", "geforce", "amd", "radeon", "apple", "intel"):
        key = key.removeprefix(maker)
    return key.removesuffix("graphics")


def _machine(machine: str, name: str) -> Host:
    entry = _entry("machine", machine)
    ram = parse_size(entry["ram"])
    return Host(
        name=name,
        system="linux",
        arch=entry.get("arch", "x86_64"),
        cpu=Cpu(entry["cpu"], entry["cores"], entry["threads"], entry["threads"], tuple(entry["features"])),
        ram=Ram(ram, available(ram), _giga(entry["ram_bandwidth"])),
        disk_free=parse_size(entry["disk_free"]),
        disk_bandwidth=_giga(entry["disk_bandwidth"]),
        simulated=True,
    )


def _card(name: str, entry: dict[str, Any]) -> Host:
    vram = entry["vram"] * MIB
    vram -= max(250 * MIB, vram * 15 // 1000)
    gpu = _gpu(entry["name"], entry.get("backend", "cuda"), vram)
    return replace(_machine(entry["machine"], name), gpus=(replace(gpu, link=_giga(entry["link"])),))


def _unified(name: str, entry: dict[str, Any]) -> Host:
    host = _machine(entry["machine"], name)
    total = int(host.ram.total * entry["share"])
    gpu = _gpu(entry["name"], entry["backend"], total)
    return replace(host, gpus=(replace(gpu, unified=True, vram_free=min(total, host.ram.available)),))


def _from_table(spec: cards.Spec) -> Host:
    backend: Backend = "cuda"
    if "AMD" in spec.source:
        backend = "rocm"
    elif "Intel" in spec.source:
        backend = "sycl"
    name = spec.name.lower().replace(" ", "-")
    machine = "server" if spec.vram >= 40 * GIB else "desktop"
    entry = {
        "name": spec.name,
        "vram": spec.vram // MIB,
        "machine": machine,
        "link": 31.5,
        "backend": backend,
    }
    return _card(name, entry)


def _gpu(name: str, backend: Backend, vram: int) -> Gpu:
    spec = cards.find(name, vram)
    if spec is None:
        raise UsageError(f"no figures for the card {name!r}")
    return Gpu(name, backend, 0, vram, vram, spec.bandwidth, "estimated", spec.flops)


def _apple(name: str, entry: dict[str, Any], size: str) -> Host:
    gib = int(re.sub(r"\D", "", size)) if size else entry["ram"][0]
    narrow = entry.get("narrow", {})
    cores = narrow["cores"] if gib in narrow.get("ram", ()) else entry["cores"]
    chip = apple.chip("Apple " + " ".join(part.capitalize() for part in name.split("-")))
    total = gib * GIB
    bandwidth, flops = apple.chip_rates(chip, cores, total)
    wired, _ = apple.wired_limit(total, {})
    ram = Ram(total, available(total), bandwidth // 2)
    gpu = Gpu(
        name=f"Apple {chip}",
        backend="metal",
        index=0,
        vram_total=wired,
        vram_free=min(wired, ram.available),
        bandwidth=bandwidth,
        flops=flops,
        unified=True,
    )
    return Host(
        name=f"{name}-{gib}gb",
        system="darwin",
        arch="arm64",
        cpu=Cpu(f"Apple {chip}", cores, cores, cores, ("neon", "dotprod", "fp16")),
        ram=ram,
        gpus=(gpu,),
        disk_free=500 * GIB,
        disk_bandwidth=5_000_000_000,  # Apple's own disks read 3 to 7 GB/s
        simulated=True,
    )


def _giga(value: float) -> int:
    return round(value * 1e9)


@lru_cache(maxsize=1)
def _texts() -> dict[str, dict[str, str]]:
    """profiles.toml cut into its tables: section -> name -> the lines that tell about it.

    Parsing all of it would cost a tenth of the plan that follows.
    """
    with open(os.path.join(os.path.dirname(__file__), "profiles.toml"), encoding="utf-8") as file:
        _, *tables = file.read().split("\n[")
    found: dict[str, dict[str, str]] = {}
    for table in tables:
        header, _, body = table.partition("\n")
        section, dot, name = header.partition("]")[0].partition(".")
        rows = (
            {name: f"[{name}]\n{body}"}
            if dot
            else {line.partition(" = ")[0]: line for line in body.splitlines()}
        )
        found.setdefault(section, {}).update(
            (name, row) for name, row in rows.items() if name and not name.startswith("#")
        )
    return found


@lru_cache(maxsize=64)
def _entry(section: str, name: str) -> dict[str, Any]:
    import tomllib

    found: dict[str, Any] = tomllib.loads(_texts()[section][name])[name]
    return found


def _entries(section: str) -> dict[str, dict[str, Any]]:
    return {name: _entry(section, name) for name in _texts()[section]}
