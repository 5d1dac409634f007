"""The environment of an engine's process: its key, and the cards in the order that the plan counts."""

from __future__ import annotations

from localrun.hardware.facts import Backend, Host
from localrun.recipe.values import Launch

Pairs = tuple[tuple[str, str], ...]
#: Variables whose value is never shown.
SECRET = frozenset({"LLAMA_API_KEY"})
#: Which devices a driver shows; "-1" names none.
_HIDES: dict[Backend, str] = {"cuda": "CUDA_VISIBLE_DEVICES", "rocm": "HIP_VISIBLE_DEVICES"}


def environment(launch: Launch, host: Host) -> Pairs:
    """What the engine needs besides the inherited environment.

    CUDA numbers cards fastest first, NVML by bus: with unlike cards the plan's CUDA0 would be another
    one, so the cards are named by their UUIDs in the plan's order. A card that the plan leaves out is
    hidden: seen, it would still hold a driver's context of some 400 MB.
    """
    pairs: list[tuple[str, str]] = []
    if launch.api_key:
        # argv can be read by every user of the machine, the environment only by this one.
        pairs.append(("LLAMA_API_KEY", launch.api_key))
    gpus = host.gpus
    uuids = [gpu.uuid for gpu in gpus if gpu.backend == "cuda" and gpu.uuid]
    if uuids and len(uuids) == len(gpus):
        pairs += [("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", ",".join(uuids))]
    if gpus and any(gpu.backend == "rocm" for gpu in host.unused):
        pairs += _amd(tuple(gpu.uuid for gpu in gpus))
    if not gpus:
        hidden = dict.fromkeys(_HIDES[gpu.backend] for gpu in host.unused if gpu.backend in _HIDES)
        pairs += [(name, "-1") for name in hidden]
    return tuple(pairs)


def _amd(uuids: tuple[str, ...]) -> Pairs:
    """ROCm's runtime takes UUIDs; HIP numbers what that shows, whatever the user had it choose before."""
    if not all(uuid.startswith("GPU-") for uuid in uuids):
        return ()
    numbers = ",".join(map(str, range(len(uuids))))
    return (("ROCR_VISIBLE_DEVICES", ",".join(uuids)), ("HIP_VISIBLE_DEVICES", numbers))
