"""What every command has at hand: this user's session, and how to speak."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from localrun import config as settings
from localrun.config import Session
from localrun.show.text import Style, say, style_for
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class App:
    session: Session
    out: Style  # for stdout
    err: Style  # for stderr
    yes: bool
    offline: bool
    verbose: bool
    no_color: bool
    explain: bool = False

    @classmethod
    def make(
        cls,
        environ: Mapping[str, str],
        yes: bool = False,
        offline: bool = False,
        no_color: bool = False,
        verbose: bool = False,
        explain: bool = False,
    ) -> App:
        """Raises UsageError when the config file is wrong."""
        config = settings.load(environ)
        return cls(
            session=Session(config, settings.paths(environ, config)),
            out=style_for(sys.stdout, no_color),
            err=style_for(sys.stderr, no_color),
            yes=yes,
            offline=offline or config.offline,
            verbose=verbose,
            no_color=no_color,
            explain=explain,
        )

    def tell(self, line: str) -> None:
        """A line for people, aside of the output."""
        say(line)

    def because(self, reasons: Iterable[str]) -> None:
        """With --explain, why: aside of the output, so that JSON and pipes stay as they are."""
        if self.explain:
            for reason in reasons:
                say(f"because: {reason}")


def put(text: str) -> None:
    """What was asked for, on stdout."""
    sys.stdout.write(text + "\n")


def put_json(value: Any) -> None:
    import json

    put(json.dumps(value, indent=2, ensure_ascii=False))
