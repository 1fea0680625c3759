"""Mirrors: one bare store of a repository a machine, from which every workspace and checkout on it is filled.

Invariant: a mirror holds only what can be fetched again, so a damaged one is thrown away and filled anew; whoever changes
its refs holds its lock. Agents never get its files: clones copy objects, they neither link nor borrow them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from symphony.domain.errors import Transient
from symphony.processes.git import Git, create
from symphony.processes.git_failures import CORRUPT
from symphony.processes.tree import refusal
from symphony.workspaces.removal import remove_tree

if TYPE_CHECKING:
    from symphony.processes.guardian import Tree

_T = TypeVar("_T")
_LOCK_S = 900.0
_LOOK_AGAIN_S = 0.05
_ABANDONED_LOCK_S = 60.0
_MANY_PACKS = 40


class Mirror:
    """The mirror of `url` under `folder` (SYMPHONY_HOME/mirrors), used by one process tree."""

    def __init__(self, tree: Tree, folder: Path, url: str) -> None:
        digest = hashlib.sha256(url.encode()).hexdigest()[:16]
        readable = re.sub(r"[^A-Za-z0-9._-]+", "_", url.rstrip("/").rpartition("/")[2].removesuffix(".git"))[:40]
        self.path = folder / f"{readable.lstrip('.')}-{digest}.git"
        self._lock = folder / f"{digest}.lock"
        self._tree = tree

    @property
    def git(self) -> Git:
        """git on the mirror, for reading and for adding objects; changes of refs go through `update`."""
        return Git(self._tree, self.path)

    def update(self, operation: Callable[[Git], _T], *, lock_timeout_s: float = _LOCK_S) -> _T:
        """Run `operation` alone on the mirror; when the mirror turns out damaged, once more on a new one.

        Raises:
            Transient: when the lock is not free in time.
            Cancelled, Fenced: when the tree was ended meanwhile; and whatever `operation` raises.
        """
        with self._locked(lock_timeout_s):
            self._remove_abandoned()
            self._make_if_missing()
            try:
                result = operation(self.git)
            except Transient as error:
                # A repository may be damaged at the other end, too; then a new mirror would change nothing.
                if error.category != CORRUPT or "remote:" in error.message:
                    raise
                self._throw_away()
                self._make_if_missing()
                result = operation(self.git)
            self._repack_if_scattered()
            return result

    @contextmanager
    def reading(self) -> Iterator[Git]:
        """Read the mirror (clone from it, merge in it) beside others; one found damaged is thrown away.

        The error goes on to the caller; the next `update` fills a new mirror.
        """
        try:
            yield self.git
        except Transient as error:
            if error.category == CORRUPT:
                with self._locked(_LOCK_S):
                    self._throw_away()
            raise

    @contextmanager
    def _locked(self, timeout_s: float) -> Iterator[None]:
        self._lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + timeout_s
            while not _try_lock(descriptor):
                # Nothing runs in the tree meanwhile that its end could stop.
                if self._tree.ended is not None:
                    raise refusal(f"waiting for the mirror {self.path.name}", {"ended": self._tree.ended})
                if time.monotonic() > until:
                    raise Transient(f"the mirror {self.path.name} is busy", category="mirror_busy")
                time.sleep(_LOOK_AGAIN_S)
            yield
        finally:
            os.close(descriptor)

    def _make_if_missing(self) -> None:
        if self.path.is_dir():
            return
        temporary = self.path.with_name(f"{self.path.name}@{secrets.token_hex(4)}")
        git = create(self._tree, temporary, bare=True)
        # Checkouts ask for commits by their id, which need not be the tip of anything.
        git.run("config", "uploadpack.allowAnySHA1InWant", "true")
        temporary.rename(self.path)

    def _throw_away(self) -> None:
        if not self.path.is_dir():
            return
        damaged = self.path.with_name(f"{self.path.name}@{secrets.token_hex(4)}")
        self.path.rename(damaged)
        remove_tree(self._tree, damaged)

    def _remove_abandoned(self) -> None:
        """Remove what somebody who was killed left behind: we hold the mirror's lock, so nobody living owns it."""
        for half_done in self.path.parent.glob(f"{self.path.name}@*"):
            remove_tree(self._tree, half_done)
        oldest = time.time() - _ABANDONED_LOCK_S
        for lock in (*self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock")):
            with suppress(FileNotFoundError):
                if lock.lstat().st_mtime < oldest:
                    lock.unlink()

    def _repack_if_scattered(self) -> None:
        packs = sum(1 for _ in (self.path / "objects" / "pack").glob("*.pack"))
        if packs >= _MANY_PACKS:
            self.git.run("repack", "-d", "-q", "--geometric=2")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
