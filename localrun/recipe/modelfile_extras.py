"""What the catalogue knows of a model, as the parts of a Modelfile that no plan decides. Pure."""

from __future__ import annotations

from localrun.model.entry import Entry, Repo
from localrun.model.facts import Model
from localrun.model.sized import repo_of
from localrun.recipe.modelfile_params import KINDS
from localrun.recipe.modelfile_plan import Extras
from localrun.value import replace

#: Ollama's own quantization in its library, where nothing else is said.
_LIBRARY_QUANT = "Q4_K_M"
_SURELY_ONE_FILE = 45 * 10**9
#: Which of Ollama's renderers and parsers speak for a DeepSeek V3.2 file that carries no template:
#: those of V3.1 write the same turns and thinking. Left out, Ollama falls back to ChatML without a word.
_DEEPSEEK = ("deepseek3.1", "deepseek3")
_NO_DSML = (
    "tool calls in V3.2's DSML tags: Ollama's renderer writes those of V3.1; turns and thinking are right"
)


def extras_for(entry: Entry, model: Model) -> Extras:
    """Sampling, licence and chat format of a catalogue entry, and the tag to pull; with local files, clear that."""
    sampling = tuple((name, _plain(name, value)) for name, value in entry.sampling if name in KINDS)
    extras = Extras(
        tag=tag_for(entry, model),
        sampling=sampling,
        licenses=(entry.license.name,) if entry.license.name else (),
    )
    if model.architecture == "deepseek32" or (
        not model.chat_template and entry.name.startswith("deepseek-v3.2")
    ):
        renderer, parser = _DEEPSEEK
        extras = replace(extras, renderer=renderer, parser=parser, lost=(_NO_DSML,))
    return extras


def tag_for(entry: Entry, model: Model) -> str:
    """A name that Ollama can pull for exactly this quantization; empty when only local files will do.

    Its library where that has the quant, else Hugging Face; a split repository is refused there.
    """
    if entry.ollama.tag and model.quant == _LIBRARY_QUANT:
        return entry.ollama.tag
    found = repo_of(entry, model.quant)
    if found is None or not found[0].name or _split(found[0], model):
        return ""
    return f"hf.co/{found[0].name}:{model.quant}"


def _split(repo: Repo, model: Model) -> bool:
    published = next(f for f in repo.files if f.quant == model.quant)
    if published.shards:
        return published.shards > 1
    # No listing says: Hugging Face takes no file above 50 GB, and publishers split below that.
    return (published.bytes or model.weights_bytes) > _SURELY_ONE_FILE


def _plain(name: str, value: float) -> float | int:
    return int(value) if KINDS[name] == "int" else value
