"""Which library is taken, and that one of another version is refused before it can do harm."""

from __future__ import annotations

import ctypes as c
import platform
import shutil
import subprocess
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from localrun.engine import libllama
from localrun.engine.libllama import (
    Batch,
    ContextParams,
    ContextParams06,
    Found,
    Library,
    ModelParams,
    check_definitions,
    check_layouts,
    find,
    fits,
    written,
)
from localrun.engine.llama_model import recommended
from localrun.errors import EngineError
from localrun.native.loop import FUNCTIONS

PROBED = platform.machine() in ("x86_64", "AMD64")
HAS_LLAMA_CPP = find_spec("llama_cpp") is not None


def definitions(**changed: Any) -> types.SimpleNamespace:
    """llama-cpp-python's module, as far as it is looked at; fields have its own ctypes."""
    return types.SimpleNamespace(
        **{
            "llama_model_params": ModelParams,
            "llama_context_params": ContextParams,
            "llama_batch": Batch,
            **changed,
        }
    )


def doctored(struct: type[c.Structure], change: str) -> type[c.Structure]:
    fields: list[Any] = list(struct._fields_)
    if change == "grown":
        fields.append(("novelty", c.c_void_p))
    elif change == "inserted":
        fields.insert(4, ("novelty", c.c_int64))
    elif change == "swapped":
        fields[2], fields[3] = fields[3], fields[2]
    elif change == "gone":
        del fields[-2]
    elif change == "narrowed":
        fields[2] = (fields[2][0], c.c_int16)
    return type("Doctored", (c.Structure,), {"_fields_": fields})


def test_the_library_of_a_wheel_is_found_and_known() -> None:
    found = find()
    assert found
    library = Library(found[-1])
    assert found[-1].package == "xllamacpp"
    assert library.context_params is ContextParams06
    assert set(library.loop_functions()) == set(FUNCTIONS)
    assert all(library.loop_functions().values())
    assert library.version


def test_definitions_as_they_should_be() -> None:
    check_definitions(definitions())


@pytest.mark.parametrize("change", ["grown", "inserted", "swapped", "gone", "narrowed"])
@pytest.mark.parametrize("name", ["llama_model_params", "llama_context_params", "llama_batch"])
def test_a_doctored_definition_is_refused_in_one_line(name: str, change: str) -> None:
    true = getattr(definitions(), name)
    with pytest.raises(EngineError, match=rf"another version than this localrun knows: .*{name}") as refused:
        check_definitions(definitions(**{name: doctored(true, change)}))
    assert "\n" not in str(refused.value)
    assert "pip install llama-cpp-python==" in refused.value.hint


def test_a_definition_that_is_not_there_is_refused() -> None:
    with pytest.raises(EngineError, match="does not define llama_batch"):
        check_definitions(definitions(llama_batch=None))


@pytest.mark.skipif(not PROBED, reason="what a function writes shows on x86-64 alone")
def test_every_byte_that_the_library_fills_is_a_fields() -> None:
    lib = Library(find()[-1]).c
    for name, true in (("model", ModelParams), ("context", ContextParams06)):
        seen = written(lib[f"llama_{name}_default_params"])
        assert seen
        assert fits(true, seen)
        for change in ("grown", "inserted", "gone"):
            assert not fits(doctored(true, change), seen), (name, change)
    assert not fits(ContextParams, written(lib["llama_context_default_params"]))


class OtherLibrary:
    """A library that has these functions and no other."""

    def __init__(self, **functions: Any) -> None:
        self._functions = functions

    def __getitem__(self, name: str) -> Any:
        if name in self._functions:
            return self._functions[name]
        raise AttributeError(name)


@pytest.fixture(scope="module")
def structs(tmp_path_factory: pytest.TempPathFactory) -> c.CDLL:
    """Compiled functions that return structs of any size by value, filled with what is put into a global."""
    folder = tmp_path_factory.mktemp("structs")
    sizes = range(144, 192, 8)
    code = "".join(
        f"typedef struct {{ unsigned char b[{n}]; }} s{n}; s{n} blob{n}; s{n} give{n}(void) {{ return blob{n}; }}\n"
        for n in sizes
    )
    (folder / "structs.c").write_text(code)
    compiler = shutil.which("cc")
    assert compiler
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", folder / "structs.so", folder / "structs.c"], check=True
    )
    return c.CDLL(str(folder / "structs.so"))


@pytest.mark.parametrize("change", ["grown", "inserted", "swapped", "gone"])
def test_a_library_of_another_version_is_refused(structs: c.CDLL, change: str) -> None:
    true = Library(find()[-1]).c
    fake = doctored(ContextParams06, change)
    values = true.llama_context_default_params()
    size = c.sizeof(fake)
    given = fake.in_dll(structs, f"blob{size}")
    for name, *_ in fake._fields_:
        setattr(given, name, getattr(values, name, None) or 0)
    other = OtherLibrary(
        llama_model_default_params=true["llama_model_default_params"],
        llama_context_default_params=structs[f"give{size}"],
    )
    with pytest.raises(EngineError, match=r"xllamacpp's library is of another version .*llama_context"):
        check_layouts(other, Found("xllamacpp", ""))


def test_a_library_without_a_function_is_refused() -> None:
    with pytest.raises(EngineError, match="no function llama_model_default_params"):
        check_layouts(OtherLibrary(), Found("xllamacpp", ""))


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "libllama.so"
    path.write_text("not a library")
    with pytest.raises(EngineError, match="cannot be loaded"):
        Library(Found("llama-cpp-python", str(path)))


@pytest.mark.skipif(
    not HAS_LLAMA_CPP, reason="llama-cpp-python is not installed: pip install localrun[in-process]"
)
def test_llama_cpp_python_comes_first_and_is_held_to_its_definitions() -> None:
    found = find()[0]
    assert found.package == "llama-cpp-python"
    library = Library(found)
    assert library.context_params is ContextParams
    assert set(library.loop_functions()) == set(FUNCTIONS)
    check_definitions(libllama._definitions())


def test_what_a_file_recommends_is_taken_where_it_can_be() -> None:
    said = {
        b"general.sampling.temp": b"0.6",
        b"general.sampling.top_k": b"20",
        b"general.sampling.min_p": b"nan",
    }

    class Says:
        @staticmethod
        def llama_model_meta_val_str(_model: object, key: bytes, buffer: Any, size: object) -> int:
            if key not in said:
                return -1
            buffer.value = said[key]
            return len(said[key])

    assert recommended(Says, 1) == {"temperature": 0.6, "top_k": 20}
    said[b"general.sampling.top_p"] = b"7"
    said[b"general.sampling.temp"] = b"hot"
    assert recommended(Says, 1) == {"top_k": 20}
