"""Where the service is and which key it gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.options import connect
from cli.output import CommandFailed


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LETHE_API_KEY", raising=False)
    (tmp_path / "admin.key").write_text("lethe_admin\n")
    return tmp_path


def key_of(url: str | None, data: Path) -> str:
    with connect(url, data) as client:
        return str(client._http.headers["Authorization"].removeprefix("Bearer "))


def test_the_key_of_the_environment_goes_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_API_KEY", "lethe_mine")
    assert key_of(None, data) == "lethe_mine"


@pytest.mark.parametrize("url", [None, "http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"])
def test_on_this_machine_the_admin_s_key_is_found(data: Path, url: str | None) -> None:
    assert key_of(url, data) == "lethe_admin"


@pytest.mark.parametrize("url", ["http://example.org", "http://10.0.0.1:8200", "http://127.0.0.1.example.org"])
def test_the_admin_s_key_is_sent_to_no_other_machine(data: Path, url: str) -> None:
    with pytest.raises(CommandFailed, match="no API key"):
        connect(url, data)


def test_the_address_is_what_serve_wrote_down(data: Path) -> None:
    (data / "service.json").write_text(json.dumps({"url": "http://127.0.0.1:8300"}))
    with connect(None, data) as client:
        assert client.url == "http://127.0.0.1:8300"
    with connect("http://127.0.0.1:8400", data) as client:
        assert client.url == "http://127.0.0.1:8400"


def test_without_anything_it_is_the_default_port_here(data: Path) -> None:
    with connect(None, data) as client:
        assert client.url == "http://127.0.0.1:8200"
