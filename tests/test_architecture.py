"""The house's rules, read from the sources: which way imports go, who owns a library, how long a file is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "localrun"

#: What may be imported stands in an earlier row. Parts of one row do not know each other.
ROWS = (
    ("errors",),
    ("units", "value", "standins", "_ffi"),
    ("native", "wire", "config", "cli_options"),
    ("hardware", "model", "tokenizer"),
    ("plan",),
    ("recipe", "meter", "bench"),
    ("serving", "engine"),
    ("running",),
    ("ask", "up", "doctor"),
    ("benching",),
    ("show",),
    ("commands",),
    ("cli_run",),
    ("cli",),
    ("__main__",),
)
RANK = {part: rank for rank, row in enumerate(ROWS) for part in row}

#: Planning and recipes are pure: of detection and files they know the values alone.
PURE = ("plan", "recipe", "bench")
VALUES = {
    "localrun.hardware.facts",
    "localrun.hardware.sizes",
    "localrun.model.entry",
    "localrun.model.facts",
    "localrun.model.ollama_name",
    "localrun.model.sized",
}
#: The world outside: clocks, files, processes, networks, chance.
WORLD = {
    "http", "io", "os", "pathlib", "platform", "random", "secrets", "shutil", "socket", "subprocess", "sys",
    "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip

#: One reads files that are part of the package, the other counts the steps that a foreign template takes.
READERS = {"localrun.recipe.chat_templates", "localrun.recipe.chat_sandbox"}
#: Paths as text.
LEXICAL = {"os.path", "posixpath"}

#: Each third-party library, and the one module that imports it.
OWNERS = {
    "click": {"localrun.cli", "localrun.cli_options", "localrun.cli_run"},
    "httpx": {"localrun.engine.ollama_client"},
    "httpx2": {"localrun.model.transfer"},
    "msgspec": {"localrun.wire"},
    "ollama": {"localrun.engine.ollama_client"},
    "platformdirs": {"localrun.config"},
    "psutil": {"localrun.hardware.system"},
    "pynvml": {"localrun.hardware.nvml"},
    "rich": {"localrun.show.live", "localrun.show.progress"},
    "jinja2": {"localrun.recipe.chat_sandbox"},
    "llama_cpp": {"localrun.engine.libllama"},
    "tomllib": {"localrun.config", "localrun.hardware.profiles", "localrun.model.catalog"},
    "xllamacpp": {"localrun.engine.host"},
}
#: Imported where they are used: a command that does not need them does not pay for them.
LAZY = set(OWNERS) - {"click", "tomllib"}

#: The longest file; a table that a script wrote is not one.
LONGEST = 400
GENERATED = {"lr_nfc_tables.h", "lr_unicode_tables.h"}


@dataclass(frozen=True)
class Import:
    module: str  # who imports
    name: str  # what, in full
    top: bool  # at the module's top: paid by whoever imports the module
    typing: bool  # under TYPE_CHECKING: never executed


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(), str(path))
    return found


MODULES = modules()


def part(name: str) -> str:
    return [*name.split("."), ""][1]


def imports() -> Iterator[Import]:
    for module, tree in MODULES.items():
        typing = {id(n) for t in ast.walk(tree) if _type_checking(t) for n in ast.walk(t)}
        inner = {
            id(n)
            for f in ast.walk(tree)
            if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for n in ast.walk(f)
        }
        for node in ast.walk(tree):
            for name in _names(node, module):
                yield Import(module, name, id(node) not in inner, id(node) in typing)


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _names(node: ast.AST, module: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"{module}: a relative import hides where it leads"
    base = str(node.module)
    # `from localrun.engine import state` leads to the module localrun.engine.state.
    return [
        f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES or base == "localrun" else base
        for a in node.names
    ]


IMPORTS = sorted(set(imports()), key=lambda i: (i.module, i.name))


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 60
    assert len(IMPORTS) > 300


def test_every_part_of_the_package_has_its_place() -> None:
    parts = {part(name) for name in MODULES if part(name)}
    assert parts <= RANK.keys(), "a new part of the package: give it a row"


def test_imports_go_to_the_left_only() -> None:
    wrong = [
        f"{i.module} imports {i.name}"
        for i in IMPORTS
        if i.name.startswith("localrun.")
        and part(i.module)
        and part(i.name) in RANK
        and part(i.module) != part(i.name)
        and RANK[part(i.name)] >= RANK[part(i.module)]
    ]
    assert not wrong


def test_the_package_itself_imports_nothing_when_it_is_imported() -> None:
    assert not [i for i in IMPORTS if i.module == "localrun" and i.top and not i.typing and i.name != "__future__"
                and not i.name.startswith("typing")]  # fmt: skip


def test_plans_and_recipes_know_values_alone() -> None:
    wrong = [
        f"{i.module} imports {i.name}"
        for i in IMPORTS
        if part(i.module) in PURE and not i.typing
        and (part(i.name) in ("hardware", "model", "config", "native") and i.name not in VALUES)
    ]  # fmt: skip
    assert not wrong


def test_plans_and_recipes_do_not_look_at_the_world() -> None:
    pure = [m for m in MODULES if part(m) in PURE and m not in READERS]
    wrong = [
        f"{i.module} imports {i.name}"
        for i in IMPORTS
        if i.module in pure and not i.typing and i.name not in LEXICAL and i.name.split(".")[0] in WORLD
    ]
    wrong += [f"{module} calls open" for module in pure if _calls(MODULES[module], "open")]
    assert not wrong


def test_each_library_is_imported_by_its_owner_alone() -> None:
    outside = {
        (i.name.split(".")[0], i.module)
        for i in IMPORTS
        if not i.name.startswith(("localrun", "_")) and (top := i.name.split(".")[0])
        and (top in OWNERS or top not in sys.stdlib_module_names)
    }  # fmt: skip
    strangers = {
        f"{module} imports {library}" for library, module in outside if module not in OWNERS.get(library, ())
    }
    assert not strangers
    idle = {
        library for library, owners in OWNERS.items() for owner in owners if (library, owner) not in outside
    }
    assert not idle, "an owner that owns nothing any more"


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    assert not [f"{i.module} imports {i.name}" for i in IMPORTS
                if i.name.split(".")[0] in LAZY and i.top and not i.typing]  # fmt: skip


@pytest.mark.parametrize("args", [["--help"], ["up", "--help"], ["--version"]])
def test_help_loads_click_and_nothing_heavy(args: list[str]) -> None:
    code = f"""
import sys
from localrun.cli import main
try:
    main({args!r})
except SystemExit as done:
    assert not done.code, done.code
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not loaded & (LAZY | {"asyncio", "concurrent.futures", "http.client", "ssl", "hashlib"})
    assert not [
        name for name in loaded if name.startswith(("localrun.plan", "localrun.engine", "localrun.model"))
    ]


def sources() -> list[Path]:
    python = [p for folder in ("localrun", "tests", "bench") for p in (ROOT / folder).rglob("*.py")]
    c = [
        p
        for folder in ("csrc", "tests/c")
        for pattern in ("*.[ch]", "*.py")
        for p in (ROOT / folder).glob(pattern)
    ]
    return sorted({*python, *c})


def test_no_file_is_too_long_to_read() -> None:
    lengths = {p: p.read_text().count("\n") for p in sources() if p.name not in GENERATED}
    assert len(lengths) > 100
    assert not [f"{p.relative_to(ROOT)}: {n} lines" for p, n in lengths.items() if n > LONGEST]


def test_no_shell_is_ever_started() -> None:
    """What a user typed, or a file said, must not be read by one."""
    wrong = []
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                text = ast.unparse(node.func)
                shell = [k for k in node.keywords if k.arg == "shell"]
                if shell or text in (
                    "os.system",
                    "os.popen",
                    "subprocess.getoutput",
                    "pty.spawn",
                    "eval",
                    "exec",
                ):
                    wrong.append(f"{module} {text}")
    # The one exec compiles __init__ from field names that stand in our own source.
    assert wrong == ["localrun.value exec"]


def test_only_one_module_speaks_to_people() -> None:
    """`print` stands in show.text, and in processes of ours whose output is an engine's log."""
    speaking = {module for module, tree in MODULES.items() if _calls(tree, "print")}
    assert speaking <= {"localrun.show.text", "localrun.engine.host", "localrun.engine.ollama_keeper"}


def test_values_that_flow_between_the_stages_are_frozen() -> None:
    wrong = []
    for module, tree in MODULES.items():
        if module.rpartition(".")[2] not in ("facts", "values"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                made = [ast.unparse(d) for d in node.decorator_list]
                if "dataclass(frozen=True, slots=True)" not in made:
                    wrong.append(f"{module}.{node.name}")
    assert not wrong


def _calls(tree: ast.AST, name: str) -> bool:
    return any(
        isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name for n in ast.walk(tree)
    )


def test_the_readme_maps_every_room_of_the_house() -> None:
    words = (ROOT / "README.md").read_text(encoding="utf-8").partition("## File map")[2].split()
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    inside = [path.removeprefix("localrun/") for path in tracked.splitlines() if path.startswith("localrun/")]
    rooms = {f"{top}/" for top, slash, _ in (path.partition("/") for path in tracked.splitlines()) if slash}
    rooms |= {f"{top}/" if slash else top for top, slash, _ in (path.partition("/") for path in inside)}
    rooms = {room for room in rooms if not room.startswith((".", "__")) and room != "py.typed"}
    assert {room for room in rooms if not any(fnmatch(room, word.rstrip(";,")) for word in words)} == set()
