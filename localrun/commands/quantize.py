"""`quantize`: a model in another quantization, sized and checked before the first byte."""

from __future__ import annotations

import shlex
from pathlib import Path

from localrun.commands.base import App, put, put_json
from localrun.engine import quantize as engine
from localrun.engine.inventory import quantizer
from localrun.errors import EngineMissing
from localrun.hardware import system
from localrun.model.files import check_room
from localrun.model.header import read_model, shard_paths
from localrun.show.engine_text import Building
from localrun.units import format_size


def run(app: App, file: str, quant: str, output: str | None, force: bool, as_json: bool) -> None:
    """Raises UsageError, ModelError, EngineMissing, EngineError."""
    path = shard_paths(Path(file).absolute())[0]
    model = read_model(path)
    job = engine.decide(model, path, quant, Path(output).absolute() if output else None, force)
    check_room(job.target.parent, job.bytes)
    before = sum(f.bytes for f in model.files)
    app.tell(
        f"{model.quant} to {job.quant}: {format_size(before)} (read) to {format_size(job.bytes)} (computed)"
    )
    program = quantizer(app.session)
    if program is None:
        raise EngineMissing(
            "no llama-quantize on this machine", "localrun engine install --native builds one"
        )
    threads = app.session.config.threads or system.physical_cores()
    app.tell(f"$ {shlex.join(engine.argv(program, job, job.target, threads))}")
    progress = Building()
    try:
        size = engine.run(program, job, threads, progress)
    finally:
        progress.done()
    if as_json:
        about = {"quant": job.quant, "bytes": size, "weights_bytes": job.weights, "computed_bytes": job.bytes}
        put_json({"schema": "localrun.quantize/1", "path": str(job.target), **about})
    else:
        put(f"{job.target}  {format_size(size)}")
