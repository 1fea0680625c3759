"""What a change of a run wants written to the tracker: moves, comments, what is said in sessions, as effects.

Effects are added in the transaction of the change. Names of states come from `tracker.states`; a key left out moves
nothing. In compatible mode the agent speaks for itself and Symphony writes nothing on the issue.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from symphony.domain.issue import normalized_state
from symphony.domain.run import RunEvent
from symphony.engine import sessions, words
from symphony.engine.rules import Rules
from symphony.engine.shown import NO_REACH, Reach, facts_of_run
from symphony.forges.pages import commit_page
from symphony.ledger import effects
from symphony.ledger.database import Transaction
from symphony.ledger.records import IssueRow, Run
from symphony.proof.artefact import headline, markdown

_MOVES = {
    RunEvent.HANDED_OVER: "review",
    RunEvent.BLOCKED: "blocked",
    RunEvent.FAILED: "blocked",
    RunEvent.LANDED: "done",
    RunEvent.APPROVED: "merging",
}
_ATTACHED = frozenset({RunEvent.LANDED, RunEvent.HANDED_OVER})
_SHORT = 7


def announce(
    transaction: Transaction, run: Run, event: RunEvent, rules: Rules, data: dict[str, Any], reach: Reach = NO_REACH
) -> None:
    """Add the effects that a change wants; `reach` is that of the people who read the issue."""
    if not rules.is_compatible:
        _write(transaction, run, event, rules, data, reach)
    sessions.tell(transaction, run, event, data, reach)  # below a question on the issue, under which answers stand


def _write(transaction: Transaction, run: Run, event: RunEvent, rules: Rules, data: dict[str, Any], reach: Reach) -> None:
    text = _comment(transaction, run, event, rules, data, reach)
    if text is not None:
        effects.add(transaction, issue_id=run.issue_id, run_id=run.id, kind="comment", payload={"body": text})
    if rules.tells_progress and event in _ATTACHED:
        _attach(transaction, run, rules, reach)
    key = _MOVES.get(event)
    if key is not None:
        move(transaction, run, rules, key)


def _attach(transaction: Transaction, run: Run, rules: Rules, reach: Reach) -> None:
    """Want the evidence, and the commit where it has a page, to be found from the issue."""
    facts = facts_of_run(transaction, run.id, reach)
    if facts is None or facts.verdict is None:
        return
    wanted = [{"title": f"Proof: {facts.verdict}", "subtitle": headline(facts), "content": markdown(facts)}]
    url = rules.workflow.repository.url if rules.workflow.repository is not None else ""
    if facts.commit is not None and (page := commit_page(url, facts.commit)) is not None:
        wanted.append({"title": f"Commit {facts.commit[:_SHORT]}", "subtitle": facts.branch or "", "url": page})
    for payload in wanted:
        effects.add(transaction, issue_id=run.issue_id, run_id=run.id, kind="attach", payload=payload)


def move(transaction: Transaction, run: Run, rules: Rules, key: str) -> None:
    """Want the issue moved to the state that the workflow names for `key`, if it names one."""
    to = rules.moves.get(key)
    if to is not None:
        payload = {"to": to, "from": sorted(rules.movable_from(key)), "key": key}
        effects.add(transaction, issue_id=run.issue_id, run_id=run.id, kind="move", payload=payload)


def move_back(transaction: Transaction, issue: IssueRow, run: Run | None, rules: Rules) -> None:
    """Want the issue out of the states in which Symphony parks it, also out of one that it is about to be moved to."""
    if rules.is_compatible or rules.states.is_terminal(issue.state) or not (issue.active or is_parked(issue, rules)):
        return
    to = rules.moves.get("started") or (issue.state if issue.active else rules.active_states[0])
    merging = normalized_state(rules.moves.get("merging", ""))
    movable = (rules.movable_from("done") | {normalized_state(issue.state)}) - {normalized_state(to)}
    if run is None:  # a new run begins where its issue stands, unless that is parked
        if issue.active:
            return
        to = next((s for s in rules.active_states if normalized_state(s) != merging), to)
    payload = {"to": to, "from": sorted(movable), "key": "started"}
    effects.add(transaction, issue_id=issue.id, run_id=run.id if run else None, kind="move", payload=payload)


def is_parked(issue: IssueRow, rules: Rules) -> bool:
    """Tell whether an issue stands where Symphony puts what waits for people."""
    ours = {normalized_state(rules.moves[key]) for key in ("review", "blocked") if key in rules.moves}
    return not rules.is_compatible and normalized_state(issue.state) in ours


def _comment(
    transaction: Transaction, run: Run, event: RunEvent, rules: Rules, data: dict[str, Any], reach: Reach
) -> str | None:
    match event:
        case RunEvent.BLOCKED:
            return words.question(str(data["question"]), is_moved=rules.parks_blocked)
        case RunEvent.FAILED:
            return words.failure(run, str(data["error"]))
        case RunEvent.LANDED:
            facts = facts_of_run(transaction, run.id, reach)
            return words.landed(facts) if facts is not None else None
        case RunEvent.HANDED_OVER:
            facts = facts_of_run(transaction, run.id, reach)
            evidence = replace(facts, reason=None) if facts is not None else None  # it is said already
            return words.review(run, str(data["reason"]), evidence)
        case _:
            return None
