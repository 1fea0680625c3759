"""What a change of a run wants said in the sessions of its issue, as effects; and a person's wish there that it stop.

Invariant: what is said belongs to one change of one run, so a transaction that is run again says nothing twice. It is said
in compatible mode, too: the agent, which speaks for itself on the issue, knows nothing of sessions.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from symphony.domain.errors import ConfigError, Rejected
from symphony.domain.issue import Comment
from symphony.domain.run import CONSUMING, ENDED, RunEvent, RunState
from symphony.domain.stage import Stage
from symphony.engine import words
from symphony.engine.rules import Rules
from symphony.engine.shown import NO_REACH, Reach, facts_of_run
from symphony.forges.pages import commit_page
from symphony.ledger import effects, landings, runs, sessions, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import Effect, Run
from symphony.proof.artefact import headline
from symphony.trackers.protocol import Converses

_ACTIVITIES = UUID("5e5510a5-0000-5000-8000-000000000000")
_ENDS_OF_PROOFS = frozenset({RunEvent.ADVANCED, RunEvent.REWORKED, RunEvent.HANDED_OVER, RunEvent.BLOCKED, RunEvent.FAILED})
_THOUGHTS = {
    RunEvent.RETRIED: "The attempt failed and is made again in {delay_s:.0f} s: {error}",
    RunEvent.LOST: "The worker was lost. The stage begins again on another one.",
    RunEvent.PARKED: "It waits: {reason}",
    RunEvent.APPROVED: "It was approved, and lands when its proof has passed.",
}

Content = dict[str, str]


def tell(transaction: Transaction, run: Run, event: RunEvent, data: dict[str, Any], reach: Reach = NO_REACH) -> None:
    """Say what has become of a run in the sessions of its issue; an end for good ends them."""
    listening = sessions.greeted_of(transaction, run.issue_id)
    if not listening:
        return
    for number, content in enumerate(_contents(transaction, run, event, data, reach)):
        for session_id in listening:
            effects.add(
                transaction, issue_id=run.issue_id, run_id=run.id, kind="activity",
                payload={"session": session_id, "content": content},
                effect_id=uuid5(_ACTIVITIES, f"{session_id} {run.id} {run.token} {event} {number}"),
            )  # fmt: skip
    if run.state in CONSUMING:
        sessions.close(transaction, listening)


def say(tracker: Converses, effect: Effect) -> None:
    """Carry an activity to its session. Raises: Rejected, Transient."""
    try:
        tracker.say(effect.payload["session"], key=str(effect.id), content=effect.payload["content"], ephemeral=False)
    except ConfigError as error:  # one who may not speak in sessions may write on the issue, which comes after this
        raise Rejected(str(error)) from error


def stop(transaction: Transaction, run_id: UUID, prompt: Comment) -> None:
    """End a run because a person said so in its session; its workspace is kept, and the issue is not run again by itself.

    A landing whose push is intended is seen through.
    """
    run = runs.lock(transaction, run_id)
    if run is None or run.state in ENDED or landings.intended(transaction, run.id) is not None:
        return
    reason = f"{prompt.author or 'somebody'} stopped it"
    if run.state is RunState.RUNNING:
        runs.request(transaction, run, "cancel", reason)
    else:
        changed = runs.change(transaction, run, RunEvent.CANCELLED, {"reason": reason})
        tell(transaction, changed, RunEvent.CANCELLED, {"reason": reason})


def thought(body: str) -> Content:
    """Word something that people may want to know."""
    return {"type": "thought", "body": words.clipped(body)}


def error(body: str) -> Content:
    """Word what ends a session badly."""
    return {"type": "error", "body": words.clipped(body)}


def _contents(transaction: Transaction, run: Run, event: RunEvent, data: dict[str, Any], reach: Reach) -> list[Content]:
    before = []
    if event in _ENDS_OF_PROOFS and not data.get("by_person"):
        proof = landings.proof_of_newest_attempt(transaction, run.id)
        before = [_proved(proof.checks, proof.verdict, proof.tree_sha)] if proof is not None else []
    said = _content(transaction, run, event, data, reach)
    return before if said is None else [*before, said]


def _content(transaction: Transaction, run: Run, event: RunEvent, data: dict[str, Any], reach: Reach) -> Content | None:
    match event:
        case RunEvent.CLAIMED | RunEvent.ADVANCED:
            return _step(run, event)
        case RunEvent.REWORKED:
            return thought(
                "A person sent it back." if data.get("by_person") else f"Back to the agent, round {data['round']}."
            )
        case RunEvent.RESUMED:
            return thought("It goes on with what was answered." if data.get("answer") else "It goes on.")
        case RunEvent.BLOCKED:
            question = str(data["question"]).strip() or "It needs a person."
            return {"type": "elicitation", "body": words.clipped(question)}
        case RunEvent.LANDED | RunEvent.HANDED_OVER:
            return _response(_result(transaction, run, data, reach))
        case RunEvent.FAILED:
            return error(words.failure(run, str(data["error"])))
        case RunEvent.CANCELLED:
            return _response(f"Stopped: {data['reason']}. It is not taken up again by itself.")
        case RunEvent.RELEASED:
            return _response(f"Let go: {data['reason']}. It is taken up again when the issue is ready.")
        case _:
            return thought(_THOUGHTS[event].format_map(data)) if event in _THOUGHTS else None


def _step(run: Run, event: RunEvent) -> Content | None:
    """Word the beginning or the end of a stage; after its end a run stands in the stage that follows."""
    match event, run.stage:
        case RunEvent.CLAIMED, Stage.AGENT:
            again = "The agent goes on with another session." if run.sessions else "The agent begins."
            return thought("The agent goes on, with what was said." if run.feedback else again)
        case RunEvent.CLAIMED, Stage.LAND:
            return _action("Landing", run.target or run.branch or "the change")
        case RunEvent.ADVANCED, Stage.AGENT:
            return _action("Prepared the workspace", run.branch or run.target or f"on {run.node}")
        case RunEvent.ADVANCED, Stage.PROOF:
            return thought("The agent has finished. What it changed is proved now.")
        case _:
            return None


def _result(transaction: Transaction, run: Run, data: dict[str, Any], reach: Reach) -> str:
    """Say what came of a run in a line, and where to look at it."""
    facts = facts_of_run(transaction, run.id, reach)
    lines = [f"**{headline(facts)}**"] if facts is not None else []
    if reason := data.get("reason"):
        lines.append(f"Ready for review: {reason}")
    workflow = workflows.get(transaction, run.workflow_id)
    repository = Rules.of(workflow).workflow.repository if workflow is not None else None
    page = commit_page(repository.url, facts.commit) if repository and facts is not None and facts.commit else None
    links = [f"[the commit]({page})"] if page else []
    links += [f"[Symphony]({reach.public_url})"] if reach.public_url else []
    return "\n\n".join([*lines, *([" · ".join(links)] if links else [])]) or "Done."


def _proved(checks: list[dict[str, Any]], verdict: str, tree_sha: str) -> Content:
    names = [str(check.get("name")) for check in checks]
    bad = [str(check.get("name")) for check in checks if check.get("verdict") != "passed"]
    action = _action("Proved" if verdict == "passed" else "Tried to prove", ", ".join(names) or tree_sha)
    return {**action, "result": words.clipped(f"{verdict}: {', '.join(bad)}" if bad else verdict)}


def _action(action: str, parameter: str) -> Content:
    return {"type": "action", "action": action, "parameter": words.clipped(parameter)}


def _response(body: str) -> Content:
    return {"type": "response", "body": words.clipped(body)}
