"""Every way to die that llama.cpp has words for becomes one line that says why, and what to do."""

from __future__ import annotations

import pytest

from localrun.engine.failures import FAILURES, explain, port_was_taken
from tests.fakes.llama_server import DEATHS

#: What the user reads, and the flag or command that the hint names.
SAID = {
    "weights": ("no memory for the weights on CUDA0", "--n-gpu-layers"),
    "kv": ("no memory for the KV cache", "--ctx-size"),
    "compute": ("no memory for the compute buffer", "--ubatch-size"),
    "output": ("no memory for the output buffer", "--parallel"),
    "cuda": ("the GPU is out of memory", "--n-gpu-layers"),
    "cuda-error": ("CUDA error: no kernel image", "localrun hardware"),
    "vulkan": ("the GPU is out of memory", "--n-gpu-layers"),
    "metal": ("the GPU is out of memory", "--n-gpu-layers"),
    "repack": ("this build fails with repacked weights", "--engine embedded"),
    "types": ("one type for K and V, not f16 and q8_0", "--cache-type-k"),
    "v-cache": ("a quantized V cache needs flash attention", "--flash-attn on"),
    "bounds": ("the model file is incomplete", "localrun pull"),
    "architecture": ("does not know the architecture 'deepseek9'", "newer engine"),
    "tokenizer": ("does not know the pre-tokenizer 'kimi-k9'", "newer engine"),
    "missing": ("/nonexistent: No such file or directory", ""),
    "magic": ("cannot read the model's header", "localrun pull"),
    "port": ("port 8080 is in use", "--port"),
    "flag": ("this llama-server does not know --fit", "update it"),
    "sigill": ("an instruction that this CPU does not have", "--engine embedded"),
    "killed": ("want of memory", "--ctx-size"),
    "segv": ("the engine crashed (SIGSEGV)", "localrun logs"),
    "silent": ("the engine ended with status 3", "localrun logs"),
}


def log_of(key: str) -> tuple[str, int]:
    lines, status = DEATHS[key]
    text = "".join(f"0.00.0{i}7.123 {line}\n" for i, line in enumerate(lines))
    return text, status if status >= 0 else 128 - status


@pytest.mark.parametrize("key", DEATHS)
def test_each_death_is_told_in_one_line_with_what_to_do(key: str) -> None:
    why, hint = explain(*log_of(key))
    said, advised = SAID[key]
    assert said in why
    assert "\n" not in why
    assert advised in hint


def test_every_known_message_has_a_death_that_ends_with_it() -> None:
    unheard = [f.why for f in FAILURES if not any(explain(*log_of(k)) for k in DEATHS if _hits(f.pattern, k))]
    assert not unheard


def _hits(pattern: str, key: str) -> bool:
    import re

    return re.search(pattern, log_of(key)[0]) is not None


def test_the_cause_wins_over_what_follows_from_it() -> None:
    """A KV cache that does not fit is reported as a failed tensor allocation too, and earlier."""
    assert explain(*log_of("kv"))[0] == "no memory for the KV cache"


def test_a_line_that_nobody_knows_is_quoted_without_its_clock() -> None:
    why, _ = explain("0.00.001.000 I fine\n0.00.002.000 E srv: the moon is full\n0.00.003.000 I bye\n", 1)
    assert why == "the engine ended with status 1: srv: the moon is full"


def test_without_an_error_line_the_last_line_is_quoted() -> None:
    assert explain("one\ntwo\n\n", 7)[0] == "the engine ended with status 7: two"


def test_an_unknown_status_and_an_empty_log_still_make_a_sentence() -> None:
    assert explain("", None)[0] == "the engine ended"


@pytest.mark.parametrize("noise", ["{0}", "%s", "{", "\x00", "unable to allocate {x} buffer"])
def test_braces_and_odd_bytes_in_a_log_break_nothing(noise: str) -> None:
    assert explain(noise, 1)[0]


def test_only_a_failed_bind_counts_as_a_taken_port() -> None:
    assert port_was_taken(log_of("port")[0])
    assert not port_was_taken(log_of("kv")[0])
