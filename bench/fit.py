"""Our placement against that of llama.cpp's own `--fit`, both put through the same model of speed.

    python -m bench.fit            compares over the grid; asks the engine where bench/results/fit.json has no answer
    python -m bench.fit --fresh    asks the engine again for every case (about a quarter of an hour)

`--fit` sees GPUs that exist only in a dry run, with the driver's context already taken off their free
memory, as CUDA reports it. Needs a C compiler and the embedded engine; sparse files take a few MB.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.machine import describe
from localrun.hardware.facts import Host
from localrun.hardware.profiles import profile
from localrun.model.catalog import load_catalog
from localrun.model.facts import Model, Tensor
from localrun.model.sized import model_for
from localrun.plan.choose import base
from localrun.plan.compute import CONTEXT
from localrun.plan.fit import RANK, Candidate, Fitter, verdict_of
from localrun.plan.memory import kv_of, memory
from localrun.plan.placement import block_of
from localrun.plan.planner import make_plan
from localrun.plan.rates import DEFAULT
from localrun.plan.values import Plan, Settings, Wanted
from localrun.units import GIB
from tests.fakes.gpu import build
from tests.plan.fit_peer import compact, expand, fit, split
from tests.sparse import mixed_types, write_sparse

RESULTS = Path(__file__).with_name("results") / "fit.json"
#: GiB of each GPU.
GPUS: tuple[tuple[int, ...], ...] = (
    (6,), (8,), (12,), (16,), (24,), (32,), (48,), (80,), (12, 24), (16, 16), (24, 24), (24,) * 4
)  # fmt: skip
MODELS = (
    "scout", "v3.2", "v3.2-stripped", "large-3", "maverick", "llama-405b", "llama-70b", "llama-8b", "mistral-small"
)  # fmt: skip
CATALOGUE = {
    "scout": "llama-4-scout", "v3.2": "deepseek-v3.2", "v3.2-stripped": "deepseek-v3.1",
    "llama-405b": "llama-3.1-405b", "llama-70b": "llama-3.1-70b", "llama-8b": "llama-3.1-8b",
    "mistral-small": "mistral-small-3.2",
}  # fmt: skip
CONTEXTS = (8192, 32768)
#: GiB of RAM that each placement is tried with: enough for all, and what a desktop has.
RAM = (1024, 96)


@dataclass(frozen=True, slots=True)
class Case:
    model: str
    gpus: tuple[int, ...]
    ctx: int

    @property
    def key(self) -> str:
        return f"{self.model} {'+'.join(map(str, self.gpus))} {self.ctx}"


@dataclass(frozen=True, slots=True)
class Compared:
    case: Case
    ram: int
    ours: Plan
    theirs: Candidate | None  # None: --fit gives up

    @property
    def ratio(self) -> float:
        """Our tokens per second over theirs; above 1 where theirs cannot run at all."""
        if self.theirs is None or self.theirs.verdict == "too-big":
            return float("inf")
        return self.ours.speed.generation.expected / self.theirs.rate

    @property
    def lost(self) -> bool:
        if self.theirs is None:
            return False
        return RANK[self.ours.verdict] < RANK[self.theirs.verdict] or self.ratio < 0.9999


def cases() -> list[Case]:
    return [Case(m, g, ctx) for m in MODELS for g in GPUS for ctx in CONTEXTS]


def machine(gpus: tuple[int, ...], ram: int) -> Host:
    """A desktop with cards of so many GiB and RAM that is all free."""
    host = profile("rtx-4090")
    cards = tuple(
        replace(host.gpus[0], index=i, vram_total=n * GIB, vram_free=n * GIB) for i, n in enumerate(gpus)
    )
    memory = replace(host.ram, total=ram * GIB, available=ram * GIB)
    return replace(host, gpus=cards, ram=memory, disk_free=4000 * GIB)


def write(which: str, path: Path) -> Model:
    """A sparse Q4_K_M of full size, its types by llama.cpp's own rules where the catalogue has the model."""
    types: dict[str, str] = {}
    if which in CATALOGUE:
        known = model_for(load_catalog().entry(CATALOGUE[which]), "Q4_K_M")
        types = {tensor.name: tensor.type for tensor in known.tensors}
    return write_sparse(path, which, lambda name, dims: types.get(name) or mixed_types(name, dims))


@lru_cache
def model(which: str) -> Model:
    """What is in that file."""
    with tempfile.TemporaryDirectory(prefix="localrun-fit-") as folder:
        return write(which, Path(folder) / f"{which}.gguf")


def compare(case: Case, ram: int, placement: Settings | None) -> Compared:
    """`placement`: what --fit set for this case's context, f16 cache, ubatch 512."""
    host = machine(case.gpus, ram)
    wanted = Wanted(ctx_size=case.ctx, cache_type_k="f16", cache_type_v="f16")
    ours = make_plan(model(case.model), host, wanted, advise=False)
    if placement is None:
        return Compared(case, ram, ours, None)
    ground = replace(base(host, wanted), ctx_size=case.ctx)
    theirs = replace(
        ground, n_gpu_layers=placement.n_gpu_layers, tensor_split=placement.tensor_split,
        override_tensor=placement.override_tensor,
    )  # fmt: skip
    return Compared(case, ram, ours, judged(model(case.model), host, wanted, theirs))


def judged(which: Model, host: Host, wanted: Wanted, placed: Settings) -> Candidate:
    """Memory as placed; speed as that of the same placement with its layers put in our order.

    --fit keeps whole layers in front and names those without experts one by one; -ncmoe counts them
    from the front. What a token costs is the same in either order, so both are judged alike.
    """
    devices, kv = memory(which, host, placed), kv_of(which, placed)
    turned, settings = in_our_order(which, placed)
    fitter = Fitter.of(turned, host, wanted, replace(settings, override_tensor=()), DEFAULT)
    costs = fitter.traffic_for(settings).costs(settings, devices, kv)
    return Candidate(placed, devices, kv, verdict_of(host, devices, placed.mmap), 1.0 / costs.total)


def in_our_order(which: Model, placed: Settings) -> tuple[Model, Settings]:
    """The model with its blocks renumbered: those without experts on a GPU first, and -ncmoe for them."""
    n = which.shape.n_layers
    first = n + 1 - placed.n_gpu_layers if placed.n_gpu_layers >= 0 else 0
    bare, parts = split(placed)
    bare = [il for il in bare if il < n]  # it counts the head as one of the layers
    front = [*range(first), *bare]
    order = {old: new for new, old in enumerate([*front, *(il for il in range(n) if il not in set(front))])}

    def renamed(tensor: Tensor) -> Tensor:
        il = block_of(tensor.name)
        return tensor if il < 0 else replace(tensor, name=f"blk.{order[il]}.{tensor.name.split('.', 2)[2]}")

    turned = replace(which, tensors=tuple(renamed(t) for t in which.tensors))
    overrides = tuple(rf"blk\.{order[il]}\.{rest}" for il, rest in parts)
    return turned, replace(placed, n_cpu_moe=len(front) if bare else 0, override_tensor=overrides)


def ask(which: str, gpus: tuple[int, ...], folder: Path) -> dict[str, Any]:
    """What --fit does with this model on these GPUs, by case; the sparse file is kept in `folder`."""
    path, backend = folder / f"{which}.gguf", folder / "fake_gpu.so"
    if not path.exists():
        write(which, path)
    if not backend.exists() and build(folder) is None:
        raise SystemExit("no C compiler here: the fake GPUs cannot be built")
    free = tuple(n * GIB - CONTEXT["cuda"] for n in gpus)
    found = fit(str(path), [Settings(ctx) for ctx in CONTEXTS], backend, free)
    return {Case(which, gpus, ctx).key: compact(s) for ctx, s in zip(CONTEXTS, found, strict=True)}


def known() -> dict[str, Any]:
    """--fit's placements by case, as committed."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8"))["fit"]) if RESULTS.exists() else {}


def _keep(answers: dict[str, Any]) -> None:
    """As they come: a run that is cut short goes on where it was."""
    result = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(result | {"fit": answers}, indent=1) + "\n", encoding="utf-8")


def main(fresh: bool) -> None:
    kept = {} if fresh else known()
    with tempfile.TemporaryDirectory(prefix="localrun-fit-") as folder:
        for which in MODELS:
            for gpus in GPUS:
                if any(Case(which, gpus, ctx).key not in kept for ctx in CONTEXTS):
                    kept |= ask(which, gpus, Path(folder))
                    _keep(kept)
            (Path(folder) / f"{which}.gguf").unlink(missing_ok=True)
    found = [compare(case, ram, expand(kept[case.key])) for case in cases() for ram in RAM]
    rows = [r for r in found if r.ratio != float("inf")]
    ratios = sorted(r.ratio for r in rows)
    for r in found:
        theirs = f"{r.theirs.rate:8.2f}" if r.theirs else "gives up"
        rate = r.ours.speed.generation.expected
        print(f"{r.case.key:28} {r.ram:5} GiB  ours {rate:8.2f}  --fit {theirs}  {r.ratio:6.3f}")
    result = {
        "machine": describe(),
        "engine": "xllamacpp 2026.10.11549",
        "cases": len(found),
        "comparable": len(rows),
        "lost": sum(r.lost for r in found),
        "ours_over_fit": {
            "least": round(ratios[0], 4),
            "median": round(ratios[len(ratios) // 2], 4),
            "most": round(ratios[-1], 4),
        },
        "fit": kept,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "fit"}, indent=2))


if __name__ == "__main__":
    main("--fresh" in sys.argv[1:])
