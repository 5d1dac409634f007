"""Plans as plain values for the Modelfile tests: a dense model and one of experts, with and without a GPU."""

from __future__ import annotations

from localrun.hardware.facts import Cpu, Gpu, Host, Ram
from localrun.model.facts import Model, ModelFile, Shape
from localrun.plan.values import Band, DeviceMemory, Kv, Plan, Settings, Speed, Verdict
from localrun.units import GIB

CARD = Gpu("RTX 4090", "cuda", 0, 24 * GIB, 23 * GIB)


def shape(experts: int = 0) -> Shape:
    return Shape(
        n_layers=48, n_embd=5120, n_vocab=1000, n_ctx_train=131072, n_head=(40,) * 48, n_head_kv=(8,) * 48,
        head_dim_k=128, head_dim_v=128, n_ff=(8192,) * 48, n_expert=experts, n_expert_used=min(1, experts),
    )  # fmt: skip


def plan(
    *,
    gpus: tuple[Gpu, ...] = (),
    experts: int = 0,
    settings: Settings | None = None,
    files: tuple[str, ...] = ("/models/m.gguf",),
    verdict: Verdict = "fits",
    need: int = 10 * GIB,
    budget: int = 12 * GIB,
    name: str = "test-model",
    architecture: str = "llama4",
    **model: object,
) -> Plan:
    settings = settings or Settings(ctx_size=8192, n_gpu_layers=49 if gpus else 0, threads=8)
    devices = [*(f"CUDA{g.index}" for g in gpus), "CPU"]
    each = need // len(devices)
    return Plan(
        verdict=verdict,
        model=Model(
            name=name, architecture=architecture, quant="Q4_K_M", shape=shape(experts), tensors=(),
            files=tuple(ModelFile(f, 1000) for f in files), weights_bytes=8 * GIB, parameters=10**10,
            parameters_active=10**10, **model,
        ),
        host=Host(
            "this machine", "linux", "x86_64", Cpu("cpu", 8, 16, 16), Ram(64 * GIB, 60 * GIB), gpus=gpus,
            disk_free=1000 * GIB,
        ),
        settings=settings,
        memory=tuple(
            DeviceMemory(d, each - GIB, GIB // len(devices), 0, 0, each, budget // len(devices)) for d in devices
        ),
        kv=Kv(GIB, settings.ctx_size, GIB // settings.ctx_size),
        speed=Speed(Band(8, 10, 12), Band(80, 100, 120), "ram bandwidth"),
        reasons=("all layers on the GPU", "context 8192"),
    )  # fmt: skip
