"""What an engine's process gets in its environment."""

from __future__ import annotations

from dataclasses import replace

from localrun.hardware.profiles import profile
from localrun.recipe.environment import SECRET, environment
from localrun.recipe.values import Launch

LAUNCH = Launch("/m.gguf", "m")


def test_a_key_travels_in_the_environment_and_counts_as_secret() -> None:
    pairs = dict(environment(replace(LAUNCH, api_key="k"), profile("cpu")))
    assert pairs == {"LLAMA_API_KEY": "k"}
    assert set(pairs) <= SECRET


def test_cards_are_named_in_the_plans_order() -> None:
    """CUDA would put the faster card first; the plan counts by bus."""
    card = profile("rtx-3060").gpus[0]
    slow, fast = replace(card, uuid="GPU-aa"), replace(card, uuid="GPU-bb", index=1)
    assert dict(environment(LAUNCH, replace(profile("rtx-3060"), gpus=(slow, fast)))) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-aa,GPU-bb",
    }


def test_cards_without_a_uuid_are_left_to_the_system() -> None:
    assert environment(LAUNCH, profile("rtx-4090")) == ()


def test_cards_that_a_plan_leaves_out_are_hidden() -> None:
    """Seen, they would hold a driver's context each; with one card kept, its UUID hides the others."""
    host = profile("2x rtx-4090")
    none = replace(host, gpus=(), unused=host.gpus)
    assert dict(environment(LAUNCH, none)) == {"CUDA_VISIBLE_DEVICES": "-1"}
    amd = replace(none, unused=tuple(replace(g, backend="rocm") for g in host.gpus))
    assert dict(environment(LAUNCH, amd)) == {"HIP_VISIBLE_DEVICES": "-1"}
    one = replace(host, gpus=(replace(host.gpus[0], uuid="GPU-aa"),), unused=host.gpus[1:])
    assert dict(environment(LAUNCH, one))["CUDA_VISIBLE_DEVICES"] == "GPU-aa"


def test_an_amd_card_that_a_plan_leaves_out_is_hidden() -> None:
    """Seen, it would be the engine's ROCm0, and take layers that were planned on the other."""
    host = profile("2x rtx-4090")
    full, free = (replace(g, backend="rocm", uuid=f"GPU-{g.index}a") for g in host.gpus)
    left = replace(host, gpus=(replace(free, index=0),), unused=(full,))
    assert dict(environment(LAUNCH, left)) == {"ROCR_VISIBLE_DEVICES": "GPU-1a", "HIP_VISIBLE_DEVICES": "0"}
    assert environment(LAUNCH, replace(host, gpus=(full, free))) == (), (
        "all of them in the system's own order"
    )
