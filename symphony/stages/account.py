"""What an agent says of its work and what it leaves for people: written down at the end of its turn.

Invariant: nothing of the agent is alive while its artifacts are collected, and neither a failed collection nor an account
that says too much costs it its work. Proof and people see what is stored here.
"""

from __future__ import annotations

import stat
from contextlib import suppress
from typing import Any

from symphony.agents.protocol import Finished, Turn
from symphony.domain.errors import SymphonyError
from symphony.ledger import accounts
from symphony.proof.artifacts import collect, folder_of
from symphony.stages.context import RunContext
from symphony.stages.source import artifacts_of
from symphony.telemetry.log import get_logger
from symphony.telemetry.redaction import redact
from symphony.workspaces.removal import remove_tree

_LONGEST = 16_000

log = get_logger()


def prepare_artifacts(context: RunContext) -> None:
    """Make the folder in which the agent leaves what people are to see; nobody else gets in."""
    folder = artifacts_of(context)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        is_fit = stat.S_ISDIR(folder.lstat().st_mode)
    except FileNotFoundError:
        is_fit = False
    if not is_fit:
        remove_tree(context.tree, folder)
        folder.mkdir(mode=0o700)
    folder.chmod(0o700)


def note_account(context: RunContext, turn: Turn) -> None:
    """Write down what the agent said when it finished."""
    if not isinstance(turn, Finished):
        return
    said: dict[str, Any] = {
        "summary": _cut(redact(turn.account)),
        "outcome": turn.outcome,
        "reason": _cut(redact(turn.reason)) if turn.reason is not None else None,
        "walkthrough": dict(turn.walkthrough) if turn.walkthrough is not None else None,
    }
    context.fenced(lambda transaction: accounts.note_account(transaction, said))


def collect_artifacts(context: RunContext) -> None:
    """Keep what the agent left, and empty its folder; best effort."""
    if context.lease.is_stopped or context.tree.ended is not None:
        return
    try:
        with suppress(OSError):
            artifacts_of(context).rmdir()
            return
        context.tree.clear()
        collected = collect(artifacts_of(context), folder_of(context.settings.home, context.run.id))
        if collected.kept or collected.refused:
            known = collected.as_json()
            context.fenced(lambda transaction: accounts.note_artifacts(transaction, known, node=context.node))
        remove_tree(context.tree, artifacts_of(context))
    except (OSError, SymphonyError) as error:
        log.warning("artifacts not kept", run=str(context.run.id), reason=str(error))


def _cut(text: str) -> str:
    """Keep the end, which is where a program says what came of it."""
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"
