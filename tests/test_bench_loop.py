"""That the loop's benchmark still measures: it compiles a part of the core, and a libllama of its own."""

from __future__ import annotations

from pathlib import Path

from bench.loop import SAMPLINGS, compiled, counting, overhead


def test_it_compiles_and_counts(tmp_path: Path) -> None:
    lib = compiled(str(tmp_path))
    assert lib.bench_count(1000) == 1000
    assert counting(lib, 1) > 0
    assert overhead(lib, 1).keys() == SAMPLINGS.keys()
