"""Rows kept by key in one small JSON file, the newest so many of each: what launches told of a machine.

Plain json rather than `wire`: `plan` reads these files, and msgspec alone would cost it three times a
bare interpreter's start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def read(path: Path, schema: str, part: str) -> dict[str, list[object]]:
    """The rows under `part`, by key; none where the file is missing, damaged or of another schema."""
    import json

    try:
        found = json.loads(path.read_bytes())
        kept = found[part] if found["schema"] == schema else {}
        return {key: rows for key, rows in kept.items() if isinstance(rows, list)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def add(path: Path, schema: str, part: str, key: str, row: Mapping[str, object], most: int) -> None:
    """Keep one more under `key`. A file that cannot be written is no reason for its caller to fail."""
    import json

    kept = read(path, schema, part)
    kept[key] = [*kept.get(key, ()), dict(row)][-most:]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"schema": schema, part: kept}, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
