"""Every llama.cpp on this machine: where it is, what was compiled into it, whether it suits the GPU.

What a build says is kept in the cache by path, size and time of change, so that only a new one is looked at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from localrun.config import Config, Session
from localrun.engine import registry
from localrun.engine.installed import installed
from localrun.engine.peek import Seen, peek
from localrun.errors import LocalrunError
from localrun.hardware.facts import Gpu, Host
from localrun.model.files import read_small, write_small

Kind = Literal["llama-server", "xllamacpp", "llama-cpp-python", "ollama"]

#: Where Homebrew puts programs: Apple silicon, Intel Macs, Linux.
HOMEBREW = ("/opt/homebrew/bin", "/usr/local/bin", "/home/linuxbrew/.linuxbrew/bin")
_OLLAMA = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "/Applications/Ollama.app/Contents/Resources")
#: Which backends drive a GPU that detection found under a name; Vulkan drives nearly all of them.
_DRIVES = {
    "cuda": ("CUDA", "Vulkan"),
    "rocm": ("ROCm", "Vulkan"),
    "sycl": ("SYCL", "Vulkan"),
    "metal": ("Metal",),
    "vulkan": ("Vulkan",),
}


@dataclass(frozen=True, slots=True)
class Found:
    """One llama.cpp. `path` is the program, or the library where there is none."""

    kind: Kind
    path: Path
    source: str  # "PATH", "config", "Homebrew", "installed by localrun", "package" ...
    seen: Seen
    release: str = ""  # of the package or program around it
    used: bool = False  # `up` can run it

    @property
    def label(self) -> str:
        """Its build, as people name it: `b9411`, a commit, or the package's version."""
        if self.seen.build:
            return f"b{self.seen.build}"
        return self.release or self.seen.commit or self.seen.version or "unknown"

    @property
    def build(self) -> str:
        """The name under which its measured speeds are kept, as `registry.build_of` has it."""
        return f"embedded {self.release}" if self.kind == "xllamacpp" else f"{self.kind} {self.path}"


@dataclass(frozen=True, slots=True)
class _Place:
    kind: Kind
    path: Path
    source: str
    libraries: tuple[Path, ...]
    release: str = ""


def inventory(session: Session, environ: Mapping[str, str] = os.environ) -> tuple[Found, ...]:
    """Every build, those made for this machine first. Quick, no network; an odd file is shown as unknown."""
    cache = session.paths.cache / "engines.json"
    known, fresh = read_small(cache), {}
    found = []
    for place in _places(session, environ):
        key = _key(place)
        seen = _from_json(known.get(key)) or peek(_program(place), place.libraries)
        fresh[key] = asdict(seen)
        usable = place.kind in ("llama-server", "xllamacpp")
        found.append(Found(place.kind, place.path, place.source, seen, place.release, usable))
    if fresh != known:
        with suppress(OSError):
            write_small(cache, json.dumps(fresh))
    return tuple(found)


def default_first(found: Sequence[Found], config: Config, host: Host | None = None) -> tuple[Found, ...]:
    """The same builds, the one that `up` takes when nobody names an engine before all others."""
    try:
        engine = registry.choose(config, host=host)
        path = Path(engine.available().path).resolve()
    except LocalrunError:
        return tuple(found)

    def is_it(one: Found) -> bool:
        if engine.name == "embedded":
            return one.kind == "xllamacpp"
        return engine.name == "llama-server" and one.kind == engine.name and one.path.resolve() == path

    return tuple(sorted(found, key=lambda one: not is_it(one)))


def uses_gpu(seen: Seen, gpus: Sequence[Gpu]) -> bool | None:
    """Whether a build can use this machine's GPUs; None where it has none."""
    if not gpus:
        return None
    return any(backend in seen.backends for backend in _DRIVES[gpus[0].backend])


def quantizer(session: Session, environ: Mapping[str, str] = os.environ) -> Path | None:
    """llama-quantize: of an engine installed here, beside a llama-server, or on PATH."""
    servers = [p.path for p in _places(session, environ) if p.kind == "llama-server"]
    for server in servers:
        for folder in (server.parent, server.resolve().parent):
            path = folder / "llama-quantize"
            if os.access(path, os.X_OK):
                return path
    path_on = shutil.which("llama-quantize", path=environ.get("PATH"))
    return Path(path_on) if path_on else None


def _places(session: Session, environ: Mapping[str, str]) -> Iterator[_Place]:
    """Each build once, however many names lead to it; those made for this machine first."""
    seen: set[Path] = set()
    for place in _candidates(session, environ):
        real = place.path.resolve()
        if real not in seen:
            seen.add(real)
            yield place


def _candidates(session: Session, environ: Mapping[str, str]) -> Iterator[_Place]:
    if named := session.config.llama_server:
        found = shutil.which(str(Path(named).expanduser()), path=environ.get("PATH"))
        if found:
            yield _server(Path(found).absolute(), "config")
    for path in installed(session.paths.data):
        yield _server(path, "installed by localrun")
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder or ".", "llama-server").absolute()
        if path.is_file() and os.access(path, os.X_OK):
            yield _server(path, "Homebrew" if "Cellar" in path.resolve().parts else "PATH")
    for folder in HOMEBREW:
        path = Path(folder, "llama-server")
        if path.is_file() and os.access(path, os.X_OK):
            yield _server(path, "Homebrew")
    for package, kind in (("xllamacpp", "xllamacpp"), ("llama_cpp", "llama-cpp-python")):
        yield from _package(package, kind)  # type: ignore[arg-type]
    yield from _ollama(environ)


def _server(path: Path, source: str) -> _Place:
    return _Place("llama-server", path, source, _libraries(path.resolve().parent))


def _libraries(*folders: Path) -> tuple[Path, ...]:
    """llama.cpp's libraries in the folders and, as Homebrew and `make install` have it, in `../lib`."""
    found = []
    for folder in dict.fromkeys(f for one in folders for f in (one, one.parent / "lib")):
        with suppress(OSError):
            found += [p for p in folder.iterdir() if p.name.startswith(("libllama", "libggml"))]
    return tuple(sorted(p for p in found if p.is_file()))


def _package(package: str, kind: Kind) -> Iterator[_Place]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    for folder in map(Path, (spec.submodule_search_locations or ()) if spec else ()):
        libraries = tuple(sorted((*folder.glob("xllamacpp*.so"), *folder.glob("xllamacpp*.pyd"))))
        libraries = libraries or _libraries(folder / "lib")
        if libraries:
            yield _Place(kind, libraries[0], "package", libraries, _release(kind))


def _release(distribution: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _ollama(environ: Mapping[str, str]) -> Iterator[_Place]:
    on_path = shutil.which("ollama", path=environ.get("PATH"))
    for path in (*([Path(on_path)] if on_path else []), *(Path(f, "ollama") for f in _OLLAMA)):
        if not os.access(path, os.X_OK):
            continue
        root = path.resolve().parent
        folders = [
            f
            for f in (root.parent / "lib/ollama", root / "lib/ollama", Path("/usr/lib/ollama"))
            if f.is_dir()
        ]
        # Its backends lie one folder deeper, a folder for each release of CUDA or ROCm.
        deeper = [d for f in folders[:1] for d in sorted(f.iterdir()) if d.is_dir()]
        yield _Place("ollama", path, "Ollama", _libraries(*folders[:1], *deeper))
        return


def _program(place: _Place) -> Path | None:
    return place.path if place.kind == "llama-server" else None


def _key(place: _Place) -> str:
    """Changes whenever a file of the build does."""
    stamps = []
    for path in (place.path, *place.libraries):
        with suppress(OSError):
            status = path.stat()
            stamps.append(f"{path.name}:{status.st_size}:{status.st_mtime_ns}")
    import hashlib

    return f"1 {place.path} {hashlib.sha256('|'.join(stamps).encode()).hexdigest()[:16]}"


def _from_json(value: object) -> Seen | None:
    if not isinstance(value, dict):
        return None
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    try:
        return replace(Seen(), **fields)
    except TypeError:
        return None
