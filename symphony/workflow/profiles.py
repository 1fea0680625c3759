"""What the workflow room must know of each tracker kind: its states, keys, paths and secrets.

The adapter itself lives in `trackers/`; this table is what makes defaults, `$NAME` references and `symphony check`
possible without it. A kind whose adapter this build lacks is known here, so that its files load and are explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TrackerProfile:
    """A tracker kind: `None` states must be written in the file; `fallbacks` name a variable for an absent key."""

    in_this_build: bool
    active_states: tuple[str, ...] | None
    terminal_states: tuple[str, ...] | None
    defaults: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    annotates: bool = False
    """Whether its issues can carry a progress comment, attachments and marks."""
    optional_secrets: tuple[str, ...] = ()

    @property
    def text_keys(self) -> tuple[str, ...]:
        """The adapter's keys whose values must be text."""
        return tuple(
            dict.fromkeys(
                (*self.defaults, *self.paths, *self.secrets, *self.optional_secrets, *self.required, *self.fallbacks)
            )
        )


_ENDS = ("Done", "Closed", "Canceled", "Cancelled", "Duplicate")

PROFILES: Mapping[str, TrackerProfile] = {
    "files": TrackerProfile(
        in_this_build=True,
        active_states=("Todo", "In Progress", "Rework", "Merging"),
        terminal_states=_ENDS,
        defaults={"path": "issues"},
        paths=("path",),
    ),
    "linear": TrackerProfile(
        in_this_build=True,
        active_states=("Todo", "In Progress"),
        terminal_states=_ENDS,
        defaults={"endpoint": "https://api.linear.app/graphql"},
        secrets=("api_key",),
        required=("project_slug",),
        optional_secrets=("webhook_secret",),
        fallbacks={
            "api_key": "LINEAR_API_KEY",
            "assignee": "LINEAR_ASSIGNEE",
            "webhook_secret": "LINEAR_WEBHOOK_SECRET",
        },
        annotates=True,
    ),
    "github": TrackerProfile(
        in_this_build=False,
        active_states=None,
        terminal_states=None,
        defaults={"api_url": "https://api.github.com"},
        secrets=("token",),
        required=("repo",),
        fallbacks={"token": "GITHUB_TOKEN", "repo": "GITHUB_REPO"},
    ),
}
