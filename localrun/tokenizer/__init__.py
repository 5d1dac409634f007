"""Text to token ids and back, by the vocabulary that a model file carries."""

from localrun.tokenizer.tokenizer import Stream, Tokenizer

__all__ = ["Stream", "Tokenizer"]
