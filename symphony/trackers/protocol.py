"""What an issue tracker must be able to do for Symphony, whoever makes it.

Invariant: a call either answers completely or raises; what a tracker could not say never reads as "the issue is gone".
The engine and the stages rely on this page only; tests/contract runs one suite over every adapter. The categories of
the errors are those of the specification, section 11.4; docs/trackers.md says which class carries which.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from symphony.domain.errors import Rejected
from symphony.domain.issue import Comment, Issue

StateKind = Literal["active", "terminal", "started", "other"]
OWN_COMMENT = "symphony:"
MOST_PICTURES = 10
MOST_PICTURE_BYTES = 5 << 20  # of one
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
ISSUE_NOT_FOUND = "issue_not_found"
SESSION_NOT_FOUND = "session_not_found"


@dataclass(frozen=True, slots=True)
class FetchedIssues:
    """The issues of a poll, a sentence for each record left out, and why an issue (by id) may not be dispatched."""

    issues: tuple[Issue, ...] = ()
    omitted: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Board:
    """What one poll saw: the issues in the states that were asked for, and the watched ones that are still visible."""

    listed: FetchedIssues
    watched: tuple[Issue, ...] = ()
    spoken: Mapping[str, datetime] = field(default_factory=dict)
    """When somebody last wrote a comment on an issue, by its id, where that changes no `updated_at`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of an issue, fetched from where the tracker itself keeps it; `name` is what the description calls it."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a move, and the issue as it stands now."""

    outcome: Literal["applied", "already", "overruled"]
    issue: Issue


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `check` saw; an error keeps the tracker from working, a note is nothing to mend."""

    level: Literal["error", "warning", "note"]
    message: str
    cure: str | None = None


class Tracker(Protocol):
    """A tracker's scope, opened for one workflow; called from several threads at once."""

    @property
    def kind(self) -> str:
        """The value of `tracker.kind`."""

    @property
    def active_states(self) -> tuple[str, ...]:
        """The states as configured, or the adapter's default."""

    @property
    def terminal_states(self) -> tuple[str, ...]:
        """The states as configured, or the adapter's default."""

    @property
    def secret_environment_names(self) -> frozenset[str]:
        """The variables that an agent's environment must not have."""

    def fetch_issues_by_states(self, states: Sequence[str]) -> FetchedIssues:
        """Fetch the issues in these states, dispatchable or not; a malformed record is left out and told of.

        No states: nothing, without a request. Raises: Transient, Rejected, ConfigError.
        """

    def fetch_issues_by_ids(self, ids: Collection[str]) -> tuple[Issue, ...]:
        """Fetch full snapshots; an id that is missing in the answer is certainly no longer visible.

        No ids: nothing, without a request. Raises: Transient, Rejected, ConfigError; also for one malformed record.
        """

    def fetch_board(self, states: Sequence[str], *, watched: Collection[str]) -> Board:
        """Fetch what a poll needs in as few requests as the tracker can: both of the above at once.

        Every issue in these states, and fresh snapshots of the watched ones: a watched id that is in neither part of
        the answer is certainly no longer visible. Raises: as the two.
        """

    def fetch_new_comments(self, wanted: Sequence[tuple[Issue, datetime]]) -> Mapping[str, tuple[Comment, ...]]:
        """Fetch the comments since an instant of each issue, by its id, oldest first, of those who may steer a run.

        Nothing wanted: nothing, without a request. An issue that is gone, or of which the answer cannot be all, is left
        out. Raises: Transient.
        """

    def fetch_comments(self, issue: Issue, *, since: datetime | None = None) -> tuple[Comment, ...]:
        """Fetch comments, oldest first; `since` may leave out older ones, but none whose time is unknown.

        Raises: Rejected("issue_not_found"), Transient.
        """

    def fetch_pictures(self, issue: Issue) -> tuple[Picture, ...]:
        """Fetch the pictures that the issue's description shows, at most 10 of at most 5 MiB, from its own places.

        A picture anywhere else stays the text that names it. Raises: Transient.
        """

    def move(self, issue_id: str, to: str, *, allowed_from: Collection[str], unless_since: datetime | None = None) -> Moved:
        """Move an issue, unless it stands in a state that the move does not name: then a person overruled it.

        `unless_since` is an instant of the tracker's own clock, where the move has been wanted since then: an issue that
        was in `to` later and is elsewhere now was moved by this very move, of which no answer came, and then by a person.
        A tracker that keeps no history of states cannot tell.

        Raises: Rejected("issue_not_found"), Transient.
        """

    def comment(self, issue_id: str, *, key: str, body: str) -> None:
        """Make the issue have one comment with this key and body: look it up, then write, edit or leave it.

        Raises: Rejected("issue_not_found"), Transient.
        """

    def comment_id(self, key: str) -> str:
        """Give the id that the comment with this key has in what the fetches answer."""

    def poll_factor(self) -> float:
        """Say by how much the interval between polls should grow now, for the tracker's limits; 1: not at all."""

    def state_kind(self, state: str) -> StateKind:
        """Say what a state is: as configured; else `started` where the tracker itself calls it work under way."""

    def check(self, *, named_states: Collection[str] = ()) -> list[Finding]:
        """Probe the tracker: reachable, permitted, and are these states (and the configured ones) known to it?"""


Situation = Literal["working", "review", "blocked", "failed", "landed"]
"""Where an issue's run stands, as far as people on a board should see it."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Something to be found from an issue: a place (`url`), or a text that the tracker shall keep (`content`)."""

    title: str
    subtitle: str = ""
    url: str | None = None
    content: str | None = None


@runtime_checkable
class Annotates(Protocol):
    """What a tracker may be able to do besides; `TrackerProfile.annotates` says which kinds are."""

    def attach(self, issue_id: str, *, key: str, attachment: Attachment) -> None:
        """Make the issue have one attachment with this key.

        Raises: Rejected("issue_not_found"), Transient.
        """

    def mark(self, issue_id: str, situation: Situation | None) -> None:
        """Make the issue carry the label that is configured for this situation, and none of the other situations'.

        None: none at all. Where no labels are configured nothing is asked of the tracker.

        Raises: Rejected("issue_not_found"), Transient.
        """


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person said in a session; where the tracker shows it as a comment, too, it has that comment's id."""

    comment: Comment
    is_stop: bool
    """Whether it wants the agent to stop, whatever it says."""


@runtime_checkable
class Converses(Protocol):
    """What a tracker may be able to do besides: sessions, in which people and the agent of an issue talk."""

    def say(self, session_id: str, *, key: str, content: Mapping[str, Any], ephemeral: bool) -> None:
        """Say something in a session, once for each key; `ephemeral` is shown until something else is said.

        `content` has a `type`: thought, elicitation (a question), response or error (both end what was asked for) with a
        `body`, or action with `action`, `parameter` and maybe `result`; texts are Markdown and not empty.

        Raises: Rejected("session_not_found"), Transient, ConfigError.
        """

    def prompts(self, session_ids: Collection[str], *, since: datetime) -> Mapping[str, tuple[Prompt, ...]]:
        """Fetch what those who may steer a run said in these sessions since an instant, oldest first, by session.

        One in which nothing was said is left out. Raises: Transient, Rejected, ConfigError.
        """


@runtime_checkable
class MakesStates(Protocol):
    """What a tracker may be able to do besides, where states are set up before issues can be in them."""

    def create_states(self, roles: Mapping[str, str]) -> Iterator[str]:
        """Make the states that the workflow names and the scope lacks, and say of each when it is made.

        `roles` are the workflow's `tracker.states`. Raises: ConfigError where it may not; Rejected, Transient.
        """


@dataclass(frozen=True, slots=True)
class Mandate:
    """For whom an agent acts with the tracker's own tools: its issue, its run, and what it must leave alone.

    Guarded: it reads inside the scope, and writes to its own issue and to issues that it makes; never to what is reserved.
    """

    issue: Issue
    run: str
    is_guarded: bool
    reserved_states: frozenset[str] = frozenset()
    reserved_labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tracker's own tool answered: JSON for the agent, and whether that is what it asked for."""

    text: str
    success: bool


@dataclass(frozen=True, slots=True)
class NativeTool:
    """A tracker's own tool, whatever kind of agent calls it; `parameters` is the JSON schema of what `run` takes.

    `run` answers whatever it is given, and never raises for what a tracker says.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Callable[[object], ToolAnswer]


@runtime_checkable
class ServesAgents(Protocol):
    """What a tracker may be able to do besides: let agents speak to it in its own way, with Symphony's credential."""

    def native_tools(self, mandate: Mandate) -> Sequence[NativeTool]:
        """Give the tools for one attempt of a run."""


def media_type_of(content: bytes) -> str | None:
    """Tell what kind of picture this is by its first bytes; None: none that a model can look at."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)


def fetch_board_by_parts(tracker: Tracker, states: Sequence[str], watched: Collection[str]) -> Board:
    """Fetch a board where asking twice costs little: the list first, then the watched issues that it lacks."""
    listed = tracker.fetch_issues_by_states(states)
    missing = set(watched) - {issue.id for issue in listed.issues}
    return Board(listed, tracker.fetch_issues_by_ids(missing) if missing else ())


def fetch_new_comments_one_by_one(
    tracker: Tracker, wanted: Sequence[tuple[Issue, datetime]]
) -> dict[str, tuple[Comment, ...]]:
    """Fetch the new comments of several issues where asking for each costs little."""
    found = {}
    for issue, since in wanted:
        try:
            found[issue.id] = tracker.fetch_comments(issue, since=since)
        except Rejected as error:
            if error.category != ISSUE_NOT_FOUND:
                raise
    return found


def is_ours(comment: Comment) -> bool:
    """Tell whether Symphony wrote a comment; adapters give such a comment an id that begins with `symphony:`."""
    return comment.id.startswith(OWN_COMMENT)


def issue_not_found(issue_id: str) -> Rejected:
    """Build the error of a write to an issue that is no longer visible."""
    return Rejected(f"the tracker has no issue {issue_id}", category=ISSUE_NOT_FOUND)
