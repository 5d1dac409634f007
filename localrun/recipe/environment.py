"""The environment of an engine's process: its key, and the cards in the order that the plan counts."""

from __future__ import annotations

from collections.abc import Sequence

from localrun.hardware.facts import Gpu
from localrun.recipe.values import Launch

Pairs = tuple[tuple[str, str], ...]
#: Variables whose value is never shown.
SECRET = frozenset({"LLAMA_API_KEY"})


def environment(launch: Launch, gpus: Sequence[Gpu]) -> Pairs:
    """What the engine needs besides the inherited environment.

    CUDA numbers cards fastest first, NVML by bus: with unlike cards the plan's CUDA0 would be another
    one, so the cards are named by their UUIDs in the plan's order.
    """
    pairs: list[tuple[str, str]] = []
    if launch.api_key:
        # argv can be read by every user of the machine, the environment only by this one.
        pairs.append(("LLAMA_API_KEY", launch.api_key))
    uuids = [gpu.uuid for gpu in gpus if gpu.backend == "cuda" and gpu.uuid]
    if uuids and len(uuids) == len(gpus):
        pairs += [("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", ",".join(uuids))]
    return tuple(pairs)
