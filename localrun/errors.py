"""The exceptions that localrun raises on purpose.

    LocalrunError            the work failed: exit 1
    +-- UsageError           wrong arguments, an unknown name: exit 2
    +-- ModelError           a model file that cannot be used
    |   +-- HeaderError      its GGUF header is not one, or contradicts itself
    +-- FetchError           a file could not be had, or came out wrong
    +-- DoesNotFit           the plan's verdict forbids a launch
    +-- EngineError          the engine could not start, died, or does not answer
    |   +-- EngineMissing    no such engine on this machine
    |   +-- PortInUse        the port that the user named is taken
    +-- StateError           what is remembered of running models cannot be read

`cli` alone catches the base class: one line says why, `hint` says what to do.
"""

from __future__ import annotations


class LocalrunError(Exception):
    """A failure that a user can act on: `str(e)` says why in one line, `hint` what would help."""

    exit_code = 1

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


class UsageError(LocalrunError):
    exit_code = 2


class ModelError(LocalrunError):
    pass


class HeaderError(ModelError):
    pass


class FetchError(LocalrunError):
    pass


class DoesNotFit(LocalrunError):
    pass


class EngineError(LocalrunError):
    pass


class EngineMissing(EngineError):
    pass


class PortInUse(EngineError):
    pass


class StateError(LocalrunError):
    pass
