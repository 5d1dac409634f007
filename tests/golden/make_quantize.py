"""Writes quantize.json: what `llama-quantize --dry-run` makes of every model in every quant.

    python -m tests.golden.make_quantize PATH/TO/llama-quantize

Real shapes at full size, as sparse F16 files; a run takes half a minute and a few MB of disk.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from localrun.model.quant_rules import DEFAULT_TYPE
from tests import shapes
from tests.sparse import write_sparse

OUT = Path(__file__).with_name("quantize.json")

#: llama.cpp has rules for eight experts of their own, and no model of the catalogue meets them.
MIXTRAL = replace(
    shapes.MODELS["llama-8b"].shape,
    n_expert=8,
    n_expert_used=2,
    n_ff_expert=14336,
    n_vocab=32000,
    n_ctx_train=32768,
)
MODELS = {**shapes.MODELS, "mixtral": shapes.Named("llama", MIXTRAL)}

#: llama-quantize has no rule of its own for F32, and Q1_0 has no fallback for small rows.
QUANTS = tuple(q for q in DEFAULT_TYPE if q not in ("F32", "Q1_0"))

#: Where an importance matrix changes the types.
IMATRIX_QUANTS = ("Q4_0", "Q5_0", "IQ3_XXS", "IQ4_NL", "IQ4_XS", "IQ2_M", "IQ1_S", "Q4_K_M")

_LINE = re.compile(
    r"\[ *\d+/ *\d+\] (\S+) +- \[.*\], type = *(\S+), size = +[0-9.]+ MiB(?: -> +[0-9.]+ MiB \((\S+)\))?"
)


def digest(types: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What is kept of a run: how many tensors have each type, and a hash over which has which."""
    pairs = sorted(types)
    text = "".join(f"{name} {type_}\n" for name, type_ in pairs)
    counts = Counter(type_ for _, type_ in pairs)
    return {"types": dict(sorted(counts.items())), "sha256": hashlib.sha256(text.encode()).hexdigest()[:16]}


def dry_run(binary: str, source: Path, quant: str, *more: str) -> dict[str, Any]:
    argv = [binary, "--dry-run", *more, str(source), quant, "1"]
    out = subprocess.run(argv, capture_output=True, text=True, check=True)
    lines = _LINE.findall(out.stdout + out.stderr)
    if not lines:
        raise SystemExit(f"no tensors in the output of {argv}")
    return digest((name, (new or old).upper()) for name, old, new in lines)


def write_imatrix(path: Path) -> None:
    """An importance matrix of one entry: that there is one is all that the types depend on."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    writer.add_tensor("blk.0.attn_q.weight.in_sum2", np.ones((1, 32), np.float32))
    writer.add_tensor("blk.0.attn_q.weight.counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(binary: str) -> None:
    shapes.MODELS.update(MODELS)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        imatrix = Path(folder, "imatrix.gguf")
        write_imatrix(imatrix)
        for which in MODELS:
            source = Path(folder, f"{which}.gguf")
            write_sparse(source, which, "F16")
            for quant in QUANTS:
                found[f"{which} {quant}"] = dry_run(binary, source, quant)
            for quant in IMATRIX_QUANTS:
                found[f"{which} {quant} imatrix"] = dry_run(binary, source, quant, "--imatrix", str(imatrix))
            source.unlink()
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    OUT.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
