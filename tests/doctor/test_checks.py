"""Each check over made-up facts: it says nothing of a healthy machine, and names the command for each fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localrun.doctor.examine import examine, stops
from localrun.doctor.setup_checks import covers_loopback
from localrun.doctor.values import BrokenFile, Device, Download, Facts, Finding, Holding, ModelFile
from localrun.engine.inventory import Found
from localrun.engine.peek import Seen
from localrun.hardware.cgroup import Limits
from localrun.hardware.facts import Cpu, Gpu, Host, Ram
from localrun.units import GIB, MIB

FEATURES = ("avx", "avx2", "f16c", "fma", "bmi2", "avx512f")
GPU = Gpu("RTX 4090", "cuda", 0, 24 * GIB, 23 * GIB, driver="580.65.06", uuid="GPU-1")
KNOWS = ("llama", "llama4", "deepseek32")
WHEEL = Found("xllamacpp", Path("/x.so"), "package", Seen((), KNOWS, ("AVX", "AVX2")), "2026.1.1", True)
SERVER = Found(
    "llama-server",
    Path("/s"),
    "PATH",
    Seen(("CUDA", "RPC"), KNOWS, ("AVX2",), build=9500, cuda="12"),
    "",
    True,
)
HEALTHY = Facts(
    host=Host(
        "this machine",
        "linux",
        "x86_64",
        Cpu("Ryzen", 8, 16, 16, FEATURES),
        Ram(64 * GIB, 60 * GIB, swap_free=8 * GIB),
        (GPU,),
        disk_free=500 * GIB,
    ),
    ram_machine=64 * GIB,
    swap_total=8 * GIB,
    thp="madvise",
    governors=("powersave",),
    scaling_driver="amd-pstate-epp",
    engines=(SERVER, WHEEL),
    models_dir="/models",
    disk_speed=2 * GIB,
    disk_kind="ext4",
    pinned="2026.1.1",
)


def host(**changes: object) -> Facts:
    return replace(HEALTHY, host=replace(HEALTHY.host, **changes))  # type: ignore[arg-type]


def ram(**changes: int) -> Facts:
    return host(ram=replace(HEALTHY.host.ram, **changes))


def engine(found: Found, **seen: object) -> Facts:
    changed = replace(found, seen=replace(found.seen, **seen))  # type: ignore[arg-type]
    return replace(HEALTHY, engines=(changed,))


def cpu_only() -> Facts:
    return replace(HEALTHY, engines=(WHEEL,))


#: what is wrong -> (facts, check, severity, words, the command's beginning)
FAULTS: dict[str, tuple[Callable[[], Facts], str, str, str, str]] = {
    "driver not loaded": (
        lambda: host(gpus=(), notes=("NVIDIA: the driver's kernel module is not loaded; `sudo modprobe nvidia`",)),
        "driver", "warn", "not loaded", "sudo modprobe"),
    "driver updated": (
        lambda: host(notes=("NVIDIA: the driver was updated while its old kernel module still runs; reboot",)),
        "driver", "warn", "updated", "sudo reboot"),
    "hidden GPUs": (
        lambda: host(gpus=(), notes=("CUDA_VISIBLE_DEVICES='' hides every NVIDIA GPU",)),
        "driver", "warn", "hides", "unset CUDA"),
    "engine without the GPU": (cpu_only, "gpu engine", "fail", "cannot use the RTX 4090", "localrun engine install"),
    "the other engine has it": (
        lambda: replace(HEALTHY, engines=(replace(SERVER, seen=Seen()), replace(WHEEL, seen=Seen(("CUDA",))))),
        "gpu engine", "fail", "xllamacpp can", "export LOCALRUN_ENGINE=embedded"),
    "CUDA newer than the driver": (
        lambda: replace(
            engine(SERVER, cuda="13"), host=replace(HEALTHY.host, gpus=(replace(GPU, driver="550.54.14"),))),
        "cuda", "fail", "needs CUDA 13, driver 550.54.14 runs up to 12.4", "localrun engine install"),
    "render group": (
        lambda: replace(HEALTHY, devices=(Device("/dev/dri/renderD128", False, "render"),)),
        "permissions", "fail", "/dev/dri/renderD128", 'sudo usermod -aG render "$USER"'),
    "kfd of root": (
        lambda: replace(HEALTHY, devices=(Device("/dev/kfd", False, "root"),)),
        "permissions", "fail", "/dev/kfd", "sudo usermod -aG render"),
    "memory limit": (
        lambda: replace(HEALTHY, limits=Limits(memory=8 * GIB)),
        "limits", "warn", "8.0 GiB of 64.0 GiB", "docker update"),
    "CPU quota": (
        lambda: replace(HEALTHY, limits=Limits(cpus=1.5)),
        "limits", "warn", "1.5 of 16 CPUs", "docker update --cpus 16"),
    "no memory": (lambda: ram(available=200 * MIB), "memory", "fail", "no model starts", "ps "),
    "little memory": (lambda: ram(available=GIB), "memory", "warn", "only the smallest", "ps "),
    "swapping": (lambda: ram(available=3 * GIB, swap_free=GIB), "swap", "warn", "7.0 GiB are swapped out", "ps "),
    "huge pages set aside": (
        lambda: replace(HEALTHY, hugepages=32 * GIB),
        "huge pages", "warn", "32.0 GiB", "sudo sysctl vm.nr_hugepages=0"),
    "huge pages off": (lambda: replace(HEALTHY, thp="never"), "huge pages", "warn", "are off", "echo madvise"),
    "low power": (lambda: replace(HEALTHY, profile="low-power"), "power", "warn", "low-power", "powerprofilesctl"),
    "Low Power Mode of a Mac": (
        lambda: replace(host(system="darwin"), profile="low-power"),
        "power", "warn", "Low Power Mode is on", "sudo pmset -a lowpowermode 0"),
    "powersave": (
        lambda: replace(HEALTHY, scaling_driver="acpi-cpufreq"),
        "power", "warn", "powersave", "sudo cpupower"),
    "saves energy": (lambda: replace(HEALTHY, energy="power"), "power", "warn", "saving energy", "powerprofilesctl"),
    "another on the GPU": (
        lambda: replace(HEALTHY, holdings=(Holding("RTX 4090", 42, "blender", 9 * GIB),)),
        "vram", "warn", "blender (process 42) holds 9.0 GiB of RTX 4090", "kill 42"),
    "another, hidden": (
        lambda: replace(HEALTHY, holdings=(Holding("RTX 4090", 42, "", None),)),
        "vram", "warn", "outside this container (process 42) holds memory", "kill 42"),
    "no engine": (lambda: replace(HEALTHY, engines=()), "engine", "fail", "no llama.cpp", "localrun engine install"),
    "old engine": (
        lambda: engine(SERVER, architectures=("llama", "llama4")), "engine", "warn", "too old for deepseek32",
        "localrun engine install --native"),
    "another release": (
        lambda: replace(HEALTHY, pinned="2026.2.2"),
        "engine", "warn", "made for 2026.2.2", "pip install xllamacpp==2026.2.2"),
    "foreign instructions": (
        lambda: engine(SERVER, features=("AVX2", "AVX512_VNNI")),
        "engine build", "fail", "needs AVX512_VNNI", "localrun engine"),
    "foreign, and a wheel": (
        lambda: replace(HEALTHY, engines=(*engine(SERVER, features=("AVX512_VNNI",)).engines, WHEEL)),
        "engine build", "fail", "SIGILL", "export LOCALRUN_ENGINE=embedded"),
    "AMX by GCC 12": (
        lambda: replace(
            engine(SERVER, features=("AMX_INT8",), compiler="GNU 12.2.0"),
            host=replace(HEALTHY.host, cpu=replace(HEALTHY.host.cpu, features=(*FEATURES, "amx_int8")))),
        "engine build", "warn", "GCC 12", "localrun engine install --native"),
    "AMX": (
        lambda: replace(
            engine(SERVER, features=("AMX_INT8",), compiler="GNU 14.1.0"),
            host=replace(HEALTHY.host, cpu=replace(HEALTHY.host.cpu, features=(*FEATURES, "amx_int8")))),
        "engine build", "warn", "DeepSeek models abort", "localrun engine install --native"),
    "folder not writable": (
        lambda: replace(HEALTHY, models_writable=False),
        "disk", "fail", "cannot be written", "export LOCALRUN_MODELS_DIR"),
    "disk full": (lambda: host(disk_free=MIB), "disk", "fail", "1 MiB free", "localrun list"),
    "disk nearly full": (lambda: host(disk_free=GIB), "disk", "warn", "only 1.0 GiB", "localrun list"),
    "slow disk": (
        lambda: replace(HEALTHY, disk_speed=90 * MIB),
        "disk speed", "warn", "94 MB/s (measured)", "export LOCALRUN_MODELS_DIR"),
    "network disk": (
        lambda: replace(HEALTHY, disk_kind="nfs4"),
        "disk speed", "warn", "nfs4", "export LOCALRUN_MODELS_DIR"),
    "port taken": (
        lambda: replace(HEALTHY, port_holder="node (process 7)"),
        "port", "warn", "taken by node", "export LOCALRUN_PORT=8081"),
    "proxy": (
        lambda: replace(HEALTHY, proxies=("HTTP_PROXY",), no_proxy="example.com"),
        "proxy", "warn", "HTTP_PROXY would send", "export NO_PROXY=localhost,127.0.0.1,::1"),
    "broken record": (
        lambda: replace(HEALTHY, broken_state=("/state/a b.json",)),
        "state", "warn", "not a readable", "rm '/state/a b.json'"),
    "dead engine": (lambda: replace(HEALTHY, dead=("x",)), "state", "warn", "x ended", "localrun down x"),
    "lost engine": (lambda: replace(HEALTHY, lost=("x",)), "state", "warn", "without a record", "localrun down x"),
    "leftover": (
        lambda: replace(HEALTHY, downloads=(Download("/m/a.part", 3 * GIB),)),
        "downloads", "warn", "3.0 GiB", "rm /m/a.part"),
    "blob of another size": (
        lambda: replace(HEALTHY, broken=(BrokenFile("hf:o/r", "/hub/blobs/ab c", 5, 9),)),
        "downloads", "warn", "has 5 bytes, and had 9 when it was verified", "rm '/hub/blobs/ab c'  # then: localrun"),
    "blob emptied": (
        lambda: replace(HEALTHY, broken=(BrokenFile("hf:o/r", "/hub/blobs/ab", 0, 9),)),
        "downloads", "warn", "has 0 bytes", "rm /hub/blobs/ab"),
    "dangling link": (
        lambda: replace(HEALTHY, broken=(BrokenFile("hf:o/r", "/hub/s/m.gguf"),)),
        "downloads", "warn", "leads to nothing: /hub/s/m.gguf", "rm /hub/s/m.gguf  # then: localrun pull hf:o/r"),
    "shard missing": (
        lambda: replace(HEALTHY, models=(ModelFile("m", False, False, "1 shard is missing"),)),
        "downloads", "warn", "1 shard is missing", "localrun pull m"),
    "Ollama's blob": (
        lambda: replace(HEALTHY, ollama_notes=("llama3:8b: its weights have 5 bytes, its manifest says 9",)),
        "downloads", "warn", "have 5 bytes", "ollama pull llama3:8b"),
    "no template": (
        lambda: replace(HEALTHY, models=(ModelFile("m", False, path="/m.gguf"),)),
        "template", "warn", "no chat template", "gguf-new-metadata --chat-template"),
}  # fmt: skip


def wrong(facts: Facts) -> list[Finding]:
    return [f for f in examine(facts) if f.severity != "ok"]


def test_a_healthy_machine_has_no_fault() -> None:
    assert wrong(HEALTHY) == []
    assert not stops(examine(HEALTHY))
    assert {f.name for f in examine(HEALTHY)} >= {
        "gpu",
        "gpu engine",
        "memory",
        "engine",
        "disk",
        "disk speed",
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_alone(fault: str) -> None:
    make, name, severity, words, fix = FAULTS[fault]
    found = wrong(make())
    assert [(f.name, f.severity) for f in found] == [(name, severity)], found
    assert words in found[0].text
    assert found[0].fix.startswith(fix)
    assert "\n" not in found[0].text + found[0].fix


@pytest.mark.parametrize("fault", FAULTS)
def test_the_exit_code_follows_what_stops_a_run(fault: str) -> None:
    make, _, severity, _, _ = FAULTS[fault]
    assert stops(examine(make())) == (severity == "fail")


def test_what_stops_a_run_comes_first() -> None:
    facts = replace(cpu_only(), thp="never")
    severities = [f.severity for f in examine(facts)]
    assert severities == sorted(severities, key=["fail", "warn", "ok"].index)


def test_what_is_swapped_out_matters_only_where_memory_is_short_and_most_of_it_is() -> None:
    assert wrong(ram(available=40 * GIB, swap_free=0)) == []
    assert wrong(ram(available=3 * GIB, swap_free=7 * GIB)) == []


def test_our_own_models_are_no_intruders() -> None:
    mine = Holding("RTX 4090", 42, "python3", 9 * GIB, ours=True)
    small = Holding("RTX 4090", 43, "Xorg", 20 * MIB)
    screen = Holding("RTX 4090", 44, "gnome-shell", 900 * MIB)
    facts = replace(HEALTHY, holdings=(mine, small, screen))
    assert wrong(facts) == []
    assert [f.text for f in examine(facts) if f.name == "vram"] == [
        "gnome-shell (process 44) holds 900 MiB of RTX 4090"
    ]
    assert wrong(replace(HEALTHY, port_holder="python3 (process 42)", port_ours=True)) == []


@pytest.mark.parametrize(
    ("value", "covers"),
    [
        ("", False),
        ("localhost", False),
        ("*", True),
        ("a.com, 127.0.0.1", True),
        ("127.0.0.0/8", True),
        ("27.0.0.1", False),
    ],
)
def test_a_proxy_is_told_to_leave_the_loopback_alone(value: str, covers: bool) -> None:
    assert covers_loopback(value) == covers


def test_models_that_ollama_runs_elsewhere_are_not_broken() -> None:
    note = "gpt-oss:120b-cloud: runs on Ollama's servers, not on this machine"
    assert wrong(replace(HEALTHY, ollama_notes=(note,))) == []


def test_a_template_that_ships_with_localrun_is_none_missing() -> None:
    assert wrong(replace(HEALTHY, models=(ModelFile("v3.2", False, known=True),))) == []
