"""A plan written as a Modelfile: it parses, passes the linter, and says what it cannot say."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from localrun.errors import DoesNotFit, LocalrunError
from localrun.plan.values import Alternative, Settings
from localrun.recipe.modelfile import parse
from localrun.recipe.modelfile_check import check
from localrun.recipe.modelfile_params import parameters
from localrun.recipe.modelfile_plan import Extras, modelfile_for
from localrun.recipe.modelfile_render import Unwritable
from localrun.recipe.ollama_env import launchctl_lines, shell_lines, split_plan, systemd_drop_in
from localrun.units import GIB, MIB
from tests.recipe.modelfile_values import CARD, plan

EXPERTS = Settings(
    ctx_size=32768, n_gpu_layers=99, n_cpu_moe=37, cache_type_k="q8_0", cache_type_v="q8_0", parallel=2,
    batch_size=2048, ubatch_size=512, threads=8, flash_attn="on", override_tensor=(r"blk\.4[0-7]\.ffn=CPU",),
    tensor_split=(3.0, 1.0), cache_ram=256 * MIB,
)  # fmt: skip


def commands(export):
    return parse(export.text).pairs()


def test_a_plan_without_a_gpu_says_context_batch_and_threads_and_nothing_else():
    export = modelfile_for(plan())
    assert commands(export) == (
        ("model", "/models/m.gguf"),
        ("num_ctx", "8192"),
        ("num_batch", "512"),
        ("num_thread", "8"),
    )
    assert check(export.text, plan=plan(), exists=lambda _: True) == ()
    assert "- context 8192" in export.text
    assert "Speed to expect (estimated): 10 tokens/s" in export.text


def test_all_that_a_modelfile_can_say_is_said_and_read_back():
    extras = Extras(
        mmproj="/models/mm proj.gguf", adapter="/models/lora.gguf", draft="/models/draft.gguf",
        system='Be brief.\nSay "yes"', template="{{ .Prompt }}", renderer="deepseek3.1", parser="deepseek3",
        licenses=("MIT\n\nCopyright",), sampling=(("temperature", 0.6), ("top_k", 40), ("min_p", 0.01)),
        stop=("<|eot|>", "\n\n"),
    )  # fmt: skip
    of = plan(gpus=(CARD,), files=("/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf"))
    got = commands(modelfile_for(of, extras))
    assert got[:5] == (
        ("model", "/m/a-00001-of-00002.gguf"),
        ("model", "/m/a-00002-of-00002.gguf"),
        ("model", "/models/mm proj.gguf"),
        ("adapter", "/models/lora.gguf"),
        ("draft", "/models/draft.gguf"),
    )
    assert got[-4:] == (
        ("template", "{{ .Prompt }}"),
        ("renderer", "deepseek3.1"),
        ("parser", "deepseek3"),
        ("license", "MIT\n\nCopyright"),
    )
    assert ("system", extras.system) in got
    assert parameters(parse(modelfile_for(of, extras).text).commands) == {
        "num_ctx": 8192, "num_gpu": 49, "num_batch": 512, "num_thread": 8,
        "temperature": 0.6, "top_k": 40, "min_p": 0.01, "stop": ["<|eot|>", "\n\n"],
    }  # fmt: skip


def test_experts_on_the_cpu_put_the_whole_placement_into_the_environment():
    of = plan(gpus=(CARD,), experts=16, settings=EXPERTS)
    export = modelfile_for(of)
    assert "num_gpu" not in dict(commands(export))
    assert dict(export.environment) == {
        "LLAMA_ARG_FIT": "off",
        "LLAMA_ARG_N_GPU_LAYERS": "99",
        "LLAMA_ARG_N_CPU_MOE": "37",
        "LLAMA_ARG_OVERRIDE_TENSOR": r"blk\.4[0-7]\.ffn=CPU",
        "LLAMA_ARG_TENSOR_SPLIT": "3,1",
        "LLAMA_ARG_CACHE_RAM": "256",
        "LLAMA_ARG_CTX_CHECKPOINTS": "0",
        "OLLAMA_FLASH_ATTENTION": "1",
        "OLLAMA_KV_CACHE_TYPE": "q8_0",
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_NUM_PARALLEL": "2",
    }
    assert dict(commands(export))["num_ctx"] == "16384"  # Ollama multiplies by the slots
    assert export.lost == ("batch 2048 with ubatch 512: Ollama's num_batch sets both to 512",)
    assert check(export.text, plan=of, exists=lambda _: True) == ()


def test_below_0_30_what_is_lost_is_said_and_not_set():
    of = replace(plan(gpus=(CARD,), experts=16, settings=EXPERTS, architecture="deepseek32"))
    export = modelfile_for(of, server=(0, 29, 9))
    assert not [name for name, _ in export.environment if name.startswith("LLAMA_ARG")]
    text = "\n".join(export.lost)
    for word in ("experts of 37 layers", "tensor overrides", "split between GPUs", "deepseek32"):
        assert word in text
        assert word in export.text
    assert "requires" not in dict(commands(export))


def test_a_cache_of_two_types_goes_through_llama_cpps_own_variables():
    split = split_plan(plan(settings=Settings(8192, cache_type_k="q8_0", cache_type_v="f16")), (0, 33, 0))
    environment = dict(split.environment)
    assert environment["LLAMA_ARG_CACHE_TYPE_K"] == "q8_0"
    assert environment["LLAMA_ARG_CACHE_TYPE_V"] == "f16"
    assert "OLLAMA_KV_CACHE_TYPE" not in environment


def test_a_quantized_v_cache_turns_flash_attention_on():
    of = plan(settings=Settings(8192, cache_type_k="q4_0", cache_type_v="q4_0", flash_attn="auto"))
    assert dict(split_plan(of, (0, 33, 0)).environment)["OLLAMA_FLASH_ATTENTION"] == "1"


def test_a_model_of_a_new_architecture_requires_the_server_that_knows_it():
    assert ("requires", "0.30.0") in commands(modelfile_for(plan(architecture="deepseek32")))


def test_a_big_model_gets_time_to_load():
    of = replace(plan(), model=replace(plan().model, weights_bytes=400 * GIB))
    assert dict(modelfile_for(of).environment)["OLLAMA_LOAD_TIMEOUT"] == "30m"


def test_a_plan_that_does_not_fit_is_refused_and_names_what_does():
    of = replace(plan(verdict="too-big"), alternatives=(Alternative("--quant IQ1_S", "fits", 5.0),))
    with pytest.raises(DoesNotFit) as e:
        modelfile_for(of)
    assert "IQ1_S" in e.value.hint
    assert "IT DOES NOT FIT" in modelfile_for(of, force=True).text


def test_a_file_that_is_not_here_is_refused_for_ollama_would_pull_its_name():
    with pytest.raises(LocalrunError, match="not on this machine"):
        modelfile_for(plan(files=("m.gguf",)))
    export = modelfile_for(plan(files=("m.gguf",)), Extras(tag="llama4:scout"))
    assert commands(export)[0] == ("model", "llama4:scout")


@pytest.mark.parametrize("extras", [Extras(system="a\u200bb"), Extras(stop=('x"""\ny',))])
def test_text_that_ollama_would_change_is_refused(extras):
    with pytest.raises(Unwritable):
        modelfile_for(plan(), extras)


def test_a_hostile_name_or_reason_stays_in_its_comment():
    of = replace(plan(name="m\nFROM evil"), reasons=("r\rFROM evil", '"""'))
    assert [c for c in commands(modelfile_for(of)) if c[0] == "model"] == [("model", "/models/m.gguf")]


HOSTILE = (("A", 'it\'s $HOME `x` \\ "q" 50%'), ("B", "1"))


def test_shell_lines_give_each_value_unchanged_to_a_shell_word_reader():
    lines = shell_lines(HOSTILE).splitlines()
    assert [shlex.split(line)[1] for line in lines] == [f"{n}={v}" for n, v in HOSTILE]
    assert launchctl_lines(HOSTILE).startswith("launchctl setenv A ")


def test_a_systemd_drop_in_escapes_what_systemd_would_expand():
    text = systemd_drop_in(HOSTILE)
    assert 'Environment="A=it\'s $HOME `x` \\\\ \\"q\\" 50%%"' in text
    assert "[Service]\n" in text


def test_a_value_that_would_begin_a_new_line_is_refused():
    with pytest.raises(LocalrunError):
        shell_lines((("A", "x\nrm"),))
    with pytest.raises(LocalrunError):
        systemd_drop_in((("A B", "x"),))
