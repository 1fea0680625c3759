"""What a valid workflow is worth warning of, and what it asks for that this build does not have.

Pure functions over a loaded workflow, for `symphony check` and the log. Faults that stop a workflow from being used
at all are found in `validation`; these are the ones that a person should hear of besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel

from symphony.domain.issue import normalized_state
from symphony.workflow.findings import INVALID, NOT_IN_THIS_BUILD, Finding, KeyPath, Places, dotted
from symphony.workflow.schema import Workflow
from symphony.workflow.schema.agent import state_limits
from symphony.workflow.schema.codex import is_older_policy
from symphony.workflow.schema.tracker import OLDER_KEYS
from symphony.workflow.variables import is_reference

UNKNOWN_KEY = "unknown_key"
IGNORED = "ignored_value"
LITERAL_SECRET = "literal_secret"  # noqa: S105 (a category's name)
TRANSLATED = "translated_policy"
NOTHING_LANDS = "nothing_lands"
NOT_ENFORCED = "not_enforced_in_this_build"

Severity = Literal["error", "warning"]


def warnings(workflow: Workflow, config: Mapping[str, Any], places: Places) -> list[Finding]:
    """Tell everything that is kept, ignored or translated without being a fault."""
    found = [*_unknown_keys(workflow, (), places)]
    found += _ignored(workflow, config, places)
    found += _secrets(workflow, config, places)
    if is_older_policy(_section(config, "codex").get("approval_policy")):
        message = "codex.approval_policy is a value that today's app-server refuses; it is translated"
        found.append(_warn(places, TRANSLATED, ("codex", "approval_policy"), message, "use never or on-request"))
    if workflow.repository and not workflow.proof.checks and workflow.land.mode != "off":
        message = "proof.checks is empty, so nothing lands"
        found.append(_warn(places, NOTHING_LANDS, ("proof", "checks"), message, "name the command that tests it"))
    return found


def state_findings(workflow: Workflow, places: Places) -> list[Finding]:
    """Tell where `tracker.states` contradicts the active and terminal states."""
    sets, states = workflow.tracker.state_sets, workflow.tracker.states
    found = []
    for name in ("started", "rework", "merging"):
        state = getattr(states, name)
        if state is not None and not sets.is_active(state):
            found.append(_about_state(places, name, state, "must be one of tracker.active_states"))
    for name in ("review", "blocked"):
        state = getattr(states, name)
        if state is not None and normalized_state(state) in sets.active | sets.terminal:
            found.append(_about_state(places, name, state, "must be neither active nor terminal"))
    if states.done is not None and not sets.is_terminal(states.done):
        found.append(_about_state(places, "done", states.done, "must be one of tracker.terminal_states"))
    for state in sorted(sets.active & sets.terminal):
        message = f"the state {state!r} is both active and terminal and counts as terminal"
        found.append(_warn(places, IGNORED, ("tracker", "active_states"), message, "take it out of one list"))
    return found


def missing_parts(workflow: Workflow, places: Places) -> list[Finding]:
    """Tell what the workflow asks for that this build does not have."""
    return [
        places.finding(NOT_IN_THIS_BUILD, path, f"{what} is not in this build", cure=cure)
        for path, what, cure in _missing(workflow)
    ]


def not_enforced(workflow: Workflow, places: Places) -> list[Finding]:
    """Tell which limits the workflow writes down that this build does not keep."""
    sandbox, setup = workflow.sandbox, workflow.proof.setup
    written = sandbox.model_fields_set if sandbox.mode != "off" else set()
    found: list[tuple[KeyPath, str]] = []
    if "network" in written and sandbox.network != "on":
        found.append((("sandbox", "network"), "commands reach the network"))
    if "disk" in written:
        found.append((("sandbox", "disk"), "commands may fill the disk"))
    if setup is not None and "network" in setup.model_fields_set and setup.network != "on":
        found.append((("proof", "setup", "network"), "the setup reaches the network"))
    return [
        _warn(places, NOT_ENFORCED, path, f"{dotted(path)} is not enforced by this build: {what}", None)
        for path, what in found
    ]


def _missing(workflow: Workflow) -> Iterator[tuple[KeyPath, str, str | None]]:
    if not workflow.tracker.profile.in_this_build:
        yield ("tracker", "kind"), f"the tracker {workflow.tracker.kind}", "use kind files or linear"
    if workflow.agent.kind == "codex":
        yield ("agent", "kind"), "the agent codex", "use kind openai, or kind command with agent.command"
    for label, choice in workflow.agent.by_label.items():
        if choice.kind == "codex":
            yield ("agent", "by_label", label, "kind"), "the agent codex", "use kind openai or command"
    if workflow.sandbox.mode in ("bubblewrap", "landlock"):
        yield ("sandbox", "mode"), f"the sandbox {workflow.sandbox.mode}", "use auto"
    if workflow.repository and workflow.repository.effective_forge != "git":
        yield ("repository", "forge"), f"the forge {workflow.repository.effective_forge}", "write forge: git"
    for number, what in enumerate(workflow.proof.require):
        if what != "checks":
            yield ("proof", "require", number), f"proof.require {what}", "require checks only"
    if workflow.worker.ssh_hosts:
        yield ("worker", "ssh_hosts"), "work over SSH", "start workers on those machines"


def _unknown_keys(section: BaseModel, path: KeyPath, places: Places) -> Iterator[Finding]:
    known = type(section).model_fields
    for name in section.model_extra or {}:
        close = get_close_matches(name, known, n=1)
        cure = f"did you mean {close[0]}?" if close else None
        yield _warn(places, UNKNOWN_KEY, (*path, name), f"{dotted((*path, name))} is not a known key", cure)
    for name in known:
        yield from _below(getattr(section, name), (*path, name), places)


def _below(value: Any, path: KeyPath, places: Places) -> Iterator[Finding]:
    if isinstance(value, BaseModel):
        yield from _unknown_keys(value, path, places)
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _below(item, (*path, number), places)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _below(item, (*path, name), places)


def _ignored(workflow: Workflow, config: Mapping[str, Any], places: Places) -> Iterator[Finding]:
    name = "max_concurrent_agents_by_state"
    for state, limit in (_section(config, "agent").get(name) or {}).items():
        if not state_limits({state: limit}):
            message = f"agent.{name} has no positive number for {state!r}; the entry is ignored"
            yield _warn(places, IGNORED, ("agent", name, state), message, None)
    used = "command" in (workflow.agent.kind, *(choice.kind for choice in workflow.agent.by_label.values()))
    if workflow.agent.command is not None and not used:
        message = f"agent.command is not used by agent.kind {workflow.agent.kind}"
        yield _warn(places, IGNORED, ("agent", "command"), message, "write kind: command")


def _secrets(workflow: Workflow, config: Mapping[str, Any], places: Places) -> Iterator[Finding]:
    profile = workflow.tracker.profile
    for name in (*profile.secrets, *profile.optional_secrets):
        value = workflow.tracker.provider.get(name)
        if value and not is_reference(value):
            flat = name in OLDER_KEYS and name in _section(config, "tracker")
            path: KeyPath = ("tracker", name) if flat else ("tracker", "provider", name)
            message = f"{dotted(path)} is a secret written into the file"
            yield _warn(places, LITERAL_SECRET, path, message, "write $NAME and set that variable")
    url = workflow.repository.url if workflow.repository else ""
    if "://" in url and urlsplit(url).password:
        message = "repository.url has a password in it"
        yield _warn(places, LITERAL_SECRET, ("repository", "url"), message, "use a credential helper or a key")


def _about_state(places: Places, name: str, state: str, demand: str) -> Finding:
    path: KeyPath = ("tracker", "states", name)
    return places.finding(INVALID, path, f"tracker.states.{name} ({state}) {demand}")


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _warn(places: Places, category: str, path: KeyPath, message: str, cure: str | None) -> Finding:
    return places.finding(category, path, message, cure=cure, severity="warning")
