"""Checks of the set-up: engines, disk, port, proxies, state, downloads, templates. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from localrun.doctor.values import Facts, Finding
from localrun.engine.inventory import Found
from localrun.units import GIB, MIB, format_rate, format_size

#: What llama.cpp calls an instruction set -> what the CPU's features are called here.
_NEEDS = {
    "AVX": "avx",
    "AVX2": "avx2",
    "AVX_VNNI": "avx_vnni",
    "F16C": "f16c",
    "FMA": "fma",
    "BMI2": "bmi2",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512_vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
    "SVE": "sve",
    "MATMUL_INT8": "i8mm",
    "DOTPROD": "dotprod",
}
_LEAST_DISK = 2 * GIB
#: Below this, a model of 10 GB takes a minute and a half to load.
_SLOW_DISK = 120 * MIB
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs")
_NEWEST = ("llama4", "deepseek32")


def engine(facts: Facts) -> Iterator[Finding]:
    used = [e for e in facts.engines if e.used]
    if not used:
        yield Finding("engine", "fail", "no llama.cpp that `up` can run", "localrun engine install")
        return
    first = used[0]
    yield Finding("engine", "ok", f"`up` takes {first.kind} {first.label} ({first.source})")
    if first.seen.architectures:
        old = [name for name in _NEWEST if name not in first.seen.architectures]
        if old:
            text = f"{first.kind} {first.label} is too old for {' and '.join(old)}"
            yield Finding("engine", "warn", text, "localrun engine install --native")
    for one in used:
        if one.kind == "xllamacpp" and facts.pinned and one.release and one.release != facts.pinned:
            text = f"xllamacpp {one.release} is here, this localrun was made for {facts.pinned}"
            yield Finding("engine", "warn", text, f"pip install xllamacpp=={facts.pinned}")


def builds(facts: Facts) -> Iterator[Finding]:
    """Builds that are known to crash on this CPU."""
    have = set(facts.host.cpu.features)
    for i, one in enumerate(e for e in facts.engines if e.used):
        label = f"{one.kind} {one.label}"
        lacking = [n for n in one.seen.features if n in _NEEDS and _NEEDS[n] not in have]
        if have and lacking:
            text = f"{label} needs {', '.join(lacking)}, which this CPU does not have: it will die of SIGILL"
            # Only the first is what `up` takes by itself.
            yield Finding("engine build", "warn" if i else "fail", text, _another(one, facts))
        elif "AMX_INT8" in one.seen.features:
            if one.seen.compiler.startswith("GNU 12"):
                text = (
                    f"{label} was built by GCC 12 for AMX: it dies of SIGILL unless started with --no-repack"
                )
            else:
                text = (
                    f"{label} was built for AMX: DeepSeek models abort in it unless started with --no-repack"
                )
            yield Finding("engine build", "warn", text, "localrun engine install --native")


def _another(bad: Found, facts: Facts) -> str:
    if bad.kind == "llama-server" and any(e.kind == "xllamacpp" for e in facts.engines):
        return "export LOCALRUN_ENGINE=embedded"
    return "localrun engine install --native"


def disk(facts: Facts) -> Iterator[Finding]:
    free, folder = facts.host.disk_free, facts.models_dir
    other = "export LOCALRUN_MODELS_DIR=/another/disk/models"
    if not facts.models_writable:
        yield Finding("disk", "fail", f"{folder} cannot be written by this user", other)
    elif free < 128 * MIB:
        yield Finding("disk", "fail", f"{format_size(free)} free for models in {folder}", "localrun list")
    elif free < _LEAST_DISK:
        yield Finding(
            "disk", "warn", f"only {format_size(free)} free for models in {folder}", "localrun list"
        )
    else:
        yield Finding("disk", "ok", f"{format_size(free)} free for models in {folder}")
    if facts.disk_kind in _NETWORK:
        text = f"models lie on a network file system ({facts.disk_kind}): pages that were dropped come back slowly"
        yield Finding("disk speed", "warn", text, other)
    elif facts.disk_speed and facts.disk_speed < _SLOW_DISK:
        text = f"the models' disk reads {format_rate(facts.disk_speed)} (measured)"
        yield Finding("disk speed", "warn", text, other)
    elif facts.disk_speed:
        yield Finding("disk speed", "ok", f"{format_rate(facts.disk_speed)} (measured)")


def port(facts: Facts) -> Iterator[Finding]:
    if facts.port_holder is None or facts.port_ours:
        return
    who = facts.port_holder or "another program"
    text = f"port {facts.config.port} is taken by {who}: `up` takes the next free one"
    yield Finding("port", "warn", text, f"export LOCALRUN_PORT={facts.config.port + 1}")


def proxies(facts: Facts) -> Iterator[Finding]:
    """A proxy that would be asked for 127.0.0.1: clients then fail, or talk to a stranger."""
    if not facts.proxies or covers_loopback(facts.no_proxy):
        return
    text = f"{' and '.join(facts.proxies)} would send requests for 127.0.0.1 to a proxy"
    yield Finding(
        "proxy", "warn", text, "export NO_PROXY=localhost,127.0.0.1,::1 no_proxy=localhost,127.0.0.1,::1"
    )


def covers_loopback(no_proxy: str) -> bool:
    entries = {entry.strip() for entry in no_proxy.split(",")}
    return bool(entries & {"*", "127.0.0.1", "127.0.0.0/8"})


def state(facts: Facts) -> Iterator[Finding]:
    for path in facts.broken_state:
        yield Finding("state", "warn", f"{path}: not a readable record", f"rm {shlex.quote(path)}")
    for name in facts.dead:
        yield Finding(
            "state",
            "warn",
            f"{name} ended by itself; its record is still here",
            f"localrun down {shlex.quote(name)}",
        )
    for name in facts.lost:
        text = f"{name}: an engine without a record runs"
        yield Finding("state", "warn", text, f"localrun down {shlex.quote(name)}")


def downloads(facts: Facts) -> Iterator[Finding]:
    for one in facts.downloads:
        text = f"an unfinished download holds {format_size(one.bytes)}: {one.path}"
        yield Finding(
            "downloads", "warn", text, f"rm {shlex.quote(one.path)}  # or pull again: it goes on from there"
        )
    for file in facts.broken:
        path, again = shlex.quote(file.path), f"# then: localrun pull {shlex.quote(file.name)}"
        text = f"{file.name}: a link in the cache leads to nothing: {file.path}"
        if file.bytes or file.recorded:
            sizes = f"{file.bytes} bytes, and had {file.recorded} when it was verified"
            text = f"{file.name}: damaged: {file.path} has {sizes}"
        yield Finding("downloads", "warn", text, f"rm {path}  {again}")
    for model in facts.models:
        if not model.whole:
            name = shlex.quote(model.name)
            yield Finding(
                "downloads", "warn", f"{model.name} cannot be used: {model.why}", f"localrun pull {name}"
            )
    for note in facts.ollama_notes:
        name = note.partition(": ")[0]
        if "ollama" not in note and "servers" not in note and "cannot be" not in note:
            yield Finding("downloads", "warn", f"Ollama's {note}", f"ollama pull {shlex.quote(name)}")


def templates(facts: Facts) -> Iterator[Finding]:
    for model in facts.models:
        if model.whole and not model.template and not model.known:
            text = f"{model.name} carries no chat template: chats are rendered by a guess"
            fix = 'gguf-new-metadata --chat-template "$(cat TEMPLATE.jinja)" '
            yield Finding("template", "warn", text, fix + f"{shlex.quote(model.path)} NEW.gguf")


CHECKS = (engine, builds, disk, port, proxies, state, downloads, templates)
