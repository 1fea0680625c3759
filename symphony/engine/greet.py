"""Sessions that a tracker has opened are greeted, and those in which a run works long are kept from looking dead.

Invariant: a session is greeted for the workflow in whose scope its issue is by the tracker's own word, and told when there
is none; what is said is not said again, whoever dies between the word and its record. Relied on by the tick that delivers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from uuid import UUID

from symphony.domain import retry
from symphony.domain.errors import ConfigError, Rejected, SymphonyError, Transient
from symphony.domain.issue import Issue
from symphony.engine import plan, why
from symphony.engine.deployment import Deployment
from symphony.engine.lookup import Target
from symphony.engine.sessions import Content, error, thought
from symphony.ledger import issues, scheduling, sessions, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import WorkflowRow
from symphony.ledger.sessions import Session
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger
from symphony.trackers.protocol import Converses

SILENCE = timedelta(minutes=20)
"""How long a run at work may say nothing: Linear calls a session stale after 30 minutes."""
NOBODY = (
    "Symphony serves no workflow that has this issue in its scope, so nobody works on it. "
    "Move it into a project that is served, or serve a workflow for its project."
)
_AT_ONCE = 20
_LEASE = timedelta(seconds=4)
"""Short, since a first word must come within 10 s whoever dies, and saying it twice at once does no harm."""
_LONGEST_DELAY = timedelta(minutes=1)
_FIRST_DELAY_DIVISOR = 10
_AT_WORK = frozenset({"queued", "running", "waiting"})

log = get_logger()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A workflow that may have sessions' issues in its scope, as far as its tracker answered."""

    row: WorkflowRow
    speaker: Converses | None = None
    seen: Mapping[str, Issue] = field(default_factory=dict)
    trouble: SymphonyError | None = None


def greet(deployment: Deployment) -> int:
    """Greet the sessions that were opened, and say in silent ones that work goes on; give how many were spoken in."""
    opened = deployment.database.transact(lambda t: sessions.take_opened(t, lease=_LEASE, limit=_AT_ONCE))
    found = _candidates(deployment, opened) if opened else {}
    spoken = sum(_attempted(deployment, one, partial(_greet, deployment, found, one)) for one in opened)
    silent = deployment.database.transact(lambda t: sessions.take_silent(t, silence=SILENCE, lease=_LEASE, limit=_AT_ONCE))
    return spoken + sum(_attempted(deployment, one, partial(_go_on, deployment, one)) for one in silent)


def _candidates(deployment: Deployment, opened: Sequence[Session]) -> dict[UUID, _Candidate]:
    """Ask the tracker of each candidate workflow that is served, once for all the issues that may be in its scope."""
    found = {}
    for row in deployment.database.transact(workflows.served):
        asking = [session for session in opened if row.id in session.candidates]
        if asking:
            found[row.id] = _candidate(deployment, row, {session.tracker_id for session in asking} - {""})
    return found


def _candidate(deployment: Deployment, row: WorkflowRow, tracker_ids: set[str]) -> _Candidate:
    try:
        tracker = deployment.tracker(row)
        seen = {issue.id: issue for issue in tracker.fetch_issues_by_ids(tracker_ids)}
    except SymphonyError as trouble:
        return _Candidate(row, trouble=trouble)
    return _Candidate(row, tracker if isinstance(tracker, Converses) else None, seen)


def _attempted(deployment: Deployment, session: Session, speak: Callable[[], None]) -> bool:
    """Speak in a session that was taken, or let it be taken again."""
    try:
        speak()
    except Rejected as refusal:
        log.error("session refused", session=session.id, reason=str(refusal))
        deployment.database.transact(lambda t: sessions.close(t, [session.id]))
    except Exception as trouble:  # noqa: BLE001 - the tick's boundary: one session's trouble must not hold up the others
        log.warning("session put off", session=session.id, reason=str(trouble))
        reason, asked = str(trouble) or repr(trouble), trouble.retry_after if isinstance(trouble, Transient) else None
        delay = max(retry.backoff(session.tries, _LONGEST_DELAY) / _FIRST_DELAY_DIVISOR, asked or timedelta())
        deployment.database.transact(lambda t: sessions.put_off(t, session.id, reason, delay))
        return False
    return True


def _greet(deployment: Deployment, found: Mapping[UUID, _Candidate], session: Session) -> None:
    mine = [found[one] for one in session.candidates if one in found]
    home = next((one for one in mine if one.speaker is not None and session.tracker_id in one.seen), None)
    if home is not None:
        assert home.speaker is not None
        issue, row = home.seen[session.tracker_id], home.row

        def read(transaction: Transaction) -> tuple[str, str]:
            return _greeting(transaction, deployment, row, issue), _standing(_known(transaction, row, issue.id))

        text, standing = deployment.database.transact(read)
        _say(home.speaker, session, f"greeting {standing}".strip(), thought(text))
        if not deployment.database.transact(lambda t: _record(t, session, row, standing)):
            return
        log.info("session greeted", session=session.id, workflow=row.name, issue_identifier=issue.identifier)
        return
    for one in mine:
        if one.trouble is not None:  # its issue may be there: nobody knows before it answers
            raise one.trouble
    _turn_away([one.speaker for one in mine if one.speaker is not None], session)
    deployment.database.transact(lambda t: sessions.close_if_opened(t, session, NOBODY))
    log.warning("session of nobody's", session=session.id, issue_id=session.tracker_id)


def _record(transaction: Transaction, session: Session, row: WorkflowRow, standing: str) -> bool:
    """Record a greeting, unless the run has come to ask or to end meanwhile, which nobody has said here: say it, then."""
    now = _standing(_known(transaction, row, session.tracker_id))
    return now in ("", standing) and sessions.greet_if_opened(transaction, session, row.id)


def _standing(known: scheduling.Scheduled | None) -> str:
    """Name the newest run and its state where it waits for people or has ended; an empty text where none does."""
    if known is None or known.last_run is None:
        return ""
    number, state = known.last_run
    return "" if state in _AT_WORK else f"{number} {state}"


def _known(transaction: Transaction, row: WorkflowRow, tracker_id: str) -> scheduling.Scheduled | None:
    stored = issues.with_tracker_id(transaction, row.id, tracker_id)
    return scheduling.of_issue(transaction, stored.id) if stored is not None else None


def _turn_away(speakers: Sequence[Converses], session: Session) -> None:
    """Say that nobody works on an issue, through the first of these that may speak in the session."""
    refusal: Rejected | ConfigError | None = None
    for speaker in speakers:
        try:
            _say(speaker, session, "refusal", error(NOBODY))
        except (Rejected, ConfigError) as refused:  # not its application's key: another one may be
            refusal = refused
        else:
            return
    if refusal is not None:
        raise refusal


def _greeting(transaction: Transaction, deployment: Deployment, row: WorkflowRow, issue: Issue) -> str:
    """Say what becomes of an issue, or what it waits for."""
    known = _known(transaction, row, issue.id)
    if known is not None and known.live is not None:
        return f"Symphony is at work on {issue.identifier}: {_doing(transaction, deployment, known)}."
    reason = plan.reason_against(deployment.rules(row).workflow, issue, known, held=None)
    if reason is not None:
        cure = f" To change that: {reason.cure}." if reason.cure else ""
        return f"Symphony does not work on {issue.identifier} yet: {reason.sentence}.{cure}"
    if row.paused_at is not None:
        return f"Symphony does not work on {issue.identifier} yet: its workflow {row.name} is paused."
    return f"Symphony takes {issue.identifier} on, in its workflow {row.name}. Work begins when an agent's slot is free."


def _go_on(deployment: Deployment, session: Session) -> None:
    """Say in a silent session what its run does, for as long as nothing else is said."""
    assert session.workflow_id is not None and session.spoken_at is not None
    workflow_id = session.workflow_id

    def read(transaction: Transaction) -> tuple[WorkflowRow | None, str | None]:
        row = workflows.get(transaction, workflow_id)
        known = _known(transaction, row, session.tracker_id) if row is not None else None
        is_live = known is not None and known.live is not None
        return row, _doing(transaction, deployment, known) if known is not None and is_live else None

    row, doing = deployment.database.transact(read)
    tracker = deployment.tracker(row) if row is not None else None
    if doing is not None and isinstance(tracker, Converses):
        _say(tracker, session, f"beat {session.spoken_at.isoformat()}", thought(f"Still at it: {doing}."), ephemeral=True)
        deployment.database.transact(lambda t: sessions.note_spoken(t, session.id))


def _doing(transaction: Transaction, deployment: Deployment, known: scheduling.Scheduled) -> str:
    assert known.live is not None
    target = Target(known.issue, known.live.id)
    return why.explain(transaction, target, silence=deployment.settings.node_silence).now


def _say(speaker: Converses, session: Session, what: str, content: Content, *, ephemeral: bool = False) -> None:
    log.debug(Label.EFFECT_WRITING, session=session.id, kind=what)
    key = f"{what} {session.id} {session.opened_at.isoformat()}"
    speaker.say(session.id, key=key, content=content, ephemeral=ephemeral)
    log.debug(Label.EFFECT_WRITTEN, session=session.id, kind=what)
