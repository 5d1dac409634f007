"""What an engine's process gets in its environment."""

from __future__ import annotations

from dataclasses import replace

from localrun.hardware.profiles import profile
from localrun.recipe.environment import SECRET, environment
from localrun.recipe.values import Launch

LAUNCH = Launch("/m.gguf", "m")


def test_a_key_travels_in_the_environment_and_counts_as_secret() -> None:
    pairs = dict(environment(replace(LAUNCH, api_key="k"), ()))
    assert pairs == {"LLAMA_API_KEY": "k"}
    assert set(pairs) <= SECRET


def test_cards_are_named_in_the_plans_order() -> None:
    """CUDA would put the faster card first; the plan counts by bus."""
    card = profile("rtx-3060").gpus[0]
    slow, fast = replace(card, uuid="GPU-aa"), replace(card, uuid="GPU-bb", index=1)
    assert dict(environment(LAUNCH, (slow, fast))) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-aa,GPU-bb",
    }


def test_cards_without_a_uuid_are_left_to_the_system() -> None:
    assert environment(LAUNCH, profile("rtx-4090").gpus) == ()
