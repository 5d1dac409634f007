"""An Ollama server measured over its API: texts for token ids, which it does not take."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from localrun.bench.values import Case
from localrun.engine import process
from localrun.engine.base import Engine, Handle
from localrun.engine.bench import last_words, rate
from localrun.engine.bench_server import tokens
from localrun.engine.ollama_address import server_address
from localrun.engine.ollama_client import Server
from localrun.errors import EngineError, UsageError

#: Each a token of its own in every vocabulary of weight, with the space in front.
_TEXT = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by word "
    "but not what all were we when your can said there use an each which she do how their if will up other about "
    "out many then them these so some her would make like him into time has look two more write go see number no "
    "way could people my than first water been call who its now find long down day did get come made may part"
)
_WORDS = tuple(_TEXT.split())
#: An answer that ends by itself is asked for again so often; Ollama cannot be told to go on.
_TRIES = 4
_SERVING = re.compile(r"^serving (\S+)$", re.MULTILINE)


def served_name(handle: Handle) -> str:
    """The name under which the keeper made the model on its server."""
    found = _SERVING.findall(process.log_tail(handle)) or _SERVING.findall(process.log_head(handle))
    if not found:
        raise EngineError("the keeper's log does not say what it serves", "localrun logs")
    return str(found[-1])


class OllamaBench:
    """Rates are Ollama's own counts over its own nanoseconds."""

    def __init__(
        self,
        engine: Engine,
        handle: Handle,
        count: Callable[[str], int],
        salt: int,
        patience: Callable[[Case], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`count` tells the tokens of a text; `salt` keeps prompts of an earlier run out of the cache."""
        self._engine, self._handle, self._count, self._salt = engine, handle, count, salt
        self._patience, self._sleep = patience, sleep
        self._name = served_name(handle)
        self.pid = 0  # a server that ran before is not below the keeper

    def measure(self, case: Case, turn: int) -> float:
        if case.n_prompt and case.depth:
            raise UsageError(
                "Ollama does not tell what of a prompt was cached", "-d with -p 0, or without -d"
            )
        for again in range(_TRIES):
            answer = self._ask(case, self._salt + turn * _TRIES + again)
            if case.n_prompt:
                done = answer.get("prompt_eval_count")
                tokens_read = done if isinstance(done, int) else case.n_prompt
                if not 0.5 * case.n_prompt <= tokens_read <= 1.5 * case.n_prompt + 8:
                    raise EngineError(f"Ollama read {tokens_read} tokens of {case.n_prompt}")
                return rate(answer, "prompt_eval_count", "prompt_eval_duration", 1e-9, tokens_read)
            done = answer.get("eval_count")
            if not isinstance(done, int) or done > case.n_gen // 2:
                # As in llama-server: the first token is the prompt's.
                decoded = done - 1 if isinstance(done, int) else case.n_gen
                return rate(answer, "eval_count", "eval_duration", 1e-9, decoded)
        raise EngineError(
            f"the model ends its answers before {case.n_gen} tokens, and Ollama cannot be told to go on",
            "a smaller -n, or another engine",
        )

    def _ask(self, case: Case, turn: int) -> dict[str, object]:
        server = Server(server_address(self._handle.endpoint.removesuffix("/v1")), load=self._patience(case))
        # Not greedy: Ollama aborts an answer that says one token over and over.
        options = {"num_predict": 1 if case.n_prompt else case.n_gen + 1, "temperature": 1.0, "seed": turn}
        text = prompt(case.n_prompt or max(case.depth, 1), turn, self._count)
        try:
            return server.generate(self._name, text, options, raw=True)
        except EngineError:
            # The keeper notices a moment later that its server is gone, and says why.
            last_words(self._engine, self._handle, self._sleep, answers=False)
            raise


def prompt(n: int, turn: int, count: Callable[[str], int]) -> str:
    """A text of at most `n` tokens, and nearly as many, whose first word differs from turn to turn."""
    words = [_WORDS[i] for i in tokens(n, turn, len(_WORDS))]
    while len(words) > 1 and (over := count(" ".join(words)) - n) > 0:
        del words[-max(1, over // 2) :]
    return " ".join(words)
