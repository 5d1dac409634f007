"""`Tokenizer`: what a program holds in its hand."""

from __future__ import annotations

import codecs
import contextlib
import os
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path

from localrun.errors import UsageError
from localrun.native.tok import Bytes, Vocab, as_llama_cpp_reads, is_utf8, nfc_spans, utf8_in_place
from localrun.tokenizer.blocks import BLOCK, blocks_of, crosses_a_cut
from localrun.tokenizer.vocabulary import Vocabulary

RULES = ("own", "llama.cpp")
Text = str | Bytes
#: Characters of a str from which on it pays to find its UTF-8 in place.
LONG = 1 << 14


class Tokenizer:
    """One model's tokenizer; any number of threads may use one at a time.

    Ids are those of the model's own tokenizer, or with rules="llama.cpp" those that llama.cpp would feed it. Text
    becomes its ids and no more: no bos is added (see `bos` and `add_bos`). Control tokens are found in text only
    with special=True; tokens that the model's makers added as plain text always are.

    Bytes that are not UTF-8 are read as bytes.decode(errors="replace") does, or as llama.cpp does by its rules; a
    lone surrogate in a str is read as U+FFFD.
    """

    def __init__(self, vocabulary: Vocabulary, rules: str = "own", made: Vocab | None = None) -> None:
        """`made` is what was made of the vocabulary before, by these rules."""
        _check_rules(rules)
        self._llama_cpp = rules == "llama.cpp"
        self._vocab = made or _make(vocabulary, self._llama_cpp)
        self._nfc = vocabulary.nfc and not self._llama_cpp
        self._spm = vocabulary.kind == "spm"
        self._strip_space = vocabulary.space_prefix
        # For streams: the tokens that are whole characters, without and with control tokens.
        self._whole: tuple[dict[int, str], dict[int, str]] = ({}, {})
        self._cuts: bool | None = None
        self.rules = rules
        self.bos = vocabulary.bos
        self.eos = vocabulary.eos
        self.add_bos = vocabulary.add_bos

    @classmethod
    def open(cls, path: str | PathLike[str], rules: str = "own", cache: bool | None = None) -> Tokenizer:
        """From a .gguf file, a tokenizer.json, a tekken.json, a tiktoken file or a SentencePiece model.

        With `cache` what was made of the file is kept in localrun's cache folder, and taken from there the next
        time, as long as the file is the same; None leaves it to LOCALRUN_TOKENIZER_CACHE, and then to yes.
        Raises ModelError when the file is none of these or its vocabulary cannot be used.
        """
        _check_rules(rules)
        folder = sidecar_folder() if wants_sidecars(os.environ, cache) else None
        if folder is None:
            from localrun.tokenizer.load import load

            return cls(load(Path(path)).vocabulary, rules)
        from localrun.tokenizer import sidecar

        kept = sidecar.find(folder, Path(path), rules)
        if kept is not None:
            return cls(kept[0], rules, kept[1])
        from localrun.tokenizer.load import load

        loaded = load(Path(path))
        tokenizer = cls(loaded.vocabulary, rules)
        sidecar.keep(folder, loaded, tokenizer._vocab, rules)
        return tokenizer

    def __len__(self) -> int:
        return self._vocab.count

    @property
    def vocab(self) -> Vocab:
        """The vocabulary in the C core, for what else makes text of tokens there."""
        return self._vocab

    def encode(self, text: Text, special: bool = False) -> list[int]:
        return self._vocab.to_list(self._parts(text, special))

    def encode_array(self, text: Text, special: bool = False) -> array[int]:
        """As an array of 32-bit ints: a tenth of a list's memory."""
        out = array("i")
        for part in self._parts(text, special):
            out.frombytes(part.cast("B"))
        return out

    def count(self, text: Text, special: bool = False) -> int:
        return sum(map(len, self._parts(text, special)))

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """Bytes that are no UTF-8, as half a character is, become U+FFFD. Control tokens are left out unless `special`.

        Raises IndexError for an id that the vocabulary does not have.
        """
        return self.decode_bytes(ids, special).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], special: bool = False) -> bytes:
        if not (isinstance(ids, array) and ids.typecode == "i"):
            try:
                ids = array("i", ids)
            except OverflowError:
                raise IndexError(f"an id beyond 32 bits: the vocabulary has {len(self)}") from None
        text = self._vocab.decode(ids, special)
        return text[1:] if self._strip_space and text[:1] == b" " else text

    def piece(self, token: int) -> bytes:
        """The bytes of one token, a control token's too. Raises IndexError."""
        return self._vocab.token(token)

    def stream(self, special: bool = False) -> Stream:
        """Decodes tokens as they come."""
        return Stream(self, special)

    @property
    def can_cut(self) -> bool:
        """Whether the blocks of a text, as localrun.tokenizer.blocks makes them, encode to what the text does."""
        if self._cuts is None:
            self._cuts = not self._spm and not any(map(crosses_a_cut, self._vocab.special_texts()))
        return self._cuts

    def _parts(self, text: Text, special: bool) -> Iterator[memoryview]:
        if len(text) > BLOCK and not isinstance(text, str) and self.can_cut:
            return self._in_blocks(text, special)
        if isinstance(text, str) and len(text) > LONG and (text.isascii() or not self._nfc):
            with contextlib.suppress(UnicodeEncodeError):
                return self._vocab.encode(utf8_in_place(text), special, owner=text)
        raw, rewrite = self._read(text)
        if rewrite is None:
            return self._vocab.encode(raw, special)
        return self._rewritten(raw, special, rewrite)

    def _in_blocks(self, text: Bytes, special: bool) -> Iterator[memoryview]:
        """What must be rewritten needs memory for a block, not for the text; and between blocks Python can act."""
        for block in blocks_of(text):
            raw, rewrite = self._read(block)
            if rewrite is None:
                yield from self._vocab.encode(raw, special)
            else:
                yield from self._rewritten(raw, special, rewrite)

    def _rewritten(
        self, raw: Bytes, special: bool, rewrite: Callable[[Bytes], bytes]
    ) -> Iterator[memoryview]:
        """Special tokens stand in the text as it came; only what is between them is rewritten."""
        at = 0
        for start, end, token in self._vocab.specials(raw, special):
            yield from self._vocab.encode(rewrite(raw[at:start]), -1)
            yield memoryview(array("i", (token,)))
            at = end
        yield from self._vocab.encode(rewrite(raw[at:]), -1)

    def _read(self, text: Text) -> tuple[Bytes, Callable[[Bytes], bytes] | None]:
        """The text's bytes, and what they must go through before they can be encoded."""
        raw: Bytes
        if isinstance(text, str):
            try:
                raw = bytes(utf8_in_place(text)) if len(text) > LONG else text.encode()
            except UnicodeEncodeError:
                # Surrogates in pairs are characters, as tiktoken has it.
                raw = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        elif is_utf8(text):
            raw = text
        elif self._llama_cpp:
            return text, None if self._spm else as_llama_cpp_reads
        else:
            raw = bytes(text).decode("utf-8", "replace").encode()
        return raw, _nfc if self._nfc and nfc_spans(raw, 1) else None


def _check_rules(rules: str) -> None:
    if rules not in RULES:
        raise UsageError(f"no such rules: {rules!r}", f"one of {', '.join(RULES)}")


def _make(vocabulary: Vocabulary, llama_cpp: bool) -> Vocab:
    return Vocab(
        kind=vocabulary.kind,
        tokens=vocabulary.tokens,
        count=vocabulary.count,
        types=vocabulary.types,
        scores=vocabulary.scores,
        merges=vocabulary.merges,
        merge_count=vocabulary.merge_count,
        pre=vocabulary.pre,
        llama_cpp=llama_cpp,
        letters=vocabulary.letters,
        ignore_merges=vocabulary.ignore_merges_llama_cpp if llama_cpp else vocabulary.ignore_merges,
        space_prefix=vocabulary.space_prefix,
    )


def wants_sidecars(env: Mapping[str, str], asked: bool | None) -> bool:
    if asked is not None:
        return asked
    return env.get("LOCALRUN_TOKENIZER_CACHE", "").lower() not in ("0", "false", "no", "off")


def sidecar_folder() -> Path:
    from localrun.config import paths

    return paths(os.environ).cache / "vocabularies"


def _nfc(text: Bytes) -> bytes:
    """Only the stretches that may need it, each from a character that joins nothing before it to the next such one."""
    view, at = memoryview(text), 0
    parts: list[Bytes] = []
    for start, end in nfc_spans(text):
        parts += view[at:start], unicodedata.normalize("NFC", str(view[start:end], "utf-8")).encode()
        at = end
    return b"".join((*parts, view[at:]))


class Stream:
    """Text out of tokens one at a time. A character whose bytes have not all come is held back."""

    def __init__(self, tokenizer: Tokenizer, special: bool) -> None:
        self._vocab = tokenizer._vocab
        self._special = special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = False  # the decoder has part of a character
        self._whole = tokenizer._whole[special]

    def feed(self, token: int) -> str:
        """What is whole by now; often empty. Raises IndexError."""
        if not self._held and token in self._whole:
            return self._whole[token]
        piece = self._vocab.decode(array("i", (token,)), self._special)
        with contextlib.suppress(UnicodeDecodeError):
            self._whole[token] = piece.decode()
        text = self._decoder.decode(piece)
        self._held = self._decoder.getstate()[0] != b""
        return text

    def finish(self) -> str:
        """What was held back, as U+FFFD; the stream can then be used anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        self._held = False
        return rest
