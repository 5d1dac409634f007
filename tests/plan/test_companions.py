"""What is loaded beside a model: a projector, a draft, next-token blocks; held against llama.cpp's own account."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from localrun.errors import HeaderError, ModelError, UsageError
from localrun.hardware.profiles import profile
from localrun.hardware.sizes import override
from localrun.model.catalog import load_catalog
from localrun.model.facts import Model
from localrun.model.projector import beside, read_projector
from localrun.model.sized import model_for
from localrun.model.vision import Vision, projector_of, tensors
from localrun.plan.companions import projector_graph
from localrun.plan.memory import companions, memory
from localrun.plan.planner import make_plan
from localrun.plan.values import Settings, Wanted
from localrun.units import GIB, MIB
from tests.oracle import sparse_model
from tests.plan.test_planner import machine
from tests.projectors import LLAMA4, PIXTRAL, account, write

SEES = pytest.mark.parametrize("vision", [PIXTRAL, LLAMA4], ids=lambda v: v.kind)


def _elements(vision: Vision) -> int:
    total = 0
    for _, dims in tensors(vision):
        n = 1
        for dim in dims:
            n *= dim
        total += n
    return total


def test_an_encoder_has_the_parameters_that_its_publisher_counts() -> None:
    """Llama 4 with vision less Llama 4 without: facts that no encoder's shape went into."""
    assert _elements(LLAMA4) == 108_641_793_536 - 107_769_861_120 == 401_583_781_376 - 400_711_848_960


@SEES
def test_a_projector_is_sized_before_it_is_here(vision: Vision, tmp_path: Path) -> None:
    """From its shape as from its header, but for the name and the source."""
    read, known = read_projector(write(tmp_path / "mmproj-F16.gguf", vision)), projector_of(vision, "x")
    same = replace(known, file=read.file, size_source="header")
    assert read == same


@pytest.mark.engine
@SEES
@pytest.mark.parametrize("fused", [True, False])
def test_a_projectors_graph_is_the_engines(vision: Vision, fused: bool, tmp_path: Path) -> None:
    """Weights to the byte; the graph within 5 %, and never less than the engine takes."""
    path = write(tmp_path / "mmproj.gguf", vision)
    found = read_projector(path)
    # llama.cpp warms up pixtral with 256 tokens, a quarter of the largest image.
    warm = replace(found, patches=found.patches // 4 if vision.kind == "pixtral" else found.patches)
    taken = account(path, fused) - found.weights_bytes
    assert taken <= projector_graph(warm, fused).expected <= taken * 1.05


def with_projector(name: str = "mistral-small-3.2", quant: str = "Q4_K_M") -> Model:
    entry = load_catalog().entry(name)
    assert entry.vision is not None
    return replace(model_for(entry, quant), projector=projector_of(entry.vision, "/m/mmproj-F16.gguf"))


def test_a_projector_takes_its_room_on_the_first_gpu_or_in_ram() -> None:
    model, rig = with_projector(), profile("2x rtx-4090")
    bare = replace(model, projector=None)
    case = Settings(8192, n_gpu_layers=41, tensor_split=(20.0, 21.0))
    for offload, where in ((True, 0), (False, 2)):
        settings = replace(case, mmproj_offload=offload)
        more = [
            a.total - b.total
            for a, b in zip(memory(model, rig, settings), memory(bare, rig, settings), strict=True)
        ]
        assert more[where] > 878_000_000
        assert all(n <= 64 * MIB for i, n in enumerate(more) if i != where)


def test_a_projector_stays_off_the_gpu_where_only_that_fits() -> None:
    """A user who fixes all layers on a card that they fill still gets vision."""
    model = with_projector()
    wanted = Wanted(ctx_size=8192, n_gpu_layers=41, cache_type_k="f16")
    tight = machine(16, 32)
    plan = make_plan(model, tight, wanted, advise=False)
    assert plan.verdict == "fits"
    assert not plan.settings.mmproj_offload
    assert any("projector computes on the CPU" in reason for reason in plan.reasons)
    kept = make_plan(model, tight, replace(wanted, mmproj_offload=True), advise=False)
    assert kept.verdict == "too-big"
    roomy = make_plan(model, machine(24, 32), wanted, advise=False)
    assert roomy.settings.mmproj_offload
    assert {c.what for c in roomy.companions} == {"mmproj"}


def test_a_draft_is_sized_as_a_model_of_its_own() -> None:
    """Weights, an f16 cache and a graph; in RAM where the card has no room for it."""
    entry = load_catalog().entry("llama-3.1-8b")
    draft = model_for(load_catalog().entry("smollm2"), "Q4_1")
    model = replace(model_for(entry, "Q4_K_M"), draft=draft)
    rig = machine(24, 32)
    plan = make_plan(model, rig, Wanted(ctx_size=8192, cache_type_k="q8_0"), advise=False)
    rows = {c.device: c for c in plan.companions}
    alone = memory(
        draft, rig, replace(plan.settings, n_gpu_layers=31, cache_type_k="f16", cache_type_v="f16")
    )
    assert plan.settings.n_gpu_layers_draft == 31
    assert (rows["CUDA0"].weights, rows["CUDA0"].kv) == (alone[0].weights, alone[0].kv)
    assert rows["CUDA0"].kv == 8192 * 30 * 2 * 3 * 64 * 2
    off = make_plan(model, rig, Wanted(ctx_size=8192, n_gpu_layers_draft=0), advise=False)
    assert [c.device for c in off.companions if c.weights] == ["CPU"]


_MTP = """
import ctypes as c, json, sys
from localrun.engine import dryrun
path, settings = sys.argv[1], dryrun._settings(json.loads(sys.argv[2]))
engine = dryrun._Engine([])
model, main = engine.load(path, settings), None
for kind in (0, 1):
    params = dryrun.context_params(engine.library, settings)
    params.ctx_type, params.ctx_other = kind, main
    main = dryrun.new_context(engine.library, model, params)
    print(json.dumps(list(dryrun._rows(engine.breakdown(c.c_void_p(main))))), flush=True)
"""


@pytest.mark.engine
@pytest.mark.parametrize(
    ("ctx", "more"),
    [(4096, {}), (32768, {"ubatch_size": 2048}), (32768, {"parallel": 4}), (8192, {"flash_attn": "off"})],
)
def test_next_token_blocks_are_the_engines_to_the_byte(ctx: int, more: dict[str, object]) -> None:
    """V3.2 with its 62nd block: loaded by --spec-type draft-mtp, with a cache and a graph of its own."""
    model = sparse_model("v3.2-mtp")
    case = replace(Settings(ctx, repack=False, spec_type="draft-mtp", flash_attn="on"), **more)  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-c", _MTP, model.files[0].name, json.dumps(asdict(case))],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    main, drafting = (json.loads(line)[0] for line in done.stdout.splitlines() if line.startswith("[["))
    host = replace(profile("cpu"), gpus=())
    ours = memory(model, host, case)[-1]
    assert [ours.weights, ours.kv] == main[1:3]
    (row,) = companions(model, host, case)
    assert [row.kv, row.compute] == drafting[2:4]
    without = memory(model, host, replace(case, spec_type=""))[-1]
    assert ours.weights - without.weights > 7 * GIB


def test_next_token_blocks_are_told_and_refused_where_there_are_none() -> None:
    model = sparse_model("v3.2-mtp")
    plan = make_plan(model, override(profile("rtx-4090"), None, 768 * GIB, None), Wanted(), advise=False)
    assert any("next-token-prediction block" in r and "--spec-type draft-mtp" in r for r in plan.reasons)
    with pytest.raises(UsageError, match="no next-token-prediction block"):
        make_plan(sparse_model("scout"), machine(24, 128), Wanted(spec_type="draft-mtp"), advise=False)


def test_what_is_no_projector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no vision projector"):
        read_projector(Path(sparse_model("smollm2").files[0].name))
    path = write(tmp_path / "mmproj.gguf", PIXTRAL)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4096)
    with pytest.raises(HeaderError, match=r"outside|cut short|behind"):
        read_projector(path)


def test_the_projector_beside_a_model_is_found(tmp_path: Path) -> None:
    """In its folder, or above the folder of a quant; F16 before others; none of a stranger's folder."""
    (tmp_path / "UD-Q4_K_XL").mkdir()
    model = tmp_path / "UD-Q4_K_XL" / "Scout-UD-Q4_K_XL-00001-of-00002.gguf"
    for name in ("mmproj-BF16.gguf", "mmproj-F16.gguf", "other.gguf"):
        (tmp_path / name).touch()
    assert beside(model) == tmp_path / "mmproj-F16.gguf"
    assert beside(tmp_path / "other.gguf") == tmp_path / "mmproj-F16.gguf"
    (tmp_path / "mine").mkdir()
    assert beside(tmp_path / "mine" / "other.gguf") is None
