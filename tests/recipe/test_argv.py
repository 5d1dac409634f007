"""The argv that both engines get: there and back again, whatever stands in it."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.errors import UsageError
from localrun.plan.values import Settings
from localrun.recipe.argv import FIXED, OPTIONAL, parse_argv, supported, to_argv
from localrun.recipe.values import Launch, Recipe, url_host
from localrun.units import MIB

KV_TYPES = st.sampled_from(["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"])
PATTERNS = st.sampled_from(
    [r"blk\.(3|4)\.ffn_.*_exps=CPU", r"\.ffn_up_exps\.=CUDA1", "token_embd=CPU", r"blk\.[0-9]\.attn=CUDA0"]
)
SETTINGS = st.builds(
    Settings,
    ctx_size=st.integers(1, 1 << 24),
    cache_type_k=KV_TYPES,
    cache_type_v=KV_TYPES,
    batch_size=st.integers(1, 1 << 16),
    ubatch_size=st.integers(1, 1 << 16),
    parallel=st.integers(1, 256),
    kv_unified=st.booleans(),
    n_gpu_layers=st.integers(-1, 1000),
    n_cpu_moe=st.integers(0, 200),
    override_tensor=st.lists(PATTERNS, max_size=4).map(tuple),
    tensor_split=st.lists(st.integers(0, 400).map(lambda n: n / 4), max_size=8).map(tuple),
    flash_attn=st.sampled_from(["on", "off", "auto"]),
    mmap=st.booleans(),
    repack=st.booleans(),
    swa_full=st.booleans(),
    threads=st.integers(1, 512),
    cache_ram=st.integers(0, 1 << 20).map(lambda n: n * MIB),
    ctx_checkpoints=st.integers(0, 64),
    moe_cache=st.integers(0, 1 << 16).map(lambda n: n * MIB),
    mmproj_offload=st.booleans(),
    n_gpu_layers_draft=st.integers(0, 200),
    spec_type=st.sampled_from(["", "draft-mtp"]),
)
#: Any path: spaces, quotes, dashes, line ends, letters of every script. Absolute, as Launch asks.
PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40).map(
    lambda name: "/" + name
)
LAUNCHES = st.builds(
    Launch,
    model=PATHS,
    alias=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40
    ).filter(lambda name: not name.startswith("-")),
    host=st.sampled_from(["127.0.0.1", "0.0.0.0", "::1", "localhost"]),
    port=st.integers(1, 65535),
    cors_origins=st.sampled_from(["", "*", "https://a.example,https://b.example"]),
    chat_template_file=st.just("") | PATHS,
    mmproj=st.just("") | PATHS,
    model_draft=st.just("") | PATHS,
    rpc=st.sampled_from(["", "10.0.0.1:50052,10.0.0.2:50052"]),
)

LAUNCH = Launch("/m/x.gguf", "x")


@given(SETTINGS, LAUNCHES)
def test_what_is_written_is_read_back(settings: Settings, launch: Launch) -> None:
    assert parse_argv(to_argv(settings, launch)) == (settings, launch)


@given(SETTINGS, LAUNCHES)
def test_a_line_that_is_pasted_into_a_shell_says_the_same(settings: Settings, launch: Launch) -> None:
    argv = to_argv(settings, launch)
    assert tuple(shlex.split(shlex.join(argv))) == argv


def test_every_setting_and_every_part_of_a_launch_has_its_place() -> None:
    """A field that argv forgets would be planned and never launched."""
    changed = {
        "ctx_size": 7, "cache_type_k": "q8_0", "cache_type_v": "q4_0", "batch_size": 7, "ubatch_size": 7,
        "parallel": 7, "kv_unified": True, "n_gpu_layers": 7, "n_cpu_moe": 7, "override_tensor": ("a=CPU",),
        "tensor_split": (1.0, 3.0), "flash_attn": "on", "mmap": False, "repack": False, "swa_full": True,
        "threads": 7, "cache_ram": 7 * MIB, "ctx_checkpoints": 7, "moe_cache": 7 * MIB,
        "mmproj_offload": False, "n_gpu_layers_draft": 7, "spec_type": "draft-mtp",
    }  # fmt: skip
    usual = Settings(ctx_size=512)
    for field in dataclasses.fields(Settings):
        other = dataclasses.replace(usual, **{field.name: changed[field.name]})
        assert to_argv(other, LAUNCH) != to_argv(usual, LAUNCH), field.name
        assert parse_argv(to_argv(other, LAUNCH))[0] == other, field.name


def test_a_draft_that_stays_off_the_gpu_says_so() -> None:
    """Left out, llama.cpp takes -1: all of it on the GPU."""
    argv = to_argv(Settings(512), dataclasses.replace(LAUNCH, model_draft="/m/draft.gguf"))
    assert argv[argv.index("--n-gpu-layers-draft") + 1] == "0"


def test_the_key_is_never_in_argv() -> None:
    assert not any(
        "secret" in word for word in to_argv(Settings(512), dataclasses.replace(LAUNCH, api_key="secret"))
    )


def test_placement_is_never_left_to_the_engine() -> None:
    argv = to_argv(Settings(512), LAUNCH)
    assert argv[argv.index("--fit") + 1] == "off"
    assert {
        "--ctx-size",
        "--parallel",
        "--cache-type-k",
        "--cache-type-v",
        "--cache-ram",
        "--cors-origins",
    } <= set(argv)
    assert not {"--tools", "--agent"} & set(argv)


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("--model", "/x"),
        ("--ctx-size", "many", "--model", "/x", "--alias", "x"),
        ("--ctx-size", "5", "--model", "/x", "--alias", "x", "--tools", "all"),
        ("--ctx", "5", "--model", "/x", "--alias", "x"),
        ("--ctx-size",),
    ],
)
def test_what_we_would_not_write_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="engine arguments"):
        parse_argv(argv)


def test_a_build_that_knows_all_flags_gets_them_all() -> None:
    argv = to_argv(Settings(512), LAUNCH)
    assert supported(argv, frozenset(argv)) == (argv, ())
    assert supported(argv, frozenset()) == (argv, ())


@pytest.mark.parametrize("flag", sorted(OPTIONAL))
def test_an_older_build_is_spared_what_it_may_lack_with_its_value(flag: str) -> None:
    argv = to_argv(Settings(512), LAUNCH)
    kept, dropped = supported(argv, frozenset(argv) - {flag})
    if flag not in argv:
        assert kept == argv
        return
    assert dropped == (flag,)
    i = argv.index(flag)
    width = 1 if argv[i + 1 : i + 2] == () or argv[i + 1].startswith("--") else 2
    assert kept == argv[:i] + argv[i + width :]


def test_what_changes_the_plan_is_never_dropped() -> None:
    argv = to_argv(Settings(512, n_cpu_moe=3), LAUNCH)
    kept, _ = supported(argv, frozenset(FIXED))
    assert {"--n-cpu-moe", "--ctx-size", "--cache-type-k", "--host"} <= set(kept)


def test_a_path_that_looks_like_an_optional_flag_stays() -> None:
    launch = dataclasses.replace(LAUNCH, model="/--slots", alias="a")
    argv = to_argv(Settings(512), launch)
    assert "/--slots" in supported(argv, frozenset(argv) - {"--slots"})[0]


@pytest.mark.parametrize(
    ("host", "seen"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "[::1]"),
                       ("::1", "[::1]"), ("192.168.1.5", "192.168.1.5")]
)  # fmt: skip
def test_the_endpoint_is_how_a_client_here_reaches_the_host(host: str, seen: str) -> None:
    assert url_host(host) == seen
    recipe = Recipe("embedded", (), (), Settings(512), dataclasses.replace(LAUNCH, host=host, port=99))
    assert recipe.endpoint == f"http://{seen}:99/v1"
