"""What a NAME on the command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.errors import UsageError
from localrun.model.catalog import load_catalog
from localrun.model.names import CatalogName, LocalPath, OllamaName, resolve
from localrun.model.sources import HubRef, UrlRef

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


@pytest.mark.parametrize(
    ("text", "name", "url", "sha256"),
    [
        ("https://host/a/model.gguf", "model.gguf", "https://host/a/model.gguf", ""),
        ("HTTP://Host:81/M-Q4_K_M.GGUF?sig=1", "M-Q4_K_M.GGUF", "http://Host:81/M-Q4_K_M.GGUF?sig=1", ""),
        ("https://u:p@host/x.gguf", "x.gguf", "https://u:p@host/x.gguf", ""),
        ("https://host/a%20b.gguf", "a b.gguf", "https://host/a%20b.gguf", ""),
        ("https://host/x.gguf#part", "x.gguf", "https://host/x.gguf", ""),
        ("https://host/x.gguf#sha256=" + "A" * 64, "x.gguf", "https://host/x.gguf", "a" * 64),
        ("https://host/../../x.gguf", "x.gguf", "https://host/../../x.gguf", ""),
    ],
)
def test_an_address_names_a_file(text: str, name: str, url: str, sha256: str) -> None:
    assert resolve(text, CATALOG) == UrlRef(url, name, sha256)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("https://huggingface.co/o/r-GGUF", HubRef("o/r-GGUF")),
        ("https://hf.co/o/r-GGUF/", HubRef("o/r-GGUF")),
        ("https://huggingface.co/o/r/tree/main", HubRef("o/r")),
        ("https://huggingface.co/o/r/blob/main/Q4/m-Q4.gguf", HubRef("o/r", "Q4/m-Q4.gguf")),
        ("https://huggingface.co/o/r/resolve/v2/m.gguf?download=true", HubRef("o/r", "m.gguf", "v2")),
    ],
)
def test_a_page_of_hugging_face_is_its_repository(text: str, ref: HubRef) -> None:
    assert resolve(text, CATALOG) == ref


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file:///etc/passwd.gguf", "file: is not fetched from"),
        ("ftp://host/x.gguf", "ftp: is not fetched from"),
        ("javascript://host/x.gguf", "is not fetched from"),
        ("https:///x.gguf", "not an address"),
        ("https://[bad/x.gguf", "not an address"),
        ("https://host:99999999/x.gguf", "not an address"),
        ("https://user:hunter2@host/a b.gguf", "not an address"),
        ("https://user:hunter2@host/page.html", "does not end in .gguf"),
        ("https://host/", "does not end in .gguf"),
        ("https://host/%2e%2e%2fx.gguf", "refused"),
        ("https://host/..%2f..%2fx.gguf", "refused"),
        ("https://host/a%5cb.gguf", "refused"),
        ("https://host/.gguf", "refused"),
        ("https://host/.hidden.gguf", "refused"),
        ("https://host/a%00.gguf", "refused"),
        ("https://host/a%0a.gguf", "refused"),
        ("https://host/" + "x" * 300 + ".gguf", "refused"),
        ("https://host/x.gguf#sha256=12", "64 hex digits"),
    ],
)
def test_what_is_no_address_of_a_model_is_refused_and_no_password_shown(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        resolve(text, CATALOG)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
