"""What a plan needs that a Modelfile cannot say: the environment of Ollama's server.

From 0.30 on the server hands its environment to llama-server, which reads LLAMA_ARG_*; every
such setting holds for all models of that server. Flags that Ollama passes itself (context,
slots, batch, flash attention) win over the environment, so they are never set this way.
"""

from __future__ import annotations

import re
import shlex

from localrun.errors import LocalrunError
from localrun.plan.values import Plan, Settings
from localrun.units import GIB, MIB
from localrun.value import dataclass

Environment = tuple[tuple[str, str], ...]
Version = tuple[int, int, int]

#: The first server whose GGUF engine is llama-server.
LLAMA_SERVER: Version = (0, 30, 0)
#: Ollama gives up on a load that makes no progress for five minutes; a slow disk needs longer.
_SLOW_LOAD = 40 * GIB
_DROP_IN = "/etc/systemd/system/ollama.service.d/localrun.conf"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Split:
    """One plan, divided by where Ollama can be told of it."""

    environment: Environment
    in_file: bool  # whether the placement goes into the Modelfile, as num_gpu
    lost: tuple[str, ...]  # what neither can say, in words


def split_plan(plan: Plan, server: Version) -> Split:
    """What of the plan goes into the server's environment and what is lost on this version."""
    s = plan.settings
    environment = dict(_common(plan))
    lost = []
    if server < LLAMA_SERVER:
        lost = _lost_before_llama_server(plan)
    else:
        environment |= _cache_types(s)
        environment |= _placement(plan)
        environment |= _rest(s)
    if s.batch_size != s.ubatch_size:
        lost.append(
            f"batch {s.batch_size} with ubatch {s.ubatch_size}: Ollama's num_batch sets both to {s.ubatch_size}"
        )
    if s.moe_cache:
        lost.append("the cache of hot experts in spare VRAM: llama-server has no variable for it")
    return Split(tuple(sorted(environment.items())), not _needs_environment(s), tuple(lost))


def _needs_environment(s: Settings) -> bool:
    # num_gpu in the file without the rest in the environment would put the experts on the GPU:
    # all of the placement goes one way, and without it llama.cpp's own --fit still works.
    return bool(s.n_cpu_moe or s.override_tensor or s.tensor_split)


def _common(plan: Plan) -> Environment:
    s = plan.settings
    out = [("OLLAMA_NUM_PARALLEL", str(s.parallel))]
    quantized = s.cache_type_v not in ("f32", "f16", "bf16")
    if s.flash_attn != "auto" or quantized:
        # A quantized V cache is refused without flash attention.
        out.append(("OLLAMA_FLASH_ATTENTION", "0" if s.flash_attn == "off" and not quantized else "1"))
    if s.cache_type_k == s.cache_type_v != "f16":
        out.append(("OLLAMA_KV_CACHE_TYPE", s.cache_type_k))
    need, have = sum(d.total for d in plan.memory), sum(d.budget for d in plan.memory)
    if need * 2 > have:
        out.append(("OLLAMA_MAX_LOADED_MODELS", "1"))
    if plan.model.weights_bytes > _SLOW_LOAD:
        out.append(("OLLAMA_LOAD_TIMEOUT", "30m"))
        out.append(("OLLAMA_KEEP_ALIVE", "24h"))
    return tuple(out)


def _cache_types(s: Settings) -> dict[str, str]:
    if s.cache_type_k == s.cache_type_v:
        return {}
    return {"LLAMA_ARG_CACHE_TYPE_K": s.cache_type_k, "LLAMA_ARG_CACHE_TYPE_V": s.cache_type_v}


def _placement(plan: Plan) -> dict[str, str]:
    s = plan.settings
    if not _needs_environment(s):
        return {}
    out = {"LLAMA_ARG_FIT": "off", "LLAMA_ARG_N_GPU_LAYERS": str(s.n_gpu_layers)}
    if s.n_cpu_moe:
        out["LLAMA_ARG_N_CPU_MOE"] = str(s.n_cpu_moe)
    if s.override_tensor:
        out["LLAMA_ARG_OVERRIDE_TENSOR"] = ",".join(s.override_tensor)
    if s.tensor_split:
        out["LLAMA_ARG_TENSOR_SPLIT"] = ",".join(f"{x:g}" for x in s.tensor_split)
    return out


def _rest(s: Settings) -> dict[str, str]:
    out = {}
    if not s.repack:
        out["LLAMA_ARG_REPACK"] = "0"
    if s.swa_full:
        out["LLAMA_ARG_SWA_FULL"] = "1"
    if s.kv_unified:
        out["LLAMA_ARG_KV_UNIFIED"] = "1"
    if not s.mmproj_offload:
        out["LLAMA_ARG_MMPROJ_OFFLOAD"] = "0"
    if s.n_gpu_layers_draft:
        out["LLAMA_ARG_N_GPU_LAYERS_DRAFT"] = str(s.n_gpu_layers_draft)
    if s.spec_type:
        out["LLAMA_ARG_SPEC_TYPE"] = s.spec_type
    # Unset, llama-server keeps up to 8 GiB of old prompts in RAM, and 32 checkpoints a slot.
    out["LLAMA_ARG_CACHE_RAM"] = str(s.cache_ram // MIB)
    out["LLAMA_ARG_CTX_CHECKPOINTS"] = str(s.ctx_checkpoints)
    return out


def _lost_before_llama_server(plan: Plan) -> list[str]:
    s = plan.settings
    lost = []
    if s.n_cpu_moe:
        lost.append(f"experts of {s.n_cpu_moe} layers on the CPU (LLAMA_ARG_N_CPU_MOE)")
    if s.override_tensor:
        lost.append("tensor overrides (LLAMA_ARG_OVERRIDE_TENSOR)")
    if s.tensor_split:
        lost.append("the split between GPUs (LLAMA_ARG_TENSOR_SPLIT); OLLAMA_SCHED_SPREAD=1 spreads evenly")
    if s.cache_type_k != s.cache_type_v:
        lost.append(f"K cache {s.cache_type_k} with V cache {s.cache_type_v}: one type for both")
    if s.swa_full or s.kv_unified or not s.repack:
        lost.append("swa-full, a unified cache, no-repack")
    if plan.model.architecture == "deepseek32":
        lost.append("the model itself: deepseek32 is known from 0.30 on")
    return [f"{what}: Ollama below 0.30 cannot" for what in lost]


def shell_lines(environment: Environment) -> str:
    """`export` lines for the shell that starts `ollama serve`."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in _checked(environment))


def systemd_drop_in(environment: Environment) -> str:
    """A drop-in for the ollama service; its comments say where it goes."""
    lines = [f"# {_DROP_IN}", "# then: systemctl daemon-reload && systemctl restart ollama", "[Service]"]
    for name, value in _checked(environment):
        # systemd expands % and reads backslashes and quotes inside its own quotation marks.
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        lines.append(f'Environment="{name}={escaped}"')
    return "\n".join(lines) + "\n"


def launchctl_lines(environment: Environment) -> str:
    """For the macOS application, which reads launchd's environment when it starts."""
    lines = [f"launchctl setenv {n} {shlex.quote(v)}" for n, v in _checked(environment)]
    return "\n".join([*lines, "# then quit Ollama and start it again"]) + "\n"


def _checked(environment: Environment) -> Environment:
    for name, value in environment:
        if not _NAME.fullmatch(name) or any(c in value for c in "\n\r\0"):
            raise LocalrunError(f"not a variable that an environment can hold: {name!r}")
    return environment
