"""Which engine is measured how, and what of it is started for the measurement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from localrun import benching
from localrun.benching import Opened, Setup
from localrun.commands.base import App
from localrun.engine import registry
from localrun.engine.base import Handle
from localrun.engine.bench import Bencher
from localrun.errors import LocalrunError, UsageError
from localrun.plan.rates import Rates


def opener(app: App, named_port: bool, rates: Rates) -> Opened:
    """What opens an engine for one setup, and ends what it started."""

    @contextlib.contextmanager
    def opened(setup: Setup) -> Iterator[Bencher]:
        if setup.prepared.engine.name == "in-process":
            with _inside(setup) as bench:
                yield bench
            return
        if setup.record is not None:
            yield _bencher(app, setup, setup.record.handle, rates)
            return
        with benching.private(app.session, setup.prepared, named_port, app.tell) as record:
            yield _bencher(app, setup, record.handle, rates)

    return opened


@contextlib.contextmanager
def _inside(setup: Setup) -> Iterator[Bencher]:
    from localrun.engine.bench_in_process import InProcessBench
    from localrun.engine.in_process import InProcess

    prepared = setup.prepared
    if prepared.launch.rpc:
        raise UsageError("the in-process engine has no RPC", "--engine llama-server, of a build that has it")
    # Between two parts of the file a Ctrl-C is heard.
    with InProcess.open(prepared.path, prepared.plan.settings, lambda _part: None) as model:
        yield InProcessBench(model)


def _bencher(app: App, setup: Setup, handle: Handle, rates: Rates) -> Bencher:
    prepared = setup.prepared
    engine = registry.engine_of(app.session.config, handle)
    patience = benching.patience(app.session, prepared.plan, rates)
    if handle.engine == "ollama":
        from localrun.engine.bench_ollama import OllamaBench

        return OllamaBench(engine, handle, _counter(prepared.path), int(time.time()), patience)
    from localrun.engine.bench_server import ServerBench

    return ServerBench(engine, handle, prepared.plan.model.shape.n_vocab, patience)


def _counter(path: Path) -> Callable[[str], int]:
    """Tokens of a text by the model's own vocabulary; by its words where that cannot be read."""
    from localrun.tokenizer import Tokenizer

    try:
        return Tokenizer.open(str(path), rules="llama.cpp").count
    except LocalrunError:
        return lambda text: len(text.split())
