"""What `symphony check` asks Linear, and the states that it can make there.

Invariant: a board that works gives no error; what is wrong is said with what there is instead. `create_states` makes what
the workflow names and a team of the project lacks, and nothing else, however often and by how many it is called.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from symphony.domain.errors import ConfigError, Rejected, SymphonyError
from symphony.domain.issue import normalized_state
from symphony.trackers.linear.answers import required_nodes, required_object, required_text
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.failures import Forbidden
from symphony.trackers.linear.identity import own_uuid
from symphony.trackers.linear.settings import TERMINAL_STATES, LinearSettings
from symphony.trackers.linear.writing_documents import CREATE_STATE, PROJECTS, SET_UP, STATES_OF_TEAM, USER
from symphony.trackers.protocol import Finding

_CALLED_OFF = re.compile(r"cancel|duplicate|won'?t|reject|abandon|dropped", re.IGNORECASE)
_COLORS = {"unstarted": "#e2e2e2", "started": "#f2c94c", "completed": "#5e6ad2", "canceled": "#95a2b3"}
_MOST_NAMED = 20
_CLOCKS_AGREE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Team:
    id: str
    key: str
    states: tuple[str, ...]

    def lacks(self, names: Collection[str]) -> list[str]:
        has = set(map(normalized_state, self.states))
        return [name for name in dict.fromkeys(names) if normalized_state(name) not in has]


@dataclass(frozen=True, slots=True)
class _Place:
    viewer: str
    project: str
    teams: tuple[_Team, ...]
    has_more_teams: bool
    ahead: timedelta
    """How far our clock is ahead of Linear's."""


def findings(client: Client, settings: LinearSettings, named_states: Collection[str]) -> list[Finding]:
    """Probe the key, the project, its teams and these states."""
    found = [
        Finding("warning", f"the tracker `linear` has no setting {key!r}", "remove it from tracker.provider")
        for key in settings.unknown_keys
    ]
    try:
        place = _look(client, settings.slug_id)
        found.append(_who(place))
        found += _clocks(place.ahead)
        found += _assignee(client, settings.assignee)
    except SymphonyError as fault:
        return [*found, Finding("error", fault.message, fault.cure if isinstance(fault, ConfigError) else None)]
    for team in place.teams:
        found += _states(team, settings, named_states)
    if place.has_more_teams:
        found.append(
            Finding("warning", f"the project has more than {len(place.teams)} teams: the others were not looked at")
        )
    return found


def _clocks(ahead: timedelta) -> list[Finding]:
    """Warn of a clock by which what people write may seem to be older than what they answer."""
    if abs(ahead) < _CLOCKS_AGREE:
        return []
    seconds = int(ahead.total_seconds())
    message = f"this machine's clock is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} Linear's"
    return [Finding("warning", message, "set it by NTP: beyond five minutes answers of people may not be heard")]


def create_states(client: Client, settings: LinearSettings, roles: Mapping[str, str]) -> Iterator[str]:
    """Make the states that teams of the project lack, and say which; `roles` are the workflow's `tracker.states`.

    Raises: ConfigError where the key may not; Rejected, Transient.
    """
    for team in _look(client, settings.slug_id).teams:
        for name in team.lacks(_wanted(team, settings, roles)):
            kind = _type_of(name, settings, roles)
            if _create(client, team, name, kind):
                yield f"made the state {name!r} (of type {kind}) in team {team.key}"


def _look(client: Client, slug_id: str) -> _Place:
    answer = client.ask_at(SET_UP, {"slug": slug_id}, operation="SymphonySetUp")
    data = answer.data
    viewer = required_object(data, "viewer")
    projects = required_nodes(data, "projects")
    if not projects:
        raise _no_project(client, slug_id)
    teams = required_object(projects[0], "teams")
    return _Place(
        viewer=f"{required_text(viewer, 'name')} ({required_text(viewer, 'email')})",
        project=required_text(projects[0], "name"),
        teams=tuple(sorted(map(_team, required_nodes(projects[0], "teams")), key=lambda team: team.key)),
        has_more_teams=required_object(teams, "pageInfo").get("hasNextPage") is True,
        ahead=datetime.now(UTC) - answer.at if answer.at is not None else timedelta(),
    )


def _team(node: Mapping[str, Any]) -> _Team:
    in_order = sorted(required_nodes(node, "states"), key=lambda state: state.get("position") or 0)
    states = tuple(required_text(state, "name") for state in in_order)
    return _Team(required_text(node, "id"), required_text(node, "key"), states)


def _no_project(client: Client, slug_id: str) -> ConfigError:
    there = required_nodes(client.ask(PROJECTS, {}, operation="SymphonyProjects"), "projects")
    named = [f"{required_text(node, 'slugId')} ({required_text(node, 'name')})" for node in there]
    return ConfigError(
        f"the key sees no project with the slug {slug_id}",
        place="tracker.provider.project_slug",
        cure=f"use one of: {', '.join(named)}" if named else "let the key's user into a team that has a project",
        category="invalid_tracker_config",
    )


def _who(place: _Place) -> Finding:
    teams = ", ".join(team.key for team in place.teams)
    return Finding("note", f"acts as {place.viewer} on the project {place.project!r} of {teams}")


def _assignee(client: Client, assignee: str | None) -> list[Finding]:
    if assignee is None or assignee == "me":
        return []
    there = required_nodes(client.ask(USER, {"id": assignee}, operation="SymphonyUserThere"), "users")
    if any(node.get("active") for node in there):
        return []
    cure = "set tracker.provider.assignee to the id of a user, or to `me`"
    return [Finding("error", f"no active user has the id {assignee}: no issue would be started", cure)]


def _states(team: _Team, settings: LinearSettings, named: Collection[str]) -> list[Finding]:
    """Find the names that mean nothing in a team: an error where Symphony could not move, or nothing could start."""
    grave = team.lacks(named)
    active = [name for name in team.lacks(settings.active_states) if name not in grave]
    light = [] if len(active) == len(settings.active_states) else active
    grave += [name for name in active if name not in light]
    if len(team.lacks(settings.terminal_states)) == len(settings.terminal_states):
        light += settings.terminal_states
    weighed: list[tuple[Literal["error", "warning"], list[str]]] = [("error", grave), ("warning", light)]
    return [_lacking(level, team, names) for level, names in weighed if names]


def _lacking(level: Literal["error", "warning"], team: _Team, names: list[str]) -> Finding:
    there = ", ".join(team.states[:_MOST_NAMED])
    message = f"team {team.key} has no state {', '.join(map(repr, names))}; it has: {there}"
    return Finding(level, message, "use a name that it has, or let `symphony check --create-states` make them")


def _wanted(team: _Team, settings: LinearSettings, roles: Mapping[str, str]) -> list[str]:
    """Give the names that a team should have; of the terminal ones by default a few are spellings of each other."""
    terminal = settings.terminal_states
    is_default = set(terminal) == set(TERMINAL_STATES)
    has_some = len(team.lacks(terminal)) < len(terminal)
    return [*settings.active_states, *roles.values(), *(() if is_default and has_some else terminal)]


def _type_of(name: str, settings: LinearSettings, roles: Mapping[str, str]) -> str:
    """Say what Linear shall call a state: one that waits to be started holds its issue while a blocker is open."""
    state = normalized_state(name)
    if state in map(normalized_state, settings.terminal_states):
        return "canceled" if _CALLED_OFF.search(name) else "completed"
    if state in map(normalized_state, roles.values()):
        return "started"
    active = [normalized_state(one) for one in settings.active_states]
    started = normalized_state(roles.get("started", ""))
    first = active.index(started) if started in active else 1
    return "unstarted" if state in active[:first] else "started"


def _create(client: Client, team: _Team, name: str, kind: str) -> bool:
    """Make a state; False where somebody else has just made it."""
    state_id = own_uuid(f"state:{team.id}:{normalized_state(name)}")
    wanted = {"id": state_id, "teamId": team.id, "name": name.strip(), "type": kind, "color": _COLORS[kind]}
    try:
        client.ask(CREATE_STATE, {"input": wanted}, operation="SymphonyCreateState")
    except Forbidden:
        raise ConfigError(
            f"the key may not make the state {name!r} in team {team.key}",
            place="tracker.provider.api_key",
            cure="use the key of an admin, or make it in Linear under the team's settings, Issue statuses",
            category="invalid_tracker_config",
        ) from None
    except Rejected as refusal:
        data = client.ask(STATES_OF_TEAM, {"id": team.id}, operation="SymphonyStatesOfTeam")
        states = required_nodes(required_object(data, "team"), "states")
        if not _Team(team.id, team.key, tuple(required_text(one, "name") for one in states)).lacks([name]):
            return False
        raise Rejected(f"team {team.key} takes no state {name!r}: {refusal.message}", category="tracker_response") from None
    return True
