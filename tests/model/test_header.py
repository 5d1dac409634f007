"""Models read from GGUF headers: real shapes at full size, split files, and what is refused and how."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from localrun.errors import HeaderError, LocalrunError, ModelError
from localrun.model.facts import ModelFile
from localrun.model.header import model_from_header, read_model
from localrun.native import read_header
from tests.model import tiny
from tests.shapes import MODELS
from tests.sparse import write_sparse


@pytest.mark.parametrize("which", sorted(MODELS))
def test_a_header_gives_back_the_shape_that_it_was_written_from(tmp_path: Path, which: str) -> None:
    """Every architecture of the catalogue, full size: shape, tensors, offsets and sums."""
    truth = write_sparse(tmp_path / "m.gguf", which, "Q4_K")
    model = read_model(tmp_path / "m.gguf")
    assert model.shape == truth.shape
    assert model.tensors == truth.tensors
    assert model.files == truth.files
    assert model.weights_bytes == truth.weights_bytes
    assert model.architecture == truth.architecture
    assert model.size_source == "header"


@pytest.mark.parametrize(
    ("which", "parameters", "active"),
    [
        ("v3.2", 671_877_944_064, 37_477_150_464),
        ("v3.2-mtp", 685_355_329_792, 37_477_150_464),
        ("v3.2-stripped", 671_026_419_200, 36_625_625_600),
        ("scout", 107_769_861_120, 16_138_414_080),
        ("maverick", 400_711_848_960, 16_150_210_560),
        ("llama-8b", 8_030_261_248, 7_504_928_768),
        ("smollm2", 134_515_008, 134_515_008),
    ],
)
def test_parameters_equal_the_published_counts(
    tmp_path: Path, which: str, parameters: int, active: int
) -> None:
    """Active: one embedding row, the used share of routed experts, no next-token-prediction block."""
    write_sparse(tmp_path / "m.gguf", which, "Q8_0")
    model = read_model(tmp_path / "m.gguf")
    assert (model.parameters, model.parameters_active) == (parameters, active)


def test_llama4_is_chunked_in_three_of_four_layers_without_a_key(tmp_path: Path) -> None:
    keys = {"expert_count": 4, "expert_used_count": 1, "expert_feed_forward_length": 32, "block_count": 8}
    tensors = tiny.dense(8) | tiny.experts(4)
    shape = read_model(tiny.write(tmp_path / "m.gguf", keys, tensors, architecture="llama4")).shape
    assert shape.swa_window == 8192
    assert shape.swa_layers == (True, True, True, False) * 2


def test_a_window_of_zero_switches_llama4s_chunks_off(tmp_path: Path) -> None:
    keys = {
        "expert_count": 4,
        "expert_used_count": 1,
        "expert_feed_forward_length": 32,
        "attention.sliding_window": 0,
    }
    path = tiny.write(tmp_path / "m.gguf", keys, tiny.dense() | tiny.experts(4), architecture="llama4")
    assert read_model(path).shape.swa_layers == ()


def test_a_window_that_llama_cpp_ignores_is_ignored(tmp_path: Path) -> None:
    """The llama architecture never windows, whatever an old Mistral file says."""
    path = tiny.write(tmp_path / "m.gguf", {"attention.sliding_window": 4096})
    assert read_model(path).shape.swa_window == 0


def test_arrays_give_each_layer_its_own_heads(tmp_path: Path) -> None:
    keys = {"attention.head_count_kv": [2, 1], "feed_forward_length": [128, 64]}
    smaller = {f"blk.1.{part}.weight": (64, n) for part, n in
               (("attn_k", 16), ("attn_v", 16), ("ffn_gate", 64), ("ffn_up", 64))}  # fmt: skip
    tensors = tiny.dense() | smaller | {"blk.1.ffn_down.weight": (64, 64)}
    path = tiny.write(tmp_path / "m.gguf", keys, tensors)
    shape = read_model(path).shape
    assert shape.n_head_kv == (2, 1)
    assert shape.n_ff == (128, 64)


def test_key_value_heads_default_to_the_heads(tmp_path: Path) -> None:
    tensors = {
        name: (64, 64) if ".attn_" in name and len(dims) > 1 else dims for name, dims in tiny.dense().items()
    }
    path = tiny.write(tmp_path / "m.gguf", {"attention.head_count_kv": None}, tensors)
    assert read_model(path).shape.n_head_kv == (4, 4)


@pytest.mark.parametrize(
    ("name", "general", "quant"),
    [
        ("m.gguf", {"general.file_type": 15}, "Q4_K_M"),
        ("Model-Q5_K_M.gguf", {"general.file_type": 15}, "Q4_K_M"),
        ("DeepSeek-V3.2-UD-Q2_K_XL.gguf", {"general.file_type": 10}, "UD-Q2_K_XL"),
        ("DeepSeek-V3.2-UD-TQ1_0.gguf", {}, "UD-TQ1_0"),
        ("Model-IQ4_XS.gguf", {}, "IQ4_XS"),
        ("Model.gguf", {}, "F16"),
    ],
)
def test_the_quant_is_the_published_one(
    tmp_path: Path, name: str, general: dict[str, Any], quant: str
) -> None:
    assert read_model(tiny.write(tmp_path / name, general=general)).quant == quant


def test_text_keys_are_told(tmp_path: Path) -> None:
    general = {
        "general.license": "apache-2.0",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "tekken",
        "tokenizer.chat_template": "{{ messages }}",
    }
    model = read_model(tiny.write(tmp_path / "m.gguf", general=general), "my model")
    assert (model.name, model.license, model.vocab_type, model.vocab_pre, model.chat_template) == (
        "my model",
        "apache-2.0",
        "gpt2",
        "tekken",
        True,
    )


CONTRADICTIONS: list[tuple[dict[str, Any], tiny.Tensors | None, str]] = [
    ({"attention.head_count_kv": 8}, None, "8 key-value heads but only 4"),
    ({"attention.head_count_kv": [2, 5]}, None, "layer 1 has 5 key-value heads"),
    ({"attention.head_count_kv": [2, 2, 2]}, None, "3 values for 2 layers"),
    ({"block_count": 0}, None, "block_count is 0"),
    ({"block_count": None}, None, "block_count is 0"),
    ({"block_count": 100_000}, None, "block_count is 100000"),
    ({"block_count": -3}, None, "block_count is negative"),
    ({"block_count": 2.5}, None, "block_count is not a whole number"),
    ({"block_count": 1}, None, "blk.1.attn_norm.weight is beyond the 1 layers"),
    ({"embedding_length": -64}, None, "embedding_length is negative"),
    ({"embedding_length": 0}, None, "embedding_length is missing or zero"),
    ({"embedding_length": 128}, None, "rows of 64, embedding_length is 128"),
    ({"context_length": 0}, None, "context_length is missing or zero"),
    ({}, {k: v for k, v in tiny.dense().items() if "token_embd" not in k}, "token_embd.weight is missing"),
    ({"context_length": 1 << 60}, None, "context_length is beyond any real model"),
    ({"attention.key_length": 0}, None, "key_length or attention.value_length is zero"),
    ({"expert_count": 8, "expert_used_count": 2}, None, "there are no expert tensors"),
    ({"expert_count": 8, "expert_used_count": 9}, None, "expert_used_count is 9 of 8"),
    ({"expert_count": 8}, tiny.dense() | tiny.experts(8), "none is used"),
    ({}, tiny.dense() | tiny.experts(8), "expert_count is zero or missing"),
    ({"expert_count": 4, "expert_used_count": 1}, tiny.dense() | tiny.experts(8), "holds 8 experts"),
    (
        {"attention.head_count_kv": 1},
        None,
        "blk.0.attn_k.weight is 64 x 32, the header's keys make it 64 x 16",
    ),
    ({"attention.head_count_kv": 0}, None, "attn_k.weight is 64 x 32, the header's keys make it 64 x 0"),
    ({"attention.head_count": 8}, None, "attn_k.weight is 64 x 32, the header's keys make it 64 x 16"),
    ({"feed_forward_length": 512}, None, "ffn_gate.weight is 64 x 128, the header's keys make it 64 x 512"),
    ({"feed_forward_length": None}, None, "ffn_gate.weight is 64 x 128, the header's keys make it 64 x 0"),
    ({"block_count": 4}, None, "block_count is 4, but block 2 has no tensors"),
    ({}, {k: v for k, v in tiny.dense().items() if "1.attn_q" not in k}, "blk.1.attn_q.weight is missing"),
    ({"nextn_predict_layers": 2}, None, "nextn_predict_layers is 2 of 2"),
    ({"leading_dense_block_count": 3}, None, "leading_dense_block_count is 3 of 2"),
]


@pytest.mark.parametrize(("keys", "tensors", "line"), CONTRADICTIONS, ids=[c[2] for c in CONTRADICTIONS])
def test_a_header_that_contradicts_itself_is_one_clear_line(
    tmp_path: Path, keys: dict[str, Any], tensors: tiny.Tensors | None, line: str
) -> None:
    with pytest.raises(HeaderError) as e:
        read_model(tiny.write(tmp_path / "m.gguf", keys, tensors))
    assert line in str(e.value)
    assert "\n" not in str(e.value)


def test_a_file_that_ends_inside_its_tensors_is_cut_short(tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match=r"m\.gguf: .*output\.weight|m\.gguf: .*blk"):
        read_model(tiny.write(tmp_path / "m.gguf", cut=64))


def test_a_remote_header_is_held_against_the_length_that_the_server_told(tmp_path: Path) -> None:
    """The bytes of the header alone, as a range request gives them."""
    path = tiny.write(tmp_path / "m.gguf")
    whole = read_model(path)
    header = read_header(path.read_bytes()[: whole.files[0].data_offset])
    assert model_from_header([header], whole.files, whole.name) == whole
    shorter = ModelFile("m.gguf", whole.files[0].bytes - 64)
    with pytest.raises(HeaderError, match="cut short"):
        model_from_header([header], [shorter], "m")
    unknown = ModelFile("m.gguf", 0)
    assert model_from_header([header], [unknown], "m").tensors == whole.tensors


NOT_GGUF = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
    (b"PK\x03\x04" + b"\0" * 60, "zip archive"),
    (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    (b"  <html>", "web page"),
    ((900).to_bytes(8, "little") + b'{"__metadata__":{}}' + b" " * 900, "safetensors"),
    (b'{"error":"Repository not found"}', "JSON"),
    (b"\0" * 4096, "nothing but zeros"),
    (b"Entry not found", "error message"),
    (b"tjgg\x03\0\0\0", "GGJT"),
    (b"\x7fELF", "program"),
    (b"hello", "not a model"),
]


@pytest.mark.parametrize(("content", "what"), NOT_GGUF, ids=[what for _, what in NOT_GGUF])
def test_another_kind_of_file_is_named_for_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=what) as e:
        read_model(path)
    assert e.value.hint


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "dir.gguf").mkdir()
    for name, line in (("none", "no such file"), ("dir", "is a directory"), ("empty", "is empty")):
        with pytest.raises(ModelError, match=line):
            read_model(tmp_path / f"{name}.gguf")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "m.gguf")
    path.chmod(0)
    was = os.geteuid()
    if was == 0:  # root may read anything, nobody may not
        os.seteuid(65534)
    try:
        with pytest.raises(ModelError, match="no permission"):
            read_model(path)
    finally:
        os.seteuid(was)


def test_a_gguf_that_is_no_language_model_says_what_it_is(tmp_path: Path) -> None:
    vocab = tiny.write(tmp_path / "v.gguf", tensors={})
    with pytest.raises(ModelError, match="vocabulary and no weights"):
        read_model(vocab)
    projector = tiny.write(tmp_path / "p.gguf", architecture="clip")
    with pytest.raises(ModelError, match="mmproj"):
        read_model(projector)
    adapter = tiny.write(tmp_path / "a.gguf", general={"general.type": "adapter"})
    with pytest.raises(ModelError, match="LoRA adapter"):
        read_model(adapter)


def split(folder: Path, count: int = 3, **changes: Any) -> list[Path]:
    """A split model: the keys in the first shard, two tensors or more in each."""
    tensors = list(tiny.dense().items())
    share = -(-len(tensors) // count)
    paths = []
    for i in range(count):
        part = dict(tensors[i * share : (i + 1) * share])
        general = {"split.no": i, "split.count": count, "split.tensors.count": len(tensors), **changes}
        keys = {} if i == 0 else dict.fromkeys(tiny.KEYS)
        path = folder / f"m-{i + 1:05}-of-{count:05}.gguf"
        paths.append(tiny.write(path, keys, part, general=general))
    return paths


@pytest.mark.parametrize("named", [0, 1, 2])
def test_any_shard_names_the_whole_model(tmp_path: Path, named: int) -> None:
    paths = split(tmp_path)
    whole = read_model(tiny.write(tmp_path / "whole.gguf"))
    model = read_model(paths[named])
    assert model.name == "m"
    assert [f.name for f in model.files] == [str(p) for p in paths]
    assert {t.name: t.bytes for t in model.tensors} == {t.name: t.bytes for t in whole.tensors}
    assert model.shape == whole.shape
    assert {t.shard for t in model.tensors} == {0, 1, 2}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    paths = split(tmp_path)
    paths[1].unlink()
    with pytest.raises(ModelError, match=r"shard m-00002-of-00003\.gguf is missing"):
        read_model(paths[0])


def test_a_shard_under_a_name_of_its_own_is_not_taken_for_a_model(tmp_path: Path) -> None:
    paths = split(tmp_path)
    lone = tmp_path / "renamed.gguf"
    paths[0].rename(lone)
    with pytest.raises(HeaderError, match="one of 3 shards, and 1 are here"):
        read_model(lone)


def test_a_shard_of_another_model_is_found_out(tmp_path: Path) -> None:
    paths = split(tmp_path)
    tiny.write(paths[1], tensors=tiny.dense(), general={"split.no": 1, "split.count": 3})
    with pytest.raises(HeaderError, match=r"another model|different models"):
        read_model(paths[0])


def test_shards_in_the_wrong_order_are_found_out(tmp_path: Path) -> None:
    paths = split(tmp_path)
    swap = tmp_path / "swap"
    paths[1].rename(swap)
    paths[2].rename(paths[1])
    swap.rename(paths[2])
    with pytest.raises(HeaderError, match="says that it is shard 2 of 3, not 1"):
        read_model(paths[0])


def test_a_header_cut_anywhere_is_an_error_of_ours_and_never_another(tmp_path: Path) -> None:
    data = tiny.write(tmp_path / "m.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for n in [*range(0, 64), *range(64, len(data), 997)]:
        path.write_bytes(data[:n])
        with pytest.raises(LocalrunError) as e:
            read_model(path)
        assert "\n" not in str(e.value)


def entry_of(data: bytes, tensor: str) -> tuple[int, int]:
    """Where a tensor's first dimension and its offset stand in a header."""
    at = data.index(tensor.encode()) + len(tensor)
    n_dims = int.from_bytes(data[at : at + 4], "little")
    return at + 4, at + 4 + 8 * n_dims + 4


@pytest.mark.parametrize(
    ("value", "line"), [(0, "overlap|begins inside|attn_q"), (1 << 40, "attn_q"), ((1 << 63) - 32, "attn_q")]
)
def test_a_tensor_over_another_or_outside_the_file_is_named(tmp_path: Path, value: int, line: str) -> None:
    path = tiny.write(tmp_path / "m.gguf")
    data = bytearray(path.read_bytes())
    _, at = entry_of(data, "blk.0.attn_q.weight")
    data[at : at + 8] = value.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(HeaderError, match=line) as e:
        read_model(path)
    assert "\n" not in str(e.value)


def test_a_tensor_beyond_any_real_size_is_refused(tmp_path: Path) -> None:
    """2**57 bytes: no float and no JSON number would hold what is computed from it."""
    path = tiny.write(tmp_path / "m.gguf", tensors={"token_embd.weight": (64, 96), "output.weight": (64, 96)})
    data = bytearray(path.read_bytes())
    at, _ = entry_of(data, "output.weight")
    data[at + 8 : at + 16] = (1 << 50).to_bytes(8, "little")
    header = read_header(bytes(data))
    with pytest.raises(HeaderError, match=r"output\.weight is larger than any real one"):
        model_from_header([header], [ModelFile("m.gguf", 0)], "m")


@pytest.mark.parametrize(
    ("start", "line"),
    [
        (b"GGUF\x00\x00\x00\x03", "big-endian"),
        (b"FUGG\x03\x00\x00\x00", "big-endian"),
        (b"GGUF\x01\x00\x00\x00", "version 1"),
        (b"GGUF\x09\x00\x00\x00", "version"),
    ],
)
def test_a_gguf_of_another_making_says_so(tmp_path: Path, start: bytes, line: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(start + bytes(64))
    with pytest.raises(HeaderError, match=line):
        read_model(path)


def test_any_changed_byte_is_read_or_refused_by_our_own_errors(tmp_path: Path) -> None:
    """Every byte of a header, to a few values each: no other exception, no line break, no impossible shape."""
    path = tiny.write(tmp_path / "m.gguf", {"attention.head_count_kv": [2, 2]})
    whole = read_model(path)
    good = path.read_bytes()
    end = whole.files[0].data_offset
    refused = lines = 0
    for at in range(end):
        for value in {0, 255, good[at] ^ 1, good[at] ^ 128} - {good[at]}:
            header = good[:at] + bytes([value]) + good[at + 1 : end]
            try:
                model = model_from_header([read_header(header)], whole.files, "m")
            except LocalrunError as e:
                refused += "\n" not in str(e)
                lines += 1
            else:
                assert model.shape.n_layers > 0
                assert all(
                    kv <= heads for heads, kv in zip(model.shape.n_head, model.shape.n_head_kv, strict=True)
                )
    assert refused == lines > end
