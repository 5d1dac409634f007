"""The decode loop: what it adds to llama_decode, and its generation against others'.

    python -m bench.loop [--write] [--rounds 7]

Process CPU time, medians of interleaved rounds, one thread.
overhead    microseconds a token above decode, at a vocabulary of 128,256: the loop over a libllama whose decode only
            writes logits, less the same decodes without a loop
counting    nanoseconds a token for clock, meters and ledger
generation  the real SmolLM2 with the library that the in-process engine takes: the loop's greedy generation against
            llama_decode called alone, and text out against llama-cpp-python's Llama.__call__ and its stream, where that
            is installed: pip install -e '.[in-process]'
"""

from __future__ import annotations

import argparse
import ctypes as c
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from bench.machine import describe, keep
from localrun.config import paths
from localrun.engine.in_process import GREEDY, InProcess, Sampling
from localrun.engine.libllama import Batch
from localrun.engine.llama_model import context_params, new_context
from localrun.model.fetch import ensure
from localrun.model.sources import DEFAULT_MODEL, Net
from localrun.native.ledger import Group
from localrun.native.loop import FUNCTIONS, Loop
from localrun.plan.values import Settings

ROOT = Path(__file__).parent.parent
VOCAB, TOKENS = 128256, 2000
PROMPT = "Once upon a time there was a little"
FAKES = {
    "decode": "bench_decode", "get_logits_ith": "bench_logits", "get_memory": "bench_memory", "seq_rm": "bench_rm",
    "seq_pos_min": "bench_min", "set_abort_callback": "bench_hook", "is_eog": "bench_eog",
}  # fmt: skip
SAMPLINGS = {
    "greedy": GREEDY,
    "top-k 40, top-p 0.95, min-p 0.05": Sampling(seed=1),
    "top-p 0.95": Sampling(top_k=0, min_p=0.0, seed=1),
    "temperature alone": Sampling(top_k=0, top_p=1.0, min_p=0.0, seed=1),
}


def cpu(run: Callable[[], object]) -> float:
    """Seconds of this process's CPU."""
    start = time.process_time()
    run()
    return time.process_time() - start


def interleaved(rounds: int, runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each, round by round."""
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seen[name].append(cpu(run))
    return seen


def times(seen: dict[str, list[float]], slow: str, quick: str) -> float:
    """How many times as long one takes as the other, the median of the rounds: a machine's mood passes over both."""
    return median(a / b for a, b in zip(seen[slow], seen[quick], strict=True))


def compiled(folder: str) -> c.CDLL:
    compiler = shutil.which("cc") or sys.exit("this needs a C compiler")
    sources = [
        ROOT / "bench/loop_costs.c",
        *(ROOT / "csrc" / f"lr_{n}.c" for n in ("meter", "ledger", "loop_read", "text", "unicode")),
    ]
    out = Path(folder) / "loop_costs.so"
    argv = [
        compiler,
        "-std=c11",
        "-O3",
        "-shared",
        "-fPIC",
        "-pthread",
        f"-I{ROOT / 'csrc'}",
        *sources,
        "-o",
        out,
    ]
    subprocess.run(argv, check=True)
    lib = c.CDLL(str(out))
    lib.bench_count.restype = c.c_uint64
    return lib


def overhead(lib: c.CDLL, rounds: int) -> dict[str, float]:
    """Microseconds a token above decode. Logits spread as a trained model's are: most of the mass in a few."""
    chance = random.Random(1)
    template = (c.c_float * VOCAB).in_dll(lib, "bench_template")
    template[:] = [chance.gauss(0, 2.0) for _ in range(VOCAB)]
    functions = {key: c.cast(lib[name], c.c_void_p).value or 0 for key, name in FAKES.items()}
    assert functions.keys() == FUNCTIONS.keys()
    loop = Loop(
        functions, 1, 1, [Group(1 << 20, 1000)], n_seq=1, n_ctx_seq=1 << 20, n_batch=512, n_vocab=VOCAB
    )
    threading.Thread(target=loop.work, daemon=True).start()

    def generate(sampling: Sampling) -> None:
        request = loop.begin([1], TOKENS, sampling, seed=1, keep=0)
        assert request is not None
        while not request.read(60, text=False)[1].finish:
            pass
        request.end()

    runs: dict[str, Callable[[], object]] = {"bare": lambda: lib.bench_bare(TOKENS)}
    runs |= {name: lambda s=sampling: generate(s) for name, sampling in SAMPLINGS.items()}
    seen = interleaved(rounds, runs)
    loop.close()
    return {
        name: round(median(a - b for a, b in zip(seen[name], seen["bare"], strict=True)) / TOKENS * 1e6, 2)
        for name in SAMPLINGS
    }


def counting(lib: c.CDLL, rounds: int) -> float:
    n = 1_000_000
    return round(median(interleaved(rounds, {"count": lambda: lib.bench_count(n)})["count"]) / n * 1e9, 1)


def bare_decode(model: InProcess, n: int) -> Callable[[], None]:
    """Token after token through llama_decode, as llama-bench does: nothing is sampled."""
    lib = model.library.c
    lib.llama_get_model.restype = c.c_void_p
    owner = lib.llama_get_model(c.c_void_p(model.context))
    params = context_params(model.library, model.settings)
    context = c.c_void_p(new_context(model.library, owner, params))  # the loop's own is the loop's
    memory = c.c_void_p(lib.llama_get_memory(context))
    lib.llama_batch_init.restype, lib.llama_batch_init.argtypes = Batch, (c.c_int32,) * 3
    lib.llama_decode.argtypes = (c.c_void_p, Batch)
    batch = lib.llama_batch_init(1, 0, 1)
    batch.n_tokens = 1
    pos = c.c_int32.from_address(batch.pos)
    c.c_int32.from_address(batch.token).value = 1000
    c.c_int32.from_address(batch.n_seq_id).value = 1
    c.POINTER(c.c_int32).from_address(batch.seq_id)[0] = 0
    c.c_int8.from_address(batch.logits).value = 1

    def run() -> None:
        lib.llama_memory_seq_rm(memory, c.c_int32(0), c.c_int32(-1), c.c_int32(-1))
        for i in range(n):
            pos.value = i
            assert lib.llama_decode(context, batch) == 0

    return run


def generation(rounds: int, n: int) -> dict[str, Any]:
    """Milliseconds a token, and ratios: above 1, the loop is faster."""
    path = ensure(DEFAULT_MODEL, paths(os.environ), Net(os.environ))
    with InProcess.open(path, Settings(1024, threads=1)) as model:
        ids = model.tokenizer.encode(PROMPT)

        def text() -> None:
            texts = model.generate(ids, GREEDY, max_tokens=n, ignore_eog=True)
            assert "".join(texts)
            assert len(texts.ids) == n

        runs: dict[str, Callable[[], object]] = {
            "llama_decode alone": bare_decode(model, n),
            "the loop": lambda: model.measure(0, n),
            "the loop, text": text,
        }
        runs |= _llama_cpp_python(path, n)
        interleaved(1, runs)  # fills caches
        found = interleaved(rounds, runs)
        result: dict[str, Any] = {
            "library": f"{model.library.found.package}, llama.cpp {model.library.version}",
            "tokens": n,
            "ms_per_token": {name: round(median(seconds) / n * 1e3, 3) for name, seconds in found.items()},
            "the loop, of llama_decode alone": round(times(found, "llama_decode alone", "the loop"), 4),
        }
        for name in list(runs)[3:]:
            result[f"the loop's text, of {name}"] = round(times(found, name, "the loop, text"), 3)
    return result


def _llama_cpp_python(path: Path, n: int) -> dict[str, Callable[[], object]]:
    if find_spec("llama_cpp") is None:
        return {}
    import llama_cpp

    llama = llama_cpp.Llama(str(path), n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)
    # As the loop's: end tokens end nothing.
    asked = {"max_tokens": n, "temperature": 0.0, "logit_bias": {llama.token_eos(): -1000.0}}

    def call() -> None:
        assert llama(PROMPT, **asked)["usage"]["completion_tokens"] == n

    def stream() -> None:
        for _ in llama.create_completion(PROMPT, stream=True, **asked):
            pass

    return {"Llama.__call__": call, "create_completion(stream=True)": stream}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lib = compiled(folder)
        result = {
            "overhead_us_per_token_128k": overhead(lib, asked.rounds),
            "counting_ns_per_token": counting(lib, asked.rounds),
            "generation": generation(asked.rounds, asked.tokens),
            "wanted": {"overhead greedy": 20, "counting": 100, "the loop, of llama_decode alone": 0.99},
            "machine": describe(),
        }
    keep("loop", result, asked.write)


if __name__ == "__main__":
    main()
