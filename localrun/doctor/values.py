"""What the doctor looks at, and what it says. Nothing here reads the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from localrun.config import Config
from localrun.engine.inventory import Found
from localrun.hardware.cgroup import Limits
from localrun.hardware.facts import Cpu, Host, Ram

#: fail stops a run, or makes it something else than was planned; warn costs speed or will bite later.
Severity = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `fix` is the one command that mends it, empty for what is right."""

    name: str
    severity: Severity
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device file that a GPU's users need."""

    path: str
    usable: bool  # this user may read and write it
    group: str = ""  # the group that owns it


@dataclass(frozen=True, slots=True)
class Holding:
    """A program that holds memory of a GPU. vram: bytes, None where the system hides it."""

    gpu: str
    pid: int
    name: str
    vram: int | None
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """What an interrupted download left. bytes: on the disk."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A file of the shared cache that is not what it was; of a link that leads to nothing both sizes are 0."""

    name: str  # hf:owner/repo
    path: str
    bytes: int = 0  # on the disk
    recorded: int = 0  # when it was verified


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that is here. whole: no shard is missing and the header can be read."""

    name: str
    template: bool
    whole: bool = True
    why: str = ""
    path: str = ""
    known: bool = False  # a template for it ships with localrun


_NO_HOST = Host("this machine", "linux", "x86_64", Cpu("", 1, 1, 1), Ram(0, 0))


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks judge; sizes in bytes. The defaults are a machine without a fault."""

    config: Config = field(default_factory=Config)
    host: Host = _NO_HOST
    limits: Limits = field(default_factory=Limits)
    ram_machine: int = 0  # before any limit
    swap_total: int = 0
    hugepages: int = 0  # bytes set aside as huge pages, which no engine uses
    thp: str = ""  # transparent huge pages: "always", "madvise", "never", "" = not told
    governors: tuple[str, ...] = ()  # CPU frequency governors in force
    scaling_driver: str = ""
    energy: str = ""  # energy_performance_preference
    profile: str = ""  # the platform's power profile
    engines: tuple[Found, ...] = ()
    devices: tuple[Device, ...] = ()
    holdings: tuple[Holding, ...] = ()
    port_holder: str | None = None  # who has the configured port, "" = unknown, None = nobody
    port_ours: bool = False
    proxies: tuple[str, ...] = ()  # names of the proxy variables that are set
    no_proxy: str = ""
    models_dir: str = ""
    models_writable: bool = True
    disk_total: int = 0
    disk_speed: int = 0  # bytes per second, measured, 0 = not
    disk_kind: str = ""  # the file system's type
    broken_state: tuple[str, ...] = ()  # state files that cannot be read
    dead: tuple[str, ...] = ()  # names of models whose engine is gone
    lost: tuple[str, ...] = ()  # engines without a record
    downloads: tuple[Download, ...] = ()
    broken: tuple[BrokenFile, ...] = ()
    models: tuple[ModelFile, ...] = ()
    ollama_notes: tuple[str, ...] = ()
    pinned: str = ""  # the version of xllamacpp that this localrun was made for
