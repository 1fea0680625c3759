"""What people wrote since a run began, was blocked or was handed over, fetched for all runs of a poll at once.

Invariant: a comment of ours never counts as a person's, and a person's is never lost because the tracker's clock differs
from ours: where Symphony writes comments, replies stand below the one that asked. What is said in a session counts as a
comment does, and once where it is one. Relied on by the poll.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from symphony.domain.errors import SymphonyError
from symphony.domain.issue import Comment, Issue
from symphony.domain.run import RunState
from symphony.engine.deployment import Deployment
from symphony.engine.rules import Rules
from symphony.ledger import effects, sessions
from symphony.ledger.records import Run
from symphony.telemetry.log import get_logger
from symphony.trackers.protocol import Converses, Prompt, Tracker, is_ours

CLOCKS_DIFFER = timedelta(minutes=5)
"""How far the tracker's clock may be behind ours; it may also count in whole seconds."""
_SOON_AFTER = timedelta(seconds=5)
"""How long before the beginning of a run, by a clock that may be behind, its stop may be said."""
_PARKED = frozenset({RunState.BLOCKED, RunState.REVIEWING})

log = get_logger()


@dataclass(frozen=True, slots=True)
class Heard:
    """What people said, by run."""

    replies: Mapping[UUID, Sequence[Comment]] = field(default_factory=dict)
    """New comments of people on issues whose runs wait for a person."""
    messages: Mapping[UUID, Sequence[Comment]] = field(default_factory=dict)
    """What people wrote to an agent that is not asking them."""
    read: Mapping[UUID, datetime] = field(default_factory=dict)
    """When the issues whose comments were fetched had last changed."""
    stops: Mapping[UUID, Comment] = field(default_factory=dict)
    """Who said in a session that the run shall stop."""


def hear(
    deployment: Deployment, rules: Rules, tracker: Tracker, live: Sequence[tuple[Run, Issue]], now: Mapping[str, Issue]
) -> Heard:
    """Fetch what people wrote to these runs; `now` has their issues as this poll sees them, by id. Raises: Transient."""
    seen = [(run, now[issue.id]) for run, issue in live if issue.id in now]
    parked = [(run, issue) for run, issue in seen if _waits_for_people(rules, run, issue)]
    listening = [
        (run, issue) for run, issue in seen if _listens(rules, run, issue) and not _is_read(deployment, run, issue)
    ]
    prompts = _prompts(deployment, rules, tracker, [run for run, _ in seen])
    wanted = {issue.id: (issue, _since(rules, run)) for run, issue in (*parked, *listening)}
    ids = [run.id for run, _ in parked]
    asked = deployment.database.transact(lambda t: effects.newest_comments(t, ids)) if ids else {}
    comments = tracker.fetch_new_comments(list(wanted.values())) if wanted else {}
    said = {run.id: _with_prompts(comments.get(issue.id, ()), prompts.get(run.id, ())) for run, issue in seen}
    known = {issue.id: issue.updated_at for _, issue in live}
    replies = {run.id: _replies(rules, tracker, run, said[run.id], asked.get(run.id)) for run, _ in parked}
    messages = {run.id: _messages(run, said[run.id], known[issue.id]) for run, issue in seen if _listens(rules, run, issue)}
    return Heard(
        replies={run_id: those for run_id, those in replies.items() if those},
        messages={run_id: those for run_id, those in messages.items() if those},
        read={run.id: one.updated_at for run, one in listening if one.id in comments and one.updated_at is not None},
        stops={run.id: stop for run, _ in seen if (stop := _stop(run, prompts.get(run.id, ()))) is not None},
    )


def _prompts(deployment: Deployment, rules: Rules, tracker: Tracker, seen: Sequence[Run]) -> dict[UUID, Sequence[Prompt]]:
    """Fetch what people said in the sessions of these runs; a tracker that does not tell holds up no poll."""
    if not seen or not isinstance(tracker, Converses):
        return {}
    runs, workflow_id = {run.id: run for run in seen}, seen[0].workflow_id
    greeted = deployment.database.transact(lambda t: sessions.heard_by_live_runs(t, workflow_id))
    heard_by = {session_id: runs[run_id] for session_id, run_id in greeted if run_id in runs}
    if not heard_by:
        return {}
    try:
        found = tracker.prompts(heard_by.keys(), since=min(_since(rules, run) for run in heard_by.values()))
    except SymphonyError as error:
        log.warning("sessions not heard", reason=str(error))
        return {}
    prompts: dict[UUID, Sequence[Prompt]] = {}
    for session_id, those in found.items():
        if (run := heard_by.get(session_id)) is not None:
            prompts[run.id] = (*prompts.get(run.id, ()), *those)
    return prompts


def _with_prompts(comments: Sequence[Comment], prompts: Sequence[Prompt]) -> Sequence[Comment]:
    """Put what was said in sessions among the comments, by the tracker's clock; without a word that only says stop."""
    if not prompts:
        return comments
    stops = {prompt.comment.id for prompt in prompts if prompt.is_stop}
    said = {comment.id: comment for comment in (*comments, *(prompt.comment for prompt in prompts))}
    earliest = datetime.min.replace(tzinfo=UTC)
    return sorted((one for one in said.values() if one.id not in stops), key=lambda one: one.created_at or earliest)


def _stop(run: Run, prompts: Sequence[Prompt]) -> Comment | None:
    """Give the last word that this run shall stop; one that is older was meant for an earlier run."""
    since = run.created_at - _SOON_AFTER
    stops = [one.comment for one in prompts if one.is_stop and one.comment.created_at and one.comment.created_at > since]
    return stops[-1] if stops else None


def _waits_for_people(rules: Rules, run: Run, issue: Issue) -> bool:
    """Tell whether comments may be the answer to this run, or what a person wants changed; nothing older can be."""
    if run.state not in _PARKED or run.heard_at is None or _listens(rules, run, issue):
        return False
    return issue.updated_at is None or issue.updated_at >= run.heard_at - CLOCKS_DIFFER


def _listens(rules: Rules, run: Run, issue: Issue) -> bool:
    """Tell whether a run's agent can be told something while it works, or when work comes back to it."""
    return run.state is not RunState.BLOCKED and rules.workflow.agent.choice(issue.labels).kind == "openai"


def _is_read(deployment: Deployment, run: Run, issue: Issue) -> bool:
    """Tell whether the issue is as it was when this process last recorded its comments."""
    read = deployment.comments_read.get(run.workflow_id, {})
    return issue.updated_at is not None and read.get(run.id) == issue.updated_at


def _since(rules: Rules, run: Run) -> datetime:
    since = run.heard_at or run.created_at
    return since if rules.is_compatible and run.state in _PARKED else since - CLOCKS_DIFFER


def _messages(run: Run, found: Sequence[Comment], known: datetime | None) -> Sequence[Comment]:
    """Keep what people wrote since the run began, by a clock that may be behind; the ledger takes each once.

    What seems older than the run is news only where it came after the issue's last `known` change, by the tracker's clock.
    """
    since = (run.heard_at or run.created_at) - CLOCKS_DIFFER

    def is_news(at: datetime) -> bool:
        return at >= since and (at >= run.created_at or known is None or at > known)

    return [one for one in found if not is_ours(one) and (one.created_at is None or is_news(one.created_at))]


def _replies(
    rules: Rules, tracker: Tracker, run: Run, found: Sequence[Comment], question: tuple[UUID, bool] | None
) -> Sequence[Comment]:
    """Keep what people wrote since a run was parked.

    Where Symphony writes comments, replies stand below its question, whatever the tracker's clock says; so an older
    comment without a time is none. Where the agent speaks for itself, or somebody deleted the question, only a comment's
    time can tell.
    """
    key, is_written = question or (None, False)
    mine = tracker.comment_id(str(key))
    asked = [place for place, one in enumerate(found) if one.id == mine]
    if not rules.is_compatible and (asked or not is_written):
        return [one for one in found[asked[-1] + 1 :] if not is_ours(one)] if asked else ()
    since = run.heard_at
    return [one for one in found if since and one.created_at and one.created_at >= since and not is_ours(one)]
