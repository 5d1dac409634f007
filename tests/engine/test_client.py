"""HTTP to an engine: a server that sends exactly these bytes, and what we make of them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from localrun.ask import Served, Timing
from localrun.engine import client
from localrun.engine.base import Handle
from localrun.errors import EngineError
from localrun.meter.values import Observation

CHUNK = '{"choices":[{"delta":{"content":"a"}}]}'


@contextlib.contextmanager
def serving(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives one answer per connection and hangs up: (endpoint, what it was asked)."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                with contextlib.suppress(OSError):
                    peer, _ = listener.accept()
                    with peer:
                        asked.append(_request(peer))
                        peer.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", asked
        listener.close()
        thread.join(10)


def _request(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


def ok(body: str, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode()


def stream(*events: str, ended: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(f"{len(e.encode()):x}\r\n".encode() + e.encode() + b"\r\n" for e in events)
    return head + chunks + (b"0\r\n\r\n" if ended else b"")


def answers(*events: str, ended: bool = True) -> list[object]:
    with serving(stream(*events, ended=ended)) as (endpoint, _):
        return list(client.chat(endpoint, {"messages": []}))


def test_a_chat_streams_its_chunks_and_sends_the_key() -> None:
    events = (f"data: {CHUNK}\n\n", ": a comment\n\n", "event: x\ndata: [DONE]\n\n")
    with serving(stream(*events)) as (endpoint, asked):
        assert list(client.chat(endpoint, {"messages": []}, "secret")) == [json.loads(CHUNK)]
    assert b"POST /v1/chat/completions " in asked[0]
    assert b"Authorization: Bearer secret" in asked[0]
    assert json.loads(asked[0].split(b"\r\n\r\n")[1])["stream"] is True


def test_no_key_means_no_header() -> None:
    with serving(stream("data: [DONE]\n\n")) as (endpoint, asked):
        assert list(client.chat(endpoint, {})) == []
    assert b"Authorization" not in asked[0]


def test_one_event_may_come_in_many_pieces() -> None:
    assert answers("da", f"ta: {CHUNK[:9]}", CHUNK[9:], "\n", "\ndata: [DONE]\n\n") == [json.loads(CHUNK)]


@pytest.mark.parametrize("ended", [True, False])
def test_an_answer_without_its_end_is_an_error(ended: bool) -> None:
    with pytest.raises(EngineError, match="broke"):
        answers(f"data: {CHUNK}\n\n", ended=ended)


@pytest.mark.parametrize("chunk", ["nonsense", "5", "[]", "null", '{"a":', "[" * 100_000])
def test_a_chunk_that_is_no_object_is_an_error(chunk: str) -> None:
    with pytest.raises(EngineError, match="not a JSON object"):
        answers(f"data: {chunk}\n\n")


@pytest.mark.parametrize(
    "line", ['error: {"error":{"message":"no slot"}}', 'data: {"error":{"message":"no slot"}}']
)
def test_an_error_in_mid_answer_is_told(line: str) -> None:
    with pytest.raises(EngineError, match="failed in mid-answer: no slot"):
        answers(f"data: {CHUNK}\n\n", line + "\n\n")


def test_a_refusal_carries_its_status_and_the_engine_s_own_words() -> None:
    body = '{"error":{"code":400,"message":"the request exceeds\\n the context","type":"x"}}'
    data = ok(body).replace(b"200 OK", b"400 Bad Request")
    with (
        serving(data) as (endpoint, _),
        pytest.raises(client.Refused, match="exceeds the context") as refused,
    ):
        list(client.chat(endpoint, {}))
    assert refused.value.status == 400


@pytest.mark.parametrize("body", ["", "<html>", '{"error":"plain"}', "[]"])
def test_a_refusal_in_any_form_is_one_line(body: str) -> None:
    data = ok(body).replace(b"200 OK", b"500 Internal Server Error")
    with serving(data) as (endpoint, _), pytest.raises(client.Refused) as refused:
        client.get(endpoint, "/slots")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"\x15\x03\x01 not HTTP\r\n\r\n", b"HTTP/1.1 99999 x\r\n\r\n"])
def test_what_is_not_http_is_an_error_and_not_a_crash(data: bytes) -> None:
    with serving(data) as (endpoint, _), pytest.raises(EngineError):
        list(client.chat(endpoint, {}))
    with serving(data) as (endpoint, _):
        assert not client.healthy(endpoint)
    with serving(data) as (endpoint, _):
        assert client.observe(endpoint) is None


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    assert not client.healthy(endpoint)
    assert client.observe(endpoint) is None
    with pytest.raises(EngineError, match="connection to the engine broke"):
        list(client.chat(endpoint, {}))


@pytest.mark.parametrize("endpoint", ["", "nonsense", "file:///etc/passwd", "http://"])
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises(EngineError, match="not an endpoint"):
        list(client.chat(endpoint, {}))


def test_closing_the_stream_closes_the_connection() -> None:
    """The engine stops generating only when it sees the client go."""
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                _request(peer)
                peer.sendall(stream(f"data: {CHUNK}\n\n", ended=False))
                if peer.recv(1) == b"":
                    gone.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        chunks = client.chat(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", {})
        next(iter(chunks))
        chunks.close()  # type: ignore[attr-defined]
        assert gone.wait(10)
        thread.join(10)


@pytest.mark.parametrize(
    ("body", "ours"),
    [
        ('{"data":[{"id":"m"}]}', True),
        ('{"data":[{"id":"x","aliases":["m"]}]}', True),
        ('{"data":[{"id":"x"}]}', False),
        ('{"data":[]}', False),
        ("[]", False),
        ("<html>", False),
    ],
)
def test_a_server_is_ours_when_it_lists_our_model(body: str, ours: bool) -> None:
    with serving(ok(body)) as (endpoint, _):
        assert client.serves(endpoint, "m") is ours


SLOTS = [
    {"id": 0, "n_ctx": 512, "is_processing": True, "id_task": 7, "n_prompt_tokens": 40,
     "next_token": [{"n_decoded": 9}]},
    {"id": 1, "n_ctx": 512, "is_processing": False, "id_task": 3, "n_prompt_tokens": 2},
]  # fmt: skip
METRICS = """# HELP llamacpp:prompt_tokens_total x
llamacpp:prompt_tokens_total 31
llamacpp:prompt_seconds_total 0.25
llamacpp:tokens_predicted_total 3e+00
llamacpp:tokens_predicted_seconds_total 0.036
go_threads 5
"""


def observed(slots: object, metrics: str = METRICS) -> Observation | None:
    with serving(ok(json.dumps(slots)), ok(metrics, "text/plain")) as (endpoint, _):
        return client.observe(endpoint)


def test_slots_and_counters_make_one_observation() -> None:
    assert observed(SLOTS) == Observation(42, 1024, 1, ((7, 9),), 31, 0.25, 3, 0.036, held=(40, 2))


def test_the_most_that_a_slot_ever_held_is_the_engine_s_own_count() -> None:
    found = observed(SLOTS, METRICS + "llamacpp:n_tokens_max 300\n")
    assert found is not None
    assert found.tokens_most == 300


def test_builds_before_2026_tell_the_next_token_as_an_object() -> None:
    older = [{**SLOTS[0], "next_token": {"n_decoded": 4}}]
    found = observed(older)
    assert found is not None
    assert found.generating == ((7, 4),)


def test_a_slot_that_never_worked_has_no_tokens() -> None:
    fresh = observed([{"id": 0, "n_ctx": 1024, "is_processing": False}], "")
    assert fresh == Observation(0, 1024, 0, (), held=(0,))


@pytest.mark.parametrize("slots", [{}, 5, None, ["x"], [{}], [{"n_ctx": None}], [{"n_ctx": 1e400}]])
def test_slots_of_another_program_are_no_observation(slots: object) -> None:
    assert observed(slots) in (None, Observation(0, 0, 0, (), 31, 0.25, 3, 0.036))


@pytest.mark.parametrize("metrics", ["llamacpp:prompt_tokens_total x", "llamacpp:tokens_predicted_total inf"])
def test_counters_that_are_no_numbers_are_no_observation(metrics: str) -> None:
    assert observed(SLOTS, metrics) is None


DEEP = "[" * 100_000


def test_an_answer_that_nests_too_deep_is_an_error_and_not_a_crash() -> None:
    data = ok(DEEP).replace(b"200 OK", b"500 Internal Server Error")
    with serving(data) as (endpoint, _), pytest.raises(client.Refused):
        client.get(endpoint, "/slots")
    with serving(ok(DEEP)) as (endpoint, _):
        assert not client.serves(endpoint, "m")
    with serving(ok(DEEP)) as (endpoint, _):
        assert client.observe(endpoint) is None


@pytest.mark.parametrize(
    "chunk",
    [
        '{"choices":5}', '{"choices":[5]}', '{"choices":[{"delta":[1]}]}', '{"choices":[{"delta":{"content":5}}]}',
        '{"usage":5}', '{"usage":{"prompt_tokens":null}}', '{"timings":{"prompt_per_second":"x"}}',
        '{"usage":{"prompt_tokens":1e999}}',
    ],
)  # fmt: skip
def test_a_chunk_of_another_shape_is_an_error_and_not_a_crash(chunk: str) -> None:
    with serving(stream(f"data: {chunk}\n\n")) as (endpoint, _):
        record = SimpleNamespace(name="m", handle=Handle("embedded", 1, 0.0, endpoint))
        with pytest.raises(EngineError, match="makes no sense"):
            list(Served(record).stream([], {}, Timing()))  # type: ignore[arg-type]
