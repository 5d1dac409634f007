"""A conversation as token ids, by the model's own chat template and tokenizer, for an engine inside this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from localrun.errors import ModelError
from localrun.recipe.chat import CHATML, render
from localrun.tokenizer import Tokenizer


class ChatPrompt:
    """`ids(messages)`; `text` is what the template last made. Raises ModelError for a template that does not work."""

    def __init__(self, path: str, tokenizer: Tokenizer, template_file: str = "") -> None:
        """`template_file` replaces the template in the file; without either it is ChatML, as in llama.cpp."""
        self._tokenizer = tokenizer
        self._template = _read(template_file) if template_file else _own(path) or CHATML
        self._bos, self._eos = (_piece(tokenizer, token) for token in (tokenizer.bos, tokenizer.eos))
        self.text = ""

    def ids(self, messages: Sequence[Mapping[str, str]], now: datetime | None = None) -> list[int]:
        self.text = render(self._template, messages, now=now or datetime.now(), bos=self._bos, eos=self._eos)
        ids = self._tokenizer.encode(self.text, special=True)
        bos = self._tokenizer.bos
        # Many templates begin with it themselves.
        return [bos, *ids] if self._tokenizer.add_bos and bos is not None and ids[:1] != [bos] else ids


def _piece(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.piece(token).decode("utf-8", "replace")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise ModelError(f"the chat template {path} cannot be read: {wrong}") from None


def _own(path: str) -> str:
    """The template that the file carries."""
    import mmap

    from localrun.native import read_header

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return str(read_header(mapped, len(mapped)).metadata.get("tokenizer.chat_template", ""))
