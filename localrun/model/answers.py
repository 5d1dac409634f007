"""What a server's answer says of the file that it sends: its length, its place, and what tells it from another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from localrun.errors import FetchError
from localrun.model.retry import short_url


class Answer(Protocol):
    """What is asked of a response here."""

    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Refused(FetchError):
    """The server answered, and the answer is no. `status` and `headers` say more."""

    def __init__(self, why: str, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(why, "check the name and the address")
        self.status = status
        self.headers = headers


class Changed(Exception):
    """The server's file is not the one that the part began with."""


def accept(response: Answer, url: str, statuses: tuple[int, ...]) -> None:
    """Raises Refused for another status, FetchError for a body that is not as it is stored."""
    if response.status_code not in statuses:
        why = f"{short_url(url)}: the server answered {response.status_code} {response.reason_phrase}"
        raise Refused(why, response.status_code, dict(response.headers))
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchError(f"{short_url(url)}: the server compresses what must come as it is")


def content_range(response: Answer) -> tuple[int, int]:
    """First byte and whole length (0 = not told) of a partial answer; (-1, 0) when it does not say."""
    told = response.headers.get("content-range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", told)
    return (int(found[1]), number(found[2])) if found else (-1, 0)


def number(text: str) -> int:
    """A length; 0 for what is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def validator(response: Answer) -> str:
    """What changes with the file: its ETag, else when it was last modified; "" where neither is told."""
    return response.headers.get("etag", "") or response.headers.get("last-modified", "")


def strong(told: str) -> bool:
    """Whether a server may be asked for the rest of just that file (If-Range)."""
    return bool(told) and not told.startswith("W/")
