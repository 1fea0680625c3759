"""The Forge protocol: what Symphony asks of the place where code lives.

Invariant: nothing is ever moved by force where others write: a branch moves only from the commit that the caller names, and
the target only forward. A forge keeps no state: every `Git` that comes in is the store that has, or gets, the objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from symphony.processes.git import Git

SNAPSHOTS = "refs/symphony/wip"


class Forge(Protocol):
    """A repository at its forge; `branch` is the target."""

    url: str
    branch: str

    def fetch_target(self, git: Git) -> str:
        """Bring the target into the store and return its commit. Called through `Mirror.update`.

        Raises:
            ConfigError: when the repository or the branch does not exist, or refuses us.
        """
        ...

    def fetch(self, git: Git, refs: Sequence[str]) -> None:
        """Bring refs into the store, under their own names. Called through `Mirror.update`.

        Raises:
            Rejected: category `ref_missing`.
        """
        ...

    def push_snapshot(self, git: Git, ref: str, commit: str) -> None:
        """Set a run's own hidden ref (`snapshot_ref`)."""
        ...

    def snapshots(self, git: Git, run: str) -> dict[str, str]:
        """Give the hidden refs of a run at the repository, with their commits."""
        ...

    def drop_snapshots(self, git: Git, refs: Sequence[str]) -> None:
        """Remove hidden refs; those that are gone are fine."""
        ...

    def publish(self, git: Git, branch: str, commit: str, *, expected: str | None) -> None:
        """Move a branch of Symphony's from `expected` (`None`: it does not exist) to `commit`.

        Raises:
            Rejected: category `lease_stale`, `hook_declined` or `protected`.
        """
        ...

    def move_target(self, git: Git, commit: str, *, base: str) -> None:
        """Move the target from `base` forward to `commit`; done already is fine.

        Raises:
            Rejected: category `lease_stale` when the target is elsewhere, `hook_declined` or `protected`.
            InvariantViolated: when `commit` does not descend from `base`.
        """
        ...

    def has_landed(self, git: Git, commit: str) -> bool:
        """Tell whether the target holds `commit`, asked now. Called through `Mirror.update`."""
        ...


def snapshot_ref(run: str, token: int) -> str:
    """Give the hidden ref that the holder of a token, and nobody else, pushes snapshots to."""
    return f"{SNAPSHOTS}/{run}/{token}"


def branch_name(workspace_key: str, *, workflow: str | None = None) -> str:
    """Give the branch that a run's work is published on; `workflow` where two share a repository.

    A key that git takes for no branch name is changed and carries a digest of itself.
    """
    name = workspace_key if workflow is None else f"{workspace_key}@{workflow}"
    changed = name.replace("..", "__")
    if changed.startswith("."):
        changed = "_" + changed[1:]
    if changed.endswith((".", ".lock")):
        changed += "_"
    if changed != name:
        changed = f"{changed}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"symphony/{changed}"
