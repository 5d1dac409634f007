"""OLLAMA_HOST: as Ollama's envconfig reads it (v0.33), and fit to connect to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.engine.ollama_address import server_address
from localrun.errors import UsageError

READ = [
    ("", "http://127.0.0.1:11434"),
    ("1.2.3.4", "http://1.2.3.4:11434"),
    ("1.2.3.4:1234", "http://1.2.3.4:1234"),
    ("host.name:0", "http://host.name:11434"),
    (":1234", "http://127.0.0.1:1234"),
    ("0.0.0.0", "http://127.0.0.1:11434"),
    ("0.0.0.0:80", "http://127.0.0.1:80"),
    ("::", "http://[::1]:11434"),
    ("[::]:8080", "http://[::1]:8080"),
    ("::1", "http://[::1]:11434"),
    ("[::1]", "http://[::1]:11434"),
    ("[::1]:1", "http://[::1]:1"),
    ("http://example.com", "http://example.com:80"),
    ("https://example.com", "https://example.com:443"),
    ("HTTPS://example.com:8443/ollama/", "https://example.com:8443/ollama"),
    ("example.com/ollama", "http://example.com:11434/ollama"),
    ("1.2.3.4:66000", "http://1.2.3.4:11434"),
    ("1.2.3.4:-1", "http://1.2.3.4:11434"),
    ("1.2.3.4:port", "http://1.2.3.4:11434"),
    ("  '127.0.0.1:9'  ", "http://127.0.0.1:9"),
]


@pytest.mark.parametrize(("value", "url"), READ)
def test_every_form_that_ollama_takes_names_the_same_server(value, url):
    assert server_address(value).url == url


@pytest.mark.parametrize("value", ["ftp://x", "a b", "x\ny:1", "http://a@b", "host?x", "unix:///run/o.sock"])
def test_what_is_no_server_is_refused_as_usage(value):
    with pytest.raises(UsageError):
        server_address(value)


@pytest.mark.parametrize(
    ("value", "local"),
    [("", True), ("0.0.0.0", True), ("localhost", True), ("[::1]", True), ("10.0.0.1", False)],
)
def test_it_is_known_whether_the_servers_disk_is_ours(value, local):
    assert server_address(value).local is local


@given(st.text(max_size=30))
def test_any_text_gives_an_address_or_is_refused(value):
    try:
        address = server_address(value)
    except UsageError:
        return
    assert 0 < address.port < 65536
    assert address.host
    assert not any(c.isspace() for c in address.url.encode("ascii", "ignore").decode())
