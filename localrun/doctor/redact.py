"""What must not stand in a bug report: the home folder, the user's name, keys and passwords."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from localrun.model.retry import redact

#: Variables whose values are secrets, by their names.
_SECRET = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|_KEY)$", re.IGNORECASE)
_LEAST = 4  # letters: a shorter value would take letters out of ordinary words


def redactor(
    environ: Mapping[str, str], homes: tuple[str, ...], user: str, keys: tuple[str, ...] = ()
) -> Callable[[str], str]:
    """A function that takes all of them out of a text. homes: every path of the home folder.

    Paths go first, the longest first; a user's name goes where it is a word of its own. `root` stays.
    """
    secrets = {v for k, v in environ.items() if _SECRET.search(k) and len(v) >= _LEAST}
    secrets |= {key for key in keys if key}
    folders = sorted({home.rstrip("/") for home in homes if len(home.rstrip("/")) > 1}, key=len, reverse=True)
    word = (
        re.compile(rf"(?<![A-Za-z0-9]){re.escape(user)}(?![A-Za-z0-9])") if user not in ("", "root") else None
    )

    def clean(text: str) -> str:
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        for folder in folders:
            text = re.sub(rf"{re.escape(folder)}(?![\w.-])", "~", text)
        if word is not None:
            text = word.sub("USER", text)
        return redact(text)

    return clean
