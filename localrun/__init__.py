"""localrun: run large open-weight models on the machine you have, with figures that are true.

from localrun import Host, Wanted, make_plan, detect, read_model
plan = make_plan(read_model("model.gguf"), detect())
from localrun import Tokenizer
Tokenizer.open("model.gguf").count("text")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Host", "Model", "Plan", "Tokenizer", "Wanted", "detect", "make_plan", "read_model"]

if TYPE_CHECKING:
    from localrun.hardware.facts import Host
    from localrun.hardware.probe import detect
    from localrun.model.facts import Model
    from localrun.model.header import read_model
    from localrun.plan.planner import make_plan
    from localrun.plan.values import Plan, Wanted
    from localrun.tokenizer import Tokenizer

_HOMES = {
    "Host": "localrun.hardware.facts",
    "detect": "localrun.hardware.probe",
    "Model": "localrun.model.facts",
    "read_model": "localrun.model.header",
    "make_plan": "localrun.plan.planner",
    "Plan": "localrun.plan.values",
    "Wanted": "localrun.plan.values",
    "Tokenizer": "localrun.tokenizer",
}


def __getattr__(name: str) -> Any:
    """Imported when asked for, so that `localrun --help` pays for none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'localrun' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
