"""The verbs that look at runs: runs, show."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from symphony.cli import completion
from symphony.cli.app import app
from symphony.cli.connection import AsJson, InWorkflow, ask
from symphony.cli.formatting import document, harmless, line, short, table
from symphony.domain.errors import ConfigError
from symphony.engine import lookup, words
from symphony.ledger import landings, views
from symphony.ledger.database import Transaction
from symphony.ledger.records import Proof
from symphony.web.shapes import full_shape, issue_shape, run_shape


@app.command()
def runs(
    issue: Annotated[
        str | None, typer.Option("--issue", help="Only those of this issue.", autocompletion=completion.issues)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 200,
    workflow: InWorkflow = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""

    def read(transaction: Transaction) -> list[dict[str, Any]]:
        if workflow is not None:
            lookup.find_workflow(transaction, workflow)
        issue_id = lookup.find(transaction, issue, workflow=workflow).issue.id if issue else None
        found = views.runs_of(transaction, issue_id=issue_id, limit=limit)
        return [row for row in found if workflow is None or row["workflow"] == workflow]

    found = ask(read)
    if as_json:
        document([run_shape(row) | {"issue": issue_shape(row)} for row in found])
        return
    rows = [
        (
            f"{row['identifier']}#{row['number']}", row["snapshot"].get("title"), row["state"], row["stage"],
            row["failures"], row["crashes"], short(row["landed_sha"]), run_shape(row)["question"] or row["error"],
        )
        for row in found
    ]  # fmt: skip
    table(("RUN", "TITLE", "STATE", "STAGE", "FAILURES", "CRASHES", "LANDED", "ERROR OR QUESTION"), rows)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ISSUE|RUN", help="DEMO-1 (its newest run), DEMO-1#2, or a run's id.", autocompletion=completion.issues
        ),
    ],
    workflow: InWorkflow = None,
    *,
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--md", help="The proof as the Markdown that people get.")] = False,
) -> None:
    """Show one run in full: attempts, events, proof, landing."""
    if as_json and as_markdown:
        raise ConfigError("--json and --md are two forms", place="show", cure="use one of them")

    def read(transaction: Transaction) -> tuple[dict[str, Any], Proof | None]:
        target = lookup.find(transaction, name, workflow=workflow)
        row = views.run_in_full(transaction, target.run_id) if target.run_id is not None else None
        if row is None:
            snapshot = target.issue.snapshot
            about: dict[str, Any] = {
                "id": target.issue.tracker_id,
                "identifier": target.issue.identifier,
                "state": target.issue.state,
            }
            about |= {"title": snapshot.get("title"), "url": snapshot.get("url")}
            nothing: dict[str, Any] = {"attempts": [], "events": [], "proof": None, "landings": [], "effects": []}
            return {"issue": about, "run": None, **nothing}, None
        return full_shape(row), landings.newest_proof(transaction, row["id"])

    shown, proof = ask(read)
    if as_json:
        document(shown)
    elif as_markdown:
        typer.echo(_markdown(shown, proof))
    else:
        _write(shown)


def _markdown(shown: dict[str, Any], proof: Proof | None) -> str:
    run, issue = shown["run"], shown["issue"]
    parts = [f"# {run['name'] if run else issue['identifier']}: {issue['title']}"]
    if run:
        landed = f" as `{run['landed_sha']}`" if run["landed_sha"] else ""
        said = run["question"] or (run["error"] if not landed else None)
        parts.append(f"**{run['state'].capitalize()}**{landed}, in {run['stage']}{f': {said}' if said else '.'}")
    parts.append(words.evidence(proof) or "No proof yet.")
    for check in shown["proof"]["checks"] if shown["proof"] else []:
        fence = "`" * max(3, _longest_fence(check["output"]) + 1)
        parts.append(f"## {check['name']}\n\n`{check['command']}`\n\n{fence}\n{check['output'].rstrip()}\n{fence}")
    return harmless("\n\n".join(parts))


def _longest_fence(text: str) -> int:
    longest = count = 0
    for character in text:
        count = count + 1 if character == "`" else 0
        longest = max(longest, count)
    return longest


def _write(shown: dict[str, Any]) -> None:
    run, issue = shown["run"], shown["issue"]
    line(f"{run['name'] if run else issue['identifier']}: {issue['title']} (issue: {issue['state']})")
    if run is None:
        line("It has no run yet.")
        return
    line(f"{run['state']} in {run['stage']}, attempt {run['attempt']}, workflow {run['workflow']}, id {run['id']}")
    facts = ("node", "branch", "base_sha", "head_sha", "landed_sha", "waiting_for", "question", "error")
    for name in facts:
        if run[name]:
            line(f"{name.replace('_', ' ')}: {run[name]}")
    line(f"tokens: {run['tokens']['total_tokens']}, created {run['created_at']}, finished {run['finished_at'] or '-'}")
    line()
    attempts = [
        (a["stage"], a["number"], a["node"], a["started_at"], a["finished_at"], a["outcome"], a["error"])
        for a in shown["attempts"]
    ]
    table(("STAGE", "ATTEMPT", "NODE", "STARTED", "FINISHED", "OUTCOME", "ERROR"), attempts)
    if shown["proof"]:
        line()
        line(f"proof {shown['proof']['verdict']} for tree {short(shown['proof']['tree_sha'])}")
        checks = [(c["name"], c["verdict"], f"{c['seconds']:.1f} s", c["command"]) for c in shown["proof"]["checks"]]
        table(("CHECK", "VERDICT", "TIME", "COMMAND"), checks)
    line()
    events = [
        (e["at"], e["kind"], f"{e['before']} -> {e['after']}", e["stage"], e["data"] or None) for e in shown["events"]
    ]
    table(("AT", "EVENT", "STATE", "STAGE", "DATA"), events)
