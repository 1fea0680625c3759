"""`symphony workflow add|list|remove`: the workflows that are served without an `up` that was given their file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from symphony.cli import completion
from symphony.cli.app import app
from symphony.cli.connection import AsJson, ask, ledger
from symphony.cli.formatting import document, line, table
from symphony.domain.errors import ConfigError
from symphony.engine import sources
from symphony.engine.lookup import find_workflow
from symphony.engine.preflight import refuse_unusable
from symphony.ledger import views, workflows
from symphony.ledger.database import Database
from symphony.processes.guardian import Guardian
from symphony.settings import Settings, load
from symphony.web.shapes import workflow_shape
from symphony.workflow.loader import FILE_NAME, LoadedWorkflow
from symphony.workflow.loader import load as load_file
from symphony.workflow.schema.repository import is_remote

workflow = typer.Typer(help="The workflows that are served permanently.", no_args_is_help=False, rich_markup_mode=None)
app.add_typer(workflow, name="workflow")

_PATIENCE_S = 300.0


@workflow.command()
def add(
    source: Annotated[str, typer.Argument(metavar="PATH|URL", help="A WORKFLOW.md, or a repository that holds one.")],
    branch: Annotated[str | None, typer.Option(help="Of a repository: the branch. Default: main.")] = None,
    path: Annotated[str | None, typer.Option(help="Of a repository: the file in it. Default: WORKFLOW.md.")] = None,
) -> None:
    """Serve a workflow permanently; one from a repository is read again with each poll."""
    settings = load()
    is_repository = is_remote(source) or branch is not None or path is not None
    with ledger(settings) as database:
        name = (_add_git if is_repository else _add_file)(database, settings, source, branch or "main", path or FILE_NAME)
    line(f"{name} is served permanently")


@workflow.command("list")
def list_workflows(*, as_json: AsJson = False) -> None:
    """List all workflows that were ever served, and how their polls go."""
    found = [workflow_shape(row) for row in ask(views.workflows_now)]
    if as_json:
        document(found)
        return
    rows = [
        (
            one["name"], "permanently" if one["permanent"] else "by an up" if one["served"] else "no",
            "yes" if one["paused"] else "no", one["live_runs"], one["source"], one["poll_error"] or one["load_error"],
        )
        for one in found
    ]  # fmt: skip
    table(("WORKFLOW", "SERVED", "PAUSED", "LIVE RUNS", "SOURCE", "TROUBLE"), rows)


@workflow.command()
def remove(name: Annotated[str, typer.Argument(help="Its name.", autocompletion=completion.workflows)]) -> None:
    """Stop serving a workflow; its runs and proofs stay."""
    ask(lambda transaction: workflows.remove(transaction, find_workflow(transaction, name).id))
    line(f"{name} is served no longer")


def _add_file(database: Database, settings: Settings, source: str, _branch: str, _path: str) -> str:
    loaded = load_file(Path(source))
    assert loaded.path is not None
    base = loaded.path.parent
    refuse_unusable(loaded, environ=os.environ, base_dir=base, home=settings.home)
    database.transact(
        lambda transaction: workflows.register(
            transaction,
            name=loaded.workflow.name,
            source_kind="file",
            source=str(loaded.path),
            content=loaded.text,
            digest=loaded.sha256,
            base_dir=str(base),
            serve_for=None,
        )
    )
    return loaded.workflow.name


def _add_git(database: Database, settings: Settings, url: str, branch: str, path: str) -> str:
    if path.startswith("/") or "#" in path or ":" in branch:
        raise ConfigError(
            "is not a file of a repository", place=f"--path {path}", cure="name it from the repository's root"
        )
    url = url if is_remote(url) else str(Path(url).absolute())
    source = sources.GitSource(url, branch, path)
    loaded = _read(source, settings)
    refuse_unusable(loaded, environ=os.environ, base_dir=settings.home, home=settings.home)
    database.transact(lambda transaction: sources.store(transaction, loaded, source, home=settings.home))
    return loaded.workflow.name


def _read(source: sources.GitSource, settings: Settings) -> LoadedWorkflow:
    guardian = Guardian.start()
    try:
        with guardian.tree("workflow add", deadline_s=_PATIENCE_S) as tree:
            return sources.read(tree, source, home=settings.home)
    finally:
        guardian.close()
