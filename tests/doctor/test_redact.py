"""What a report must not hold."""

from __future__ import annotations

from localrun.doctor.redact import redactor

HOME = "/home/alice"
CLEAN = redactor(
    {"HF_TOKEN": "hf_secret1234567", "MY_API_KEY": "sk-abcdef", "PATH": "/usr/bin", "A_KEY": "no"},
    (HOME, "/var/home/alice"),
    "alice",
    ("local-key",),
)


def test_the_home_folder_is_a_tilde() -> None:
    assert CLEAN("rm /home/alice/.local/x.json") == "rm ~/.local/x.json"
    assert CLEAN("/var/home/alice") == "~"


def test_a_folder_that_only_begins_so_is_left_but_for_the_name() -> None:
    assert CLEAN("/home/alicette/x") == "/home/alicette/x"
    assert CLEAN("/home/alice.bak/x") == "/home/USER.bak/x"


def test_the_users_name_goes_wherever_it_is_a_word() -> None:
    assert (
        CLEAN("/media/alice/disk owned by alice, malice stays")
        == "/media/USER/disk owned by USER, malice stays"
    )


def test_secrets_of_the_environment_go() -> None:
    said = CLEAN("hf_secret1234567 sk-abcdef local-key https://u:p@host/x?sig=1 hf_Another1234 no /usr/bin")
    assert said == "*** *** *** https://***@host/x?*** hf_*** no /usr/bin"


def test_root_is_no_name_to_hide() -> None:
    assert redactor({}, ("/root",), "root")("/root/x owned by root") == "~/x owned by root"


def test_no_home_and_no_name_change_nothing() -> None:
    assert redactor({}, ("", "/"), "")("/etc/x of ()") == "/etc/x of ()"
