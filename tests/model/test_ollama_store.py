"""Ollama's store as a server leaves it, and as nobody should find it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from localrun.errors import ModelError
from localrun.model.ollama_name import is_cloud, parse_name
from localrun.model.ollama_store import find, folders, name_of_blob, read_store

MEDIA = "application/vnd.ollama.image."


class Builder:
    """Writes manifests and blobs as Ollama does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)

    def blob(self, data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def layer(self, kind: str, data: bytes) -> dict[str, object]:
        return {"mediaType": MEDIA + kind, **self.blob(data)}

    def manifest(self, name: str, layers: object, config: object = None) -> Path:
        path = self.folder / "manifests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        value = {"schemaVersion": 2, "layers": layers}
        if config is not None:
            value["config"] = self.blob(json.dumps(config).encode())
        path.write_text(json.dumps(value))
        return path

    def model(self, name: str, weights: bytes = b"GGUF1") -> Path:
        return self.manifest(name, [self.layer("model", weights)])


@pytest.fixture
def store(tmp_path):
    return Builder(tmp_path / "models")


SMOL = "registry.ollama.ai/library/smollm2/135m"


def test_a_pulled_model_is_found_with_all_that_its_manifest_holds(store):
    store.manifest(
        SMOL,
        [
            store.layer("model", b"GGUF weights"),
            store.layer("projector", b"GGUF eyes"),
            store.layer("adapter", b"GGUF lora"),
            store.layer("template", b"{{ .Prompt }}"),
            store.layer("system", b"Be brief."),
            store.layer("license", b"Apache"),
            store.layer("license", b"MIT"),
            store.layer("params", b'{"stop":["<a>","<b>"],"num_ctx":4096,"temperature":0.6,"use_mmap":true}'),
        ],
        {"model_format": "gguf", "model_family": "llama", "file_type": "Q4_1"},
    )
    (m,) = read_store(store.folder).models
    assert m.name.short == "smollm2:135m"
    assert m.path.read_bytes() == b"GGUF weights"
    assert m.bytes == 12
    assert (m.family, m.quant, m.template, m.system) == ("llama", "Q4_1", "{{ .Prompt }}", "Be brief.")
    assert m.licenses == ("Apache", "MIT")
    assert m.parameters == (
        ("stop", "<a>"), ("stop", "<b>"), ("num_ctx", "4096"), ("temperature", "0.6"), ("use_mmap", "true"),
    )  # fmt: skip
    assert Path(m.projector).read_bytes() == b"GGUF eyes"
    assert [Path(a).read_bytes() for a in m.adapters] == [b"GGUF lora"]
    assert find(store.folder, "smollm2:135m") == m
    assert find(store.folder, "registry.ollama.ai/library/smollm2:135m") == m
    assert name_of_blob(store.folder, m.path) == m.name


def test_names_are_those_that_ollama_list_shows(store):
    store.model(SMOL)
    store.model("registry.ollama.ai/someone/model/latest")
    store.model("hf.co/owner/repo-GGUF/Q4_K_M")
    got = [m.name.short for m in read_store(store.folder).models]
    assert got == ["hf.co/owner/repo-GGUF:Q4_K_M", "smollm2:135m", "someone/model:latest"]
    assert find(store.folder, "hf.co/owner/repo-GGUF:Q4_K_M").path.is_file()


def test_an_empty_or_missing_store_holds_nothing(tmp_path):
    assert read_store(tmp_path / "none").models == ()
    with pytest.raises(ModelError, match="not in Ollama's store") as e:
        find(tmp_path / "none", "llama3.1:8b")
    assert e.value.hint == "ollama pull llama3.1:8b"
    with pytest.raises(ModelError, match="not a name"):
        find(tmp_path, "../../etc/passwd")


def test_a_cloud_model_is_noted_and_not_listed(store):
    config = {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}
    store.manifest(SMOL, [store.layer("model", b"x")], config)
    found = read_store(store.folder)
    assert found.models == ()
    assert "not on this machine" in found.notes[0]


GOOD = {"mediaType": MEDIA + "model", "digest": "sha256:" + "a" * 64, "size": 5}
HOSTILE = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"[]", "not an object"),
    (b'"x"', "not an object"),
    (b"\xff\xfe\x00", "not JSON"),
    (b"{}", "no list of layers"),
    (b'{"layers": {}}', "no list of layers"),
    (json.dumps({"layers": [GOOD] * 5000}).encode(), "no list of layers"),
    (b'{"layers": [1]}', "a layer that is none"),
    (b'{"layers": [{}]}', "without type or digest"),
    (json.dumps({"layers": [{**GOOD, "digest": 7}]}).encode(), "without type or digest"),
    (json.dumps({"layers": [{**GOOD, "size": -1}]}).encode(), "without a size"),
    (json.dumps({"layers": [{**GOOD, "size": "5"}]}).encode(), "without a size"),
    (json.dumps({"layers": [{**GOOD, "size": True}]}).encode(), "without a size"),
    (
        json.dumps({"layers": [{**GOOD, "digest": "sha256:../../../etc/passwd"}]}).encode(),
        "a digest that is none",
    ),
    (
        json.dumps({"layers": [{**GOOD, "digest": "sha256:" + "a" * 64 + "\n"}]}).encode(),
        "a digest that is none",
    ),
    (json.dumps({"layers": [GOOD, GOOD]}).encode(), "2 files of weights"),
    (json.dumps({"layers": [GOOD]}).encode(), "weights are not there"),
    (json.dumps({"layers": []}).encode(), "no GGUF file"),
    (json.dumps({"layers": [{**GOOD, "mediaType": MEDIA + "tensor"}]}).encode(), "Ollama's own form"),
    (json.dumps({"layers": [GOOD], "config": {"digest": "/etc/passwd"}}).encode(), "a digest that is none"),
    (b" " * (5 << 20), "larger than any"),
]


@pytest.mark.parametrize(("data", "why"), HOSTILE, ids=[f"{i}" for i in range(len(HOSTILE))])
def test_a_damaged_manifest_is_a_note_and_hides_no_other_model(store, data, why):
    store.model("registry.ollama.ai/library/good/latest")
    store.manifest(SMOL, []).write_bytes(data)
    found = read_store(store.folder)
    assert [m.name.model for m in found.models] == ["good"]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("smollm2:135m: ")
    assert why in found.notes[0]
    with pytest.raises(ModelError):
        find(store.folder, "smollm2:135m")


def test_a_blob_of_another_length_is_noticed(store):
    store.model(SMOL)
    (blob,) = (store.folder / "blobs").iterdir()
    blob.write_bytes(b"GGUF")
    (note,) = read_store(store.folder).notes
    assert "its weights have 4 bytes, its manifest says 5" in note


def test_parameters_that_are_none_are_noted(store):
    store.manifest(SMOL, [store.layer("model", b"x"), store.layer("params", b"{")])
    assert "parameters are not JSON" in read_store(store.folder).notes[0]


def test_odd_files_links_in_circles_and_pipes_do_no_harm(store):
    store.model(SMOL)
    manifests = store.folder / "manifests"
    (manifests / "stray").write_text("x")
    (manifests / "registry.ollama.ai/library/.hidden").mkdir()
    (manifests / "registry.ollama.ai/library/.hidden/latest").write_text("x")
    (manifests / "registry.ollama.ai/library/smollm2/deeper").mkdir()
    os.symlink(manifests, manifests / "registry.ollama.ai" / "loop")
    os.symlink("latest", manifests / "registry.ollama.ai/library/smollm2/latest")
    os.mkfifo(manifests / "registry.ollama.ai/library/smollm2/pipe")
    found = read_store(store.folder)
    assert [m.name.short for m in found.models] == ["smollm2:135m"]


def test_a_pipe_in_the_place_of_a_template_does_not_block(store):
    layer = store.layer("template", b"t")
    blob = store.folder / "blobs" / str(layer["digest"]).replace(":", "-")
    blob.unlink()
    os.mkfifo(blob)
    store.manifest(SMOL, [store.layer("model", b"x"), layer])
    assert "not a file" in read_store(store.folder).notes[0]


def test_the_folder_is_the_one_that_ollama_would_use(tmp_path):
    assert folders({"OLLAMA_MODELS": "/data/models"}, tmp_path) == (Path("/data/models"),)
    assert folders({}, tmp_path)[0] == tmp_path / ".ollama/models"
    assert Path("/usr/share/ollama/.ollama/models") in folders({"OLLAMA_MODELS": ""}, tmp_path)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("llama3.1", "llama3.1:latest"),
        ("llama3.1:8b", "llama3.1:8b"),
        ("me/x", "me/x:latest"),
        ("http://localhost:5000/me/x:y", "localhost:5000/me/x:y"),
        ("registry.ollama.ai/library/x", "x:latest"),
        ("x:8b-local", "x:8b-local"),
        ("x:local", "x:latest"),
        ("x:120b-cloud", "x:120b"),
    ],
)
def test_names_get_ollamas_defaults(text, short):
    name = parse_name(text)
    assert name is not None
    assert name.short == short


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "x # hi", "-x", "a/b/c/d e", "x:", "x:a b", "x" * 81, "a.b/c", "x\ny", "..", "/x", "é"],
)
def test_what_is_no_name_is_none(text):
    assert parse_name(text) is None


@pytest.mark.parametrize(
    ("text", "cloud"),
    [("x:cloud", True), ("x:120b-Cloud", True), ("DeepSeek-V3.2", True), ("deepseek-v3.1:671b", False),
     ("me/deepseek-v3.2", False), ("x:local", False), ("host:5000/a/b-cloud", False)],
)  # fmt: skip
def test_cloud_models_are_known_by_their_names(text, cloud):
    assert is_cloud(text) is cloud
