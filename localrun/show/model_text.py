"""Models as text and JSON: what a file or an entry is, what is here, what is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localrun.model.facts import Model
from localrun.model.store import LocalModel
from localrun.plan.choose import Offer
from localrun.show.text import Style, printable, table
from localrun.units import format_count, format_size


def model_json(model: Model, path: Path | None) -> dict[str, Any]:
    """The document of `localrun show --json`."""
    shape = model.shape
    return {
        "schema": "localrun.model/1",
        "name": model.name,
        "path": str(path) if path else None,
        "architecture": model.architecture,
        "quant": model.quant,
        "size_source": model.size_source,
        "files": [{"name": f.name, "bytes": f.bytes} for f in model.files],
        "weights_bytes": model.weights_bytes,
        "parameters": model.parameters,
        "parameters_active": model.parameters_active,
        "license": model.license,
        "context_trained": shape.n_ctx_train,
        "tokenizer": {"model": model.vocab_type, "pre": model.vocab_pre, "tokens": shape.n_vocab},
        "chat_template": model.chat_template,
        "shape": {
            "layers": shape.n_layers,
            "embedding": shape.n_embd,
            "heads": max(shape.n_head),
            "kv_heads": max(shape.n_head_kv),
            "experts": shape.n_expert,
            "experts_used": shape.n_expert_used,
        },
        "tensors": len(model.tensors),
        "notes": list(model.notes),
    }


def model_lines(model: Model, path: Path | None, style: Style) -> list[str]:
    shape = model.shape
    read = "read from the file" if model.size_source == "header" else "catalogue"
    active = f", {format_count(model.parameters_active)} active" if model.shape.n_expert else ""
    rows = [
        ["architecture", model.architecture, read],
        ["parameters", format_count(model.parameters) + active, "computed from the tensors"],
        ["context", f"{shape.n_ctx_train} trained", read],
        ["layers", f"{shape.n_layers}, embedding {shape.n_embd}, heads {max(shape.n_head)}"
         f" (KV {max(shape.n_head_kv)})", read],
    ]  # fmt: skip
    if shape.n_expert:
        rows.append(["experts", f"{shape.n_expert}, {shape.n_expert_used} used a token", read])
    rows += [
        ["tokenizer", f"{model.vocab_type} {model.vocab_pre}, {shape.n_vocab} tokens", read],
        ["chat template", "in the file" if model.chat_template else "none in the file", read],
        ["licence", model.license or "not stated", read],
    ]
    if path is not None:
        size = sum(f.bytes for f in model.files)
        rows.insert(0, ["quant", f"{model.quant}, {format_size(model.weights_bytes)} of weights", read])
        rows += [["file", f"{path} ({format_size(size)}, {len(model.files)} in all)", "measured"]]
    lines = [style("bold", printable(model.name)), *table([[printable(c) for c in row] for row in rows])]
    return lines + [f"note: {printable(note)}" for note in model.notes]


def offer_lines(offers: Sequence[Offer], style: Style) -> list[str]:
    rows = [[f"  {offer.quant}", format_size(offer.bytes)] for offer in offers]
    return ["", style("bold", "published as"), *table(rows, right=(1,))]


def local_lines(models: Sequence[LocalModel], used: int, style: Style) -> list[str]:
    if not models:
        return ["no model is on this machine yet; localrun pull fetches the small default"]
    rows = [["name", "quant", "size", "from"]]
    rows += [
        [
            printable(m.name),
            m.quant,
            format_size(m.bytes),
            m.source + (f", {m.missing} shards missing" if m.missing else ""),
        ]
        for m in models
    ]
    lines = table(rows, right=(2,))
    return [style("bold", lines[0]), *lines[1:], f"{format_size(used)} on the disk, measured"]


def catalog_lines(names: Sequence[str], style: Style) -> list[str]:
    return [
        style("bold", "known by name"),
        "  " + ", ".join(names),
        "  localrun plan NAME tells what would run here",
    ]
