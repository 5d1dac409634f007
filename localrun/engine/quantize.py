"""A model in another quantization, through llama.cpp's own quantizer: sized first, never over another file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localrun.engine.child import follow
from localrun.errors import EngineError, ModelError, UsageError
from localrun.model.facts import Model
from localrun.model.files import check_room, disk_errors
from localrun.model.ggml_types import is_quantized
from localrun.model.quant_rules import DEFAULT_TYPE, NEEDS_IMATRIX
from localrun.model.quants import is_standard, quant_name, types_for
from localrun.model.split import split_of
from localrun.model.tensors import file_order

_COUNTER = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")
#: A quant at the end of a file's name, which the new one takes the place of.
_SUFFIX = re.compile(r"[.-](?:F32|F16|BF16|(?:UD-)?I?Q\d\w*|TQ\d_\d|MXFP4\w*)$", re.IGNORECASE)
_TAIL = 40  # lines of the quantizer that are kept for the reason of a failure


@dataclass(frozen=True, slots=True)
class Job:
    """What will be done: decided, nothing written. Sizes in bytes."""

    source: Path
    target: Path
    quant: str
    weights: int  # of the tensors, by llama.cpp's rules
    bytes: int  # of the file: weights, padding and header
    requantize: bool


def decide(model: Model, source: Path, quant: str, target: Path | None, force: bool) -> Job:
    """The job, sized. Raises UsageError, ModelError for what would not work or would lose quality."""
    name = quant_name(quant)
    if not is_standard(name):
        known = ", ".join(q for q in DEFAULT_TYPE if q.startswith("Q"))
        raise UsageError(f"llama-quantize makes no {quant}", f"it makes {known} and others")
    if name in NEEDS_IMATRIX:
        raise UsageError(
            f"{name} needs an importance matrix, and is garbage without", "take Q2_K, Q3_K_M or IQ3_XS"
        )
    already = sorted({t.type for t in model.tensors if is_quantized(t.type)})
    if already and not force:
        raise UsageError(
            f"{source.name} is quantized already ({', '.join(already)}): again would lose far more than once",
            "start from the F16, BF16 or F32 file; --force does it all the same",
        )
    target = target or source.with_name(f"{_stem(source)}-{name}.gguf")
    if target.exists():
        raise UsageError(f"{target} is there already", "name another file with -o, or remove it")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent} is no folder", "make it first, or name another with -o")
    named = tuple(sorted(((t.name, t.dims) for t in model.tensors), key=file_order))
    sized = types_for(model.architecture, model.shape, named, name)
    weights = sum(size for *_, size in sized)
    padded = sum(-(-size // 32) * 32 for *_, size in sized)
    header = max((file.data_offset for file in model.files), default=0)
    return Job(source, target, name, weights, padded + header, bool(already))


def _stem(source: Path) -> str:
    split = split_of(source.name)
    return _SUFFIX.sub("", split[0] if split else source.stem)


def argv(quantizer: Path, job: Job, draft: Path, threads: int) -> list[str]:
    again = ["--allow-requantize"] if job.requantize else []
    return [str(quantizer), *again, str(job.source), str(draft), job.quant, str(threads)]


def run(quantizer: Path, job: Job, threads: int, told: Callable[[int, str], None]) -> int:
    """Quantizes into a draft beside the target, which it becomes when it is whole; returns its bytes.

    Raises EngineError with the quantizer's own reason, and leaves no draft then.
    """
    check_room(job.target.parent, job.bytes)
    draft = job.target.with_name(f".{job.target.name}.{os.getpid()}.new")
    try:
        _run(argv(quantizer, job, draft, threads), told)
        size = draft.stat().st_size if draft.is_file() else 0
        if not size:
            raise EngineError(f"{quantizer} wrote no file")
        with disk_errors(job.target):
            # link() refuses where replace() would overwrite what came meanwhile.
            try:
                os.link(draft, job.target)
            except FileExistsError:
                raise ModelError(f"{job.target} came into being meanwhile: not overwritten") from None
            except OSError:
                os.replace(draft, job.target)
        return size
    finally:
        draft.unlink(missing_ok=True)


def _run(command: list[str], told: Callable[[int, str], None]) -> None:
    last: list[str] = []

    def each(raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").strip()
        last[:] = [*last[-_TAIL:], line]
        if found := _COUNTER.match(line):
            told(min(100, 100 * int(found[1]) // max(1, int(found[2]))), "quantizing")

    status = follow(command, each)
    if status:
        errors = [line for line in last if "error" in line.lower() or "failed" in line.lower()]
        why = (errors or [line for line in last if line] or [f"status {status}"])[-1 if not errors else 0]
        raise EngineError(f"the quantizer failed: {why[:300]}", "nothing was written")
