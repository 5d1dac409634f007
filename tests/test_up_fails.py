"""Models that cannot be served and engines that fail on demand: one clear line, the right exit code, no process."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from localrun.commands.base import App
from localrun.commands.target import locate
from localrun.errors import DoesNotFit
from localrun.model.facts import Model
from localrun.plan.planner import make_plan
from localrun.plan.values import Alternative, Wanted
from localrun.up import check_verdict
from tests.engine.test_failures import SAID
from tests.expecting import nothing_left, one_line, ready
from tests.model import tiny
from tests.oracle import host
from tests.user import User

# ---- what does not fit -----------------------------------------------------------------------------


def test_a_refusal_names_a_local_file_as_it_can_be_typed_again(tmp_path: Path) -> None:
    file = tiny.write(tmp_path / "my model.gguf")
    target = locate(App.make({"HOME": str(tmp_path)}), str(file), None)
    assert isinstance(target.models, Model)
    assert target.name == "my model"
    plan = make_plan(target.models, host(), Wanted(ctx_size=64), advise=False)
    better = Alternative("--ctx-size 32", "fits", 1.0)
    plan = replace(plan, verdict="too-big", alternatives=(better,))
    with pytest.raises(DoesNotFit) as refused:
        check_verdict(plan, False, target.pulled_as)
    assert refused.value.hint == f"what would work: --ctx-size 32; localrun plan '{file}' says more"


# ---- names that cannot be served -------------------------------------------------------------------


def test_a_file_that_is_missing(faker: User) -> None:
    done = faker("up", "-d", "./missing.gguf")
    assert done.code in (1, 2)
    one_line(done, done.code, "missing.gguf")
    nothing_left(faker)


def test_a_folder_is_no_model(faker: User) -> None:
    (faker.home / "folder.gguf").mkdir()
    done = faker("up", "-d", "./folder.gguf")
    assert done.code in (1, 2)
    one_line(done, done.code)
    nothing_left(faker)


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"hello, this is not a model\n" * 50, b"FUGG" + bytes(100)]
)
def test_a_file_that_is_no_gguf(faker: User, content: bytes) -> None:
    (faker.home / "tiny.gguf").write_bytes(content)
    one_line(faker("up", "-d", "tiny.gguf"), 1)
    nothing_left(faker)


#: Root, too, obeys a file's permissions without these capabilities.
_CAPS = "-dac_override,-dac_read_search"
OBEDIENT = ("setpriv", "--bounding-set", _CAPS, "--inh-caps", _CAPS) if os.geteuid() == 0 else ()


@pytest.mark.skipif(bool(OBEDIENT) and not shutil.which("setpriv"), reason="root, and no setpriv")
def test_a_file_that_may_not_be_read(faker: User) -> None:
    (faker.home / "tiny.gguf").chmod(0)
    done = faker("up", "-d", faker.home / "tiny.gguf", prefix=OBEDIENT)
    one_line(done, done.code, "tiny.gguf", "permission")
    assert done.code in (1, 2)
    nothing_left(faker)


@pytest.mark.skipif(bool(OBEDIENT) and not shutil.which("setpriv"), reason="root, and no setpriv")
def test_a_state_folder_that_may_not_be_written(faker: User) -> None:
    faker.state.mkdir(parents=True)
    faker.state.chmod(0o500)
    done = faker("up", "-d", "tiny.gguf", prefix=OBEDIENT)
    faker.state.chmod(0o700)
    one_line(done, 1, "ermission denied", "XDG_STATE_HOME")
    nothing_left(faker)


# ---- engines that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["weights", "kv", "repack", "sigill", "killed", "segv", "silent"])
def test_an_engine_that_dies_at_the_start(faker: User, key: str) -> None:
    one_line(faker("up", "-d", "tiny.gguf", env={"FAKE_LLAMA": f"die:{key}"}), 1, *SAID[key])
    nothing_left(faker)
    assert faker("logs", "tiny").code == 0, "what it said is still there"


def test_an_engine_that_never_answers(faker: User) -> None:
    done = faker("up", "-d", "tiny.gguf", env={"FAKE_LLAMA": "never", "LOCALRUN_READY_TIMEOUT": "1"})
    one_line(done, 1, "does not answer", "LOCALRUN_READY_TIMEOUT")
    nothing_left(faker)


def test_an_engine_that_speaks_no_http(faker: User) -> None:
    done = faker("up", "-d", "tiny.gguf", env={"FAKE_LLAMA": "garbage", "LOCALRUN_READY_TIMEOUT": "1"})
    one_line(done, 1, "does not answer")
    nothing_left(faker)


def test_an_engine_that_takes_its_time_is_waited_for(faker: User) -> None:
    done = faker("up", "-d", "tiny.gguf", env={"FAKE_LLAMA": "slow-load"})
    assert done.code == 0
    faker("down")


def test_an_older_build_that_was_asked_for_says_which_flag_it_lacks(faker: User) -> None:
    """It has no --cors-origins: serving without it would answer every web page."""
    done = faker("up", "-d", "--engine", "llama-server", "tiny.gguf", env={"FAKE_LLAMA": "old"})
    one_line(done, 1, "does not know --cors-origins", "update it")
    nothing_left(faker)


def test_an_older_build_on_path_is_passed_over(faker: User) -> None:
    done = faker("up", "--dry-run", "tiny.gguf", env={"FAKE_LLAMA": "old"})
    assert done.code == 0, done
    assert "localrun.engine.host" in done.out


def test_no_engine_of_that_name_here(user: User) -> None:
    from tests.model import tiny

    tiny.write(user.home / "tiny.gguf")
    one_line(user("up", "-d", "--engine", "llama-server", "tiny.gguf"), 1, "no llama-server on PATH")
    assert user("up", "-d", "--engine", "nonsense", "tiny.gguf").code == 2


def test_a_named_llama_server_that_is_none(faker: User) -> None:
    odd = faker.home / "not-a-server"
    odd.write_text("#!/nonexistent/interpreter\n")
    odd.chmod(0o755)
    faker.env |= {"LOCALRUN_LLAMA_SERVER": str(odd)}
    one_line(
        faker("up", "-d", "--engine", "llama-server", "tiny.gguf"), 1, "does not run", "--engine embedded"
    )


def test_an_engine_that_dies_in_the_middle_of_an_answer(faker: User) -> None:
    ready(faker, "tiny.gguf")
    done = faker("run", "tiny", "die")
    assert done.out.startswith("w0 w1")
    one_line(done, 1, "broke")
    (one,) = faker.ps()
    assert one["state"] == "failed"
    assert "ended by itself" in faker("ps").err
    assert faker("down").code == 0
    nothing_left(faker)


def test_an_engine_that_run_started_and_that_dies_is_told_of_once(faker: User) -> None:
    one_line(faker("run", "./tiny.gguf", "die"), 1, "broke")
    nothing_left(faker)


def test_an_engine_that_fails_in_the_middle_of_an_answer_says_why(faker: User) -> None:
    ready(faker, "tiny.gguf")
    one_line(faker("run", "tiny", "fail"), 1, "failed to find a memory slot")
    assert faker("run", "tiny", "hi").code == 0, "it goes on"
    faker("down")


def test_a_prompt_that_is_too_long_is_one_line(faker: User) -> None:
    ready(faker, "tiny.gguf")
    one_line(faker("run", "tiny", "long"), 1, "exceeds the available context size")
    faker("down")


def test_thinking_stays_out_of_a_pipe(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "thinks"
    ready(faker, "tiny.gguf")
    assert faker("run", "tiny", "hi").out.startswith("w0 ")
    faker("down")
