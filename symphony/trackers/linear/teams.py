"""What writes remember of the teams of a workspace: the ids of their states and labels, and which comments are there.

Invariant: what is remembered only saves requests: a name that is not known, or an id that Linear does not take any more, is
asked for again, and so is everything after a few minutes, since people rename states and labels. Used by several threads at
once. Relied on by `writes`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from symphony.domain.errors import Rejected
from symphony.domain.issue import normalized_state
from symphony.trackers.linear.answers import required_nodes, required_object, required_text
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.failures import RESPONSE
from symphony.trackers.linear.writing_documents import CREATE_LABEL, LABEL_THERE, STATES_OF_TEAM

_MOST_COMMENTS = 5_000
_REMEMBERED_S = 300.0
_LABEL_COLOR = "#5e6ad2"


class Teams:
    """The memory of one scope's writes; `slug_id` names the project."""

    def __init__(self, slug_id: str) -> None:
        self.slug_id = slug_id
        self._lock = threading.Lock()
        self._states: dict[str, dict[str, str]] = {}
        self._labels: dict[tuple[str, str], str] = {}
        self._comments: OrderedDict[str, None] = OrderedDict()
        self._begun = time.monotonic()

    def state_id(self, client: Client, team: str, name: str) -> str:
        """Give the id of a team's state by its name. Raises: Rejected where the team has none, naming those that it has."""
        wanted = normalized_state(name)
        with self._lock:
            self._age()
            known = self._states.get(team, {}).get(wanted)
        if known is not None:
            return known
        data = client.ask(STATES_OF_TEAM, {"id": team}, operation="SymphonyStatesOfTeam")
        states = {
            required_text(node, "name"): required_text(node, "id")
            for node in required_nodes(required_object(data, "team"), "states")
        }
        with self._lock:
            self._states[team] = found = {normalized_state(one): state_id for one, state_id in states.items()}
        if wanted not in found:
            message = f"the issue's team has no state {name!r}; it has: {', '.join(states)}"
            raise Rejected(message, category=RESPONSE)
        return found[wanted]

    def label_id(self, client: Client, team: str, name: str) -> str:
        """Give the id of the label of this name that a team's issues can carry; it is made where there is none."""
        place = team, name.casefold()
        with self._lock:
            self._age()
            known = self._labels.get(place)
        if known is None:
            known = _label(client, team, name) or _new_label(client, team, name)
            with self._lock:
                self._labels[place] = known
        return known

    def _age(self) -> None:
        if time.monotonic() - self._begun >= _REMEMBERED_S:
            self._begun = time.monotonic()
            self._states.clear()
            self._labels.clear()

    def forget(self, team: str) -> None:
        """Ask for a team's states and labels again when they are next needed."""
        with self._lock:
            self._states.pop(team, None)
            self._labels = {place: label for place, label in self._labels.items() if place[0] != team}

    def has_comment(self, comment: str) -> bool:
        """Tell whether a comment of this id is known to be there."""
        with self._lock:
            return comment in self._comments

    def note_comment(self, comment: str) -> None:
        """Remember that a comment is there."""
        with self._lock:
            self._comments[comment] = None
            self._comments.move_to_end(comment)
            while len(self._comments) > _MOST_COMMENTS:
                self._comments.popitem(last=False)

    def forget_comment(self, comment: str) -> None:
        """Remember no longer that a comment is there."""
        with self._lock:
            self._comments.pop(comment, None)


def _label(client: Client, team: str, name: str) -> str | None:
    """Find a label of the team's own, or else of the whole workspace; a group cannot be put on an issue."""
    data = client.ask(LABEL_THERE, {"name": name, "team": team}, operation="SymphonyLabelThere")
    found = [node for node in required_nodes(data, "issueLabels") if not node.get("isGroup")]
    best = min(found, key=lambda node: not node.get("team"), default=None)
    return required_text(best, "id") if best is not None else None


def _new_label(client: Client, team: str, name: str) -> str:
    """Make a team's label; two who make it at once get one, since its name is taken by the first."""
    wanted = {"name": name, "teamId": team, "color": _LABEL_COLOR}
    try:
        data = client.ask(CREATE_LABEL, {"input": wanted}, operation="SymphonyCreateLabel")
    except Rejected:
        made = _label(client, team, name)
        if made is None:
            raise
        return made
    return required_text(required_object(required_object(data, "issueLabelCreate"), "issueLabel"), "id")
