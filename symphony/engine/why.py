"""Why an issue is where it is: one explanation for every state of a run, and for issues without one.

Invariant: it reads rows and the registered workflow, and changes nothing; each command that it names is one that would
be accepted in that state. `symphony why` relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from symphony.domain.issue import Issue
from symphony.domain.run import LIVE, RunState
from symphony.domain.stage import SLOT_STAGES, Stage, following
from symphony.domain.usage import dollars
from symphony.engine import why_not
from symphony.engine.admit import NO_SLOT
from symphony.engine.explanation import Action, Explanation, first_line, lasting
from symphony.engine.lookup import Target
from symphony.engine.rules import Rules
from symphony.ledger import scheduling, usage, views, workflows
from symphony.ledger.database import Transaction
from symphony.workflow.schema.agent import AgentChoice

_STRONG = {"cancel": "stop for good", "release": "stop", "rework": "go back to its agent", "hand_over": "hand over"}


@dataclass(frozen=True, slots=True)
class _Subject:
    """A run as `views` reads it, with what is around it."""

    row: dict[str, Any]
    rules: Rules
    workflow: dict[str, Any]
    now: datetime
    ahead: scheduling.Ahead
    in_workflow: str
    silence: timedelta
    worked: timedelta
    """For how long the run's agents have worked, now included."""

    @property
    def identifier(self) -> str:
        return str(self.row["identifier"])

    @property
    def stage(self) -> Stage:
        return Stage(self.row["stage"])

    @property
    def choice(self) -> AgentChoice:
        return self.rules.workflow.agent.choice(Issue.from_json(self.row["snapshot"]).labels)

    @property
    def since(self) -> datetime:
        events = self.row["events"]
        at: datetime = events[-1]["at"] if events else self.row["finished_at"] or self.row["created_at"]
        return at

    def said(self, kind: str, key: str) -> str:
        """Give what the newest event of a kind says."""
        found = (event["data"].get(key) for event in reversed(self.row["events"]) if event["kind"] == kind)
        return first_line(next((text for text in found if text), None))

    def command(self, verb: str, rest: str = "") -> str:
        return f"symphony {verb} {self.identifier}{rest}{self.in_workflow}"


def explain(transaction: Transaction, target: Target, *, silence: timedelta, in_workflow: str = "") -> Explanation:
    """Explain a run, or an issue that has none; `in_workflow` is added to commands where an identifier is ambiguous."""
    issue = target.issue
    workflow = next(row for row in views.workflows_now(transaction) if row["id"] == issue.workflow_id)
    stored = workflows.get(transaction, issue.workflow_id)
    assert stored is not None
    rules, now = Rules.of(stored), views.generated_at(transaction)
    known = scheduling.of_issue(transaction, issue.id)
    assert known is not None
    held = scheduling.of_workflow(transaction, issue.workflow_id)
    idle = why_not.explain(workflow, rules, known, held, now=now, in_workflow=in_workflow)
    row = views.run_in_full(transaction, target.run_id) if target.run_id is not None else None
    if row is None:
        return idle
    ahead = scheduling.ahead_of(transaction, row["id"], silence_s=silence.total_seconds())
    worked = timedelta(seconds=usage.spent_by_run(transaction, row["id"]).seconds)
    subject = _Subject(row, rules, workflow, now, ahead, in_workflow, silence, worked)
    if row["state"] in LIVE:
        said = _live(subject)
        return replace(said, facts=(*said.facts, *_effects(row)), actions=_actions(subject))
    said = _ended(subject)
    if known.live is not None:
        later = f"{issue.identifier}#{known.live.number}"
        return replace(said, next=f"nothing of this run: {later} is the one that lives", actions=(_look(later),))
    actions = (*_again(subject, idle), *idle.actions, _look(issue.identifier + in_workflow))
    return replace(said, next=idle.next, next_at=idle.next_at, facts=(*said.facts, *_effects(row)), actions=actions)


def _again(subject: _Subject, idle: Explanation) -> tuple[Action, ...]:
    """Offer a new run of what did not end well, where nothing else does."""
    retry = Action(subject.command("retry"), "give it a new run")
    ended_badly = subject.row["state"] in (RunState.FAILED, RunState.CANCELLED)
    return (retry,) if ended_badly and retry not in idle.actions else ()


def _look(name: str) -> Action:
    return Action(f"symphony show {name}", "see all that it did")


def _live(subject: _Subject) -> Explanation:
    match subject.row["state"]:
        case RunState.QUEUED:
            return _queued(subject)
        case RunState.RUNNING:
            return _running(subject)
        case RunState.WAITING:
            return _waiting(subject)
        case RunState.BLOCKED:
            question = first_line(subject.row["question"]) or "it did not say what it needs"
            return Explanation(
                f"it is blocked and asks: {question}",
                subject.since,
                "it goes on when somebody answers here or comments on the issue; nothing happens by itself",
            )
        case _:
            reason = subject.said("handed_over", "reason") or "it waits for a person"
            return Explanation(f"it waits for a review: {reason}", subject.since, _after_review(subject))


def _queued(subject: _Subject) -> Explanation:
    row, ahead, stage = subject.row, subject.ahead, subject.stage
    soon, at, is_latest = f"a worker begins its {stage} stage", None, False
    if row["due_at"] > subject.now:
        now, at = f"it is queued for {stage} and due later", row["due_at"]
    elif ahead.landing_now or ahead.in_landing_queue:
        first = f"{ahead.landing_now} lands now" if ahead.landing_now else f"{ahead.in_landing_queue[0]} is first"
        count = len(ahead.in_landing_queue) + (ahead.landing_now is not None)
        now, soon = f"it waits for its turn to land: {first}, {count} before it", "it lands when those before it have"
    elif ahead.live_processes == 0:
        now, soon = f"it is queued for {stage}, and no worker lives", "it begins when a worker starts: `symphony up`"
    elif stage is Stage.AGENT and row["node"] is not None and not ahead.node_lives:
        now = f"it is queued for its agent on the node {row['node']}, whose workers are silent"
        soon = f"its workspace is made elsewhere from its newest snapshot once the node is silent for {_spoken(subject)}"
    elif ahead.free_slots == 0:
        now, soon = (
            f"it is queued for {stage}, and every slot of every worker is taken",
            f"it begins {stage} when one is free",
        )
    else:
        now, at, is_latest = f"it is queued for {stage}", subject.now + timedelta(seconds=10), True
    return Explanation(now, subject.since, soon, at, is_latest)


def _spoken(subject: _Subject) -> str:
    return lasting(subject.silence)


def _running(subject: _Subject) -> Explanation:
    row, workflow, choice = subject.row, subject.rules.workflow, subject.choice
    model = f" with {choice.model}" if choice.kind == "openai" else ""
    doing = {
        Stage.PROVISION: "its workspace is made",
        Stage.AGENT: f"its {choice.kind} agent works{model}",
        Stage.PROOF: f"its checks run ({', '.join(check.name for check in workflow.proof.checks) or 'none are named'})",
        Stage.LAND: "it is being landed",
    }[subject.stage]
    now = f"{doing} on the node {row['node']}, attempt {row['attempt']}"
    if row["request"]:
        now += f"; it was asked to {_STRONG.get(row['request'], row['request'])}"
    began = row["started_at"] or subject.since
    at = _latest_end(subject, began)
    return Explanation(now, began, _after(subject), at, is_latest=at is not None, facts=_signs(subject))


def _latest_end(subject: _Subject, began: datetime) -> datetime | None:
    """Say when the present stage ends at the latest; None where nothing bounds it."""
    workflow = subject.rules.workflow
    if subject.stage is Stage.AGENT and subject.choice.kind == "openai":
        budget = subject.choice.budget.limits.time
        # A step that begins just before the budget's end is seen through.
        return None if budget is None else subject.now + max(budget - subject.worked, timedelta()) + workflow.turn_timeout
    if subject.stage is Stage.AGENT:
        return began + workflow.turn_timeout * (1 if workflow.repository is not None else workflow.agent.max_turns)
    if subject.stage is Stage.PROOF and workflow.proof.checks:
        checks = sum((check.timeout for check in workflow.proof.checks), timedelta())
        return began + checks + (workflow.proof.setup.timeout if workflow.proof.setup else timedelta())
    return None


def _after(subject: _Subject) -> str:
    """Say what follows the present stage when it ends well."""
    after = following(subject.stage, subject.rules.stages)
    match after:
        case Stage.AGENT:
            return "then its agent begins"
        case Stage.PROOF:
            return "then what it changed is proved in a clean checkout"
        case Stage.LAND if subject.rules.land_mode != "auto":
            return "then it waits for a review"
        case Stage.LAND:
            return "then it lands"
    return "then it has landed" if subject.stage is Stage.LAND else "then another session follows while the issue is active"


def _after_review(subject: _Subject) -> str:
    if subject.rules.land_mode == "off":
        return "a person takes the branch from here: this workflow lands nothing"
    merging = subject.rules.moves.get("merging")
    moved = f", or the issue is moved to {merging!r}" if merging else ""
    return f"it lands when somebody approves it{moved}"


def _signs(subject: _Subject) -> tuple[tuple[str, str], ...]:
    row, facts = subject.row, []
    if row["last_event_at"] is not None:
        ago = lasting(subject.now - row["last_event_at"])
        facts.append(("last sign of life", f"{ago} ago ({row['last_event'] or 'heard'})"))
    stall = subject.rules.workflow.stall_timeout
    if subject.stage is Stage.AGENT and stall is not None and subject.choice.kind != "openai":
        facts.append(("ended when silent for", lasting(stall)))
    if row["turns"]:
        facts.append(("turns", str(row["turns"])))
    if row["input_tokens"] or row["output_tokens"]:
        facts.append(("tokens", f"{row['input_tokens']} in, {row['output_tokens']} out"))
    if (used := row["evidence"].used) is not None:
        facts.append(("spent so far", f"{dollars(used.cost_usd)} on {used.requests} requests to its model"))
    return tuple(facts)


def _waiting(subject: _Subject) -> Explanation:
    row, stage = subject.row, subject.stage
    reason = row["waiting_for"] or "its turn"
    failures, limit = row["failures"] + row["crashes"], subject.rules.max_attempts
    of_limit = f" of at most {limit}" if limit else ""
    match reason:
        case "backoff":
            now = f"it waits before the next attempt, after {failures} failed ones{of_limit}: {first_line(row['error'])}"
        case "continuation":
            now = "it waits a moment before the next session of its agent"
        case "rework":
            now = f"it goes back to its agent, round {row['rework_rounds']} of at most {subject.rules.max_rework}"
        case _:
            now = f"it waits: {first_line(reason)}"
    soon, at = f"it asks again for {stage}", row["due_at"]
    if not subject.workflow["is_served"]:
        soon, at = "nothing, since nothing serves its workflow: `symphony up`", None
    elif row["due_at"] <= subject.now:
        is_full = stage in SLOT_STAGES and row["error"] == NO_SLOT
        soon = "it goes on when an agent slot is free: all are taken" if is_full else f"{soon} at the next tick"
        at = None if is_full else subject.now + timedelta(seconds=2)
    return Explanation(now, subject.since, soon, at)


def _ended(subject: _Subject) -> Explanation:
    row = subject.row
    match row["state"]:
        case RunState.LANDED:
            now = f"it landed as {(row['landed_sha'] or '')[:7]}"
        case RunState.FAILED:
            now = f"it failed in {row['stage']}: {first_line(row['error']) or 'no reason is kept'}"
        case RunState.CANCELLED:
            now = f"it was cancelled: {subject.said('cancelled', 'reason') or 'no reason is kept'}"
        case _:
            now = f"it was let go: {subject.said('released', 'reason') or 'no reason is kept'}"
    return Explanation(now, row["finished_at"], "")


def _actions(subject: _Subject) -> tuple[Action, ...]:
    cancel = Action(subject.command("cancel"), "stop it for good")
    rework = Action(subject.command("rework", ' -m "TEXT"'), "send it back to its agent with what should be better")
    watch = Action(subject.command("logs", " -f"), "watch its agent")
    show = Action(subject.command("show", " --md"), "read its proof")
    match subject.row["state"]:
        case RunState.BLOCKED:
            answer = Action(subject.command("answer", ' "TEXT"'), "answer its question")
            return answer, Action(subject.command("retry"), "let it go on without an answer"), cancel
        case RunState.REVIEWING:
            approve = Action(subject.command("approve"), "let it land")
            return (*((approve,) if subject.rules.land_mode != "off" else ()), rework, show, cancel)
        case RunState.WAITING:
            return Action(subject.command("retry"), "do not wait: try now"), cancel
        case RunState.RUNNING if subject.stage is Stage.AGENT:
            return watch, cancel
        case RunState.RUNNING:
            return (rework, cancel) if subject.stage is Stage.PROOF else (cancel,)
    return (cancel,)


def _effects(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    pending = [effect for effect in row["effects"] if effect["state"] == "pending"]
    if not pending:
        return ()
    words = {"move": lambda payload: f"move to {payload.get('to')!r}", "comment": lambda _: "comment"}
    said = ", ".join(words.get(e["kind"], lambda _, kind=e["kind"]: kind)(e["payload"]) for e in pending)
    trouble = next((first_line(effect["error"]) for effect in pending if effect["error"]), "")
    return (("not yet in the tracker", f"{said}{f': {trouble}' if trouble else ''}"),)
