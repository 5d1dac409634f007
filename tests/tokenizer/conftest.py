"""Tests of the tokenizer load vocabularies themselves, and leave nothing in this user's cache."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_sidecars() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALRUN_TOKENIZER_CACHE", "0")
        yield
