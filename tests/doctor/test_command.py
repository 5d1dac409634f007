"""`localrun doctor` as a user and a bug report meet it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.fakes.nvml import DRIVER_NOT_LOADED, Driver, Process, fake_nvml, rtx_4090
from tests.user import User

linux = pytest.mark.skipif(sys.platform != "linux", reason="the fake driver is an ELF file")


def nvidia(driver: Driver, folder: Path) -> dict[str, str]:
    env = fake_nvml(driver, folder)
    return {key: env[key] for key in ("LD_LIBRARY_PATH", "FAKE_NVML")}


def test_a_machine_with_the_wheel_is_fit_to_run(user: User) -> None:
    report = user("doctor", "--json").json()
    assert report["schema"] == "localrun.doctor/1"
    assert report["ok"] is True
    assert {f["check"] for f in report["findings"]} >= {"memory", "engine", "disk"}
    assert all(f["fix"] for f in report["findings"] if f["severity"] != "ok")


def test_the_report_holds_no_name_no_home_and_no_secret(user: User) -> None:
    """With faults on purpose whose texts would hold all of them."""
    user.run_folder.mkdir(parents=True)
    (user.run_folder / "bad.json").write_text("{")
    secret = {
        "LOGNAME": "marvin",
        "USER": "marvin",
        "HF_TOKEN": "hf_abcdefgh1234",
        "LOCALRUN_API_KEY": "sesame-open",
        "HTTP_PROXY": "http://marvin:swordfish@proxy:3128",
        "LOCALRUN_MODELS_DIR": str(user.home / "marvin" / "models"),
    }
    for extra in ((), ("--json",)):
        done = user("doctor", *extra, env=secret)
        assert done.code == 0, done
        assert "bad.json" in done.out
        assert "HTTP_PROXY would send" in done.out
        for word in (str(user.home), "marvin", "hf_abcdefgh1234", "sesame-open", "swordfish"):
            assert word not in done.out + done.err, word
        assert "~/USER/models" in done.out


@linux
def test_a_gpu_that_the_engine_cannot_use_stops_it(user: User, tmp_path: Path) -> None:
    env = nvidia(Driver((rtx_4090(),)), tmp_path)
    done = user("doctor", env=env)
    assert done.code == 1, done
    assert "cannot use the NVIDIA GeForce RTX 4090" in done.out
    assert "$ localrun engine install\n" in done.out
    listed = user("engine", "list", "--json", env=env).json()["engines"]
    assert [e["uses_gpu"] for e in listed if e["kind"] == "xllamacpp"] == [False]


@linux
def test_others_on_the_card_are_named(user: User, tmp_path: Path) -> None:
    mine = Process(os.getpid(), vram=3 << 30)
    done = user("doctor", "--json", env=nvidia(Driver((rtx_4090(processes=(mine,)),)), tmp_path))
    (held,) = (f for f in json.loads(done.out)["findings"] if f["check"] == "vram")
    assert f"(process {os.getpid()}) holds 3.0 GiB of NVIDIA GeForce RTX 4090" in held["text"]


@linux
def test_a_driver_that_is_not_loaded_is_said(user: User, tmp_path: Path) -> None:
    done = user("doctor", env=nvidia(Driver(init=DRIVER_NOT_LOADED), tmp_path))
    assert done.code == 0, done
    assert "$ sudo modprobe nvidia" in done.out


def test_a_port_that_another_has_is_said(user: User) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = user("doctor", env={"LOCALRUN_PORT": str(port)})
    assert f"port {port} is taken by" in done.out
    assert f"$ export LOCALRUN_PORT={port + 1}" in done.out


def test_a_broken_model_is_found(user: User) -> None:
    from tests.model import tiny

    folder = user.home / ".local/share/localrun/models"
    folder.mkdir(parents=True)
    tiny.write(folder / "cut.gguf", cut=100)
    done = user("doctor")
    assert "cut cannot be used" in done.out
    assert done.code == 0
