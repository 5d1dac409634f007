"""What launches were off by: kept by hardware, the newest, whatever became of the file."""

from __future__ import annotations

from pathlib import Path

from localrun.engine.residuals import Launch, add, load


def launch(total: float, engine: str = "embedded 1") -> Launch:
    return Launch(engine, "m", total, 0.02, "kv")


def test_the_newest_of_one_build_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state" / "residuals.json"
    add(path, "machine", launch(0.5, "embedded 0"))
    for i in range(25):
        add(path, "machine", launch(i / 100))
    kept = load(path, "machine")
    assert [one.total for one in kept] == [i / 100 for i in range(5, 25)]
    assert load(path, "another machine") == ()
    add(path, "machine", launch(0.0, "embedded 2"))
    assert load(path, "machine") == (launch(0.0, "embedded 2"),)


def test_a_damaged_file_or_row_counts_as_none_and_no_failure_reaches_a_launch(tmp_path: Path) -> None:
    path = tmp_path / "residuals.json"
    add(path, "machine", launch(0.1))
    whole = path.read_text()
    for damaged in (whole[: len(whole) // 2], "[]", whole.replace("0.02", '"much"'), "[" * 100_000):
        path.write_text(damaged)
        assert load(path, "machine") == ()
    add(path, "machine", launch(0.2))
    assert load(path, "machine") == (launch(0.2),)
    add(path / "below a file.json", "machine", launch(0.3))
