"""Issues as Linear says they are: by states, by ids, each whole with its nested pages.

Invariant: a list leaves out a record only where it is malformed, and says so; an id that is not in an answer is certainly
not in the project. What states are of which of Linear's types is learned here from every issue that is read.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from symphony.domain.errors import ConfigError, Rejected, Transient
from symphony.domain.issue import Issue, normalized_state
from symphony.telemetry.log import get_logger
from symphony.trackers.linear import documents, failures
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.pages import Page, follow, page_of
from symphony.trackers.linear.records import Malformed, Payload, Record, Routing, record_of
from symphony.trackers.linear.settings import LinearSettings

_ASKABLE = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[A-Za-z0-9]+-[0-9]+")
"""A UUID or an identifier; Linear refuses a request that asks for anything else."""
_MOST_TOLD = 1000
_NESTED = {
    "labels": (documents.MORE_LABELS, "SymphonyMoreLabels"),
    "inverseRelations": (documents.MORE_RELATIONS, "SymphonyMoreRelations"),
}

log = get_logger()


@dataclass(frozen=True, slots=True)
class Listing:
    """The issues in some states, why some were left out, and when Linear began to tell of them."""

    records: Sequence[Record]
    malformed: Sequence[Malformed]
    at: datetime | None


class Reads:
    """The issues of one scope; used by several threads at once."""

    def __init__(self, settings: LinearSettings, client: Client) -> None:
        self.slug_id = settings.slug_id
        self._client = client
        self._assignee = settings.assignee
        self._authors = settings.authors
        self._terminal = frozenset(map(normalized_state, settings.terminal_states))
        self._routing: Routing | None = None
        self._told: dict[str | None, str] = {}
        self._types: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def routing(self) -> Routing:
        """Give what decides over dispatch; who `me` is Linear is asked once. Raises: as `Client.ask`."""
        with self._lock:
            if self._routing is None:
                assignee = self._viewer() if self._assignee == "me" else self._assignee
                self._routing = Routing(self._terminal, assignee, self._authors)
            return self._routing

    def is_started(self, state: str) -> bool:
        """Tell whether Linear calls a state, in which some issue was seen, work under way."""
        return "started" in self._types.get(normalized_state(state), ())

    def by_states(self, states: Sequence[str]) -> Listing:
        """Read the issues in these states, page by page. Raises: as `Client.ask`."""
        wanted = state_filter(states)
        times: list[datetime | None] = []

        def ask(after: str | None) -> Page:
            variables = {"slugId": self.slug_id, "states": wanted, "after": after}
            answer = self._client.ask_at(documents.ISSUES_BY_STATES, variables, operation="SymphonyIssuesByStates")
            times.append(answer.at)
            return page_of(answer.data, "issues")

        found: dict[str, Record] = {}
        malformed: list[Malformed] = []
        for nodes in follow(ask(None), ask):
            for record in self.records(nodes, malformed):
                found[record.issue.id] = record
        return Listing(tuple(found.values()), tuple(malformed), times[0])

    def by_ids(self, ids: Collection[str]) -> dict[str, Record | Malformed]:
        """Read these issues, 50 a request; a malformed one is given as its error. Raises: as `Client.ask`."""
        askable = sorted({one for one in ids if _ASKABLE.fullmatch(one)})
        found: dict[str, Record | Malformed] = {}
        for start in range(0, len(askable), documents.ISSUE_PAGE):
            batch = askable[start : start + documents.ISSUE_PAGE]
            variables = {"slugId": self.slug_id, "ids": batch, "first": len(batch)}
            data = self._client.ask(documents.ISSUES_BY_IDS, variables, operation="SymphonyIssuesByIds")
            malformed: list[Malformed] = []
            for record in self.records(page_of(data, "issues").nodes, malformed):
                found[record.issue.id] = record
            for fault in malformed:
                if fault.issue_id is None:
                    raise fault
                found[fault.issue_id] = fault
        return found

    def records(self, nodes: Sequence[Payload], malformed: list[Malformed]) -> Iterator[Record]:
        """Read the issues of a page; those that are none are added to `malformed`. Raises: as `Client.ask`."""
        for node in nodes:
            try:
                yield self._record(node)
            except Malformed as fault:
                malformed.append(fault)
                self._tell(fault)

    def _tell(self, fault: Malformed) -> None:
        """Log what is left out once, not with each poll."""
        with self._lock:
            is_news = self._told.get(fault.issue_id) != fault.message
            self._told[fault.issue_id] = fault.message
            if len(self._told) > _MOST_TOLD:
                self._told.pop(next(iter(self._told)))
        if is_news:
            log.warning("tracker_issue_left_out", reason=fault.message)

    def issue_of(self, payload: Mapping[str, Any]) -> Issue:
        """Read a payload with the fields of `documents.ISSUE`. Raises: as `Client.ask`, also for a malformed one."""
        return self._record(payload).issue

    def _record(self, payload: Payload) -> Record:
        record = record_of(self._whole(payload), self.routing())
        if record.state_type is not None:
            self._types.setdefault(normalized_state(record.issue.state), set()).add(record.state_type)
        return record

    def _whole(self, payload: Payload) -> Payload:
        """Add what did not fit on the first page of an issue's labels and relations."""
        more = {}
        for name, (document, operation) in _NESTED.items():
            first = _first_page(payload, name)
            if first.after is not None:
                rest = self._nested(payload, name, document, operation)
                more[name] = {"nodes": [node for page in follow(first, rest) for node in page]}
        return {**payload, **more} if more else payload

    def _nested(self, payload: Payload, name: str, document: str, operation: str) -> Callable[[str], Page]:
        def ask(after: str) -> Page:
            try:
                data = self._client.ask(document, {"id": payload.get("id"), "after": after}, operation=operation)
            except Rejected as error:
                raise failures.malformed(f"no more {name} of {payload.get('identifier')}: {error}") from error
            issue = data.get("issue")
            return page_of(issue if isinstance(issue, Mapping) else {}, name)

        return ask

    def _viewer(self) -> str:
        data = self._client.ask(documents.VIEWER, {}, operation="SymphonyViewer")
        viewer = data.get("viewer")
        found = viewer.get("id") if isinstance(viewer, Mapping) else None
        if not isinstance(found, str) or not found:
            raise ConfigError(
                "Linear does not say who `me` is",
                place="tracker.provider.assignee",
                cure="write the user's id instead",
                category="invalid_tracker_config",
            )
        return found


def _first_page(payload: Payload, name: str) -> Page:
    """Read what an issue says of its labels or relations; one that has none of it has none. Raises: Malformed."""
    if not isinstance(payload.get(name), Mapping):
        return Page([], None)
    try:
        return page_of(payload, name)
    except Transient as error:
        called = payload.get("identifier") or payload.get("id")
        raise Malformed(f"Linear's issue {called} has unreadable {name}", payload) from error


def state_filter(states: Sequence[str]) -> list[dict[str, Any]]:
    """Ask for states by their names, whatever their case; Linear compares names exactly unless told otherwise."""
    return [{"name": {"eqIgnoreCase": name}} for name in dict.fromkeys(map(normalized_state, states))]
