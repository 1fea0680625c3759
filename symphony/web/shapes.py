"""Rows as the JSON that people's programs read: state, one issue, one run (specification 13.7.2, and more).

Pure but for reading the ledger: nothing here is asked by the engine, so nothing that is wrong here can change what
runs do. `symphony status|runs|show --json` and the status API give these same shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from symphony.engine.shown import Reach, facts_of
from symphony.ledger import usage, views
from symphony.ledger.database import Transaction
from symphony.ledger.evidence import RunEvidence
from symphony.ledger.usage import Used
from symphony.proof.artefact import Facts, headline
from symphony.telemetry.redaction import redact

Json = dict[str, Any]
_DAYS = 7
_GROUPS = {"running": "running", "waiting": "retrying", "queued": "queued", "blocked": "blocked", "reviewing": "reviewing"}


def state_of(transaction: Transaction) -> Json:
    """Summarise the deployment at this instant."""
    groups: dict[str, list[Json]] = {name: [] for name in _GROUPS.values()}
    for row in reversed(views.runs_of(transaction, live=True, limit=10_000)):
        groups[_GROUPS[row["state"]]].append(_shape(row))
    totals, effects = views.totals(transaction), views.pending_effects(transaction)
    workflows = views.workflows_now(transaction)
    return {
        "generated_at": instant(views.generated_at(transaction)),
        "counts": {name: len(rows) for name, rows in groups.items()},
        **groups,
        "codex_totals": tokens(totals) | {"seconds_running": round(float(totals["seconds_running"]), 1)},
        "rate_limits": None,
        "usage": _usage_of(transaction, workflows),
        "workflows": [workflow_shape(row) for row in workflows],
        "processes": [_process_shape(row) for row in views.processes(transaction)],
        "effects": {"pending": effects["pending"], "error": masked(effects["error"])},
    }


def run_shape(row: Json) -> Json:
    """Give one run with what the ledger keeps of it."""
    shape = {name: row[name] for name in ("number", "state", "stage", "attempt", "crashes", "failures", "node", "branch")}
    shape |= {name: row[name] for name in ("base_sha", "head_sha", "landed_sha", "waiting_for", "request")}
    return {
        "id": str(row["id"]),
        "name": f"{row['identifier']}#{row['number']}",
        **shape,
        "workflow": row["workflow"],
        "rework_rounds": row["rework_rounds"],
        "sessions": row["sessions"],
        "turns": row["turns"],
        "session_id": row["session_id"],
        "question": masked(_open_question(row)),
        "error": masked(row["error"]),
        "tokens": tokens(row),
        "due_at": instant(row["due_at"]) if row["state"] in ("waiting", "queued") else None,
        "created_at": instant(row["created_at"]),
        "finished_at": instant(row["finished_at"]),
    }


def issue_shape(row: Json) -> Json:
    """Give the issue of a run as the last poll saw it."""
    snapshot = row["snapshot"]
    return {
        "id": row["tracker_id"],
        "identifier": row["identifier"],
        "title": snapshot.get("title"),
        "state": row["issue_state"],
        "url": snapshot.get("url"),
    }


def full_shape(row: Json, reach: Reach) -> Json:
    """Give one run with its attempts, events, newest proof, usage, landings and effects, and what can be opened of it."""
    evidence: RunEvidence = row["evidence"]
    facts = facts_of(evidence, reach)
    return {
        "issue": issue_shape(row),
        "run": run_shape(row),
        "headline": headline(facts),
        "usage": _usage_of_run(evidence),
        "account": _masked_values(evidence.account),
        "artifacts": _artifacts_shape(facts),
        "attempts": [_attempt_shape(attempt) for attempt in row["attempts"]],
        "events": [_event_shape(event) for event in row["events"]],
        "proof": _proof_shape(row["proofs"][-1]) if row["proofs"] else None,
        "landings": [
            {name: landing[name] for name in ("state", "target", "base_sha", "merge_sha", "tree_sha")}
            | {"intended_at": instant(landing["intended_at"]), "settled_at": instant(landing["settled_at"])}
            for landing in row["landings"]
        ],
        "effects": [
            {name: effect[name] for name in ("kind", "state", "tries", "payload")} | {"error": masked(effect["error"])}
            for effect in row["effects"]
        ],
    }


def api_shape(row: Json, reach: Reach, *, workspace: str | None, log: str | None) -> Json:
    """Give an issue by its newest run, in the shape of `GET /api/v1/<issue_identifier>`."""
    session = _shape(row)
    is_running, is_waiting = row["state"] == "running", row["state"] == "waiting"
    return {
        "issue_identifier": row["identifier"],
        "issue_id": row["tracker_id"],
        "status": "retrying" if is_waiting else row["state"],
        "workspace": {"path": workspace},
        "attempts": {
            "restart_count": len(row["attempts"]) - len({attempt["stage"] for attempt in row["attempts"]}),
            "current_retry_attempt": row["failures"] + row["crashes"],
        },
        "running": session if is_running else None,
        "retry": session if is_waiting else None,
        "logs": {"codex_session_logs": [{"label": "latest", "path": log, "url": None}] if log else []},
        "recent_events": [
            {"at": event["at"], "event": event["kind"], "message": _message(event)}
            for event in (_event_shape(event) for event in row["events"][-20:])
        ],
        "last_error": masked(row["error"]),
        "tracked": {"workflow": row["workflow"]},
        **{name: value for name, value in full_shape(row, reach).items() if name != "attempts"},
        "stage_attempts": [_attempt_shape(attempt) for attempt in row["attempts"]],
    }


def idle_issue_shape(issue: Json) -> Json:
    """Give an issue that has no run yet, in the same shape."""
    return {
        "issue_identifier": issue["identifier"],
        "issue_id": issue["id"],
        "status": "idle",
        "workspace": {"path": None},
        "attempts": {"restart_count": 0, "current_retry_attempt": 0},
        "running": None,
        "retry": None,
        "logs": {"codex_session_logs": []},
        "recent_events": [],
        "last_error": None,
        "tracked": {},
        "issue": issue,
        "run": None,
    }


def workflow_shape(row: Json) -> Json:
    """Give a workflow and how its polls go."""
    return {
        "name": row["name"],
        "source": masked(row["source"]),
        "kind": row["source_kind"],
        "version": row["digest"],
        "served": row["is_served"],
        "permanent": row["is_permanent"],
        "paused": row["paused_at"] is not None,
        "slots_taken": row["slots_taken"],
        "live_runs": row["live_runs"],
        "polled_at": instant(row["polled_at"]),
        "poll_error": masked(row["poll_error"]),
        "load_error": masked(row["load_error"]),
    }


def tokens(row: Json) -> Json:
    """Give counts of tokens with their sum."""
    given, made = int(row["input_tokens"]), int(row["output_tokens"])
    return {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}


def instant(at: datetime | None) -> str | None:
    """Give an instant as RFC 3339 in UTC."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at is not None else None


def masked(text: str | None) -> str | None:
    """Give a text without secrets."""
    return redact(text) if text is not None else None


def _shape(row: Json) -> Json:
    """Give a live run as a row of the state."""
    return {
        "issue_id": row["tracker_id"],
        "issue_identifier": row["identifier"],
        "issue_url": row["snapshot"].get("url"),
        "title": row["snapshot"].get("title"),
        "state": row["issue_state"],
        "run_id": str(row["id"]),
        "run": f"{row['identifier']}#{row['number']}",
        "run_state": row["state"],
        "workflow": row["workflow"],
        "stage": row["stage"],
        "node": row["node"],
        "session_id": row["session_id"],
        "turn_count": row["turns"],
        "last_event": row["last_event"],
        "last_message": masked(_open_question(row) or row["error"]) or "",
        "started_at": instant(row["started_at"]),
        "last_event_at": instant(row["last_event_at"]),
        "attempt": row["failures"] + row["crashes"] if row["state"] == "waiting" else row["attempt"],
        "due_at": instant(row["due_at"]),
        "waiting_for": row["waiting_for"],
        "error": masked(row["error"]),
        "tokens": tokens(row),
    }


def _open_question(row: Json) -> str | None:
    """Give what a run asks now: the row keeps a question after its answer, for the agent's next prompt."""
    return row["question"] if row["state"] in ("blocked", "reviewing") else None


def _process_shape(row: Json) -> Json:
    return {
        "node": row["node"],
        "pid": row["pid"],
        "queues": row["queues"],
        "slots": row["slots"],
        "held": row["held"],
        "draining": row["draining_at"] is not None,
        "silent_s": round(row["silent"].total_seconds(), 1),
    }


def _attempt_shape(row: Json) -> Json:
    shape = {name: row[name] for name in ("stage", "number", "node", "outcome", "sandbox", "turns")}
    instants = {name: instant(row[name]) for name in ("started_at", "finished_at")}
    return shape | instants | {"error": masked(row["error"]), "tokens": tokens(row)}


def _event_shape(row: Json) -> Json:
    shape = {name: row[name] for name in ("kind", "before", "after", "stage")}
    return {"at": instant(row["at"]), **shape, "data": _masked_values(row["data"])}


def _proof_shape(row: Json) -> Json:
    shape = {name: row[name] for name in ("verdict", "tree_sha", "base_sha", "head_sha", "merge_sha", "key", "flaky")}
    documents = ("checks", "protected", "lost_tests", "complexity", "walkthrough")
    shape |= {name: _masked_values(row[name]) for name in documents}
    return shape | {"created_at": instant(row["created_at"])}


def _artifacts_shape(facts: Facts) -> Json | None:
    """Give what the agent left, each with its URL and its file, as far as whoever asks can open them."""
    if facts.artifacts is None:
        return None
    kept = [
        _masked_values(artifact) | {"url": facts.links.get(artifact["stored"]), "path": facts.paths.get(artifact["stored"])}
        for artifact in facts.artifacts["kept"]
    ]
    return {"kept": kept, "refused": _masked_values(facts.artifacts["refused"])}


def _usage_of(transaction: Transaction, workflows: Sequence[Json]) -> Json:
    """Give what requests to models used and cost: of each workflow, and of the last days (UTC), newest first."""
    by_workflow = usage.usage_by_workflow(transaction)
    return {
        "today_usd": str(usage.spent_today(transaction)),
        "days": {str(day): _usage_shape(used) for day, used in usage.usage_by_day(transaction, days=_DAYS).items()},
        "workflows": {row["name"]: _usage_shape(by_workflow.get(row["id"])) for row in workflows},
    }


def _usage_of_run(evidence: RunEvidence) -> Json | None:
    """Give what a run's requests to models used and cost, in all and by model; None where it made none."""
    shape = _usage_shape(evidence.used)
    by_model = {model: _usage_shape(used) for model, used in evidence.used_by_model.items()}
    return shape if shape is None else shape | {"by_model": by_model}


def _usage_shape(used: Used | None) -> Json | None:
    """Give what requests to models used and cost; None where there were none."""
    if used is None:
        return None
    counts = {name: value for name, value in asdict(used).items() if not name.endswith("_usd")}
    return counts | {"cost_usd": str(used.cost_usd), "estimated_usd": str(used.estimated_usd)}


def _message(event: Json) -> str:
    data = event["data"]
    said = next((data[name] for name in ("error", "question", "reason", "answer", "commit") if data.get(name)), None)
    return str(said) if said else f"{event['before']} -> {event['after']} ({event['stage']})"


def _masked_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked_values(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked_values(item) for item in value]
    if isinstance(value, UUID):
        return str(value)
    return redact(value) if isinstance(value, str) else value
