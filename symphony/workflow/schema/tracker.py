"""The `tracker` section (specification 5.3.1) and the states that Symphony itself moves an issue to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, field_validator, model_validator

from symphony.domain.admission import StateSets
from symphony.workflow.profiles import PROFILES, TrackerProfile
from symphony.workflow.schema.fields import Section, Text, Words, fault, key

OLDER_KEYS = ("endpoint", "api_key", "project_slug", "assignee")
"""Adapter keys that once stood directly under `tracker`."""

INVALID_TRACKER = "invalid_tracker_config"


class States(Section):
    """Names of states that Symphony moves an issue to; a key left out: it does not move it."""

    model_config = ConfigDict(extra="forbid")

    started: Text | None = key("When an agent begins; must be active.", None, applies="next poll")
    review: Text | None = key("When a person shall look; neither active nor terminal.", None, applies="next poll")
    rework: Text | None = key("Where a person sends a change back to the agent; must be active.", None, applies="next poll")
    merging: Text | None = key("Where a person approves a change; must be active.", None, applies="next poll")
    blocked: Text | None = key("When only a person can help; neither active nor terminal.", None, applies="next poll")
    done: Text | None = key("When the change has landed; must be terminal.", None, applies="next poll")


class Tracker(Section):
    """Where the issues are and which of them count."""

    kind: Literal["files", "linear", "github"] = key("Which tracker adapter is used; required.", applies="next poll")
    provider: dict[str, Any] = key(
        "Keys that belong to the adapter, listed below; `$NAME` is read from the environment.",
        {},
        applies="next poll",
        hidden=True,
    )
    required_labels: tuple[str, ...] = key(
        "An issue must carry all of these labels; a blank one matches no issue.", (), applies="next poll"
    )
    active_states: Words = key("States whose issues are worked on.", (), applies="next poll", shown="the adapter's own")
    terminal_states: Words = key("States whose issues are over.", (), applies="next poll", shown="the adapter's own")
    states: States = key("Names of states that Symphony itself moves an issue to.", States(), applies="next poll")
    tools: Literal["guarded", "raw", "off"] = key("Tracker tools that an agent gets. Compatible mode: `raw`.", "guarded")
    authors: dict[str, Any] = key("Who may start or steer a run; the adapter documents it.", {}, applies="next poll")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, value: Any) -> Any:
        """Move the older flat keys into `provider` and give the adapter's own states."""
        if not isinstance(value, Mapping):
            return value
        section = {name: item for name, item in value.items() if name not in OLDER_KEYS and item is not None}
        provider = section.get("provider", {})
        if isinstance(provider, Mapping):
            older = {name: value[name] for name in OLDER_KEYS if value.get(name) is not None}
            section["provider"] = older | dict(provider)
        kind = section.get("kind")
        profile = PROFILES.get(kind) if isinstance(kind, str) else None
        if profile is not None:
            for name in ("active_states", "terminal_states"):
                own = getattr(profile, name)
                if own is None and name not in section:
                    raise fault(f"tracker.{name} is required for kind {kind}", name, category=INVALID_TRACKER)
                section.setdefault(name, own)
        return section

    @field_validator("provider")
    @classmethod
    def _accept_provider(cls, provider: dict[str, Any], info: Any) -> dict[str, Any]:
        profile = PROFILES.get(info.data.get("kind", ""))
        if profile is None:
            return provider
        for name in profile.text_keys:
            value = provider.get(name)
            if value is not None and not (isinstance(value, str) and (value.strip() or name in profile.secrets)):
                raise fault("must be text", name, cure="put it in quotes")
        return provider

    @property
    def profile(self) -> TrackerProfile:
        """What is known of this kind of tracker."""
        return PROFILES[self.kind]

    @property
    def state_sets(self) -> StateSets:
        """The active and terminal states, normalised."""
        return StateSets.of(self.active_states, self.terminal_states)
