"""Snapshots: the workspace's tree as a commit of Symphony's.

Invariant: a snapshot is made from a taken tree and the given parents, never from what the agent committed; the same tree,
parents, message and time give the same commit. Stages push the commit through a forge and write its id into the run's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from symphony.processes.git import Git
from symphony.workspaces.trees import LeftOut, SnapshotLimits, take_tree

_DEFAULT_LIMITS = SnapshotLimits()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit that holds the workspace's tree; unchanged, it is the first parent itself."""

    commit: str
    tree: str
    changed: bool
    left_out: tuple[LeftOut, ...] = ()


def snapshot(
    git: Git, *, parents: Sequence[str], message: str, when: datetime, limits: SnapshotLimits = _DEFAULT_LIMITS
) -> Snapshot:
    """Take the tree of `git`'s work tree and commit it upon `parents`; `when` comes from the caller's row.

    A second parent says that the agent has merged it (rework after a conflict with the target).

    Raises:
        SymphonyError: what `take_tree` raises.
    """
    taken = take_tree(git, limits=limits)
    changed = taken.tree != git.tree_of(parents[0])
    if not changed and len(parents) == 1:
        return Snapshot(parents[0], taken.tree, changed=False, left_out=taken.left_out)
    commit = git.commit(taken.tree, parents, message=message, when=when)
    return Snapshot(commit, taken.tree, changed=changed, left_out=taken.left_out)
