"""What is asked of a llama-server, and what is made of its timings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localrun.bench.values import Case
from localrun.engine import client
from localrun.engine.base import Handle
from localrun.engine.bench import rate
from localrun.engine.bench_server import ServerBench, tokens
from localrun.errors import EngineError

HANDLE = Handle("embedded", 1, 0.0, "http://127.0.0.1:1/v1")


class Cache:
    """A server's slot: 1 ms a token in, 10 ms a token out. `cut`: whether its cache can be cut."""

    def __init__(self, cut: bool = True) -> None:
        self.cut, self.held, self.asked = cut, list[int](), list[dict[str, Any]]()

    def complete(self, endpoint: str, body: dict[str, Any], api_key: str, timeout: float) -> dict[str, Any]:
        self.asked.append(body)
        ids, n, same = body["prompt"], body["n_predict"], 0
        if body["cache_prompt"]:
            while same < min(len(ids) - 1, len(self.held)) and ids[same] == self.held[same]:
                same += 1
        if not self.cut and same < len(self.held):
            same = 0
        self.held = [*ids, *[1] * (n - 1)]
        read = len(ids) - same
        return {
            "timings": {
                "prompt_n": read,
                "prompt_ms": 1.0 * read,
                "predicted_n": n,
                "predicted_ms": 10.0 * (n - 1),
            }
        }


class Alive:
    def __init__(self, answers: Callable[[], bool] = lambda: True) -> None:
        self.answers = answers

    def ready(self, handle: Handle) -> bool:
        return self.answers()


def bench(monkeypatch: pytest.MonkeyPatch, complete: object, engine: object = None) -> ServerBench:
    monkeypatch.setattr(client, "complete", complete)
    return ServerBench(engine or Alive(), HANDLE, 1000, lambda case: 60.0, sleep=lambda s: None)  # type: ignore[arg-type]


def test_a_prompt_is_read_anew_each_time_and_differs_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Cache()
    found = bench(monkeypatch, server.complete)
    assert [found.measure(Case(128, 0), turn) for turn in range(3)] == pytest.approx([1000.0] * 3)
    assert len({tuple(body["prompt"]) for body in server.asked}) == 3
    assert not any(body["cache_prompt"] for body in server.asked)
    assert all(0 <= i < 1000 for body in server.asked for i in body["prompt"])


def test_the_first_token_comes_from_the_prompt_and_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Cache()
    assert bench(monkeypatch, server.complete).measure(Case(0, 64), 0) == pytest.approx(100.0)
    (body,) = server.asked
    assert (len(body["prompt"]), body["n_predict"], body["ignore_eos"]) == (1, 65, True)


@pytest.mark.parametrize("cut", [True, False])
def test_behind_a_filled_cache_only_the_new_tokens_count(monkeypatch: pytest.MonkeyPatch, cut: bool) -> None:
    server = Cache(cut)
    found = bench(monkeypatch, server.complete)
    for turn in range(2):
        assert found.measure(Case(32, 0, 500), turn) == pytest.approx(1000.0)
        assert found.measure(Case(0, 8, 500), turn) == pytest.approx(100.0)
    assert [len(body["prompt"]) for body in server.asked] == [500, 532, 500, 532, 500], "filled once"
    assert len(server.held) == 508


def answering(**timings: object) -> Callable[..., dict[str, Any]]:
    return lambda *args, **more: {"timings": timings}


@pytest.mark.parametrize(
    "timings",
    [
        {}, {"prompt_n": 128}, {"prompt_n": 128, "prompt_ms": None}, {"prompt_n": 128, "prompt_ms": "fast"},
        {"prompt_n": 128, "prompt_ms": -1.0}, {"prompt_n": 128, "prompt_ms": 0}, {"prompt_n": 128, "prompt_ms": 1e-9},
        {"prompt_n": 128, "prompt_ms": float("nan")}, {"prompt_n": 128, "prompt_ms": float("inf")},
        {"prompt_n": 1, "prompt_ms": 5.0}, {"prompt_n": True, "prompt_ms": 5.0}, {"prompt_n": 1e9, "prompt_ms": 5.0},
    ],
)  # fmt: skip
def test_timings_that_are_none_are_no_measurement(
    monkeypatch: pytest.MonkeyPatch, timings: dict[str, object]
) -> None:
    with pytest.raises(EngineError):
        bench(monkeypatch, answering(**timings)).measure(Case(128, 0), 0)


def test_an_answer_that_was_cut_short_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="generated 3 tokens of 65"):
        bench(monkeypatch, answering(predicted_n=3, predicted_ms=5.0)).measure(Case(0, 64), 0)


@pytest.mark.parametrize("answer", [{}, {"timings": None}, {"timings": [1]}])
def test_an_answer_without_timings(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="no timings"):
        bench(monkeypatch, lambda *args: answer).measure(Case(8, 0), 0)


def test_a_broken_connection_is_told_by_the_engine_s_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> dict[str, Any]:
        raise EngineError("the connection to the engine broke")

    looks = iter([False, False])

    def dying() -> bool:
        for answer in looks:
            return answer
        raise EngineError("no memory for the KV cache")

    with pytest.raises(EngineError, match="no memory"):
        bench(monkeypatch, broken, Alive(dying)).measure(Case(8, 0), 0)
    with pytest.raises(EngineError, match="connection"):
        bench(monkeypatch, broken).measure(Case(8, 0), 0)


def test_a_refusal_is_passed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> dict[str, Any]:
        raise client.Refused(400, "exceeds the available context size")

    def never() -> bool:
        raise AssertionError("it lives: it has answered")

    with pytest.raises(client.Refused, match="context size"):
        bench(monkeypatch, refuse, Alive(never)).measure(Case(8, 0), 0)


def test_ids_are_spread_over_the_vocabulary() -> None:
    assert tokens(100, 1, 32000) == tokens(100, 1, 32000)
    assert len(set(tokens(1000, 1, 128256))) > 950
    assert tokens(3, 0, 1) == [0, 0, 0]


def test_a_rate_is_tokens_over_seconds() -> None:
    assert rate({"n": 65, "ns": 2_000_000_000}, "n", "ns", 1e-9, 64) == 32.0
