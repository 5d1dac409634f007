"""The quick dataclass is a dataclass to everyone else."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, field, fields, is_dataclass, replace

import pytest

from localrun import wire
from localrun.value import dataclass
from localrun.value import field as quick_field
from localrun.value import replace as quick_replace


@dataclass(frozen=True, slots=True)
class Point:
    """A place."""

    x: int
    y: float = 2.5
    tags: tuple[str, ...] = field(default_factory=tuple)

    @property
    def norm(self) -> float:
        return abs(self.x) + abs(self.y)


@dataclass(slots=True)
class Counter:
    n: int = 0
    seen: dict[str, int] = field(default_factory=dict)


def test_it_is_made_compared_and_hashed_by_its_fields() -> None:
    assert Point(1) == Point(1, 2.5, ()) != Point(2)
    assert hash(Point(1)) == hash(Point(x=1))
    assert Point(1) != (1, 2.5, ())
    assert repr(Point(1, tags=("a",))) == "Point(x=1, y=2.5, tags=('a',))"
    assert Point(-3).norm == 5.5
    assert Point.__doc__ == "A place."
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, z=3)  # type: ignore[call-arg]


def test_a_frozen_one_cannot_be_changed_and_none_has_attributes_of_its_own() -> None:
    with pytest.raises(FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del Point(1).x  # type: ignore[misc]
    counter = Counter()
    counter.n += 1
    assert counter.n == 1
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        hash(counter)


def test_default_factories_make_a_new_value_each_time() -> None:
    first, second = Counter(), Counter()
    first.seen["a"] = 1
    assert second.seen == {}


def test_the_standard_tools_take_it_for_one_of_theirs() -> None:
    point = Point(1, tags=("a",))
    assert is_dataclass(point)
    assert [f.name for f in fields(point)] == ["x", "y", "tags"]
    assert replace(point, x=7) == Point(7, 2.5, ("a",))
    assert asdict(point) == {"x": 1, "y": 2.5, "tags": ("a",)}
    assert copy.deepcopy(point) == point == pickle.loads(pickle.dumps(point))
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2.5)


def test_json_goes_through_it_both_ways() -> None:
    assert wire.decode(wire.encode(Point(1, tags=("a",))), Point) == Point(1, tags=("a",))
    with pytest.raises(wire.UnreadableError):
        wire.decode(b'{"x": "one"}', Point)


@dataclass(frozen=True, slots=True)
class Late:
    """Nothing of it was looked at before its test."""

    n: int
    seen: list[str] = quick_field(default_factory=list)


def test_the_quick_field_and_replace_do_as_the_standard_ones() -> None:
    assert [f.name for f in fields(Late)] == ["n", "seen"]
    first, second = Late(1), Late(1)
    first.seen.append("a")
    assert second.seen == []
    assert quick_replace(first, n=2) == replace(first, n=2) == Late(2, ["a"])
    assert quick_replace(Point(1), y=0.0) == Point(1, 0.0)
    with pytest.raises(TypeError):
        quick_replace(first, m=1)  # type: ignore[call-arg]
