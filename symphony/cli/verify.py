"""`symphony verify`: every landing of Symphony on a branch, audited from the repository and the stored proofs alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from symphony.cli.app import app
from symphony.cli.connection import AsJson, InWorkflow, ledger
from symphony.cli.formatting import document, line, short
from symphony.domain.errors import ConfigError
from symphony.domain.proof import Verdict
from symphony.engine import lookup
from symphony.engine.rules import Rules
from symphony.forges.git import GitForge
from symphony.ledger import audits, workflows
from symphony.ledger.database import Database, Transaction
from symphony.processes.git import Git
from symphony.processes.guardian import Guardian, Tree
from symphony.proof.audit import Audit, Audited, Commit, audit, commits_named, history
from symphony.proof.commands import run_checks
from symphony.settings import Settings, load
from symphony.stages.source import bare_environment
from symphony.stages.trials import commands_of
from symphony.telemetry.redaction import redact
from symphony.workflow.resolution import Resolved
from symphony.workspaces.clones import clean_checkout
from symphony.workspaces.mirrors import Mirror
from symphony.workspaces.removal import remove_tree

Branch = Annotated[str | None, typer.Argument(metavar="[BRANCH]", help="Default: the branch that the workflow lands on.")]
Repository = Annotated[
    str | None, typer.Option("--repository", metavar="URL|PATH", help="Read the branch there; default: the workflow's own.")
]
Rerun = Annotated[bool, typer.Option("--rerun", help="Run the checks of every landing again, each in a clean checkout.")]


@app.command()
def verify(
    branch: Branch = None,
    workflow: InWorkflow = None,
    repository: Repository = None,
    *,
    rerun: Rerun = False,
    as_json: AsJson = False,
) -> None:
    """Audit what Symphony landed on a branch; exit 0 when every landing is what was proved, 1 when one is not."""
    settings = load()
    with ledger(settings) as database, _tree() as tree:
        rules = database.transact(lambda transaction: _rules(transaction, workflow))
        resolved = rules.resolved(os.environ)
        url, wanted = resolved.repository_url(), rules.workflow.repository
        assert url is not None and wanted is not None
        target = f"{url}#{branch or wanted.branch}"
        forge = GitForge(_local(repository) if repository else url, branch or wanted.branch)
        mirror = Mirror(tree, settings.home / "mirrors", forge.url)
        tip = mirror.update(forge.fetch_target)
        found = _audit(database, mirror.git, tip, target)
        again = _rerun(found.landings, mirror, tree, settings, resolved) if rerun else {}
    found = _with_reruns(found, again)
    if as_json:
        document(_as_document(found, forge, tip, again if rerun else None))
    else:
        _write(found, forge, tip, again)
    if not found.is_good:
        raise typer.Exit(1)


def _rules(transaction: Transaction, name: str | None) -> Rules:
    """Give the workflow that is meant: the one that was named, or the only one with a repository.

    Raises:
        ConfigError: there is none, or more than one.
    """
    rows = [lookup.find_workflow(transaction, name)] if name is not None else workflows.every(transaction)
    every = [rules for row in rows if (rules := Rules.of(row)).workflow.repository is not None]
    if len(every) == 1:
        return every[0]
    if name is not None or not every:
        what = f"the workflow {name}" if name is not None else "no workflow here"
        raise ConfigError(f"{what} has {'no' if name else 'a'} repository", cure="nothing of it is landed by Symphony")
    names = ", ".join(sorted(rules.workflow.name for rules in every))
    raise ConfigError(f"several workflows land: {names}", place="verify", cure="name one with --workflow")


def _local(repository: str) -> str:
    path = Path(repository)
    return str(path.absolute()) if path.exists() else repository


@contextmanager
def _tree() -> Iterator[Tree]:
    with Guardian.start() as guardian, guardian.tree("verify") as tree:
        yield tree


def _audit(database: Database, git: Git, tip: str, target: str) -> Audit:
    commits = history(git, tip)
    claimed = [commit.sha for commit in commits if commit.proof or commit.run]
    stored = database.transact(lambda transaction: audits.landings_of(transaction, target, claimed))
    return audit(commits, stored, _buried(git, tip, commits, [landing.merge_sha for landing in stored]))


def _buried(git: Git, tip: str, commits: Sequence[Commit], landed: Sequence[str]) -> list[Commit]:
    """Find landings that the branch holds, though not in its first-parent line."""
    seen = {commit.sha for commit in commits}
    elsewhere = [sha for sha in dict.fromkeys(landed) if sha not in seen and git.has(sha)]
    return commits_named(git, [sha for sha in elsewhere if git.descends(tip, ancestor=sha)])


def _rerun(
    landings: Sequence[Audited], mirror: Mirror, tree: Tree, settings: Settings, resolved: Resolved
) -> dict[str, list[dict[str, Any]]]:
    """Run again what was demanded of each landing that is on the branch; results by commit."""
    folder = settings.home / "checkouts"
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, Any]]] = {}
    for landing in landings:
        if landing.workflow is None or landing.stored is None or not mirror.git.has(landing.commit):
            continue
        setup, checks = commands_of(landing.workflow.proof)
        identifier = landing.run.rpartition("#")[0]
        environment = bare_environment(resolved, os.environ) | {
            "SYMPHONY_ISSUE": identifier,
            "SYMPHONY_RUN": landing.run,
            "SYMPHONY_RUN_ID": str(landing.stored.run_id),
            "SYMPHONY_STAGE": "proof",
        }
        path = Path(tempfile.mkdtemp(prefix="verify-", dir=folder))
        try:
            clean_checkout(tree, mirror.path, landing.commit, path / "checkout")
            found = run_checks(tree, path / "checkout", environment, setup, checks)
            results[landing.commit] = [result.as_json() for result in found]
        finally:
            remove_tree(tree, path)
    return results


def _with_reruns(found: Audit, again: Mapping[str, Sequence[Mapping[str, Any]]]) -> Audit:
    landings = []
    for landing in found.landings:
        red = [check for check in again.get(landing.commit, ()) if check["verdict"] != Verdict.PASSED]
        faults = [f"run again, the check {check['name']} {str(check['verdict']).replace('_', ' ')}" for check in red]
        landings.append(replace(landing, faults=(*landing.faults, *faults)))
    return Audit(tuple(landings), found.others, found.handed)


def _as_document(
    found: Audit, forge: GitForge, tip: str, again: Mapping[str, Sequence[Mapping[str, Any]]] | None
) -> dict[str, Any]:
    landings = [
        landing.as_json() | ({"rerun": again.get(landing.commit)} if again is not None else {})
        for landing in found.landings
    ]
    plain = {
        name: [{"commit": commit.sha, "run": commit.run or None, "subject": commit.subject} for commit in commits]
        for name, commits in (("others", found.others), ("handed", found.handed))
    }
    return {
        "ok": found.is_good,
        "repository": redact(forge.url),
        "branch": forge.branch,
        "tip": tip,
        "landings": landings,
        **plain,
    }


def _write(found: Audit, forge: GitForge, tip: str, again: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    line(f"{forge.branch} of {redact(forge.url)} at {short(tip)}")
    for landing in found.landings:
        line(
            f"{'wrong' if landing.faults else 'good '}  {short(landing.commit)}  {landing.run}  {landing.subject}".rstrip()
        )
        for told in (*landing.faults, *landing.notes):
            line(f"       {told}")
        if landing.commit in again and not landing.faults:
            line(f"       run again: {len(again[landing.commit])} passed")
    for commit in found.handed:
        line(f"other  {short(commit.sha)}  {commit.run}  landed by somebody, not by Symphony")
    faulty = sum(bool(landing.faults) for landing in found.landings)
    line(f"{len(found.landings)} landings, {faulty} wrong; {len(found.others) + len(found.handed)} other commits")
