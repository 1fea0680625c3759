"""Workflows whose WORKFLOW.md lies in a repository: read through the mirror, stored as a version when it changed.

Invariant: the last good version stays in force; what is wrong with a newer one is said on the workflow's row. The poll
tick and `workflow add` rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from symphony.domain.errors import ConfigError, SymphonyError
from symphony.engine.deployment import Deployment
from symphony.forges.git import GitForge
from symphony.ledger import workflows
from symphony.ledger.database import Database, Transaction, new_id
from symphony.ledger.records import WorkflowRow
from symphony.processes.git import Git
from symphony.processes.guardian import Guardian, Tree
from symphony.telemetry.log import get_logger
from symphony.workflow.front_matter import decode
from symphony.workflow.loader import LoadedWorkflow, parse
from symphony.workflow.source_name import name_from_folder
from symphony.workspaces.mirrors import Mirror

_DEADLINE_S = 120.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class GitSource:
    """Where a WORKFLOW.md lies in a repository; stands in the row as `url#branch:path`."""

    url: str
    branch: str
    path: str

    def __str__(self) -> str:
        return f"{self.url}#{self.branch}:{self.path}"

    @classmethod
    def parse(cls, text: str) -> GitSource:
        """Read the form that a row keeps."""
        url, _, rest = text.rpartition("#")
        branch, _, path = rest.partition(":")
        return cls(url, branch, path)


def read(tree: Tree, source: GitSource, *, home: Path, name: str | None = None) -> LoadedWorkflow:
    """Fetch the branch and validate the file at its tip.

    Raises:
        ConfigError: the repository, the branch or the file does not exist, or the file is not valid.
        Transient: the repository does not answer.
    """
    mirror = Mirror(tree, home / "mirrors", source.url)
    forge = GitForge(source.url, source.branch)

    def bring(git: Git) -> bytes:
        commit = forge.fetch_target(git)
        if not git.run("ls-tree", commit, "--", source.path):
            raise ConfigError(
                f"the branch {source.branch} has no file {source.path}", place=source.url, cure="name it with --path"
            )
        return git.output("cat-file", "blob", f"{commit}:{source.path}")

    text = decode(mirror.update(bring), place=str(source))
    repository = source.url.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git")
    return parse(text, place=str(source), name=name or name_from_folder(Path(repository)))


def store(
    transaction: Transaction, loaded: LoadedWorkflow, source: GitSource, *, home: Path, serve_for: timedelta | None = None
) -> UUID:
    """Write the version, unless it is the newest already, and serve the workflow.

    Raises:
        ConfigError: the name belongs to another source.
    """
    return workflows.register(
        transaction,
        name=loaded.workflow.name,
        source_kind="git",
        source=str(source),
        content=loaded.text,
        digest=loaded.sha256,
        base_dir=str(home),
        serve_for=serve_for,
    )


def refresh_git_workflow(database: Database, guardian: Guardian, row: WorkflowRow, *, home: Path) -> bool:
    """Read a workflow of a repository again; True when there is a new version. A failure changes nothing but its word."""
    if row.source_kind != "git":
        return False
    source = GitSource.parse(row.source)
    try:
        with guardian.tree(f"source-{new_id()}", deadline_s=_DEADLINE_S) as tree:
            loaded = read(tree, source, home=home, name=row.name)
        if loaded.workflow.name != row.name:
            raise ConfigError(
                f"the workflow now calls itself {loaded.workflow.name}", place=str(source), cure="add it anew"
            )
    except SymphonyError as error:
        reason = str(error)
        log.error("workflow not reloaded, the last good version stays", workflow=row.name, reason=reason)
        database.transact(lambda transaction: workflows.note_load_error(transaction, row.id, reason))
        return False
    if loaded.text == row.content:
        if row.load_error is not None:
            database.transact(lambda transaction: workflows.note_load_error(transaction, row.id, None))
        return False
    database.transact(lambda transaction: store(transaction, loaded, source, home=home))
    log.info("workflow reloaded", workflow=row.name)
    return True


def refreshed(deployment: Deployment, guardian: Guardian, row: WorkflowRow) -> WorkflowRow:
    """Read a workflow of a repository again and give its row as it is then; a file's is the business of its `up`."""
    if not refresh_git_workflow(deployment.database, guardian, row, home=deployment.settings.home):
        return row
    return deployment.database.transact(lambda transaction: workflows.get(transaction, row.id)) or row
