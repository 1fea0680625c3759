"""Settings of a Linear board are refused with their place and cure, or can be used as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symphony.domain.errors import ConfigError
from symphony.trackers.linear.client import Client, quota_key
from symphony.trackers.linear.settings import LinearSettings, settings_of
from symphony.trackers.quota import OwnQuota
from symphony.trackers.registry import Scope

KEY = "lin_api_0123456789"


def read(
    *, environ: dict[str, str] | None = None, authors: dict[str, Any] | None = None, **provider: Any
) -> LinearSettings:
    scope = Scope(
        provider={"project_slug": "abc123", "api_key": KEY} | provider,
        active_states=None,
        terminal_states=None,
        base_dir=Path(),
        environ=environ or {},
        authors=authors or {},
        quota_of=lambda _: OwnQuota(),
    )
    return settings_of(scope)


def test_what_is_left_out_has_its_default() -> None:
    settings = read()
    assert settings.endpoint == "https://api.linear.app/graphql"
    assert settings.active_states == ("Todo", "In Progress")
    assert "Done" in settings.terminal_states
    assert (settings.assignee, settings.labels, settings.authors, settings.unknown_keys) == (None, {}, None, ())


def test_secrets_and_people_come_from_the_environment() -> None:
    environ = {"LINEAR_API_KEY": KEY, "LINEAR_ASSIGNEE": "me", "OTHER": "lin_api_other"}
    assert read(api_key=None, environ=environ).api_key == KEY
    assert read(api_key="$OTHER", environ=environ).api_key == "lin_api_other"
    assert read(environ=environ).assignee == "me"


@pytest.mark.parametrize("slug", ["abc123", "alpha-abc123", "  the-alpha-project-abc123 "])
def test_a_projects_slug_may_be_whole(slug: str) -> None:
    assert read(project_slug=slug).slug_id == "abc123"


def test_labels_and_authors_are_read() -> None:
    settings = read(labels={"working": " symphony "}, authors={"users": ["Ann@acme.test", "u1"]}, more=1)
    assert settings.labels == {"working": "symphony"}
    assert settings.authors == {"ann@acme.test", "u1"}
    assert settings.unknown_keys == ("more",)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1/graphql", "http://localhost:80", "http://[::1]:1", "https://x.test/g"]
)
def test_an_endpoint_is_https_or_on_loopback(endpoint: str) -> None:
    assert read(endpoint=endpoint).endpoint == endpoint


@pytest.mark.parametrize(
    ("provider", "place"),
    [
        ({"endpoint": "http://api.linear.app/graphql"}, "endpoint"),
        ({"endpoint": "http://127.0.0.1.example.org/"}, "endpoint"),
        ({"endpoint": "ftp://api.linear.app"}, "endpoint"),
        ({"endpoint": "api.linear.app"}, "endpoint"),
        ({"endpoint": "https://me:secret@api.linear.app"}, "endpoint"),
        ({"endpoint": "https://x.test:port/"}, "endpoint"),
        ({"endpoint": "https://x.test/a b\n"}, "endpoint"),
        ({"endpoint": 5}, "endpoint"),
        ({"project_slug": None}, "project_slug"),
        ({"project_slug": ""}, "project_slug"),
        ({"project_slug": "alpha-"}, "project_slug"),
        ({"project_slug": ["a"]}, "project_slug"),
        ({"project_slug": 'a"){x}'}, "project_slug"),
        ({"assignee": " "}, "assignee"),
        ({"assignee": 5}, "assignee"),
        ({"labels": "working"}, "labels"),
        ({"labels": {"sleeping": "x"}}, "labels"),
        ({"labels": {"working": " "}}, "labels.working"),
        ({"api_key": "kéy"}, "api_key"),
        ({"api_key": "a\nb"}, "api_key"),
        ({"api_key": 5}, "api_key"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(provider: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as fault:
        read(**provider)
    assert fault.value.category == "invalid_tracker_config"
    assert fault.value.place == f"tracker.provider.{place}"
    assert fault.value.cure
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize("authors", [{"people": ["a"]}, {"users": "ann"}, {"users": [5]}, {"users": [" "]}])
def test_authors_that_mean_nothing_are_refused(authors: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as fault:
        read(authors=authors)
    assert fault.value.category == "invalid_tracker_config"
    assert (fault.value.place or "").startswith("tracker.authors")


@pytest.mark.parametrize("key", [None, "", "  ", "$UNSET", "${EMPTY}"])
def test_a_key_that_is_not_there_is_missing(key: str | None) -> None:
    with pytest.raises(ConfigError) as fault:
        read(api_key=key, environ={"EMPTY": ""})
    assert (fault.value.category, fault.value.place) == ("missing_tracker_secret", "tracker.provider.api_key")


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (KEY, KEY),
        ("lin_api_" + "x" * 80, "lin_api_" + "x" * 80),
        ("lin_oauth_abc", "Bearer lin_oauth_abc"),
        ("0" * 64, "Bearer " + "0" * 64),
        ("Bearer " + "0" * 64, "Bearer " + "0" * 64),
        ("old-short-key", "old-short-key"),
    ],
)
def test_a_key_goes_bare_and_a_token_as_a_bearers(key: str, header: str) -> None:
    assert Client("https://x.test", key, OwnQuota()).authorization == header


def test_no_key_is_shown() -> None:
    settings = read()
    assert KEY not in repr(settings)
    assert KEY not in quota_key(settings.endpoint, KEY)
    assert quota_key("https://a.test", KEY) != quota_key("https://b.test", KEY) != quota_key("https://b.test", "other")
