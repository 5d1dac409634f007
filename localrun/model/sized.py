"""A catalogue entry in one quantization as a Model, before any of its files is here. Pure.

A standard quant is sized by llama.cpp's rules; a dynamic one, or one whose published size the rules
do not explain, by what the publisher states. A local file or a remote header always wins over both.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from localrun.errors import ModelError
from localrun.model.entry import Entry, PublishedFile, Repo
from localrun.model.facts import Model, ModelFile, SizeSource, Tensor
from localrun.model.quant_rules import NEEDS_IMATRIX
from localrun.model.quants import Sized, is_standard, placed, quant_name, scaled, sized_types
from localrun.model.split import shard_names
from localrun.units import format_size

#: What anyone can make of the original weights without an importance matrix.
HOME_MADE = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")

#: Dynamic quants keep attention and shared experts near this one, and save on the routed experts.
_STEADY = "Q4_K_M"

#: A published size counts as explained by the rules within a thousandth and the header, whose vocabulary
#: takes some 40 bytes for each token.
_EXPLAINED = 1000
_TOKEN_BYTES = 64


def quants_of(entry: Entry) -> tuple[str, ...]:
    """The quants that are published with a size that is known, or HOME_MADE where none is; as listed."""
    found = [f.quant for r in entry.repos for f in r.files if f.bytes or is_standard(f.quant)]
    return tuple(dict.fromkeys(found)) or HOME_MADE


def repo_of(entry: Entry, quant: str) -> tuple[Repo, PublishedFile] | None:
    """The first repository that publishes this quant, and its file there."""
    for repo in entry.repos:
        for file in repo.files:
            if file.quant == quant:
                return repo, file
    return None


@lru_cache(maxsize=64)
def model_for(entry: Entry, quant: str) -> Model:
    """The Model of an entry in a quant, as published or, where it is not, as llama-quantize would make it.

    Raises ModelError for a quant that is neither published nor llama.cpp's.
    """
    quant = quant_name(quant)
    found = repo_of(entry, quant)
    if found is None and not is_standard(quant):
        raise ModelError(
            f"{entry.title} is not published as {quant}", f"there is {', '.join(quants_of(entry))}"
        )
    if found is None:
        return model_by_rules(entry, quant)
    repo, file = found
    sized, source = _published(entry, repo, file)
    tensors = placed(sized)
    notes = [*entry.notes, *([repo.note] if repo.note else [])]
    if source == "published":
        notes.append(
            f"{format_size(file.bytes)} as {repo.name} states for {quant}; its spread over the tensors is "
            "an estimate until the header is read"
        )
    return _model(entry, repo, quant, tensors, source, _files(repo, file, tensors), tuple(notes))


def model_by_rules(entry: Entry, quant: str) -> Model:
    """The Model that llama-quantize would make of the original weights: exact, whoever publishes it or not."""
    repo = Repo("", entry.architecture, entry.shape, quant in NEEDS_IMATRIX, (), "", "RULES")
    tensors = placed(_by_rules(entry, repo, quant))
    file = ModelFile(f"{entry.name}-{quant}.gguf", sum(t.bytes for t in tensors))
    notes = (*entry.notes, f"{quant} is in none of the repositories known here: llama-quantize makes it")
    return _model(entry, repo, quant, tensors, "rules", (file,), notes)


def _by_rules(entry: Entry, repo: Repo, quant: str) -> tuple[Sized, ...]:
    return sized_types(
        repo.architecture,
        repo.shape,
        quant,
        imatrix=repo.imatrix,
        tied=entry.tied,
        rope_freqs=entry.rope_freqs,
        gate_bias=entry.gate_bias,
    )


def _published(entry: Entry, repo: Repo, file: PublishedFile) -> tuple[Iterable[Sized], SizeSource]:
    if is_standard(file.quant):
        tensors = _by_rules(entry, repo, file.quant)
        total = sum(size for _, _, _, size in tensors)
        # Publishers round down as often as to the nearest: twice the rounding, then.
        slack = 2 * file.precision + total // _EXPLAINED + repo.shape.n_vocab * _TOKEN_BYTES
        if not file.bytes or abs(file.bytes - total) <= slack:
            return tensors, "rules"
        return scaled(tensors, file.bytes), "published"
    if not file.bytes:
        raise ModelError(
            f"the size of {file.quant} in {repo.name} is not known", f"give hf:{repo.name}:{file.quant}"
        )
    return scaled(_dynamic(entry, repo, file.quant), file.bytes), "published"


def _dynamic(entry: Entry, repo: Repo, quant: str) -> tuple[Sized, ...]:
    """The likely types of a dynamic quant: experts as its name says, the rest no lower than _STEADY."""
    base = base_quant(quant)
    tensors = _by_rules(entry, repo, base)
    if not entry.shape.n_expert:
        return tensors
    steady = _by_rules(entry, repo, _STEADY)
    return tuple(
        low if "_exps." in low[0] or low[3] >= high[3] else high
        for low, high in zip(tensors, steady, strict=True)
    )


def base_quant(quant: str) -> str:
    """The standard quant that a dynamic one is a variant of: `UD-Q3_K_XL` is one of `Q3_K_M`."""
    name = quant.removeprefix("UD-").removesuffix("_XL")
    if name == "TQ1_0":
        return "IQ1_S"  # named for its size: no ternary type is in it
    for candidate in (name, f"{name}_M"):
        if is_standard(candidate):
            return candidate
    raise ModelError(f"{quant} is no variant of a quant that is known here")


def _files(repo: Repo, file: PublishedFile, tensors: tuple[Tensor, ...]) -> tuple[ModelFile, ...]:
    """The published files; of a split model's size each shard gets an equal share."""
    total = file.bytes or sum(t.bytes for t in tensors)
    names = shard_names(file.path, file.shards) if file.path else (f"hf:{repo.name}:{file.quant}",)
    share = total // len(names)
    sizes = [share] * len(names)
    sizes[-1] += total - sum(sizes)
    return tuple(ModelFile(name, size) for name, size in zip(names, sizes, strict=True))


def _model(
    entry: Entry,
    repo: Repo,
    quant: str,
    tensors: tuple[Tensor, ...],
    source: SizeSource,
    files: tuple[ModelFile, ...],
    notes: tuple[str, ...],
) -> Model:
    return Model(
        name=entry.name,
        architecture=repo.architecture,
        quant=quant,
        shape=repo.shape,
        tensors=tensors,
        files=files,
        weights_bytes=sum(t.bytes for t in tensors),
        parameters=entry.parameters,
        parameters_active=entry.parameters_active,
        size_source=source,
        license=entry.license.id,
        vocab_type="gpt2",
        vocab_pre=entry.vocab_pre,
        chat_template=entry.template.carried,
        notes=notes,
    )
