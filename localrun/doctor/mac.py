"""What macOS tells of its power setting. On other systems the answer is the empty one."""

from __future__ import annotations

import re
import subprocess
import sys

_PATIENCE = 1.0  # seconds


def power_mode() -> str:
    """ "low-power" where Low Power Mode is on, "" where it is not or nothing tells."""
    if sys.platform != "darwin":
        return ""
    try:
        done = subprocess.run(
            ["/usr/bin/pmset", "-g"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return parse_pmset(done.stdout)


def parse_pmset(text: str) -> str:
    """Of `pmset -g`: `lowpowermode 1`, or on machines with three modes `powermode 1` (0 = automatic, 2 = high)."""
    found = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d+)", text, re.MULTILINE)
    return "low-power" if found and found[1] == "1" else ""
