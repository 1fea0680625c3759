"""One thing that nothing needs any more: what it is, why, how large, and how it goes."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from symphony.engine.deployment import Deployment
from symphony.processes.guardian import Guardian, Tree

WORKSPACE_AGE = timedelta(days=7)
LOG_AGE = timedelta(days=30)
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Waste:
    """Something to remove; `remove` tells whether it is gone."""

    kind: str
    name: str
    reason: str
    bytes: int
    remove: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Site:
    """A node's home, and what it takes to clean it; `age` replaces every age that is kept by itself."""

    deployment: Deployment
    guardian: Guardian
    tree: Tree
    age: timedelta | None = None

    @property
    def home(self) -> Path:
        """SYMPHONY_HOME."""
        return self.deployment.settings.home

    def old_enough(self, kept: timedelta) -> timedelta:
        """Give the age from which something that is kept for `kept` goes."""
        return kept if self.age is None else self.age


def size_of(path: Path) -> int:
    """Give the bytes on disk that `path` and everything below it take; no symbolic link is followed."""
    seen: set[tuple[int, int]] = set()
    total = _blocks(path, seen)
    for folder, folders, files in os.walk(path):
        total += sum(_blocks(Path(folder, name), seen) for name in (*folders, *files))
    return total


def _blocks(path: Path, seen: set[tuple[int, int]]) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    if (found.st_dev, found.st_ino) in seen:
        return 0
    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
        seen.add((found.st_dev, found.st_ino))
    return found.st_blocks * _BLOCK


def untouched_for(path: Path) -> timedelta:
    """Say how long ago the entry itself was changed, moved or written into; nothing for what is not there."""
    try:
        found = path.lstat()
    except OSError:
        return timedelta()
    return timedelta(seconds=max(0.0, time.time() - max(found.st_mtime, found.st_ctime)))


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock file's lock if nobody else does, and say whether; a file that is missing is not made."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def days(age: timedelta) -> str:
    """Give an age as people say it."""
    count = age // timedelta(days=1)
    return "today" if count == 0 else "1 day ago" if count == 1 else f"{count} days ago"


def how_it_ended(state: str) -> str:
    """Say how a run ended, as a verb."""
    return {"landed": "landed", "failed": "failed", "cancelled": "was cancelled"}.get(state, "was let go")
