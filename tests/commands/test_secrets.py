"""No key, password or signature of the user's is ever printed or kept: whatever refuses, and with -v too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.test_models import repository
from tests.fakes.hub import Fault, Hub
from tests.user import Done, User

KEY, PASSWORD = "hf_AbCdEfGh0123456789", "hunter2word"
NAME = "hf:someone/tiny-GGUF:Q8_0"


def clean(user: User, *done: Done) -> None:
    """Neither the output nor any file of the user's holds a secret."""
    said = "".join(one.out + one.err for one in done)
    for secret in (KEY, PASSWORD):
        assert secret not in said, said
        for path in user.home.rglob("*"):
            assert secret not in str(path)
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path
    assert "Traceback" not in done[0].err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("/api/", status=401, headers={"X-Error-Code": "GatedRepo"}, times=9), "is gated"),
        (Fault("/api/", status=403, times=9), "is gated"),
        (Fault("/api/", status=401, times=9), "no repository"),
        (Fault("/api/", status=404, times=9), "no such file or revision"),
        (Fault("/api/", status=418, times=9), "the server answered 418"),
        (Fault("/resolve/", status=403, times=99), "is gated"),
        (Fault("/cdn/", status=403, times=99), "is gated"),
        (
            Fault("/cdn/", status=302, headers={"Location": "file:///etc/passwd"}, times=99),
            "redirects to file",
        ),
        (
            Fault("/resolve/", status=302, headers={"Location": f"ftp://u:{PASSWORD}@x/"}, times=99),
            "redirects to ftp",
        ),
        (Fault("/cdn/", length=5, times=99), "peer closed connection"),
        (Fault("/cdn/", corrupt=True, times=99), "GGUF|sha256|not"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hub_that_refuses_shows_no_key(user: User, tmp_path: Path, fault: Fault, words: str) -> None:
    import re

    with Hub() as hub:
        repository(hub, tmp_path)
        hub.faults.append(fault)
        user.env |= {"HF_TOKEN": KEY, "HF_ENDPOINT": hub.url.replace("://", f"://me:{PASSWORD}@")}
        done = user("pull", NAME)
        assert done.code == 1, done
        assert re.search(words, done.err), done.err
        assert len(done.err.splitlines()) <= 6, done.err
        clean(
            user,
            done,
            user("pull", NAME, "-v"),
            user("plan", NAME, "-v"),
            user("doctor"),
            user("doctor", "--json"),
        )
        asked = [seen for seen in hub.requests if seen.authorization]
        assert asked, "the key was sent to the hub"


def test_the_key_goes_to_the_hub_and_not_to_where_it_redirects(user: User, tmp_path: Path) -> None:
    with Hub() as hub:
        repository(hub, tmp_path)
        user.env |= {"HF_TOKEN": KEY, "HF_ENDPOINT": hub.url}
        done = user("pull", NAME)
        assert done.code == 0, done
        clean(user, done)
        sent = {seen.path.split("/")[1]: seen.authorization for seen in hub.requests}
        assert sent["api"] == sent["someone"] == f"Bearer {KEY}"
        assert sent["cdn"] == ""


@pytest.mark.parametrize(
    "endpoint", [f"ftp://me:{PASSWORD}@host", f"http://me:{PASSWORD}@127.0.0.1:9", "nonsense"]
)
def test_an_endpoint_that_cannot_be_asked_is_one_line(user: User, endpoint: str) -> None:
    user.env |= {"HF_TOKEN": KEY, "HF_ENDPOINT": endpoint}
    done = user("plan", NAME)
    assert done.code == 1, done
    clean(user, done, user("plan", NAME, "-v"), user("doctor"))


def test_a_proxy_and_an_index_with_passwords_are_not_shown(user: User) -> None:
    """Nothing answers at either: both complaints come from other programs' mouths."""
    proxy = f"http://me:{PASSWORD}@127.0.0.1:9"
    user.env |= {"PIP_INDEX_URL": f"{proxy}/simple", "HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": proxy}
    user.env |= {"http_proxy": proxy, "HF_TOKEN": KEY, "PIP_RETRIES": "0", "PIP_TIMEOUT": "1"}
    done = user("pull", "smollm2")
    assert done.code == 1, done
    clean(user, done, user("doctor"), user("doctor", "--json"))


def test_the_engines_log_and_record_hold_no_key(faker: User) -> None:
    faker.env |= {"HF_TOKEN": KEY}
    done = faker("run", faker.home / "tiny.gguf", "hello", "-v")
    assert done.code == 0, done
    clean(faker, done, faker("logs", "tiny"), faker("ps"))
