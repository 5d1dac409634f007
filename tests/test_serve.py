"""The main job with the real engine and the real default model: served, asked, measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.asking import SMALL, answers, ask, free_port, question
from tests.conftest import finish, make_user
from tests.user import User, until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user whose default model runs, started with `up -d`."""
    user = make_user(tmp_path_factory.mktemp("served"))
    user.env["LOCALRUN_MODELS_DIR"] = str(models)
    done = user("up", "-d", *SMALL)
    assert done.code == 0, done
    yield user
    down = user("down")
    finish(user)
    assert down.out == "stopped smollm2\n"


@pytest.fixture(scope="module")
def root(served: User) -> str:
    return served.endpoint()


# ---- what it looks like from outside ---------------------------------------------------------------


PS = {
    "name": str, "engine": str, "state": str, "pid": int, "endpoint": str, "model": str, "ctx_size": int,
    "planned": {"CPU": int}, "measured": {"CPU": int}, "allocated": {"CPU": int},
    "kv": {"tokens_used": int, "tokens_capacity": int, "bytes_used": int, "bytes_capacity": int,
           "high_water": int, "until_full": int, "groups": list},
    "speed": {"prompt": float, "generation": float, "first_token_ms": float},
    "uptime_s": float,
}  # fmt: skip


def check(value: object, shape: object, where: str) -> None:
    """`value` has the shape's keys, all and no others, and its types."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert value.keys() == shape.keys(), where
        for key, inner in shape.items():
            check(value[key], inner, f"{where}.{key}")
    else:
        assert type(value) in ((int, float) if shape is float else (shape,)), f"{where}: {value!r}"


def test_ps_json_is_the_contract_s(served: User) -> None:
    answer = served("ps", "--json").json()
    assert answer.keys() == {"schema", "running"}
    assert answer["schema"] == "localrun.ps/1"
    (one,) = answer["running"]
    check(one, PS, "ps")
    assert (one["name"], one["engine"], one["state"]) == ("smollm2", "embedded", "ready")
    assert one["endpoint"].startswith("http://127.0.0.1:")
    assert one["endpoint"].endswith("/v1")
    assert one["ctx_size"] == one["kv"]["tokens_capacity"] == 1024
    os.kill(one["pid"], 0)


def test_measured_memory_is_what_the_process_holds(served: User) -> None:
    (one,) = served.ps()
    resident = int(Path(f"/proc/{one['pid']}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert one["measured"]["CPU"] == pytest.approx(resident, rel=0.2)
    # The weights alone are 92 MiB, and the engine says in its log that it took more than that.
    assert one["allocated"]["CPU"] > 92 << 20


def test_the_cache_is_planned_to_the_byte_and_allocated_so(served: User) -> None:
    (one,) = served.ps()
    log = served("logs", "smollm2").out
    said = [line for line in log.splitlines() if "KV buffer size" in line]
    assert len(said) == 1
    assert float(said[0].split("=")[1].split()[0]) == pytest.approx(
        one["kv"]["bytes_capacity"] / (1 << 20), abs=0.01
    )


def test_ps_for_people_shows_planned_and_measured_side_by_side(served: User) -> None:
    lines = served("ps").out.splitlines()
    assert len(lines) == 2
    assert lines[0].split()[:2] == ["name", "state"]
    assert "memory planned" in lines[0]
    assert lines[1].startswith("smollm2  ready  embedded  CPU ")


def test_env_is_what_a_shell_evaluates(served: User, root: str) -> None:
    script = (
        f'eval "$({" ".join(served.command("env", "smollm2"))})"; echo "$OPENAI_BASE_URL $OPENAI_API_KEY"'
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=served.env, check=True)
    assert done.stdout.split() == [f"{root}/v1", "localrun"]
    assert served("env", "--json").json()["OPENAI_BASE_URL"] == f"{root}/v1"


def test_the_endpoint_listens_on_loopback_alone(served: User, root: str) -> None:
    (one,) = served.ps()
    import psutil

    listening = [c.laddr for c in psutil.Process(one["pid"]).net_connections("tcp") if c.status == "LISTEN"]
    assert [f"http://{ip}:{port}" for ip, port in listening] == [root]


# ---- the OpenAI endpoint ---------------------------------------------------------------------------


@pytest.fixture
def client(root: str) -> Iterator[Any]:
    import openai

    with openai.OpenAI(base_url=f"{root}/v1", api_key="none") as found:
        yield found


def test_an_unmodified_openai_client_streams_an_answer(client: Any) -> None:
    chunks = list(client.chat.completions.create(model="smollm2", stream=True, **question("Count to three")))
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said.strip()
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 1, "it came in one piece"


def test_an_unmodified_openai_client_gets_an_answer_in_one_piece(client: Any) -> None:
    answer = client.chat.completions.create(model="smollm2", **question())
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 6


def test_an_unmodified_openai_client_lists_the_model_and_completes(client: Any) -> None:
    assert [m.id for m in client.models.list()] == ["smollm2"]
    done = client.completions.create(
        model="smollm2", prompt="The capital of France is", max_tokens=4, temperature=0
    )
    assert "Paris" in done.choices[0].text


def test_a_request_that_is_too_long_is_refused_and_the_engine_goes_on(client: Any) -> None:
    import openai

    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(model="smollm2", **question("word " * 3000))
    assert client.chat.completions.create(model="smollm2", **question()).choices


def test_health_and_metrics_answer(root: str) -> None:
    assert ask(f"{root}/health")[:1] == (200,)
    status, _, body = ask(f"{root}/metrics")
    assert status == 200
    assert b"llamacpp:tokens_predicted_total" in body


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/v1/chat/completions", "/slots"])
def test_a_page_of_another_origin_learns_nothing(root: str, path: str) -> None:
    body = question() if "chat" in path else None
    _, headers, _ = ask(root + path, body, Origin="https://evil.example")
    assert headers.get("access-control-allow-origin", "") == ""


def test_a_preflight_grants_nothing(root: str) -> None:
    _, headers, _ = ask(
        f"{root}/v1/chat/completions", method="OPTIONS", Origin="https://evil.example",
        Access_Control_Request_Method="POST", Access_Control_Request_Headers="content-type",
    )  # fmt: skip
    assert headers.get("access-control-allow-origin", "") == ""


# ---- run, logs, and the meter ----------------------------------------------------------------------


def test_run_answers_a_prompt_from_the_running_engine(served: User) -> None:
    before = served.engines()
    done = served("run", "smollm2", "Say hi", "-n", "6", "--seed", "1", "--stats")
    assert done.code == 0
    assert done.out.strip()
    assert "tok/s" in done.err
    assert served.engines() == before


def test_run_reads_standard_input_and_joins_it_to_the_prompt(served: User) -> None:
    assert served("run", "smollm2", "-n", "4", given="Say hi\n").out.strip()
    short = served("run", "smollm2", "Hi", "-n", "1", "--json").json()
    joined = served("run", "smollm2", "Hi", "-n", "1", "--json", given="and a good day to you").json()
    assert joined["prompt_tokens"] > short["prompt_tokens"]


def test_run_json_carries_counts_and_speeds(served: User) -> None:
    answer = served("run", "smollm2", "Say hi", "-n", "4", "--temperature", "0", "--json").json()
    assert answer.keys() == {"answer", "model", "finish_reason", "prompt_tokens", "generated_tokens", "speed"}
    assert (answer["generated_tokens"], answer["finish_reason"]) == (4, "length")
    assert answer["speed"]["generation"] > 0
    assert answer["speed"]["first_token_ms"] > 0


def test_the_same_seed_says_the_same(served: User) -> None:
    said = {served("run", "smollm2", "Tell me a story", "-n", "8", "--seed", "7").out for _ in range(2)}
    assert len(said) == 1


def test_run_without_a_question_says_so(served: User) -> None:
    done = served("run", "smollm2", given="  \n")
    assert (done.code, done.out) == (2, "")
    assert "nothing to ask" in done.err


def test_what_was_generated_shows_up_in_ps(served: User) -> None:
    served("run", "smollm2", "Say hi", "-n", "5")
    (one,) = served.ps()
    assert one["speed"]["generation"] > 0
    assert 0 < one["kv"]["tokens_used"] <= 1024
    per_token = one["kv"]["bytes_capacity"] // 1024
    assert one["kv"]["bytes_used"] == one["kv"]["tokens_used"] * per_token


def test_logs_print_what_the_engine_said(served: User) -> None:
    done = served("logs", "smollm2")
    assert done.code == 0
    assert "model loaded" in done.out


def test_logs_follow_until_interrupted(served: User, root: str) -> None:
    following = served.start("logs", "-f", "smollm2")
    assert following.process.stdout
    os.set_blocking(following.process.stdout.fileno(), False)
    seen = bytearray()

    def shown(word: bytes) -> bool:
        seen.extend(following.process.stdout.read() or b"")  # type: ignore[union-attr]
        return word in seen

    until(lambda: shown(b"model loaded"), what="the log so far")
    seen.clear()
    ask(f"{root}/v1/chat/completions", question())
    until(lambda: shown(b"slot"), what="the request in the log")
    following.signal(signal.SIGINT)
    assert following.wait().code == 130


def test_a_second_up_finds_the_engine_and_leaves_it(served: User) -> None:
    before = served.engines()
    done = served("up", "-d", "-t", "1")
    assert done.code == 0
    assert "already runs" in done.err
    assert "context 1024" in done.err
    assert served.engines() == before


def test_the_fake_engine_has_the_real_one_s_shapes(served: User, root: str, fake_bin: Path) -> None:
    """Every key that a test leans on in the fake exists in the engine it stands for."""
    port = free_port()
    fake = subprocess.Popen(
        [fake_bin / "llama-server", "--model", "x", "--alias", "smollm2", "--port", str(port), "--ctx-size", "1024"],
        stderr=subprocess.DEVNULL, env=served.env,
    )  # fmt: skip
    try:
        theirs = f"http://127.0.0.1:{port}"
        until(lambda: answers(theirs), what="the fake")
        for path in ("/health", "/slots", "/v1/models"):
            real, copied = (json.loads(ask(where + path)[2]) for where in (root, theirs))
            assert _keys(copied) <= _keys(real), path
        body = question(stream=True, stream_options={"include_usage": True})
        real, copied = (_events(ask(f"{w}/v1/chat/completions", body)[2]) for w in (root, theirs))
        assert _keys(copied) <= _keys(real)
        names = [_names(ask(f"{where}/metrics")[2]) for where in (theirs, root)]
        assert names[0] <= names[1]
        for where in (root, theirs):
            assert ask(f"{where}/nothing")[0] == 404
    finally:
        fake.terminate()
        fake.wait(20)


def _events(body: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def _keys(value: object, prefix: str = "") -> set[str]:
    """Every path of keys in a JSON value; the items of a list count as one."""
    if isinstance(value, dict):
        inner = [_keys(v, f"{prefix}.{k}") | {f"{prefix}.{k}"} for k, v in value.items()]
        return set().union(*inner)
    if isinstance(value, list):
        return set().union(*(_keys(v, f"{prefix}[]") for v in value))
    return set()


def _names(metrics: bytes) -> set[bytes]:
    return {line.split()[0] for line in metrics.splitlines() if line.startswith(b"llamacpp:")}
