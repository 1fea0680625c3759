"""Settings: defaults, the environment, and mistakes in one sentence."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from symphony import settings
from symphony.domain.errors import ConfigError


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SYMPHONY_") or name == "XDG_STATE_HOME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_defaults(tmp_path: Path) -> None:
    found = settings.load()
    assert found.home == tmp_path / ".local/state/symphony"
    assert (found.database_url, found.broker_url) == (None, None)
    assert found.node == socket.gethostname()
    assert (found.lease_ttl, found.lease_renewal) == (timedelta(seconds=30), timedelta(seconds=10))


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYMPHONY_HOME", "~/elsewhere")
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", "postgresql://somebody:secret@db/x")
    monkeypatch.setenv("SYMPHONY_NODE", "n1")
    monkeypatch.setenv("SYMPHONY_LEASE_TTL", "1.5")
    monkeypatch.setenv("SYMPHONY_LEASE_RENEWAL", "0.25")
    found = settings.load()
    assert found.home == tmp_path / "elsewhere"
    assert found.database_url == "postgresql://somebody:secret@db/x"
    assert "secret" not in repr(found)
    assert found.node == "n1"
    assert (found.lease_ttl, found.lease_renewal) == (timedelta(seconds=1.5), timedelta(seconds=0.25))


def test_xdg_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert settings.load().home == tmp_path / "state/symphony"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert settings.load().home == tmp_path / ".local/state/symphony"


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYMPHONY_HOME", "here")
    assert settings.load().home == tmp_path / "here"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", "")
    monkeypatch.setenv("SYMPHONY_HOME", "")
    assert settings.load().database_url is None
    assert settings.load().home.name == "symphony"


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e300", "30s"])
def test_a_wrong_duration_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SYMPHONY_LEASE_TTL", value)
    with pytest.raises(ConfigError) as caught:
        settings.load()
    assert str(caught.value).startswith("SYMPHONY_LEASE_TTL: should be")
    assert "\n" not in str(caught.value)


def test_a_lease_outlives_two_missed_renewals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY_LEASE_TTL", "20")
    with pytest.raises(ConfigError, match="SYMPHONY_LEASE_RENEWAL should be at most a third"):
        settings.load()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("https://symphony.example", "https://symphony.example"), ("HTTP://127.0.0.1:7777/", "http://127.0.0.1:7777"),
        ("https://symphony.example/team/", "https://symphony.example/team"), ("http://[::1]:7/", "http://[::1]:7"),
        ('https://h/a b<c>"\\', "https://h/a%20b%3Cc%3E%22"), ("", None),
    ],
)  # fmt: skip
def test_where_people_reach_the_status_api(monkeypatch: pytest.MonkeyPatch, given: str, found: str | None) -> None:
    monkeypatch.setenv("SYMPHONY_PUBLIC_URL", given)
    assert settings.load().public_url == found


@pytest.mark.parametrize(
    "value",
    [
        "symphony.example",
        "ftp://h/",
        "https://",
        "https://h:99999",
        "https://h/?a=1",
        "https://h/?",
        "https://h/#a",
        "https://u:p@h/",
    ],
)
def test_a_wrong_public_url_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SYMPHONY_PUBLIC_URL", value)
    with pytest.raises(ConfigError) as caught:
        settings.load()
    assert str(caught.value).startswith("SYMPHONY_PUBLIC_URL: should be") and "\n" not in str(caught.value)
    assert "u:p" not in str(caught.value)
