"""Starting and stopping, with an engine that fails on demand: one clear line, the right exit code, no process."""

from __future__ import annotations

import json
import os
import socket
import subprocess

import pytest

from tests.expecting import in_foreground, nothing_left, one_line, ready
from tests.user import User, until

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
