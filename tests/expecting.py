"""What a failure must look like, and what must be left after it."""

from __future__ import annotations

from tests.user import Background, Done, User, until


def one_line(done: Done, code: int, *said: str) -> None:
    """It failed as the contract says: `localrun: WHY`, at most one line of advice, no traceback."""
    assert done.code == code, done
    complaints = [line for line in done.err.splitlines() if line.startswith("localrun: ")]
    assert len(complaints) == 1, done.err
    assert "a bug" not in complaints[0]
    for words in said:
        assert words in done.err
    assert "Traceback" not in done.err


def nothing_left(user: User) -> None:
    """No process and no record, as `ps` would find; asked without a command, which is quicker."""
    assert user.engines() == []
    assert list(user.run_folder.glob("*.json")) == []


def ready(user: User, *args: str) -> dict[str, object]:
    done = user("up", "-d", *args)
    assert done.code == 0, done
    return user.ps()[-1]


def in_foreground(user: User) -> Background:
    """`up` without -d, once it serves."""
    serving = user.start("up", "tiny.gguf")

    def answers() -> bool:
        assert serving.process.poll() is None, serving.wait()
        return user.is_ready()

    until(answers, what="the engine")
    return serving
