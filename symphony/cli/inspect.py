"""The verbs that look at runs: runs, show."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from symphony.cli import completion
from symphony.cli.app import app
from symphony.cli.connection import AsJson, InWorkflow, ask
from symphony.cli.formatting import document, harmless, line, short, table
from symphony.domain.errors import ConfigError
from symphony.domain.usage import dollars
from symphony.engine import lookup
from symphony.engine.shown import Reach, facts_of
from symphony.ledger import views
from symphony.ledger.database import Transaction
from symphony.proof import artefact
from symphony.proof.artefact import Facts
from symphony.proof.markdown import inline
from symphony.settings import load
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
    """Show one run in full: what came of it, attempts, events, proof, landing."""
    if as_json and as_markdown:
        raise ConfigError("--json and --md are two forms", place="show", cure="use one of them")

    settings = load()
    reach = Reach(settings.public_url, settings.home)

    def read(transaction: Transaction) -> tuple[dict[str, Any], Facts | None]:
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
            nothing |= dict.fromkeys(("headline", "usage", "account", "artifacts"))
            return {"issue": about, "run": None, **nothing}, None
        return full_shape(row, reach), facts_of(row["evidence"], reach)

    shown, facts = ask(read)
    if as_json:
        document(shown)
    elif as_markdown:
        typer.echo(_markdown(shown, facts))
    else:
        _write(shown)


def _markdown(shown: dict[str, Any], facts: Facts | None) -> str:
    run, issue = shown["run"], shown["issue"]
    title = f"# {run['name'] if run else issue['identifier']}: {inline(str(issue['title'] or ''))}"
    return harmless(f"{title}\n\n{artefact.markdown(facts) if facts is not None else 'It has no run yet.'}")


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
    line(shown["headline"])
    line(f"tokens: {run['tokens']['total_tokens']}, created {run['created_at']}, finished {run['finished_at'] or '-'}")
    for model, used in (shown["usage"] or {"by_model": {}})["by_model"].items():
        line(
            f"{model}: {used['requests']} requests, {used['input_tokens']} tokens in ({used['cached_tokens']} cached), "
            f"{used['output_tokens']} out, {dollars(Decimal(used['cost_usd']))}"
        )
    line()
    attempts = [
        (a["stage"], a["number"], a["node"], a["started_at"], a["finished_at"], a["outcome"], a["error"])
        for a in shown["attempts"]
    ]
    table(("STAGE", "ATTEMPT", "NODE", "STARTED", "FINISHED", "OUTCOME", "ERROR"), attempts)
    if shown["proof"]:
        _write_proof(shown["proof"])
    if shown["artifacts"]:
        _write_artifacts(shown["artifacts"])
    line()
    events = [
        (e["at"], e["kind"], f"{e['before']} -> {e['after']}", e["stage"], e["data"] or None) for e in shown["events"]
    ]
    table(("AT", "EVENT", "STATE", "STAGE", "DATA"), events)


def _write_artifacts(artifacts: dict[str, Any]) -> None:
    line()
    for kept in artifacts["kept"]:
        where = kept["url"] or kept["path"] or f"on the node {kept.get('node') or '?'}"
        line(f"artifact {kept['name']} ({kept['type']}, {kept['bytes']} bytes): {where}")
    for why in artifacts["refused"]:
        line(f"not kept: {why}")


def _write_proof(proof: dict[str, Any]) -> None:
    line()
    line(f"proof {proof['verdict']} for tree {short(proof['tree_sha'])}")
    checks = [
        (check["name"], f"{check['verdict']}{', flaky' if check.get('flaky') else ''}", f"{check['seconds']:.1f} s",
         check["command"])
        for check in proof["checks"]
    ]  # fmt: skip
    table(("CHECK", "VERDICT", "TIME", "COMMAND"), checks)
    lost, second = proof["lost_tests"] or {}, proof["protected"]
    if lost.get("removed_in_all") or lost.get("skipped_in_all"):
        line(f"tests: {lost['removed_in_all']} removed, {lost['skipped_in_all']} newly skipped")
    if second is not None:
        files = ", ".join(file["path"] for file in second["files"])
        line(f"with the target's versions of {files}: {second['verdict']}")
