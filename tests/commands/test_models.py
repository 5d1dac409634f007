"""`show`, `list`, `pull`, `rm`, and names of repositories, over a fake hub."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.hub import Hub
from tests.model import tiny
from tests.projectors import PIXTRAL, write
from tests.user import User


def repository(hub: Hub, folder: Path) -> None:
    """A repository with two quants of one small real GGUF each."""
    files = {}
    for quant in ("Q4_K_M", "Q8_0"):
        path = folder / f"tiny-{quant}.gguf"
        tiny.write(path)
        files[path.name] = path.read_bytes()
    hub.add_repo("someone/tiny-GGUF", files)


def test_a_repository_is_planned_pulled_listed_and_removed(user: User, tmp_path: Path) -> None:
    with Hub() as hub:
        repository(hub, tmp_path)
        user.env["HF_ENDPOINT"] = hub.url
        planned = user("plan", "hf:someone/tiny-GGUF", "--json")
        assert planned.code == 0, planned
        assert {row["quant"] for row in json.loads(planned.out)["quants"]} == {"Q4_K_M", "Q8_0"}
        pulled = user("pull", "hf:someone/tiny-GGUF:Q8_0", "--json").json()
        assert Path(pulled["path"]).name == "tiny-Q8_0.gguf"
    listed = user("list", "--json").json()["local"]
    assert [m["quant"] for m in listed] == ["Q8_0"]
    assert user("plan", "hf:someone/tiny-GGUF:Q8_0", "--offline").code == 0
    refused = user("rm", listed[0]["name"])
    assert refused.code == 2
    assert "--yes" in refused.err
    assert user("rm", listed[0]["name"], "--yes", "--json").json()["removed"] == listed[0]["name"]
    assert user("list", "--json").json()["local"] == []


def test_a_projector_is_pulled_where_it_is_asked_for(user: User, tmp_path: Path) -> None:
    """With the model, or later alone; `up --mmproj auto` then serves the file."""
    with Hub() as hub:
        repository(hub, tmp_path)
        projector = write(
            tmp_path / "mmproj-F16.gguf", PIXTRAL._replace(n_layers=1, n_embd=64, n_ff=64, n_head=4)
        )
        hub.add_repo("someone/seeing-GGUF", {
            "tiny-Q8_0.gguf": (tmp_path / "tiny-Q8_0.gguf").read_bytes(), projector.name: projector.read_bytes(),
        })  # fmt: skip
        user.env["HF_ENDPOINT"] = hub.url
        seen = user("plan", "hf:someone/seeing-GGUF:Q8_0", "--mmproj", "auto", "--json").json()
        assert seen["companions"][0]["weights"] > 0
        path = Path(user("pull", "hf:someone/seeing-GGUF:Q8_0").out.strip())
        assert not (path.parent / projector.name).exists()
        assert user("pull", "hf:someone/seeing-GGUF:Q8_0", "--mmproj", "auto").code == 0
        assert (path.parent / projector.name).read_bytes() == projector.read_bytes()
    line = user("up", "hf:someone/seeing-GGUF:Q8_0", "--mmproj", "auto", "--dry-run", "--offline").out
    assert f"--mmproj {path.parent / projector.name}" in line


def test_a_repository_without_network_is_one_clear_line(user: User) -> None:
    done = user("plan", "hf:someone/tiny-GGUF", "--offline")
    assert done.code == 1
    assert "Traceback" not in done.err


def test_show_tells_a_file_and_an_entry_apart(owner: User) -> None:
    here = owner("show", "smollm2", "--json").json()
    assert here["path"].endswith("SmolLM2-135M-Instruct.Q4_1.gguf")
    assert here["architecture"] == "llama"
    assert here["context_trained"] == 8192
    known = owner("show", "llama-4-scout", "--json").json()
    assert known["path"] is None
    assert {"Q4_K_M", "UD-IQ1_S"} <= {offer["quant"] for offer in known["quants"]}
    text = owner("show", "llama-4-scout").out
    assert "published as" in text
    assert "experts" in text


def test_pull_of_what_is_here_prints_its_path_and_fetches_nothing(owner: User) -> None:
    done = owner("pull", "--offline")
    assert done.code == 0
    assert Path(done.out.strip()).is_file()


def test_list_of_nothing_says_how_to_begin(user: User) -> None:
    done = user("list")
    assert done.code == 0
    assert "localrun pull" in done.out
    assert "deepseek-v3.2" in done.out


def test_hardware_tells_each_figures_source(user: User) -> None:
    told = user("hardware", "--json").json()
    assert told["schema"] == "localrun.hardware/1"
    assert told["ram_bandwidth_source"] == "measured"
    again = user("plan", "smollm2", "--hardware", "rtx-4090", "--json")
    assert json.loads(again.out)["hardware"]["gpus"][0]["bandwidth_source"] in ("read", "estimated", "given")
    lines = user("hardware").out.splitlines()
    assert all(
        line.split()[-1] in ("read", "measured", "estimated", "given")
        for line in lines
        if "note:" not in line
    )


def test_what_ollama_pulled_is_listed_and_planned_from_its_blob(user: User) -> None:
    """A store with one model, laid out as Ollama lays it out; nothing is copied."""
    import hashlib

    store = user.home / ".ollama/models"
    tiny.write(user.home / "tiny.gguf")
    data = (user.home / "tiny.gguf").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    (store / "blobs").mkdir(parents=True)
    (store / "blobs" / f"sha256-{digest}").write_bytes(data)
    config = b'{"model_format":"gguf","model_family":"llama","file_type":"Q4_K_M"}'
    config_digest = hashlib.sha256(config).hexdigest()
    (store / "blobs" / f"sha256-{config_digest}").write_bytes(config)
    manifest = store / "manifests/registry.ollama.ai/library/tiny/latest"
    manifest.parent.mkdir(parents=True)
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{digest}",
        "size": len(data),
    }
    about = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": f"sha256:{config_digest}",
             "size": len(config)}  # fmt: skip
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": about, "layers": [layer]}))
    listed = user("list", "--json").json()["local"]
    assert [(m["name"], m["source"]) for m in listed] == [("ollama:tiny", "ollama")]
    planned = user("plan", "ollama:tiny", "--json").json()
    assert planned["model"]["files"][0]["name"].endswith(digest)
    missing = user("plan", "ollama:nothing")
    assert missing.code == 1
    assert "ollama pull nothing" in missing.err
