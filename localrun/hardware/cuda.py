"""Which of the NVIDIA cards an engine will see, and under which number. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localrun.hardware.facts import Gpu
from localrun.hardware.nvml import Card
from localrun.hardware.visible import visible
from localrun.value import replace


def select(cards: Sequence[Card], environ: Mapping[str, str]) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The GPUs in CUDA's order after CUDA_VISIBLE_DEVICES, and what is worth knowing about the choice."""
    value = environ.get("CUDA_VISIBLE_DEVICES")
    notes: list[str] = []
    if value is not None and value.strip().upper().startswith("MIG-"):
        instances = [gpu for card in cards for gpu in card.instances]
        chosen = [instances[i] for i in visible(value, [gpu.uuid for gpu in instances])]
        split = chosen
    else:
        picked = [cards[i] for i in visible(value, [card.gpu.uuid if card.gpu else "" for card in cards])]
        notes += [
            f"{card.gpu.name} is in MIG mode without an instance: nothing can run on it"
            for card in picked
            if card.gpu and card.mig and not card.instances
        ]
        split = [gpu for card in picked for gpu in card.instances]
        chosen = [gpu for card in picked for gpu in (card.instances if card.mig else (card.gpu,)) if gpu]
    if split:
        # CUDA shows one MIG instance to a process, and beside it no other card (MIG user guide,
        # "CUDA device enumeration").
        if len(chosen) > 1:
            notes.append(
                f"CUDA lets one process use one MIG instance: {split[0].name} of {len(chosen)} devices"
            )
        chosen = [split[0]]
    if value is not None and cards and not chosen:
        notes.append(f"CUDA_VISIBLE_DEVICES={value!r} hides every NVIDIA GPU")
    notes += _order_note(chosen, environ)
    return tuple(replace(gpu, index=i) for i, gpu in enumerate(chosen)), tuple(notes)


def _order_note(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[str]:
    if len({gpu.name for gpu in gpus}) < 2 or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return []
    return [
        "the GPUs differ: they are numbered by PCI bus here, by speed in CUDA"
        " unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set"
    ]
