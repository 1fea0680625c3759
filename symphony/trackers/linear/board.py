"""The board kept between polls: in the common case one request tells all that has changed on it.

Invariants: what is listed is complete as of the poll, but for what Linear tells of by mere absence; a sweep finds
that every few minutes. A watched issue is asked for with every poll, so one that is in no part of the answer is certainly
gone. A request that fails changes nothing; after an error that explains nothing the board is read anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from symphony.domain.errors import Transient
from symphony.domain.issue import normalized_state
from symphony.telemetry.log import get_logger
from symphony.trackers.linear import documents
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.failures import malformed
from symphony.trackers.linear.identity import is_own_uuid
from symphony.trackers.linear.kept import Kept, Sign, Spoken, Sweep
from symphony.trackers.linear.pages import Page, follow, page_of
from symphony.trackers.linear.reads import Reads, state_filter
from symphony.trackers.linear.records import Malformed, Payload, Record, instant, nodes_of, object_of, text_of, written
from symphony.trackers.protocol import Board, FetchedIssues

OVERLAP = timedelta(seconds=60)
"""How long Linear may take to show a change in what it answers."""
SWEEP_EVERY_S = 180.0
"""From one sweep's beginning to the next: the walk itself takes a few polls, and five minutes in all are promised."""
OLD_S = 900.0
"""From when on what is kept is held against all of the board before it is told: others may have polled meanwhile."""
_LONG_ENOUGH_S = 1.0
"""What is no news is put off to the next poll once this one has taken so long."""
_FEW = 25
_MOST_PAGES = 20
"""Of changes; a board that has changed more than that is read anew."""
_FRESH_S = 5.0
_OPERATION = "SymphonyBoard"

log = get_logger()


@dataclass(frozen=True, slots=True)
class _News:
    """What a poll's request told."""

    at: datetime
    changed: Sequence[Record]
    malformed: Sequence[Malformed]
    signs: Mapping[str, Sign]
    states: Mapping[str, str]
    sweep: Page | None


class LinearBoard:
    """One scope's board in the memory of this process; used by several threads, one after the other."""

    def __init__(self, reads: Reads, client: Client, *, sweep_every_s: float = SWEEP_EVERY_S) -> None:
        self.sweep_every_s = sweep_every_s
        self._reads = reads
        self._client = client
        self.clock: Callable[[], float] = time.monotonic
        self._lock = threading.Lock()
        self._kept: Kept | None = None
        self._since = datetime.min.replace(tzinfo=UTC)
        self._changed = 0
        self._swept = 0.0
        self._sweep: Sweep | None = None
        self._turn = 0
        self._newest: dict[str, Spoken | None] = {}
        self._told = 0.0

    def fetch(self, states: Sequence[str], watched: Collection[str]) -> Board:
        """Give what a poll needs. Raises: as `Client.ask`."""
        wanted = frozenset(map(normalized_state, states))
        if not wanted:
            return Board(FetchedIssues(), tuple(record.issue for record in self._read(watched)))
        with self._lock:
            try:
                if self._kept is None or self._kept.states != wanted:
                    return self._begin(states, wanted, watched)
                return self._go_on(self._kept, states, watched)
            except Transient:
                raise
            except BaseException:
                self._kept = None
                raise

    def newest_comments(self) -> Mapping[str, Spoken | None]:
        """Give what was said last on each watched issue, once and right after the poll that told of it."""
        with self._lock:
            newest, self._newest = self._newest, {}
            return newest if self.clock() - self._told < _FRESH_S else {}

    def count(self) -> int:
        """Count the issues that are kept."""
        return len(self._kept) if self._kept is not None else 0

    def _begin(self, states: Sequence[str], wanted: frozenset[str], watched: Collection[str]) -> Board:
        """Read all of the board."""
        began = self.clock()
        listing = self._reads.by_states(states)
        kept = Kept(wanted, self._reads.routing().terminal)
        for record in listing.records:
            kept.take(record)
        for fault in listing.malformed:
            kept.take_malformed(fault)
        for record in self._read([one for one in watched if one not in kept]):
            kept.take(record)
        self._kept, self._sweep, self._swept, self._changed = kept, None, began, 0
        self._since, self._newest = _time_of(listing.at) - OVERLAP, {}
        return kept.board(watched)

    def _go_on(self, kept: Kept, states: Sequence[str], watched: Collection[str]) -> Board:
        """Read what has changed, and sweep some of the board where that is due."""
        began = self.clock()
        sweep = self._sweep or (Sweep(began) if began - self._swept >= self.sweep_every_s else None)
        news = self._ask(kept, states, watched, sweep)
        if news is None:
            log.info("board read anew", reason="too much has changed", project=self._reads.slug_id)
            return self._begin(states, kept.states, watched)
        for record in news.changed:
            kept.take(record)
        for fault in news.malformed:
            kept.take_malformed(fault)
        kept.take_states(news.states)
        self._take_signs(kept, watched, news)
        self._newest = {issue_id: sign.spoken for issue_id, sign in news.signs.items()}
        self._told = began
        self._since = max(self._since, news.at - OVERLAP)
        self._changed = len(news.changed)
        if sweep is not None:
            sweep.note_told((*(record.issue.id for record in news.changed), *(one for one in watched if one in kept)))
            self._sweep = sweep
            self._walk(kept, states, sweep, news.sweep, began)
        return kept.board(watched)

    def _ask(self, kept: Kept, states: Sequence[str], watched: Collection[str], sweep: Sweep | None) -> _News | None:
        """Ask for everything at once; None: more has changed than is worth following."""
        # A page is paid for by its size, full or not, and what does not fit is a second request.
        first = min(documents.MOST_CHANGES, max(_FEW, self._changed + _FEW // 2))
        variables: dict[str, Any] = {"slugId": self._reads.slug_id, "since": written(self._since), "first": first}
        parts = [documents.CHANGES]
        ids = sorted(watched)
        if ids:
            parts.append(documents.WATCHED)
            variables |= _few(ids[: documents.LIGHT_PAGE], "watched")
        if blockers := self._some(kept.blockers()):
            parts.append(documents.BLOCKERS)
            variables |= _few(blockers, "blockers")
        if sweep is not None and not sweep.is_complete:
            parts.append(documents.SWEEP)
            variables |= _sweeping(states, sweep, len(kept))
        answer = self._client.ask_at(documents.board(*parts), variables, operation=_OPERATION)
        changed: list[Record] = []
        faults: list[Malformed] = []
        pages = follow(page_of(answer.data, "changes"), lambda after: self._more_changes(variables, after))
        for number, nodes in enumerate(pages):
            if number == _MOST_PAGES:
                return None
            changed += self._reads.records(nodes, faults)
        signs = _signs(page_of(answer.data, "watched").nodes) if ids else {}
        for start in range(documents.LIGHT_PAGE, len(ids), documents.LIGHT_PAGE):
            signs |= self._more_signs(ids[start : start + documents.LIGHT_PAGE])
        return _News(
            at=_time_of(answer.at),
            changed=changed,
            malformed=faults,
            signs=signs,
            states=_states(page_of(answer.data, "blockers").nodes) if blockers else {},
            sweep=page_of(answer.data, "sweep") if documents.SWEEP in parts else None,
        )

    def _more_changes(self, variables: Mapping[str, Any], after: str) -> Page:
        wanted = {name: variables[name] for name in ("slugId", "since")}
        wanted |= {"first": documents.ISSUE_PAGE, "after": after}
        return page_of(self._client.ask(documents.board(documents.CHANGES), wanted, operation=_OPERATION), "changes")

    def _more_signs(self, ids: list[str]) -> dict[str, Sign]:
        variables = {"slugId": self._reads.slug_id, **_few(ids, "watched")}
        data = self._client.ask(documents.board(documents.WATCHED), variables, operation=_OPERATION)
        return _signs(page_of(data, "watched").nodes)

    def _take_signs(self, kept: Kept, watched: Collection[str], news: _News) -> None:
        """Forget the watched issues that are gone; read those again of which more is new. Raises: Transient."""
        silent = [issue_id for issue_id in watched if issue_id not in news.signs]
        found = self._looked_for([issue_id for issue_id in silent if issue_id in kept])
        for issue_id in silent:
            place, recent = found.get(issue_id), news.at - OVERLAP
            if not kept.may_be_there(issue_id, place, slug_id=self._reads.slug_id, recent=recent):
                kept.drop(issue_id)
        unread = kept.take_signs(news.signs)
        for record in self._read(unread):
            kept.take(record)
        if any(issue_id not in kept for issue_id in unread):
            raise malformed("an issue is told of, and not given")

    def _looked_for(self, ids: list[str]) -> dict[str | None, Payload]:
        """Ask where issues are that gave no sign of life: an answer that is older than they are lacks them, too."""
        found: dict[str | None, Payload] = {}
        for start in range(0, len(ids), documents.LIGHT_PAGE):
            variables = _few(ids[start : start + documents.LIGHT_PAGE], "watched")
            data = self._client.ask(documents.WHEREABOUTS, variables, operation="SymphonyWhereabouts")
            found |= {text_of(node, "id"): node for node in page_of(data, "issues").nodes}
        return found

    def _walk(self, kept: Kept, states: Sequence[str], sweep: Sweep, page: Page | None, began: float) -> None:
        """Go on with a sweep, by a step at least, for as long as a poll may take; where it fails it begins again."""
        try:
            if page is not None:
                sweep.take(page, kept)
            goes_on = True
            while (sweep.unread or not sweep.is_complete) and goes_on:
                self._step(kept, states, sweep)
                goes_on = began - self._swept > OLD_S or self.clock() - began < _LONG_ENOUGH_S
        except Transient as error:
            log.warning("sweep begun again", reason=str(error), project=self._reads.slug_id)
            self._sweep = None
            return
        if sweep.is_complete and not sweep.unread:
            self._sweep, self._swept = None, sweep.began

    def _step(self, kept: Kept, states: Sequence[str], sweep: Sweep) -> None:
        if not sweep.is_complete:
            variables = {"slugId": self._reads.slug_id, **_sweeping(states, sweep, len(kept))}
            data = self._client.ask(documents.board(documents.SWEEP), variables, operation=_OPERATION)
            sweep.take(page_of(data, "sweep"), kept)
            return
        batch = list(sweep.unread)[: documents.ISSUE_PAGE]
        found = self._reads.by_ids(batch)
        for issue_id in batch:
            del sweep.unread[issue_id]
            match found.get(issue_id):
                case Record() as record:
                    kept.take(record)
                case Malformed() as fault:
                    kept.take_malformed(fault)
                case None if not sweep.was_told(issue_id):
                    kept.drop(issue_id)

    def _read(self, ids: Collection[str]) -> list[Record]:
        """Read issues by their ids. Raises: as `Client.ask`, also for one malformed issue."""
        found = self._reads.by_ids(ids).values() if ids else ()
        for one in found:
            if isinstance(one, Malformed):
                raise one
        return [one for one in found if isinstance(one, Record)]

    def _some(self, ids: list[str]) -> list[str]:
        """Give as many ids as go into one request: where there are more, others with each poll."""
        if len(ids) <= documents.LIGHT_PAGE:
            return ids
        start = self._turn * documents.LIGHT_PAGE % len(ids)
        self._turn += 1
        return (ids + ids)[start : start + documents.LIGHT_PAGE]


def _few(ids: list[str], name: str) -> dict[str, Any]:
    return {name: ids, f"{name}First": len(ids)}


def _sweeping(states: Sequence[str], sweep: Sweep, known: int) -> dict[str, Any]:
    first = min(documents.LIGHT_PAGE, max(documents.ISSUE_PAGE, known + _FEW))
    return {"states": state_filter(states), "sweepFirst": first, "sweepAfter": sweep.after}


def _signs(nodes: Sequence[Payload]) -> dict[str, Sign]:
    found = {}
    for node in nodes:
        issue_id = text_of(node, "id")
        if issue_id is None:
            raise malformed("an issue without an id")
        state = text_of(object_of(node, "state"), "name")
        found[issue_id] = Sign(instant(node.get("updatedAt")), state, _spoken(nodes_of(node, "comments")))
    return found


def _spoken(newest_first: Sequence[Payload]) -> Spoken | None:
    for node in newest_first:
        found, created, updated = text_of(node, "id"), instant(node.get("createdAt")), instant(node.get("updatedAt"))
        if found and created and updated and not is_own_uuid(found):
            return Spoken(found, created, updated)
    return None


def _states(nodes: Sequence[Payload]) -> dict[str, str]:
    pairs = ((text_of(node, "id"), text_of(object_of(node, "state"), "name")) for node in nodes)
    return {issue_id: state for issue_id, state in pairs if issue_id is not None and state is not None}


def _time_of(at: datetime | None) -> datetime:
    """Give Linear's time; where something on the way took it out of the answer, ours."""
    return at or datetime.now(UTC)
