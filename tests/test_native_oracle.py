"""Real headers, and ggml's types, against the gguf package: another reader of the same format."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import gguf
import pytest

from localrun.native import Array, read_header
from localrun.native.array import ffi, lib
from tests.fixtures_sdist import sdist_files

VOCABS = "vendor/llama.cpp/models/ggml-vocab-{}.gguf"
#: Small ones, so that the other reader takes seconds and not minutes: byte-pair, SentencePiece and WordPiece.
NAMES = ("gpt-2", "llama-spm", "bert-bge", "deepseek-coder", "starcoder")


@pytest.fixture(scope="module")
def vocabularies() -> dict[str, Path]:
    paths = sdist_files(*(VOCABS.format(name) for name in NAMES))
    return dict(zip(NAMES, paths, strict=True))


def read_as_gguf_does(path: Path) -> tuple[dict[str, Any], list[tuple[Any, ...]], int]:
    reader = gguf.GGUFReader(path)
    pairs = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    tensors = [
        (t.name, tuple(int(d) for d in t.shape), t.tensor_type.name, int(t.n_bytes), int(t.data_offset))
        for t in reader.tensors
    ]
    return pairs, tensors, reader.alignment


def read_here(path: Path) -> tuple[dict[str, Any], list[tuple[Any, ...]], int]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found = read_header(mapped, len(mapped))
        pairs = {k: v.tolist() if isinstance(v, Array) else v for k, v in found.metadata.items()}
    tensors = [(t.name, t.dims, t.type, t.bytes, found.data_offset + t.offset) for t in found.tensors]
    return pairs, tensors, found.alignment


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_vocabulary_reads_as_gguf_py_reads_it(name: str, vocabularies: dict[str, Path]) -> None:
    path = vocabularies[name]
    assert read_here(path) == read_as_gguf_does(path)


@pytest.mark.slow
def test_the_default_model_reads_as_gguf_py_reads_it(default_model: Path) -> None:
    pairs, tensors, alignment = read_here(default_model)
    assert (pairs, tensors, alignment) == read_as_gguf_does(default_model)
    assert len(tensors) == 272


def test_a_file_written_by_gguf_py_reads_as_it_does(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_custom_alignment(128)
    writer.add_token_list(["a", "<s>", "ö"])
    writer.add_token_scores([0.0, -1.5, 2.5])
    writer.add_array("llama.rope.sections", [1, 2, -3])
    writer.add_add_bos_token(True)
    rng = np.random.default_rng(1)
    for i, kind in enumerate((gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0)):
        rows = gguf.quants.quantize(rng.standard_normal((3, 64), dtype=np.float32), kind)
        writer.add_tensor(f"blk.{i}.weight", rows, raw_dtype=kind)
    writer.add_tensor("norm", np.ones(7, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_here(path) == read_as_gguf_does(path)
    assert len(read_here(path)[1]) == 3


#: Where the package differs from ggml.h at the commit that is followed here.
OURS = {"Q8_1": (32, 36)}  # two half-precision figures; the package still counts two of single precision


def test_the_types_are_those_of_gguf_py() -> None:
    for kind, size in gguf.GGML_QUANT_SIZES.items():
        assert ffi.string(lib.lr_ggml_type_name(kind)).decode() == kind.name
        found = (lib.lr_ggml_block_elements(kind), lib.lr_ggml_block_bytes(kind))
        assert found == OURS.get(kind.name, size)
