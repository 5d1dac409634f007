"""One catalogue entry as a value, and its making out of the parsed TOML: figures, files, licence, sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localrun.model.facts import Shape
from localrun.model.quants import quant_name
from localrun.units import parse_size
from localrun.value import dataclass, replace

if TYPE_CHECKING:
    from localrun.model.vision import Vision


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One quant in a repository."""

    quant: str
    path: str  # the first shard's, "" = found by listing the repository
    shards: int  # 0 = not known
    bytes: int  # of all shards, 0 = not stated
    precision: int  # the stated figure may be off by so many bytes: how far it was rounded
    source: str


@dataclass(frozen=True, slots=True)
class Repo:
    """One Hugging Face repository of GGUF files of a model."""

    name: str  # "owner/repo"
    architecture: str
    shape: Shape
    imatrix: bool  # quantized with an importance matrix, which moves a few tensors
    files: tuple[PublishedFile, ...]
    note: str
    source: str


@dataclass(frozen=True, slots=True)
class License:
    id: str
    name: str
    note: str  # what it asks beyond naming it
    source: str


@dataclass(frozen=True, slots=True)
class Ollama:
    """What Ollama's library has of a model: a tag that can be pulled, or why there is none."""

    tag: str
    note: str
    source: str


@dataclass(frozen=True, slots=True)
class Template:
    file: str  # in llama.cpp's models/templates, "" = none
    carried: bool  # the published GGUF files have a template of their own
    note: str
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue."""

    name: str
    title: str
    aliases: tuple[str, ...]
    publisher: str  # "owner/repo" of the original weights
    architecture: str
    shape: Shape
    shape_source: str
    tied: bool
    rope_freqs: bool
    gate_bias: bool
    parameters: int
    parameters_active: int
    parameters_source: str
    vocab_pre: str
    license: License
    gated: bool  # the publisher asks for an account before a download
    sampling: tuple[tuple[str, float], ...]
    sampling_source: str
    template: Template
    ollama: Ollama
    notes: tuple[str, ...]
    repos: tuple[Repo, ...]
    vision: Vision | None  # the encoder of a model that sees, where its shape is known


def entry_of(table: Mapping[str, Any], like: Mapping[str, Any]) -> Entry:
    """The entry of a `[[model]]` table; what it leaves out comes from `like`, its files excepted."""
    t: dict[str, Any] = {k: v for k, v in like.items() if k not in ("repo", "aliases", "notes")} | dict(table)
    shape = _shape(t["shape"])
    sampling = dict(t["sampling"])
    sampling_source = sampling.pop("source")
    return Entry(
        name=t["name"],
        title=t["title"],
        aliases=tuple(t.get("aliases", ())),
        publisher=t["publisher"],
        architecture=t["architecture"],
        shape=shape,
        shape_source=t["shape"]["source"],
        tied=t.get("tied", False),
        rope_freqs=t.get("rope_freqs", False),
        gate_bias=t.get("gate_bias", True),
        parameters=t["parameters"]["total"],
        parameters_active=t["parameters"]["active"],
        parameters_source=t["parameters"]["source"],
        vocab_pre=t["vocab_pre"],
        license=_license(t["license"]),
        gated=t.get("gated", False),
        sampling=tuple((k, float(v)) for k, v in sampling.items()),
        sampling_source=sampling_source,
        template=_template(t["template"]),
        ollama=Ollama(t["ollama"]["tag"], t["ollama"].get("note", ""), t["ollama"]["source"]),
        notes=tuple(t.get("notes", ())),
        repos=tuple(_repo(r, t["architecture"], shape) for r in t.get("repo", ())),
        vision=_vision(t["vision"], shape) if "vision" in t else None,
    )


def _vision(t: Mapping[str, Any], shape: Shape) -> Vision:
    from localrun.model.vision import Vision

    return Vision(**{"n_out": shape.n_embd, "n_hidden": 0} | dict(t))


def _license(t: Mapping[str, Any]) -> License:
    return License(t["id"], t.get("name", t["id"]), t.get("note", ""), t["source"])


def _template(t: Mapping[str, Any]) -> Template:
    return Template(t.get("file", ""), t.get("carried", True), t["note"], t["source"])


def _shape(t: Mapping[str, Any]) -> Shape:
    """A Shape whose per-layer figures are given once: they are the same in every layer."""
    figures = {k: v for k, v in t.items() if k not in ("source", "swa_every")}
    n = figures["n_layers"]
    for key in ("n_head", "n_head_kv", "n_ff"):
        figures[key] = (figures[key],) * n
    every = t.get("swa_every")
    if every:
        figures["swa_layers"] = tuple((il + 1) % every != 0 for il in range(n))
    return Shape(**figures)


def _repo(t: Mapping[str, Any], architecture: str, shape: Shape) -> Repo:
    own = t.get("architecture", architecture)
    if own != architecture and own == "deepseek2":
        # Files without the indexer.
        shape = replace(shape, indexer_heads=0, indexer_head_dim=0, indexer_top_k=0)
    heads_kv = t.get("shape", {}).get("n_head_kv")
    if heads_kv:
        shape = replace(shape, n_head_kv=(heads_kv,) * shape.n_layers)
    files = tuple(_file(f, t["source"]) for f in t["files"])
    return Repo(t["name"], own, shape, t.get("imatrix", False), files, t.get("note", ""), t["source"])


def _file(t: Mapping[str, Any], source: str) -> PublishedFile:
    size = t.get("size", "")
    return PublishedFile(
        quant=quant_name(t["quant"]),
        path=t.get("path", ""),
        shards=t.get("shards", 0),
        bytes=parse_size(size) if size else 0,
        precision=_precision(size),
        source=t.get("source", source),
    )


def _precision(size: str) -> int:
    """How far a figure may be off that was rounded to its last digit: 5e8 for `404 GB`."""
    number, _, unit = size.partition(" ")
    if not unit:
        return 0
    digits = len(number.partition(".")[2])
    return parse_size(f"1 {unit}") // int(10**digits) // 2
