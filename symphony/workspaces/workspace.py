"""Workspaces: made, found again, moved aside and removed; one directory an issue (specification 9).

Invariant: a workspace appears at its path complete (made beside it, then renamed), is handed to nobody but the workflow
that made it, and is never reset in place: one that does not fit is moved aside. Every method is called by the holder of
`Places.lock(key)`; the stages rely on it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from symphony.domain.errors import ConfigError, Transient
from symphony.processes.git import Git, create
from symphony.workspaces.clones import Source, clone
from symphony.workspaces.markers import Marker, read_marker, write_marker
from symphony.workspaces.places import Places
from symphony.workspaces.removal import remove_tree

if TYPE_CHECKING:
    from symphony.processes.guardian import Tree

ASIDE_KEPT = 10
# No workspace key contains it, so a name made of a key, this and a suffix is no other key's.
_AFTER_KEY = "@"
_MADE_BY_KILLED = _AFTER_KEY + "*"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants a workspace: a run of a workflow, on a repository where it has one."""

    workflow: str
    run: str
    repository: str | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace that its run may use; `created_now` says whether this call made it (specification 4.1.4)."""

    key: str
    path: Path
    created_now: bool


class Workspaces:
    """The workspaces under one root, as one process tree sees them."""

    def __init__(self, tree: Tree, root: Path) -> None:
        self.places = Places.open(root)
        self._tree = tree

    def open(
        self, key: str, claim: Claim, *, source: Source | None = None, prepare: Callable[[Path], None] | None = None
    ) -> Workspace:
        """Give the run its workspace: the one that is there when it fits, else a new one.

        With a `source`, "fits" means: of this run, and known to hold `source.commit`; the new one is a clone of it.
        `prepare` (the hook `after_create`) runs in a new one only; when it raises, the new workspace is removed.

        Raises:
            ConfigError: when the path is occupied, or belongs to another workflow or user.
            SymphonyError: what `clone` or `prepare` raises.
        """
        existing = self.places.existing(key)
        if existing is not None:
            marker = read_marker(self.places.marker(key))
            self._require_same_workflow(existing, marker, claim)
            if marker is not None and not marker.ready:
                self._discard(key)
            elif _fits(marker, claim, source) and (source is None or self.places.git_dir(key).is_dir()):
                write_marker(self.places.marker(key), _marker(claim, source, ready=True))
                return Workspace(key, existing, created_now=False)
            else:
                self.move_aside(key)
        return self._make(key, claim, source, prepare)

    def git(self, key: str) -> Git:
        """git for taking trees of the workspace: Symphony's own git directory, the workspace as work tree.

        Raises:
            Transient: category `workspace_gone`.
            Breach: its agent has put something else at its path; that must not be read as its work.
        """
        path = self.places.workspace(key)
        if not os.path.lexists(path):
            raise Transient(f"the workspace {path} is gone", category="workspace_gone")
        self.places.verify_cwd(key, path)
        return Git(self._tree, self.places.git_dir(key), work_tree=path)

    def note_head(self, key: str, commit: str) -> None:
        """Write down that the workspace's content is no older than `commit`."""
        path = self.places.marker(key)
        marker = read_marker(path)
        if marker is not None:
            write_marker(path, replace(marker, head=commit))

    def move_aside(self, key: str) -> Path | None:
        """Move a workspace out of the way, keep the newest few of those, and return where it went."""
        existing = self.places.existing(key)
        if existing is None:
            return None
        kept = sorted(self.places.aside.iterdir(), key=_number)
        number = _number(kept[-1]) + 1 if kept else 1
        moved = self.places.aside / f"{key}{_AFTER_KEY}{number}"
        existing.rename(moved)
        for superfluous in kept[: max(0, len(kept) + 1 - ASIDE_KEPT)]:
            remove_tree(self._tree, superfluous)
        return moved

    def remove(self, key: str, claim: Claim, *, before: Callable[[Path], None] | None = None) -> bool:
        """Remove a workspace with all that belongs to it; tell whether there was one.

        `before` is the hook `before_remove`; it must not raise for the hook's failure (specification 9.4).

        Raises:
            ConfigError: when the path is occupied, or belongs to another workflow or user.
        """
        existing = self.places.existing(key)
        if existing is not None:
            self._require_same_workflow(existing, read_marker(self.places.marker(key)), claim)
            if before is not None:
                before(existing)
        self._discard(key)
        for aside in self.places.aside.glob(f"{key}{_MADE_BY_KILLED}"):
            remove_tree(self._tree, aside)
        return existing is not None

    def _make(self, key: str, claim: Claim, source: Source | None, prepare: Callable[[Path], None] | None) -> Workspace:
        path = self.places.workspace(key)
        for half_done in self.places.new.glob(f"{key}{_MADE_BY_KILLED}"):
            remove_tree(self._tree, half_done)
        staging = self.places.new / f"{key}{_AFTER_KEY}{secrets.token_hex(4)}"
        placed = False
        try:
            if source is None:
                staging.mkdir(mode=0o700)
            else:
                clone(self._tree, source, staging)
                self._make_git_dir(key, source)
            write_marker(self.places.marker(key), _marker(claim, source, ready=False))
            staging.rename(path)
            placed = True
            if prepare is not None:
                prepare(path)
        except BaseException:
            remove_tree(self._tree, staging)
            if placed:
                self._discard(key)
            raise
        write_marker(self.places.marker(key), _marker(claim, source, ready=True))
        return Workspace(key, path, created_now=True)

    def _make_git_dir(self, key: str, source: Source) -> None:
        """Make Symphony's git directory: new objects lie in it, older ones are read from the mirror."""
        path = self.places.git_dir(key)
        remove_tree(self._tree, path)
        git = create(self._tree, path, bare=True)
        alternates = path / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{source.mirror.resolve() / 'objects'}\n", encoding="utf-8")
        git.run("read-tree", source.commit)

    def _discard(self, key: str) -> None:
        """Remove a workspace, its path first and at once, so that no half of it is ever found there."""
        moved = self.move_aside(key)
        if moved is not None:
            remove_tree(self._tree, moved)
        remove_tree(self._tree, self.places.git_dir(key))
        self.places.marker(key).unlink(missing_ok=True)

    def _require_same_workflow(self, path: Path, marker: Marker | None, claim: Claim) -> None:
        if marker is not None and marker.workflow != claim.workflow:
            raise ConfigError(
                f"this workspace belongs to the workflow {marker.workflow}, not to {claim.workflow}",
                place=str(path),
                cure="give each workflow a workspace.root of its own",
                category="foreign_workflow",
            )


def _fits(marker: Marker | None, claim: Claim, source: Source | None) -> bool:
    if source is None:
        return marker is None or marker.repository is None
    return marker is not None and (marker.run, marker.repository, marker.head) == (
        claim.run,
        claim.repository,
        source.commit,
    )


def _marker(claim: Claim, source: Source | None, *, ready: bool) -> Marker:
    head = source.commit if source is not None else None
    return Marker(claim.workflow, claim.run, claim.repository, head, ready)


def _number(aside: Path) -> int:
    return int(aside.name.rpartition(_AFTER_KEY)[2])
