"""Vocabularies kept ready: never another file's, never a damaged one's, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localrun.errors import ModelError
from localrun.tokenizer import Tokenizer, sidecar
from tests.tokenizer import tiny
from tests.tokenizer.references import gguf_path, reference
from tests.tokenizer.texts import CODE, NATURAL

TEXT = "the thing in the inn"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this test's sidecars."""
    monkeypatch.setenv("LOCALRUN_TOKENIZER_CACHE", "1")
    monkeypatch.setattr("localrun.tokenizer.tokenizer.sidecar_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "tiny.gguf")


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def was_kept(path: Path, cache: Path, rules: str = "own") -> bool:
    return sidecar.find(cache, path, rules) is not None


def test_what_was_kept_is_the_same_tokenizer(cache: Path) -> None:
    for path in (gguf_path("gpt-2"), reference("llama4").path, reference("tekken").path):
        for rules in ("own", "llama.cpp"):
            made = Tokenizer.open(path, rules, cache=False)
            assert not was_kept(path, cache, rules)
            first = Tokenizer.open(path, rules)
            assert was_kept(path, cache, rules)
            kept = Tokenizer.open(path, rules)
            for text in (*NATURAL.values(), CODE):
                ids = made.encode(text, special=True)
                for other in (first, kept, kept):
                    assert other.encode(text, special=True) == ids
                assert kept.decode(ids) == made.decode(ids)
            assert len(kept) == len(made)
            assert (kept.bos, kept.eos, kept.add_bos) == (made.bos, made.eos, made.add_bos)
            assert kept.encode("e\u0301") == made.encode("e\u0301")


def test_the_file_is_not_parsed_again(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Tokenizer.open(model).encode(TEXT)
    monkeypatch.setattr("localrun.tokenizer.load.load", lambda path: pytest.fail("it was"))
    assert Tokenizer.open(model).encode(TEXT) == ids


def test_a_changed_file_never_meets_an_old_sidecar(cache: Path, model: Path) -> None:
    before = os.stat(model)
    assert Tokenizer.open(model).encode("the") == [257]
    whole = model.read_bytes()
    changed = whole.replace(b"in g", b"g in")  # the same length
    with model.open("r+b") as file:  # the same inode
        file.write(changed)
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(model)
    assert (after.st_size, after.st_ino, after.st_mtime_ns) == (
        before.st_size, before.st_ino, before.st_mtime_ns
    )  # fmt: skip
    with pytest.raises(ModelError, match="unknown token, at 3"):
        Tokenizer.open(model)
    model.write_bytes(whole)
    assert was_kept(model, cache)


def test_a_file_that_was_cut_is_refused_though_its_start_is_known(cache: Path, tmp_path: Path) -> None:
    from tests import gguf_bytes

    tensor = gguf_bytes.tensor("a", (32,), 0, 0)
    head = tiny.header().replace(b"GGUF\x03\0\0\0\0", b"GGUF\x03\0\0\0\x01", 1) + tensor
    head += bytes(-len(head) % 32)
    path = tiny.write(tmp_path / "model.gguf", head + bytes(128))
    Tokenizer.open(path)
    assert was_kept(path, cache)
    path.write_bytes(head + bytes(100))
    with pytest.raises(ModelError):
        Tokenizer.open(path)


def test_rules_have_sidecars_of_their_own(cache: Path) -> None:
    path = reference("llama4").path
    for _ in range(2):
        assert Tokenizer.open(path).encode("ÉTAT") != Tokenizer.open(path, "llama.cpp").encode("ÉTAT")
    assert len(files(cache)) == 2


def test_a_damaged_sidecar_is_replaced_without_a_word(cache: Path, model: Path) -> None:
    ids = Tokenizer.open(model).encode(TEXT)
    (path,) = files(cache)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), 4096)]
    damaged += [whole[:at] + bytes((whole[at] ^ 255,)) + whole[at + 1 :] for at in range(0, len(whole), 9973)]
    damaged += [whole + b"\0", bytes(len(whole)), whole[:8] + whole[8:12][::-1] + whole[12:]]
    for content in damaged:
        path.write_bytes(content)
        assert not was_kept(model, cache)
    assert Tokenizer.open(model).encode(TEXT) == ids
    assert was_kept(model, cache)
    assert files(cache) == [path]


def test_a_sidecar_that_others_may_have_written_is_ignored(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tokenizer.open(model)
    (path,) = files(cache)
    assert path.stat().st_mode & 0o077 == 0
    for mode in (0o620, 0o602, 0o666):
        path.chmod(mode)
        assert not was_kept(model, cache)
    path.chmod(0o600)
    assert was_kept(model, cache)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        assert not was_kept(model, cache)
    path.rename(cache / "elsewhere")
    path.symlink_to(cache / "elsewhere")
    assert not was_kept(model, cache)
    path.unlink()
    os.mkfifo(path)
    assert not was_kept(model, cache)


def test_where_nothing_can_be_kept_all_works(cache: Path, model: Path) -> None:
    cache.write_text("a file where the folder should be")
    for _ in range(2):
        assert Tokenizer.open(model).encode("the") == [257]
    assert cache.is_file()


def test_a_disk_that_is_full_leaves_no_draft(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert Tokenizer.open(model).encode("the") == [257]
    assert files(cache) == []


def test_the_setting_turns_it_off(cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("0", "false", "off", "no"):
        monkeypatch.setenv("LOCALRUN_TOKENIZER_CACHE", value)
        Tokenizer.open(model)
    Tokenizer.open(model, cache=False)
    assert files(cache) == []
    Tokenizer.open(model, cache=True)
    assert len(files(cache)) == 1


def test_only_the_last_used_are_kept(cache: Path, tmp_path: Path) -> None:
    paths: list[Path] = []
    for i in range(sidecar.KEPT + 3):
        known = files(cache)
        paths.append(tiny.write(tmp_path / f"{i}.gguf", tiny.header(words=(*tiny.WORDS, f"word{i}"))))
        Tokenizer.open(paths[-1])
        (new,) = {*files(cache)} - {*known}
        os.utime(new, (1e9 + i, 1e9 + i))
        if i == 5:
            assert was_kept(paths[0], cache)  # noted: it was long unused
    assert [was_kept(path, cache) for path in paths] == [True] + [False] * 3 + [True] * (len(paths) - 4)


def test_processes_that_write_at_once_do_not_disturb_each_other(cache: Path, model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from localrun.tokenizer import tokenizer as t;"
        "t.sidecar_folder = lambda: Path(sys.argv[2]);"
        f"print(t.Tokenizer.open(sys.argv[1]).encode({TEXT!r}))"
    )
    argv = [sys.executable, "-c", code, str(model), str(cache)]
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate()[0] for process in started}
    assert said == {f"{Tokenizer.open(model, cache=False).encode(TEXT)}\n"}
    assert len(files(cache)) == 1
    assert was_kept(model, cache)


def test_threads_share_one_that_was_kept_and_it_outlives_its_file(cache: Path) -> None:
    path = gguf_path("gpt-2")
    expected = Tokenizer.open(path).encode(CODE)
    kept = Tokenizer.open(path)
    for file in files(cache):
        file.unlink()
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(kept.encode(CODE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs /dev/fd")
def test_a_vocabulary_comes_out_of_a_pipe_whole(cache: Path) -> None:
    path = reference("tekken").path
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        piped = Tokenizer.open(f"/dev/fd/{cat.stdout.fileno()}")
    assert piped.encode(TEXT) == Tokenizer.open(path, cache=False).encode(TEXT)
