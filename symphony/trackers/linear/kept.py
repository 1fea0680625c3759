"""What is kept of a board between two polls, and the sweep that holds it against all of the board. No I/O.

Invariants: nothing is kept but the issues in the states that are asked for, and the watched ones; an older reading of an
issue never replaces a newer one; a sweep drops an issue only when all of its pages were read and none has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from symphony.domain.errors import Transient
from symphony.domain.issue import normalized_state
from symphony.trackers.linear.pages import PAGINATION, Page, page_of
from symphony.trackers.linear.records import Malformed, Payload, Record, instant, is_visible, text_of
from symphony.trackers.protocol import Board, FetchedIssues


@dataclass(frozen=True, slots=True)
class Spoken:
    """The comment on an issue that was written or edited last, but for ours."""

    comment_id: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life of a watched issue, and what was said there last, since a comment changes no issue on Linear."""

    updated_at: datetime | None
    state: str | None
    spoken: Spoken | None


class Kept:
    """The issues in some states, and the watched ones, as they were last read."""

    def __init__(self, states: frozenset[str], terminal: frozenset[str]) -> None:
        self.states = states
        self._terminal = terminal
        self._records: dict[str, Record] = {}
        self._malformed: dict[str, str] = {}
        self._spoken: dict[str, datetime] = {}

    def board(self, watched: Collection[str]) -> Board:
        """Give what a poll answers, and forget what is neither listed nor watched."""
        self._records = {
            issue_id: record for issue_id, record in self._records.items() if self._is_listed(record) or issue_id in watched
        }
        listed = [record for record in self._records.values() if self._is_listed(record)]
        others = [record for record in self._records.values() if not self._is_listed(record)]
        held = {record.issue.id: record.reason for record in listed if record.reason is not None}
        issues = FetchedIssues(tuple(record.issue for record in listed), tuple(self._malformed.values()), held)
        return Board(issues, tuple(record.issue for record in others), dict(self._spoken))

    def __contains__(self, issue_id: str) -> bool:
        """Tell whether an issue is known."""
        return issue_id in self._records

    def __len__(self) -> int:
        """Count what is known."""
        return len(self._records)

    def take(self, record: Record) -> None:
        """Take in an issue as it was read; what is put away is gone."""
        issue, known = record.issue, self._records.get(record.issue.id)
        if known is not None and _is_newer(known.issue.updated_at, issue.updated_at):
            return
        self.drop(issue.id)
        if not record.is_put_away:
            self._records[issue.id] = record

    def may_be_there(self, issue_id: str, node: Payload | None, *, slug_id: str, recent: datetime) -> bool:
        """Tell whether an issue that gave no sign of life may still be there, by what is said of it wherever it is now.

        What is said may be older than what is known, also from before the issue was made, if that is `recent`.
        """
        known = self._records.get(issue_id)
        if known is None:
            return False
        if node is None:
            return _is_newer(known.issue.created_at, recent)
        return is_visible(node, slug_id) or _is_newer(known.issue.updated_at, instant(node.get("updatedAt")))

    def take_malformed(self, fault: Malformed) -> None:
        """Leave an issue out that cannot be read, and tell of it where it may be one that is asked for."""
        if fault.issue_id is None:
            return
        self.drop(fault.issue_id)
        if fault.state is None or normalized_state(fault.state) in self.states:
            self._malformed[fault.issue_id] = fault.message

    def drop(self, issue_id: str) -> None:
        """Forget an issue."""
        self._records.pop(issue_id, None)
        self._malformed.pop(issue_id, None)

    def take_signs(self, signs: Mapping[str, Sign]) -> list[str]:
        """Take in what is said of watched issues, and give those that must be read again."""
        self._spoken = {issue_id: sign.spoken.updated_at for issue_id, sign in signs.items() if sign.spoken is not None}
        return [issue_id for issue_id, sign in signs.items() if not self._is_as(issue_id, sign)]

    def _is_as(self, issue_id: str, sign: Sign) -> bool:
        known = self._records.get(issue_id)
        if known is None or _is_newer(sign.updated_at, known.issue.updated_at):
            return False
        return sign.updated_at != known.issue.updated_at or sign.state == known.issue.state

    def blockers(self) -> list[str]:
        """Name the issues that block listed ones which have not begun, whatever their states: an end may be taken back."""
        waiting = [one for one in self._records.values() if one.waits_for_blockers and self._is_listed(one)]
        return sorted({one.id for record in waiting for one in record.issue.blocked_by if one.id is not None})

    def take_states(self, states: Mapping[str, str]) -> None:
        """Take in the states, by id, that blockers have now."""
        for issue_id, record in self._records.items():
            if record.waits_for_blockers:
                self._records[issue_id] = record.with_states(states, self._terminal)

    def differs(self, node: Payload, issue_id: str) -> bool:
        """Tell whether an issue must be read again for what a sweep saw of it. Raises: Transient."""
        known = self._records.get(issue_id)
        if known is None or _is_newer(instant(node.get("updatedAt")), known.issue.updated_at):
            return True
        relations = page_of(node, "inverseRelations").nodes  # where there are more than it tells of they differ, too
        return {text_of(one, "id") for one in relations} != set(known.relations)

    def keep_only(self, seen: Collection[str]) -> None:
        """Forget every listed issue, and every malformed one, that is not among these."""
        gone = [one for one, record in self._records.items() if self._is_listed(record) and one not in seen]
        for issue_id in (*gone, *(one for one in self._malformed if one not in seen)):
            self.drop(issue_id)

    def _is_listed(self, record: Record) -> bool:
        return normalized_state(record.issue.state) in self.states


class Sweep:
    """A walk over all of the board, a few pages a poll, that finds what no change tells of."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.after: str | None = None
        self.is_complete = False
        self.unread: dict[str, None] = {}
        """What must be read again, in the order in which it was found."""
        self._seen: set[str] = set()
        self._told: set[str] = set()
        self._cursors: set[str] = set()

    def note_told(self, issue_ids: Iterable[str]) -> None:
        """Count issues as seen that are told of meanwhile: their pages may have been read before, or be older than that."""
        self._told.update(issue_ids)

    def was_told(self, issue_id: str) -> bool:
        """Tell whether an issue is known to be there, whatever an answer that is behind may lack."""
        return issue_id in self._told

    def take(self, page: Page, kept: Kept) -> None:
        """Hold a page against what is kept; with the last one forget what no page had. Raises: Transient."""
        if page.after in self._cursors or (self._cursors and not page.nodes):
            raise Transient("Linear's pages of the board lead nowhere", category=PAGINATION)
        for node in page.nodes:
            issue_id = text_of(node, "id")
            if issue_id is not None and kept.differs(node, issue_id):
                self.unread[issue_id] = None
            self._seen.add(issue_id or "")
        self.after = page.after
        if page.after is not None:
            self._cursors.add(page.after)
            return
        self.is_complete = True
        kept.keep_only(self._seen | self._told)


def _is_newer(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one > other
