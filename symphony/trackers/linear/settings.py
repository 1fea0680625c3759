"""The settings of a workflow's Linear board, checked once, before any request.

Invariant: what stands in a value of `LinearSettings` can be used as it is; what cannot work was refused with its place and
its cure. No repr shows the credential. Relied on by every module of this folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlsplit

from symphony.domain.errors import ConfigError
from symphony.trackers.protocol import Situation
from symphony.trackers.registry import Scope

ENDPOINT = "https://api.linear.app/graphql"
API_KEY = "LINEAR_API_KEY"
WEBHOOK_SECRET = "LINEAR_WEBHOOK_SECRET"  # noqa: S105 (a variable's name)
ASSIGNEE = "LINEAR_ASSIGNEE"
ACTIVE_STATES = ("Todo", "In Progress")
TERMINAL_STATES = ("Done", "Closed", "Canceled", "Cancelled", "Duplicate")
KNOWN_KEYS = frozenset({"endpoint", "api_key", "project_slug", "assignee", "webhook_secret", "labels"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_PLACE = "tracker.provider."
_SLUG_ID = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class LinearSettings:
    """The adapter's settings, defaults applied; `authors` None: every member of the workspace."""

    endpoint: str
    api_key: str = field(repr=False)
    slug_id: str
    active_states: tuple[str, ...] = ACTIVE_STATES
    terminal_states: tuple[str, ...] = TERMINAL_STATES
    assignee: str | None = None
    labels: Mapping[Situation, str] = field(default_factory=dict)
    authors: frozenset[str] | None = None
    unknown_keys: tuple[str, ...] = ()


def settings_of(scope: Scope) -> LinearSettings:
    """Read a workflow's settings. Raises: ConfigError (`invalid_tracker_config`, `missing_tracker_secret`)."""
    provider = scope.provider
    return LinearSettings(
        endpoint=_endpoint(provider.get("endpoint")),
        api_key=_api_key(provider.get("api_key"), scope.environ),
        slug_id=_slug_id(provider.get("project_slug")),
        active_states=scope.active_states if scope.active_states is not None else ACTIVE_STATES,
        terminal_states=scope.terminal_states if scope.terminal_states is not None else TERMINAL_STATES,
        assignee=_assignee(provider.get("assignee"), scope.environ),
        labels=_labels(provider.get("labels")),
        authors=_authors(scope.authors),
        unknown_keys=tuple(sorted(str(key) for key in provider if key not in KNOWN_KEYS)),
    )


def _endpoint(value: Any) -> str:
    place = f"{_PLACE}endpoint"
    text = ENDPOINT if value is None else value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or not re.fullmatch(r"[!-~]+", text) or parts.scheme not in {"https", "http"}:
        raise _invalid("the endpoint is no address of a server", place, f"write `endpoint: {ENDPOINT}`, or leave it out")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise _invalid("the endpoint would send the key in the clear", place, "begin it with https://")
    if parts.username is not None or parts.password is not None:
        raise _invalid("the endpoint must not contain a password", place, "put the key into api_key")
    return text


def _api_key(value: Any, environ: Mapping[str, str]) -> str:
    text = _text(environ.get(API_KEY) if value is None else value, "api_key", environ)
    if not text:
        raise ConfigError(
            "there is no key for Linear",
            place=f"{_PLACE}api_key",
            cure=f"set {API_KEY}, or write `api_key: $NAME` and set NAME",
            category="missing_tracker_secret",
        )
    if not text.isascii() or not text.isprintable():
        raise _invalid("the key holds characters that no key of Linear has", f"{_PLACE}api_key", "copy it again")
    return text


def _slug_id(value: Any) -> str:
    """Give the last part of a project's slug, which is what Linear calls its slugId."""
    slug_id = value.strip().rpartition("-")[2] if isinstance(value, str) else ""
    if not _SLUG_ID.fullmatch(slug_id):
        cure = "copy it from the project's address: linear.app/…/project/<project_slug>"
        raise _invalid("the project's slug is missing or is none", f"{_PLACE}project_slug", cure)
    return slug_id


def _assignee(value: Any, environ: Mapping[str, str]) -> str | None:
    text = _text(environ.get(ASSIGNEE) if value is None else value, "assignee", environ)
    if value is not None and not text:
        raise _invalid("the assignee must be a user's id, or `me`", f"{_PLACE}assignee", "or leave it out")
    return text or None


def _labels(value: Any) -> dict[Situation, str]:
    place, situations = f"{_PLACE}labels", get_args(Situation)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid("`labels` must name a label for each situation", place, "write for example `working: symphony`")
    for situation, name in value.items():
        if situation not in situations:
            raise _invalid(f"{situation!r} is no situation", place, f"use one of: {', '.join(situations)}")
        if not isinstance(name, str) or not name.strip():
            raise _invalid("a label's name must be a text", f"{place}.{situation}", "or leave it out")
    return {situation: name.strip() for situation, name in value.items()}


def _authors(value: Mapping[str, Any]) -> frozenset[str] | None:
    place, cure = "tracker.authors", "write `users: [ids or e-mail addresses]`"
    if not value:
        return None
    if unknown := sorted(str(key) for key in value if key != "users"):
        raise _invalid(f"`authors` has no meaning for {', '.join(unknown)} here", place, cure)
    users = value["users"]
    if not isinstance(users, list | tuple) or not all(isinstance(user, str) and user.strip() for user in users):
        raise _invalid("`users` must be a list of users", f"{place}.users", cure)
    return frozenset(user.strip().casefold() for user in users)


def _text(value: Any, key: str, environ: Mapping[str, str]) -> str:
    """Read a text, or the variable that it names where the workflow room has not read it already."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid("must be text", f"{_PLACE}{key}", "put it in quotes")
    match = re.fullmatch(r"\$(?:\{(\w+)\}|(\w+))", value.strip())
    return environ.get(match[1] or match[2], "").strip() if match else value.strip()


def _invalid(message: str, place: str, cure: str) -> ConfigError:
    return ConfigError(message, place=place, cure=cure, category="invalid_tracker_config")
