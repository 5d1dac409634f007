"""`localrun plan` as people and scripts meet it: the contract's JSON, exit codes, flags, pictures."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.nvml import Driver, fake_nvml, rtx_4090
from tests.user import User

#: The keys that docs and scripts rely on, by path; a list stands for each of its entries.
CONTRACT: dict[str, Any] = {
    "schema": str,
    "verdict": str,
    "name": str,
    "model": {
        "architecture": str,
        "quant": str,
        "files": [{"name": str, "bytes": int}],
        "weights_bytes": int,
        "parameters": int,
        "parameters_active": int,
        "license": str,
        "context_trained": int,
    },
    "hardware": {
        "simulated": bool,
        "gpus": [{"name": str, "vram_total": int, "vram_free": int, "bandwidth": int}],
        "ram_total": int,
        "ram_free": int,
        "ram_bandwidth": int,
        "disk_free": int,
        "cores": int,
    },
    "settings": {
        "ctx_size": int,
        "cache_type_k": str,
        "cache_type_v": str,
        "batch_size": int,
        "ubatch_size": int,
        "parallel": int,
        "n_gpu_layers": int,
        "n_cpu_moe": int,
        "override_tensor": list,
        "tensor_split": list,
        "flash_attn": str,
        "mmap": bool,
        "threads": int,
    },
    "memory": [
        {
            "device": str,
            "weights": int,
            "kv": int,
            "compute": int,
            "overhead": int,
            "total": int,
            "budget": int,
        }
    ],
    "kv": {"bytes": int, "cells": int, "bytes_per_token": int},
    "speed": {
        "generation": {"low": float, "expected": float, "high": float},
        "prompt": {"low": float, "expected": float, "high": float},
        "bound_by": str,
    },
    "reasons": list,
    "alternatives": [{"change": str, "verdict": str, "generation": float}],
    "command": list,
    "environment": dict,
}


def check(shape: Any, found: Any, where: str = "") -> None:
    if isinstance(shape, dict):
        assert isinstance(found, dict), where
        for key, inner in shape.items():
            assert key in found, f"{where}.{key} is missing"
            check(inner, found[key], f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(found, list), where
        for i, entry in enumerate(found):
            check(shape[0], entry, f"{where}[{i}]")
    elif shape is float:
        assert isinstance(found, int | float), where
    else:
        assert isinstance(found, shape), where


@pytest.mark.parametrize(
    "arguments",
    [
        ("deepseek-v3.2", "--hardware", "rtx-4090", "--ram", "64GiB"),
        ("llama-4-scout", "--hardware", "2x rtx-4090", "--ram", "128GiB"),
        ("Llama 3.1 8B", "--hardware", "m3-max-36gb"),
        ("smollm2", "--hardware", "cpu"),
    ],
)
def test_the_json_is_the_contracts(user: User, arguments: tuple[str, ...]) -> None:
    done = user("plan", *arguments, "--json")
    plan = json.loads(done.out)
    check(CONTRACT, plan)
    assert plan["schema"] == "localrun.plan/1"
    assert done.code == (0 if plan["verdict"] == "fits" else 1)
    assert plan["hardware"]["simulated"] is True
    for device in plan["memory"]:
        parts = ("weights", "kv", "compute", "overhead")
        assert device["total"] == sum(device[part] for part in parts)


def test_404_gb_on_24_is_no(user: User) -> None:
    """The claim of the articles: V3.2 in four bits on one 24 GB card and 64 GB of RAM."""
    done = user("plan", "deepseek-v3.2", "--quant", "Q4_K_M", "--hardware", "rtx-4090", "--ram", "64GiB")
    assert done.code == 1
    assert "pages from disk" in done.out
    assert "what would work" in done.out
    assert "GiB of RAM instead of 64.0 GiB" in done.out


def test_a_local_file_is_planned_and_its_command_shown(owner: User) -> None:
    plan = owner("plan", "smollm2", "--json").json()
    check(CONTRACT, plan)
    assert plan["model"]["size_source"] == "header"
    assert plan["model"]["weights_bytes"] == 96_576_768
    assert plan["settings"]["ctx_size"] == 8192
    assert "--fit" in plan["command"]
    assert plan["hardware"]["simulated"] is False


def test_a_key_is_never_shown(owner: User) -> None:
    done = owner("plan", "smollm2", "--json", "--api-key", "s3cret-key")
    assert "s3cret-key" not in done.out + done.err
    assert done.json()["environment"]["LLAMA_API_KEY"] == "***"


@pytest.mark.parametrize(
    ("flag", "setting", "value"),
    [
        (("-c", "4096"), "ctx_size", 4096),
        (("-c", "4k"), "ctx_size", 4096),
        (("-ctk", "q8_0"), "cache_type_v", "q8_0"),
        (("-np", "2"), "parallel", 2),
        (("-ub", "128"), "ubatch_size", 128),
        (("-t", "1"), "threads", 1),
        (("-fa", "off"), "flash_attn", "off"),
    ],
)
def test_flags_have_llama_cpps_spelling(
    owner: User, flag: tuple[str, ...], setting: str, value: object
) -> None:
    assert owner("plan", *flag, "--json").json()["settings"][setting] == value


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("plan", "llama4:70b"), "Scout"),
        (("plan", "no-such-model"), "no model is named"),
        (("plan", "smollm2", "--hardware", "rtx-9999"), "rtx-"),
        (("plan", "smollm2", "--ram", "lots"), "not a size"),
        (("plan", "smollm2", "-c", "many"), "neither a number"),
        (("plan", "smollm2", "-ts", "a,b"), "list of shares"),
        (("plan", "llama-3.1-8b", "--quant", "Q9_X"), "Q9_X"),
        (("plan", "smollm2", "--for", "fun"), "fun"),
        (("plan", "deepseek-v3.2", "-ctk", "q8_0", "-ctv", "f16"), "must be the same"),
        (("plan", "smollm2", "-ctk", "q9"), "q9"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(user: User, arguments: tuple[str, ...], says: str) -> None:
    done = user(*arguments)
    assert done.code == 2, done
    assert says.lower() in done.err.lower()
    assert "Traceback" not in done.err


@pytest.mark.parametrize("make", ["missing", "folder", "empty", "text", "cut"])
def test_a_file_that_is_no_model_is_one_line_and_exit_1(user: User, make: str, default_model: Path) -> None:
    path = user.home / "model.gguf"
    if make == "folder":
        path.mkdir()
    elif make != "missing":
        content = {"empty": b"", "text": b"<html>404</html>", "cut": default_model.read_bytes()[:100_000]}
        path.write_bytes(content[make])
    done = user("plan", path)
    assert done.code == 1, done
    assert len([line for line in done.err.splitlines() if line.startswith("localrun:")]) == 1
    assert "Traceback" not in done.err
    assert "a bug" not in done.err


def test_the_picture_is_well_formed_and_to_scale(user: User) -> None:
    done = user(
        "plan", "llama-4-scout", "--hardware", "2x rtx-4090", "--ram", "128G", "--svg", "plan.svg", "--json"
    )
    plan = done.json()
    root = ET.fromstring((user.home / "plan.svg").read_text(encoding="utf-8"))
    text = "".join(root.itertext())
    for device in plan["memory"]:
        assert device["device"] in text
    weights = [float(r.get("width", "0")) for r in root.iter("{http://www.w3.org/2000/svg}rect")
               if r.get("fill") == "#3b6ea5" and float(r.get("width", "0")) > 12]  # fmt: skip
    shares = [d["weights"] / max(d["budget"], d["total"]) for d in plan["memory"]]
    assert [w / weights[0] for w in weights] == pytest.approx([s / shares[0] for s in shares], rel=0.01)


def test_a_picture_that_cannot_be_written_is_one_line(user: User) -> None:
    done = user("plan", "smollm2", "--hardware", "cpu", "--svg", "no/such/folder.svg")
    assert done.code == 1
    assert "cannot write" in done.err


@pytest.mark.engine
def test_the_engine_agrees_to_the_byte(owner: User) -> None:
    told = owner("plan", "smollm2", "--verify", "--json", "-c", "2048").json()["verify"]
    by_part = {c["component"]: (c["planned"], c["engine"]) for c in told["components"]}
    assert by_part["weights"][0] == by_part["weights"][1] == 96_576_768
    assert by_part["kv"][0] == by_part["kv"][1] == 2048 * 30 * 2 * 3 * 64 * 2
    assert by_part["compute"][0] == pytest.approx(by_part["compute"][1], rel=0.01)


def test_verify_without_the_file_says_what_to_do(user: User) -> None:
    done = user("plan", "llama-3.1-8b", "--verify", "--hardware", "cpu")
    assert done.code == 2
    assert "localrun pull llama-3.1-8b" in done.err


def test_cards_that_nvml_shows_are_planned_for(owner: User, tmp_path: Path) -> None:
    """The real pynvml over the fake driver: two 4090, one of them asked for."""
    env = fake_nvml(Driver(gpus=(rtx_4090(), rtx_4090())), tmp_path)
    owner.env |= {key: env[key] for key in ("LD_LIBRARY_PATH", "FAKE_NVML")}
    plan = owner("plan", "smollm2", "--json").json()
    assert len(plan["hardware"]["gpus"]) == 2
    assert [d["device"] for d in plan["memory"]] == ["CUDA0", "CUDA1", "CPU"]
    assert plan["settings"]["n_gpu_layers"] == 31
    one = owner("plan", "smollm2", "--json", env={"CUDA_VISIBLE_DEVICES": "1"}).json()
    assert len(one["hardware"]["gpus"]) == 1


def test_every_quant_is_surveyed_when_asked(user: User) -> None:
    done = user("plan", "llama-4-scout", "--hardware", "rtx-4090", "--ram", "64G", "--explain", "--json")
    rows = json.loads(done.out)["quants"]
    assert len(rows) >= 8
    verdicts = [("too-big", "pages", "fits").index(row["verdict"]) for row in rows]
    assert verdicts == sorted(verdicts, reverse=True)
    assert rows[0]["quant"] == json.loads(done.out)["model"]["quant"]
