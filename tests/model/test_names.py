"""What a NAME on the command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.errors import UsageError
from localrun.model.catalog import load_catalog
from localrun.model.names import CatalogName, LocalPath, OllamaName, resolve
from localrun.model.sources import HubRef

CATALOG = load_catalog()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("deepseek-v3.2", "deepseek-v3.2"),
        ("DeepSeek V3.2", "deepseek-v3.2"),
        ("deepseek_v3.2", "deepseek-v3.2"),
        (" deepseekv32 ", "deepseek-v3.2"),
        ("deepseek-v3.2:671b", "deepseek-v3.2"),
        ("DeepSeek-V3.2-Speciale", "deepseek-v3.2-speciale"),
        ("llama-4-scout", "llama-4-scout"),
        ("llama4:scout", "llama-4-scout"),
        ("llama4:16x17b", "llama-4-scout"),
        ("Llama 4 Maverick", "llama-4-maverick"),
        ("llama3.1:70b", "llama-3.1-70b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("mistral-small3.2:24b", "mistral-small-3.2"),
        ("smollm2", "smollm2"),
    ],
)
def test_a_catalogue_name_in_any_dress(text: str, name: str) -> None:
    named = resolve(text, CATALOG)
    assert isinstance(named, CatalogName)
    assert named.entry.name == name


@pytest.mark.parametrize(
    "text",
    [
        "model.gguf",
        "./x",
        "/models/a.gguf",
        "../a",
        "DIR/V3-00002-of-00009.GGUF",
        "C:\\models\\a.gguf",
        "C:/a",
    ],
)
def test_a_path_is_a_path_whether_there_is_a_file_or_not(text: str) -> None:
    assert resolve(text, CATALOG) == LocalPath(Path(text))


def test_a_home_folder_is_expanded() -> None:
    assert resolve("~/a.gguf", CATALOG) == LocalPath(Path.home() / "a.gguf")


def test_repositories_and_ollama_models_say_where_to_look() -> None:
    assert resolve("hf:unsloth/DeepSeek-V3.2-GGUF:UD-IQ1_S", CATALOG) == HubRef(
        "unsloth/DeepSeek-V3.2-GGUF", "UD-IQ1_S"
    )
    assert resolve("HF:a/b", CATALOG) == HubRef("a/b")
    assert resolve("ollama:llama4:scout", CATALOG) == OllamaName("llama4", "scout")
    assert resolve("ollama:smollm2", CATALOG) == OllamaName("smollm2", "latest")
    assert resolve("ollama:hf.co/a/b:Q4_K_M", CATALOG) == OllamaName("hf.co/a/b", "Q4_K_M")


WRONG = [
    ("llama4:70b", "Scout (16 experts, 109B) and Maverick", "llama-4-scout, llama-4-maverick"),
    ("Llama-4-8B", "Scout (16 experts, 109B) and Maverick", "llama-4-scout"),
    ("deepseek-v3.2:67b", "one size: 671B", "deepseek-v3.2"),
    ("deepseek-v3.2-speciale-67b", "no distilled model", "deepseek-v3.2-speciale"),
    ("deepseek-v3.2:q4_k_m", "a setting here, not a tag", "deepseek-v3.2 --quant Q4_K_M"),
    ("llama4:scout-17bx16e-q4_k_m", "a setting here, not a tag", "llama-4-scout --quant Q4_K_M"),
    ("mistral-large-3:405b", "675B parameters", "mistral-large-3"),
    ("llama3.1:13b", "comes in no other size", "llama-3.1-8b"),
    ("deepseek-v3.1:fast", "has no tag fast", "deepseek-v3.1"),
    ("deepseek-v3.3", "no model is named deepseek-v3.3", "deepseek-v3.2"),
    ("lama 3.1 8b", "no model is named", "llama-3.1-8b"),
    ("mistral", "no model is named", "mistral-large-3"),
    ("bartowski/Foo-GGUF", "no model is named", "hf:bartowski/Foo-GGUF"),
    ("qqqq", "no model is named", "smollm2"),
    ("", "is empty", "deepseek-v3.2"),
    ("---", "no model is named", "smollm2"),
    ("hf:nonsense", "not a Hugging Face name", "hf:owner/repo"),
    ("ollama:", "not an Ollama name", "ollama:NAME"),
]


@pytest.mark.parametrize(("text", "line", "hint"), WRONG, ids=[w[0] or "empty" for w in WRONG])
def test_any_other_name_exits_2_with_what_exists(text: str, line: str, hint: str) -> None:
    with pytest.raises(UsageError) as e:
        resolve(text, CATALOG)
    assert e.value.exit_code == 2
    assert line in str(e.value)
    assert hint in e.value.hint
    assert "\n" not in str(e.value) + e.value.hint
