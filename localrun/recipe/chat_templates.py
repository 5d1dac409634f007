"""Chat templates for models whose files carry none: which one, and where it lies."""

from __future__ import annotations

from pathlib import Path

from localrun.model.facts import Model

_FOLDER = Path(__file__).parent / "templates"
_BY_ARCHITECTURE = {"deepseek32": "deepseek-v3.2.jinja", "llama4": "llama-4.jinja"}
#: A V3.2 without its indexer is deepseek2, as V3, R1 and V3.1 are: only its name tells it apart.
_BY_NAME = {"deepseek-v3.2": "deepseek-v3.2.jinja", "deepseekv3.2": "deepseek-v3.2.jinja"}


def template_file(model: Model) -> str:
    """The path to pass as --chat-template-file; empty when the file has its own, or none is known."""
    if model.chat_template:
        return ""
    found = _BY_ARCHITECTURE.get(model.architecture, "")
    if not found and model.architecture == "deepseek2":
        name = model.name.lower().replace("_", "-").replace(" ", "-")
        found = next((file for part, file in _BY_NAME.items() if part in name), "")
    return str(_FOLDER / found) if found else ""
