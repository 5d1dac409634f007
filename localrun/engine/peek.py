"""What a llama.cpp build's own files say: architectures, backends, instruction sets, build and compiler.

Names of architectures and backends are looked for in the read-only data of the files: llama.cpp keeps
both as plain strings, and needs no GPU to hold them. The rest is asked of its library in a short-lived
child (loading a GPU's backend may hang or crash), or of the program by `--version`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: llama.cpp's names (src/llama-arch.cpp, LLM_ARCH_NAMES) of the models that people run.
ARCHITECTURES = (
    *("llama", "llama4", "deepseek", "deepseek2", "deepseek32", "mistral3", "mistral4"),
    *("qwen2", "qwen2moe", "qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe"),
    *("gemma2", "gemma3", "gemma3n", "gemma4", "phi3", "phimoe", "gpt-oss", "glm4", "glm4moe", "glm-dsa"),
    *("command-r", "cohere2", "falcon-h1", "granite", "granitemoe", "granitehybrid", "nemotron_h"),
    *("mamba2", "jamba", "olmo2", "exaone4", "ernie4_5-moe", "hunyuan-moe", "lfm2", "minimax-m2"),
    *("kimi-linear", "seed_oss", "smollm3", "bailingmoe2", "dots1"),
)
#: Words that only a backend's code holds, for builds that have everything in one file.
_MARKS = {
    "CUDA": b"found %d CUDA devices",
    "ROCm": b"found %d ROCm devices",
    "Vulkan": b"ggml_vulkan: ",
    "Metal": b"ggml_metal_device_init",
    "SYCL": b"Found %d SYCL devices",
    "RPC": b"Remote RPC server crashed",
}
#: libggml-NAME: a backend in a library of its own.
_LIBRARIES = {
    "cuda": "CUDA",
    "hip": "ROCm",
    "vulkan": "Vulkan",
    "metal": "Metal",
    "sycl": "SYCL",
    "rpc": "RPC",
    "opencl": "OpenCL",
    "blas": "BLAS",
    "cann": "CANN",
    "musa": "MUSA",
}
_HEAD = 16 << 20
_PATIENCE = 1.5  # seconds for one question
#: Loads each library named and prints what its functions say; C++ names, mangled as GCC and Clang do.
_ASK = """
import ctypes, sys
for path in sys.argv[1:]:
    try:
        lib = ctypes.CDLL(path)
    except OSError:
        continue
    for name in ("llama_print_system_info", "_Z16llama_build_infov", "_Z14llama_compilerv"):
        try:
            function = getattr(lib, name)
        except AttributeError:
            continue
        function.restype = ctypes.c_char_p
        print(name + "\\t" + (function() or b"").decode("utf-8", "replace").replace("\\n", " "), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found; empty or 0 where nothing says it."""

    backends: tuple[str, ...] = ()  # "CUDA", "RPC" ...; the CPU's goes without saying
    architectures: tuple[str, ...] = ()  # those of ARCHITECTURES that it knows
    features: tuple[str, ...] = ()  # instruction sets compiled in: "AVX2", "AVX512" ...
    version: str = ""
    build: int = 0
    commit: str = ""
    compiler: str = ""  # "GNU 12.2.0"
    cuda: str = ""  # the major release of the CUDA runtime that it loads: "12"


def peek(program: Path | None, libraries: Sequence[Path]) -> Seen:
    """Looks at a build: its program, where it has one, and its libraries. Never raises for odd files."""
    backends, architectures = _read(program, libraries)
    asked = [p for p in libraries if p.name.startswith(("libllama.", "libllama-common.", "xllamacpp"))]
    # Both at once: the first use of a GPU's library takes its time.
    asking = _begin(_question(sorted({p.resolve(): p for p in asked}.values()))) if asked else None
    text = _end(_begin([str(program), "--version"])) if program else ""
    said = dict(line.split("\t", 1) for line in _end(asking).splitlines() if "\t" in line)
    version, build, commit, compiler = parse_version(text)
    found = parse_build_info(said.get("_Z16llama_build_infov", ""))
    return Seen(
        backends=backends,
        architectures=architectures,
        features=parse_features(said.get("llama_print_system_info", "")),
        version=version,
        build=build or found[0],
        commit=commit or found[1],
        compiler=compiler or said.get("_Z14llama_compilerv", ""),
        cuda=_cuda(program, libraries) if "CUDA" in backends else "",
    )


def _read(program: Path | None, libraries: Sequence[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    backends = {_LIBRARIES[key] for path in libraries if (key := library_backend(path)) in _LIBRARIES}
    known: set[str] = set()
    # What has a file of its own per backend need not be searched for marks, and the GPUs' are huge.
    searched = [p for p in libraries if p.name.startswith(("libllama.", "xllamacpp", "libllama-"))]
    for path in {p.resolve() for p in (*searched, *((program,) if program else ()))}:
        names, marks = search(path)
        known |= set(names)
        backends |= set(marks)
    ordered = [name for name in dict.fromkeys((*_MARKS, *_LIBRARIES.values())) if name in backends]
    return tuple(ordered), tuple(name for name in ARCHITECTURES if name in known)


def library_backend(path: Path) -> str:
    """`cuda` of libggml-cuda.so.0; "" for what is none."""
    found = re.match(r"(?:lib)?ggml-([a-z]+)[.-]", path.name)
    return found[1] if found else ""


def search(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(architectures, backends) whose words are in the file's read-only data; nothing for other files."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            if view[:2] == b"#!":
                return (), ()
            ranges = rodata(view) or [(0, len(view))]
            # The linker may keep one name as the end of another: only what ends in a zero byte is a string.
            names = [n for n in ARCHITECTURES if _holds(view, ranges, n.encode() + b"\0")]
            return tuple(names), tuple(n for n, mark in _MARKS.items() if _holds(view, ranges, mark))
    except (OSError, ValueError, struct.error):
        return (), ()


def _holds(view: mmap.mmap, ranges: Iterable[tuple[int, int]], word: bytes) -> bool:
    return any(view.find(word, start, end) >= 0 for start, end in ranges)


def _cuda(program: Path | None, libraries: Sequence[Path]) -> str:
    """The CUDA runtime that a build names as needed; its name stands near the start of the file."""
    candidates = [p for p in libraries if library_backend(p) == "cuda" or p.name.startswith("xllamacpp")]
    for path in (*candidates, *((program,) if program else ())):
        try:
            with path.open("rb") as file:
                found = re.search(rb"libcudart\.so\.(\d+)\0", file.read(_HEAD))
        except OSError:
            continue
        if found:
            return found[1].decode()
    return ""


def rodata(view: mmap.mmap | bytes) -> list[tuple[int, int]]:
    """Where the read-only data of a 64-bit ELF file lies; empty for anything else."""
    if view[:6] != b"\x7fELF\x02\x01" or len(view) < 64:
        return []
    at, entry, count, names = (
        *struct.unpack_from("<Q", view, 40),
        *struct.unpack_from("<3H", view, 58),
    )
    if entry < 64 or not count or at > len(view) or count * entry > len(view) - at or names >= count:
        return []
    strings = struct.unpack_from("<Q", view, at + names * entry + 24)[0]
    found = []
    for i in range(count):
        name, _, _, _, start, size = struct.unpack_from("<2I4Q", view, at + i * entry)
        label = bytes(view[strings + name : strings + name + 8])
        if label.startswith(b".rodata") and start <= len(view) and size <= len(view) - start:
            found.append((start, start + size))
    return found


def _question(paths: Sequence[Path]) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _ASK, *map(str, paths)]


def _begin(argv: Sequence[str]) -> subprocess.Popen[bytes] | None:
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError:
        return None


def _end(child: subprocess.Popen[bytes] | None) -> str:
    """What a command prints; what it printed until then when it hangs or dies."""
    if child is None:
        return ""
    try:
        out, _ = child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired as late:
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        out = late.stdout or b""
    except BaseException:
        child.kill()
        child.communicate()
        raise
    return out.decode("utf-8", "replace")


def parse_version(text: str) -> tuple[str, int, str, str]:
    """(version, build, commit, compiler) of what `llama-server --version` prints, old form and new.

    A build number of 0 or 1 comes from a tree without history and counts as none.
    """
    new = re.search(r"version: (\S+) \(build (\d+), commit ([0-9a-f]{6,40}|unknown)\)", text)
    old = re.search(r"version: (\d+) \(([0-9a-f]{6,40}|unknown)\)", text)
    compiler = re.search(r"built with (.+?)(?: for .*)?$", text, re.MULTILINE)
    version, build, commit = "", 0, ""
    if new:
        version, build, commit = new[1], int(new[2]), new[3]
    elif old:
        build, commit = int(old[1]), old[2]
    return version, build if build > 1 else 0, commit.replace("unknown", ""), compiler[1] if compiler else ""


def parse_build_info(text: str) -> tuple[int, str]:
    """(build, commit) of `b9411-0c1e570`."""
    found = re.fullmatch(r"b(\d+)-([0-9a-f]{6,40}|unknown)", text.strip())
    if not found:
        return 0, ""
    build = int(found[1])
    return build if build > 1 else 0, found[2].replace("unknown", "")


def parse_features(text: str) -> tuple[str, ...]:
    """What is on of `CPU : AVX = 1 | AVX2 = 1 | ...`; the part of the CPU only."""
    part = text.partition("CPU : ")[2] or text
    part = re.split(r"\| (?=[A-Za-z0-9]+ : )", part)[0]
    plain = {"LLAMAFILE", "OPENMP", "REPACK", "KLEIDIAI"}
    return tuple(n for n, on in re.findall(r"(\w+) = (\d+)", part) if on != "0" and n not in plain)
