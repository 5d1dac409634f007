"""Writes the Modelfiles of this folder: one for each of these machines and models, from the planner.

    python modelfiles/generate.py

A test compares them with what the planner says now. A model that does not fit on a machine gets a
file of comments alone, which `ollama create` refuses, and which says what does fit.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from localrun.hardware.facts import Host
from localrun.hardware.profiles import profile
from localrun.hardware.sizes import override
from localrun.model.catalog import load_catalog
from localrun.model.entry import Entry
from localrun.model.facts import ModelFile
from localrun.model.sized import model_for, quants_of, repo_of
from localrun.plan.choose import Offer
from localrun.plan.planner import make_plan
from localrun.plan.values import Plan
from localrun.recipe.modelfile_extras import extras_for
from localrun.recipe.modelfile_plan import better, modelfile_for
from localrun.recipe.modelfile_render import comment
from localrun.units import GIB, format_size

HERE = Path(__file__).parent
#: Folder, profile, RAM in GiB (None: the profile's own).
MACHINES: tuple[tuple[str, str, int | None], ...] = (
    ("rtx-4090-64gb", "rtx-4090", 64),
    ("rtx-4090-128gb", "rtx-4090", 128),
    ("rtx-3090-64gb", "rtx-3090", 64),
    ("2x-rtx-4090-128gb", "2x rtx-4090", 128),
    ("m3-max-36gb", "m3-max-36gb", None),
    ("m4-max-128gb", "m4-max-128gb", None),
    ("strix-halo-128gb", "strix-halo", 128),
    ("cpu-16gb", "cpu", 16),
)
MODELS = (
    "deepseek-v3.2",
    "deepseek-v3.1",
    "llama-4-scout",
    "llama-4-maverick",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "mistral-small-3.2",
    "smollm2",
)
#: Where files lie that Ollama cannot pull by itself; the reader puts their own folder here.
_FOLDER = "/models"


def machine(profile_name: str, ram: int | None) -> Host:
    """The machine with its RAM, and with room on its disk for any model."""
    host = profile(profile_name)
    host = override(host, ram=ram * GIB if ram else None)
    return replace(host, disk_free=0)


def planned(entry: Entry, host: Host) -> Plan:
    offers = [Offer(q, _size(entry, q), partial(model_for, entry, q)) for q in quants_of(entry)]
    return make_plan(offers, host)


def _size(entry: Entry, quant: str) -> int:
    found = repo_of(entry, quant)
    return found[1].bytes if found and found[1].bytes else model_for(entry, quant).weights_bytes


def text_of(entry: Entry, host: Host, called: str) -> str:
    """The file's text: a Modelfile, or comments that say why there is none."""
    plan = planned(entry, host)
    plan = replace(plan, host=replace(plan.host, name=called))
    if plan.verdict == "too-big":
        return _does_not_fit(entry, plan)
    extras = extras_for(entry, plan.model)
    head = ""
    if not extras.tag:
        files = tuple(ModelFile(f"{_FOLDER}/{name}", 0) for name in _file_names(entry, plan))
        plan = replace(plan, model=replace(plan.model, files=files))
        head = comment(
            f"Ollama pulls no split model: `localrun pull {entry.name} --quant {plan.model.quant}` does. Below,\n"
            f"write the place of its files for {_FOLDER}/..., or let `localrun modelfile {entry.name}` write it.\n"
        )
    return head + modelfile_for(plan, extras).text


def _file_names(entry: Entry, plan: Plan) -> list[str]:
    """The published names; a folder of them, which FROM takes too, where no listing gave them."""
    names = [file.name.rsplit("/", 1)[-1] for file in plan.model.files]
    return [f"{entry.name}-{plan.model.quant}"] if plan.model.files[0].name.startswith("hf:") else names


def _does_not_fit(entry: Entry, plan: Plan) -> str:
    lines = [
        f"{entry.title} does not fit on {plan.host.name}: its smallest file here, {plan.model.quant}, has "
        f"{format_size(plan.model.weights_bytes)} of weights.",
        *(f"- {reason}" for reason in plan.reasons),
        "",
        "What would help:",
        *(f"- {better(a)}" for a in plan.alternatives[:5]),
        "",
        "There is no FROM in this file, so that `ollama create` refuses it.",
    ]
    return comment("\n".join(lines))


def generate() -> dict[str, str]:
    """Every file of the folder by its path below it."""
    catalog = load_catalog()
    return {
        f"{folder}/{name}.Modelfile": text_of(catalog.entry(name), machine(profile_name, ram), _title(folder))
        for folder, profile_name, ram in MACHINES
        for name in MODELS
    }


def _title(folder: str) -> str:
    words = folder.replace("rtx-", "RTX ").replace("gb", " GB").replace("2x-", "2x ").replace("-", ", ")
    for small, shown in (
        ("m3, max, ", "M3 Max, "),
        ("m4, max, ", "M4 Max, "),
        ("strix, halo, ", "Strix Halo, "),
    ):
        words = words.replace(small, shown)
    return f"{words} of RAM".replace("cpu, ", "a CPU without a GPU, ")


def main() -> None:
    wanted = generate()
    for path in HERE.glob("*/*.Modelfile"):
        if str(path.relative_to(HERE)) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
