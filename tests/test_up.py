"""Starting and stopping, with an engine that fails on demand: one clear line, the right exit code, no process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess

import pytest

from tests.engine.test_failures import SAID
from tests.user import Background, Done, User, until


def one_line(done: Done, code: int, *said: str) -> None:
    """It failed as the contract says: `localrun: WHY`, at most one line of advice, no traceback."""
    assert done.code == code, done
    complaints = [line for line in done.err.splitlines() if line.startswith("localrun: ")]
    assert len(complaints) == 1, done.err
    assert "a bug" not in complaints[0]
    for words in said:
        assert words in done.err
    assert "Traceback" not in done.err


def nothing_left(user: User) -> None:
    assert user.engines() == []
    assert user.ps() == []


def ready(user: User, *args: str) -> dict[str, object]:
    done = user("up", "-d", *args)
    assert done.code == 0, done
    return user.ps()[-1]


def in_foreground(user: User) -> Background:
    """`up` without -d, once it serves."""
    serving = user.start("up", "tiny.gguf")

    def answers() -> bool:
        assert serving.process.poll() is None, serving.wait()
        return user.is_ready()

    until(answers, what="the engine")
    return serving


# ---- what a user asks for --------------------------------------------------------------------------


def test_up_serves_a_file_and_down_stops_it(faker: User) -> None:
    one = ready(faker, "tiny.gguf")
    assert (one["name"], one["engine"], one["state"]) == ("tiny", "llama-server", "ready")
    assert faker("run", "tiny", "hi").out == "w0 w1 w2 w3 w4 w5 w6 w7 \n"
    assert faker("down", "tiny").out == "stopped tiny\n"
    nothing_left(faker)


def test_up_json_is_the_entry_of_ps(faker: User) -> None:
    started = faker("up", "-d", "--json", "tiny.gguf").json()
    (listed,) = faker.ps()
    assert started.keys() == listed.keys()
    assert started["pid"] == listed["pid"]
    faker("down")


@pytest.mark.parametrize("given", ["TINY", "ti-ny.gguf"])
def test_a_running_model_answers_to_its_name_whatever_the_case(faker: User, given: str) -> None:
    ready(faker, "tiny.gguf")
    assert faker("down", given).code == 0
    nothing_left(faker)


def test_the_aliases_of_the_commands_work(faker: User) -> None:
    assert faker("serve", "-d", "tiny.gguf").code == 0
    assert faker("stop").code == 0


def test_down_without_anything_running_is_done_already(user: User) -> None:
    done = user("down")
    assert (done.code, done.out) == (0, "nothing runs\n")
    assert user("down", "--json").json() == {"stopped": []}


def test_down_of_what_does_not_run_says_so(user: User) -> None:
    one_line(user("down", "nope"), 2, "nope does not run")


def test_env_run_and_logs_of_nothing_say_so(user: User) -> None:
    one_line(user("env"), 2, "nothing runs")
    one_line(user("logs"), 2, "nothing runs")
    one_line(user("logs", "nope"), 2, "no log of nope")


def test_ps_of_nothing(user: User) -> None:
    assert user("ps").out.startswith("nothing runs")
    assert user("ps", "--json").json() == {"schema": "localrun.ps/1", "running": []}


@pytest.mark.parametrize("name", ["-dash.gguf", "a,b=c.gguf", "it's 模型\n.gguf"])
def test_odd_file_names_are_served_found_and_stopped(faker: User, name: str) -> None:
    (faker.home / "tiny.gguf").rename(faker.home / name)
    one = ready(faker, "--", f"./{name}")
    assert one["name"] == name.removesuffix(".gguf")
    assert faker("run", "--", str(one["name"]), "hi").code == 0
    assert faker("down", "--", str(one["name"])).code == 0
    nothing_left(faker)
    assert faker("logs", "--", str(one["name"])).code == 0, "the log outlives the engine"


def test_two_names_that_look_alike_are_two_models(faker: User) -> None:
    for name in ("模型.gguf", "模式.gguf"):
        (faker.home / name).write_bytes((faker.home / "tiny.gguf").read_bytes())
        ready(faker, name)
    assert {r["name"] for r in faker.ps()} == {"模型", "模式"}
    assert len(faker.engines()) == 2
    faker("down", "--all")
    nothing_left(faker)


def test_a_file_name_that_is_not_utf8_is_refused_in_words(faker: User) -> None:
    odd = os.fsencode(faker.home) + b"/\xff.gguf"
    os.rename(faker.home / "tiny.gguf", odd)
    done = faker("up", "-d", os.fsdecode(odd))
    one_line(done, 2, "not UTF-8")
    nothing_left(faker)


def test_two_files_of_one_name_are_not_mixed_up(faker: User) -> None:
    (faker.home / "other").mkdir()
    (faker.home / "other/tiny.gguf").write_bytes((faker.home / "tiny.gguf").read_bytes())
    ready(faker, "tiny.gguf")
    one_line(faker("up", "-d", "other/tiny.gguf"), 2, "already runs, from another file", "localrun down tiny")
    faker("down")


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


# ---- ports and addresses ---------------------------------------------------------------------------


@pytest.fixture
def taken() -> int:
    return _free_port()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_default_port_that_is_taken_gives_the_next_free_one(faker: User, taken: int) -> None:
    faker.env["LOCALRUN_PORT"] = str(taken)
    with socket.create_server(("127.0.0.1", taken)):
        endpoint = str(ready(faker, "tiny.gguf")["endpoint"])
    assert taken < int(endpoint.removesuffix("/v1").rpartition(":")[2]) <= taken + 99
    faker("down")


def test_a_named_port_that_is_taken_is_an_error(faker: User, taken: int) -> None:
    with socket.create_server(("127.0.0.1", taken)):
        one_line(faker("up", "-d", "--port", str(taken), "tiny.gguf"), 1, f"port {taken} is in use", "--port")
    nothing_left(faker)


def test_a_named_port_that_someone_takes_in_between_is_an_error(faker: User, taken: int) -> None:
    """The engine finds it taken although we found it free."""
    done = faker("up", "-d", "--port", str(taken), "tiny.gguf", env={"FAKE_LLAMA": "die:port"})
    one_line(done, 1, "is in use")
    nothing_left(faker)


def test_a_default_port_that_someone_takes_in_between_is_tried_no_more(faker: User) -> None:
    done = faker("up", "-d", "tiny.gguf", env={"FAKE_LLAMA": "die:port"})
    one_line(done, 1, "in use")
    nothing_left(faker)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1,0.0.0.0", "192.0.2.1"])
def test_an_open_address_without_a_key_is_refused(faker: User, host: str) -> None:
    one_line(faker("up", "-d", "--host", host, "tiny.gguf"), 2, "an API key is needed", "--api-key")
    nothing_left(faker)


def test_an_open_address_in_the_config_needs_a_key_too(faker: User) -> None:
    one_line(faker("up", "-d", "tiny.gguf", env={"LOCALRUN_HOST": "0.0.0.0"}), 2, "an API key is needed")


def test_an_open_address_with_a_key_is_served_and_reached_from_here(faker: User) -> None:
    one = ready(faker, "--host", "0.0.0.0", "--api-key", "k", "tiny.gguf")
    assert str(one["endpoint"]).startswith("http://127.0.0.1:")
    assert faker("run", "tiny", "hi").code == 0
    faker("down")


def test_an_address_of_another_machine_is_refused(faker: User) -> None:
    one_line(
        faker("up", "-d", "--host", "192.0.2.1", "--api-key", "k", "tiny.gguf"), 2, "not an address of this"
    )


@pytest.mark.parametrize("key", ["two words", "a,b", "ключ", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused(faker: User, key: str) -> None:
    one_line(faker("up", "-d", "--api-key", key, "tiny.gguf"), 2, "API key")


def test_keys_of_the_surroundings_are_not_asked_for(faker: User) -> None:
    """LLAMA_API_KEY in the user's shell is for another server."""
    faker.env["LLAMA_API_KEY"] = "someone's"
    one = ready(faker, "tiny.gguf")
    assert one["kv"]["tokens_capacity"] == 512  # type: ignore[index]
    faker("down")


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


# ---- several at once -------------------------------------------------------------------------------


def test_two_ups_of_one_model_at_once_make_one_engine(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "slow-load"
    both = [faker.start("up", "-d", "tiny.gguf") for _ in range(2)]
    done = [start.wait() for start in both]
    assert [d.code for d in done] == [0, 0], done
    assert len(faker.engines()) == 1
    said = done[0].err + done[1].err
    assert said.count("already runs") == 1
    assert said.count("ready after") == 1
    faker("down")
    nothing_left(faker)


def test_down_while_up_is_starting_stops_it(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "never"
    starting = faker.start("up", "-d", "tiny.gguf")
    until(faker.is_loading, what="the record")
    assert [r["state"] for r in faker.ps()] == ["starting"]
    assert faker("down", "tiny").code == 0
    one_line(starting.wait(), 1, "tiny was stopped while it started")
    nothing_left(faker)


def test_down_in_another_terminal_ends_a_foreground_up_in_peace(faker: User) -> None:
    serving = in_foreground(faker)
    assert faker("down").code == 0
    done = serving.wait()
    assert done.code == 0, done
    assert "tiny was stopped" in done.err
    nothing_left(faker)


def test_a_plain_foreground_up_tells_what_was_generated(faker: User) -> None:
    serving = in_foreground(faker)
    assert faker("run", "tiny", "hi").code == 0
    until(lambda: faker.ps()[0]["speed"]["generation"] > 0, what="the count")
    assert serving.process.stderr
    for line in serving.process.stderr:
        if b"20.0 average" in line:
            break
    else:
        pytest.fail("no line about the answer")
    faker("down")
    assert serving.wait().code == 0


def test_an_engine_that_dies_while_it_serves_ends_a_foreground_up(faker: User) -> None:
    serving = in_foreground(faker)
    (pid,) = faker.engines()
    os.kill(pid, 9)
    one_line(serving.wait(), 1, "killed")
    nothing_left(faker)


# ---- the dry run -----------------------------------------------------------------------------------


def test_a_dry_run_prints_the_command_and_starts_nothing(faker: User) -> None:
    done = faker("up", "--dry-run", "--api-key", "it's", "tiny.gguf")
    assert done.code == 0, done
    words = subprocess.run(
        ["sh", "-c", f'printf "%s\\0" {done.out}'], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert any(word.startswith("LLAMA_API_KEY=") for word in words)
    assert "it's" not in done.out + done.err, "a key does not belong on a screen"
    assert any(word.endswith("/llama-server") for word in words)
    assert words[words.index("--model") + 1] == str(faker.home / "tiny.gguf")
    nothing_left(faker)
    assert not faker.run_folder.exists() or not list(faker.run_folder.glob("*.json"))


def test_a_dry_run_as_json_holds_the_same_command(faker: User) -> None:
    answer = faker("up", "--dry-run", "--json", "tiny.gguf").json()
    assert answer["schema"] == "localrun.plan/1"
    assert answer["command"][0].endswith("/llama-server")
    assert json.dumps(answer)
