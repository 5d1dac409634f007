"""Names typed and names published: repositories, quants, shards, projectors."""

from __future__ import annotations

import pytest

from localrun.errors import FetchError, UsageError
from localrun.model.sources import HubRef, parse_hub
from localrun.model.variants import RepoFile, check_whole, choose, projectors_of, quant_in, variants_of

#: The shapes of names in the repositories that facts are known of.
SCOUT = [
    "README.md",
    "config.json",
    "Llama-4-Scout-17B-16E-Instruct-Q2_K.gguf",
    "Llama-4-Scout-17B-16E-Instruct-UD-IQ1_S.gguf",
    "Q6_K/Llama-4-Scout-17B-16E-Instruct-Q6_K-00001-of-00002.gguf",
    "Q6_K/Llama-4-Scout-17B-16E-Instruct-Q6_K-00002-of-00002.gguf",
    "UD-Q4_K_XL/Llama-4-Scout-17B-16E-Instruct-UD-Q4_K_XL-00002-of-00002.gguf",
    "UD-Q4_K_XL/Llama-4-Scout-17B-16E-Instruct-UD-Q4_K_XL-00001-of-00002.gguf",
    "BF16/Llama-4-Scout-17B-16E-Instruct-BF16-00001-of-00001.gguf",
    "mmproj-F32.gguf",
    "mmproj-BF16.gguf",
    "mmproj-F16.gguf",
    "imatrix_unsloth.gguf",
]


def files(names: list[str]) -> list[RepoFile]:
    return [RepoFile(name, 10, "a" * 64) for name in names]


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("hf:a/b", HubRef("a/b")),
        ("hf:unsloth/X-GGUF:UD-Q4_K_XL", HubRef("unsloth/X-GGUF", "UD-Q4_K_XL")),
        ("hf:a/b@v1.0:Q8_0", HubRef("a/b", "Q8_0", "v1.0")),
        ("a/b:sub/file.gguf", HubRef("a/b", "sub/file.gguf")),
    ],
)
def test_hub_names_are_read(name: str, ref: HubRef) -> None:
    assert parse_hub(name) == ref


@pytest.mark.parametrize(
    "name", ["hf:", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b:", "hf:a/b:../../x", "hf:a b/c"]
)
def test_what_is_no_hub_name_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="not a Hugging Face name"):
        parse_hub(name)


def test_a_repository_is_sorted_into_quants() -> None:
    found = {v.quant: [f.path[-14:] for f in v.files] for v in variants_of(files(SCOUT))}
    assert set(found) == {"Q2_K", "UD-IQ1_S", "Q6_K", "UD-Q4_K_XL", "BF16"}
    assert found["UD-Q4_K_XL"] == ["1-of-00002.gguf"[-14:], "2-of-00002.gguf"[-14:]], "load order"


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("DeepSeek-V3.2-UD-TQ1_0.gguf", "UD-TQ1_0"),
        ("Q4_K_M/DeepSeek-V3.2-Q4_K_M-00001-of-00009.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("Meta-Llama-3.1-8B-Instruct-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("model-iq2_xxs.gguf", "IQ2_XXS"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("Q8_0/model-00001-of-00003.gguf", "Q8_0"),
        ("model.gguf", ""),
        ("Qwen2-Q1.5.gguf", "Q1"),
        ("fp16.gguf", "FP16"),
    ],
)
def test_the_quant_is_found_in_the_name(path: str, quant: str) -> None:
    assert quant_in(path) == quant


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("", "UD-Q4_K_XL"),
        ("q6_k", "Q6_K"),
        ("Q4_K_XL", "UD-Q4_K_XL"),
        ("ud-q4-k-xl", "UD-Q4_K_XL"),
        ("Llama-4-Scout-17B-16E-Instruct-Q2_K.gguf", "Q2_K"),
    ],
)
def test_a_quant_is_chosen_as_people_spell_it(asked: str, got: str) -> None:
    assert choose(variants_of(files(SCOUT)), asked, "r").quant == got


def test_an_unknown_quant_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="has no Q3_K_M") as caught:
        choose(variants_of(files(SCOUT)), "Q3_K_M", "r")
    assert "UD-IQ1_S" in caught.value.hint


def test_a_repository_without_gguf_says_so() -> None:
    with pytest.raises(FetchError, match="holds no GGUF file"):
        choose(variants_of(files(["model.safetensors", "mmproj-F16.gguf"])), "", "r")


def test_a_missing_shard_is_named() -> None:
    variant = choose(
        variants_of(files(["m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf"])), "", "r"
    )
    with pytest.raises(FetchError, match="shard 2 of 3 of Q8_0 is missing"):
        check_whole(variant, "r")


def test_more_shards_than_announced_are_refused() -> None:
    names = ["m-Q8_0-00001-of-00001.gguf", "m-Q8_0-00001-of-00001.GGUF"]
    variant = choose(variants_of(files(names)), "", "r")
    with pytest.raises(FetchError, match="2 shards where 1"):
        check_whole(variant, "r")


def test_projectors_come_with_the_usual_precision_first() -> None:
    assert projectors_of(files(SCOUT))[0].path == "mmproj-F16.gguf"


@pytest.mark.parametrize(
    "name", ["../a.gguf", "/a.gguf", "a/../b.gguf", "a\\b.gguf", "c:a.gguf", "a//b.gguf", ".", "a\0.gguf"]
)
def test_a_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(FetchError, match="leaves its folder"):
        variants_of(files([name]))
