"""The buffer lines of real logs, added up by device."""

from __future__ import annotations

from localrun.engine.allocation import parse_allocation
from localrun.engine.base import Allocation
from localrun.units import MIB

#: xllamacpp 2026.10.11549 with SmolLM2 at context 8192.
SMOLLM2 = """\
0.00.394.820 I load_tensors: loading model tensors, this can take a while... (load_mode = mmap)
0.00.417.811 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
0.00.422.162 I llama_context:        CPU  output buffer size =     0.19 MiB
0.00.422.348 I llama_kv_cache:        CPU KV buffer size =   180.00 MiB
0.00.625.004 I llama_kv_cache: size =  180.00 MiB (  8192 cells,  30 layers,  1/1 seqs), K (f16):   90.00 MiB, V (f16):   90.00 MiB
0.00.631.324 I sched_reserve:        CPU compute buffer size =    22.64 MiB
"""  # noqa: E501

#: The shapes of a launch over two cards, with repacked weights and a sliding window beside the full cache.
TWO_CARDS = """\
0.01.000.000 I load_tensors:        CUDA0 model buffer size = 15000.25 MiB
0.01.000.001 I load_tensors:        CUDA1 model buffer size = 14000.00 MiB
0.01.000.002 I load_tensors:   CPU_Mapped model buffer size =   350.00 MiB
0.01.000.003 I load_tensors:   CPU_REPACK model buffer size =   120.50 MiB
0.01.000.004 I llama_context:  CUDA_Host  output buffer size =     0.50 MiB
0.01.000.005 I llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB
0.01.000.006 I llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB
0.01.000.007 I llama_kv_cache:      CUDA1 KV buffer size =   512.00 MiB
0.01.000.008 I sched_reserve:      CUDA0 compute buffer size =   300.00 MiB
0.01.000.009 I sched_reserve:  CUDA_Host compute buffer size =    10.00 MiB
"""


def mib(value: float) -> int:
    return round(value * MIB)


def test_the_default_model_s_log_gives_weights_cache_compute_and_output() -> None:
    assert parse_allocation(SMOLLM2) == (
        Allocation("CPU", weights=mib(92.10), kv=mib(180), compute=mib(22.64), output=mib(0.19)),
    )


def test_host_buffers_count_as_ram_and_both_caches_add_up() -> None:
    found = {a.device: a for a in parse_allocation(TWO_CARDS)}
    assert found == {
        "CUDA0": Allocation("CUDA0", weights=mib(15000.25), kv=mib(576), compute=mib(300)),
        "CUDA1": Allocation("CUDA1", weights=mib(14000), kv=mib(512)),
        "CPU": Allocation("CPU", weights=mib(350), repack=mib(120.5), compute=mib(10), output=mib(0.5)),
    }
    assert found["CPU"].total == mib(350) + mib(120.5) + mib(10) + mib(0.5)


def test_devices_of_every_backend_keep_their_names() -> None:
    lines = "".join(
        f"I load_tensors: {name} model buffer size = 1.00 MiB\n"
        for name in ("Vulkan0", "ROCm1", "SYCL0", "MTL0_Mapped", "RPC[gpu-box.lan:50052]", "AMX")
    )
    assert [a.device for a in parse_allocation(lines)] == [
        "Vulkan0",
        "ROCm1",
        "SYCL0",
        "MTL0",
        "RPC[gpu-box.lan:50052]",
        "CPU",
    ]


def test_a_recurrent_state_counts_as_cache() -> None:
    assert parse_allocation("I x: CPU RS buffer size = 3.00 MiB") == (Allocation("CPU", kv=mib(3)),)


def test_a_log_without_buffer_lines_gives_nothing() -> None:
    assert parse_allocation("I srv: listening\nmodel buffer size = 5 MiB\n") == ()
