"""The models of the GPU harness: layers of real size in small numbers, random weights, several quants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from localrun.model.facts import Shape
from tests.random_models import chunked, dense, latent, mixture, write_random
from tests.shapes import MODELS, V3, V32, Named
from tests.sparse import TypeOf, write_sparse

Q4_K_M = mixture("Q4_K", "Q6_K")


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    named: Named
    types: TypeOf | str

    def write(self, folder: Path) -> Path:
        """The file, generated where it is not there yet; half a file never stands under its name."""
        path = folder / f"{self.name.replace(' ', '-')}.gguf"
        if not path.exists():
            part = path.with_suffix(".part")
            write_random(part, self.named, self.types)
            part.rename(path)
        return path

    def write_sparse(self, folder: Path) -> Path:
        """The header of that file, and a hole for the weights: enough to plan with."""
        path = folder / f"{self.name.replace(' ', '-')}.sparse.gguf"
        with patch.dict(MODELS, {self.name: self.named}):
            write_sparse(path, self.name, self.types)
        return path


def first_layers(shape: Shape, n: int) -> Shape:
    """The same model cut off after `n` layers."""
    return replace(
        shape, n_layers=n, n_head=shape.n_head[:n], n_head_kv=shape.n_head_kv[:n], n_ff=shape.n_ff[:n],
        swa_layers=shape.swa_layers[:n],
    )  # fmt: skip


def cut(which: str, n: int) -> Named:
    return replace(MODELS[which], shape=first_layers(MODELS[which].shape, n))


#: About 17 to 29 GB each: more than the cards that are met hold, so that every placement is tried.
#: The most telling first, for a run may be cut short.
FULL: tuple[Case, ...] = (
    Case("scout 20 layers Q4_K_M", cut("scout", 20), Q4_K_M),
    Case("v3.2 7 layers Q4_K_M", cut("v3.2", 7), Q4_K_M),
    Case("llama 70B 44 layers Q4_K_M", cut("llama-70b", 44), Q4_K_M),
    Case("v3.2 stripped 8 layers Q2_K", cut("v3.2-stripped", 8), "Q2_K"),
    Case("scout 12 layers Q8_0", cut("scout", 12), "Q8_0"),
    Case("llama 70B 26 layers Q6_K", cut("llama-70b", 26), "Q6_K"),
)


def _small(layers: int) -> Shape:
    return replace(latent(layers, 512, 8, 16, 2, 256, 2048), n_ctx_train=8192)


def _indexed(layers: int) -> Shape:
    small = _small(layers)
    return replace(
        small, indexer_heads=8, indexer_head_dim=V32.indexer_head_dim, indexer_top_k=V32.indexer_top_k,
        kv_lora_rank=V3.kv_lora_rank,
    )  # fmt: skip


#: The same four kinds in a few MB: for machines without a card, and for the test suite.
QUICK: tuple[Case, ...] = (
    Case("quick deepseek32", Named("deepseek32", _indexed(4)), Q4_K_M),
    Case("quick deepseek2", Named("deepseek2", _small(4)), "Q8_0"),
    Case("quick llama4", Named("llama4", chunked(4, 512, 4, 2, 4, 512, 2048)), Q4_K_M),
    Case("quick llama", Named("llama", dense(4, 512, 8, 2, 1536, 2048, 64)), "Q8_0"),
)
