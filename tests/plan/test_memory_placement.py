"""Weights by device, byte for byte, against the engine's dry run, with and without GPUs."""

from __future__ import annotations

import random

import pytest

from localrun.errors import UsageError
from localrun.plan.memory import memory
from localrun.plan.placement import layer_devices, place
from localrun.plan.values import Settings
from localrun.plan.weights import Weights
from tests.oracle import GIB, accounts, host, sparse_model
from tests.shapes import MODELS
from tests.sparse import mixed_types

QUANTS = ("Q4_0", "Q8_0", "IQ4_NL", "Q2_K", "F16", mixed_types)
RIGS = {"one": (24 * GIB,), "two": (24 * GIB, 16 * GIB), "three": (23 * GIB, 11 * GIB, 7 * GIB)}
OVERRIDES = (
    (),
    (),
    (r"blk\.(1|2|3)\..*=CPU",),
    ("attn_k=CUDA0", r"\.ffn_.*_exps\.=CPU"),
    ("output=CPU", r"blk\.1[0-9]\.ffn=CUDA0"),
    ("token_embd=CUDA0",),
)


@pytest.mark.parametrize("which", MODELS)
def test_weights_on_a_cpu_equal_the_engines_with_and_without_repacking(which: str) -> None:
    for quant in QUANTS:
        model = sparse_model(which, quant)
        both = [Settings(4096), Settings(4096, repack=False)]
        for case, account in zip(both, accounts(model, both), strict=True):
            placed, real = place(model, host(), case), account["CPU"]
            assert (placed.weights[0], placed.repacked) == (real.weights, real.repacked), model.quant


def cases(which: str, gpus: int) -> list[Settings]:
    """Placements drawn once and for all: the seed is the model's name."""
    draw = random.Random(f"{which} {gpus}")
    n = MODELS[which].shape.n_layers
    layers = (-1, 0, 1, 2, n // 2, n - 1, n, n + 1, 99, 200)
    shares = ((), (), tuple(float(draw.randint(1, 9)) for _ in range(gpus)))
    caches = ("f16", "f16", "q8_0", "q4_0")
    types = [draw.choice(caches) for _ in range(8)]
    return [
        Settings(
            ctx_size=draw.choice((4096, 20000)),
            n_gpu_layers=draw.choice(layers),
            n_cpu_moe=draw.choice((0, 0, 1, 3, 10, n)),
            override_tensor=draw.choice(OVERRIDES),
            tensor_split=draw.choice(shares) if gpus > 1 else (),
            parallel=draw.choice((1, 2)),
            cache_type_k=kind,
            cache_type_v=kind,
        )
        for kind in types
    ]


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize("which", MODELS)
def test_weights_and_cache_lie_where_the_engine_puts_them(which: str, rig: str) -> None:
    gpus = RIGS[rig]
    model, machine = sparse_model(which), host(gpus)
    wanted = cases(which, len(gpus))
    for case, account in zip(wanted, accounts(model, wanted, gpus), strict=True):
        for device in memory(model, machine, case):
            real = account.get(device.device)
            seen = (real.weights, real.kv) if real else (0, 0)
            assert (device.weights, device.kv) == seen, (device.device, case)


@pytest.mark.parametrize("which", MODELS)
def test_the_sums_give_what_the_walk_over_tensors_gives(which: str) -> None:
    model = sparse_model(which)
    for gpus in ((), *RIGS.values()):
        machine = host(gpus)
        for case in cases(which, len(gpus)) if gpus else [Settings(4096), Settings(4096, repack=False)]:
            assert Weights.of(model, machine, case).place(case) == place(model, machine, case), case


def test_layers_fill_a_gpu_from_the_end() -> None:
    machine = host((GIB,))
    assert layer_devices(4, machine, Settings(512, n_gpu_layers=1)) == (1, 1, 1, 1, 0), "the head alone"
    assert layer_devices(4, machine, Settings(512, n_gpu_layers=3)) == (1, 1, 0, 0, 0)
    assert layer_devices(4, machine, Settings(512, n_gpu_layers=-1)) == (0,) * 5
    assert layer_devices(4, host(), Settings(512, n_gpu_layers=99)) == (0,) * 5, "no GPU: index 0 is the CPU"


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"override_tensor": ("exps=CUDA7",)}, "not REGEX=BUFFER"),
        ({"override_tensor": ("exps",)}, "not REGEX=BUFFER"),
        ({"override_tensor": ("(=CPU",)}, "-ot"),
        ({"override_tensor": (r"blk\.\d{1,2}=CPU",)}, "comma"),
        ({"tensor_split": (1.0, 1.0)}, "names 2 GPUs"),
    ],
)
def test_a_placement_that_makes_no_sense_is_refused(settings: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        place(sparse_model("smollm2"), host((GIB,)), Settings(512, **settings))  # type: ignore[arg-type]


def test_no_tensor_is_repacked_beside_a_cuda_gpu() -> None:
    assert place(sparse_model("llama-8b", "Q4_0"), host((GIB,)), Settings(512)).repacked == 0
    assert place(sparse_model("llama-8b", "Q4_0"), host(), Settings(512)).repacked > 0
