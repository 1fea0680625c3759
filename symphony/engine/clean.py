"""Workspaces of issues that are over are removed, by their own node.

Invariant: nothing is removed while the issue has a live run; the hook `before_remove` runs first and its failure is
ignored (specification 8.6, 9.4). A removal that is cut short is done again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from symphony.domain.errors import SymphonyError
from symphony.domain.issue import workspace_key
from symphony.engine.deployment import Deployment
from symphony.ledger import runs, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import WorkflowRow
from symphony.processes.guardian import Guardian
from symphony.stages.source import bare_environment
from symphony.telemetry.log import get_logger
from symphony.workspaces.hooks import Hook, run_hook_quietly
from symphony.workspaces.places import Places
from symphony.workspaces.workspace import Claim, Workspaces

log = get_logger()


def nodes_to_clean(deployment: Deployment) -> list[str]:
    """List the live nodes that have workspaces to remove."""
    return deployment.database.transact(lambda t: runs.nodes_with_clean_due(t, deployment.settings.node_silence))


def clean(deployment: Deployment, guardian: Guardian) -> int:
    """Remove this node's workspaces that are due, and give their number; one process of a node at a time."""
    with _alone(deployment.settings.home / "run" / "clean.lock") as is_alone:
        return _clean(deployment, guardian) if is_alone else 0


@contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_alone = False
        else:
            is_alone = True
        yield is_alone
    finally:
        os.close(descriptor)


def _clean(deployment: Deployment, guardian: Guardian) -> int:

    def read(transaction: Transaction) -> list[tuple[UUID, str, UUID, WorkflowRow]]:
        due = runs.clean_due(transaction, deployment.node)
        found = [
            (run_id, identifier, issue_id, workflows.get(transaction, workflow_id))
            for run_id, identifier, issue_id, workflow_id in due
        ]
        return [(run_id, identifier, issue_id, workflow) for run_id, identifier, issue_id, workflow in found if workflow]

    removed = 0
    for run_id, identifier, issue_id, workflow in deployment.database.transact(read):
        try:
            if _has_live_run(deployment, issue_id) or not _remove(
                deployment, guardian, run_id, issue_id, identifier, workflow
            ):
                continue
        except (SymphonyError, OSError) as error:
            log.warning("workspace not removed", issue_identifier=identifier, reason=str(error))
            continue
        deployment.database.transact(lambda t, done=issue_id: runs.note_cleaned(t, done, deployment.node))  # type: ignore[misc]
        removed += 1
    return removed


def _has_live_run(deployment: Deployment, issue_id: UUID) -> bool:
    """Look again: earlier removals take their time, and a run that began meanwhile has its workspace here."""
    return deployment.database.transact(lambda t: runs.lock_live_of_issue(t, issue_id)) is not None


def _remove(
    deployment: Deployment, guardian: Guardian, run_id: UUID, issue_id: UUID, identifier: str, workflow: WorkflowRow
) -> bool:
    """Remove a workspace unless its issue has a live run by the time that it is ours alone."""
    rules = deployment.rules(workflow)
    resolved = rules.resolved(deployment.environ)
    root = resolved.workspace_root(home=deployment.settings.home)
    key, hooks = workspace_key(identifier), rules.workflow.hooks
    with guardian.tree(f"clean-{run_id}", lock=Places.open(root).lock(key)) as tree:
        environment = bare_environment(resolved, deployment.environ) | {"SYMPHONY_ISSUE": identifier}
        script = hooks.before_remove

        def before_remove(path: Path) -> None:
            if script is not None:
                run_hook_quietly(tree, Hook("before_remove", script, environment, hooks.timeout), path)

        if _has_live_run(deployment, issue_id):
            return False
        claim = Claim(workflow.name, str(run_id), resolved.repository_url())
        Workspaces(tree, root).remove(key, claim, before=before_remove)
    log.info("workspace removed", issue_identifier=identifier)
    return True
