"""SYMPHONY_HOME: its layout, its permissions, and the lock that one `up` holds.

Invariant: at most one process holds a home, and the kernel frees the lock however that process ends (nothing that it
starts inherits the descriptor). What lies below is readable by its owner only; the folder of workspaces may be walked
through, since a sandbox may have another user. `up`, `down`, the embedded servers and the supervisor rely on it.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import psutil

from symphony.domain.errors import ConfigError

_LOCK_PATIENCE_S = 1.0  # `holder` takes the lock for a moment too
_CURE = "set SYMPHONY_HOME to a directory of your own"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a home; `started` is its start time in seconds since the epoch."""

    pid: int
    started: float
    since: str
    command: str

    @classmethod
    def this_process(cls) -> Holder:
        """Describe the calling process."""
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(os.getpid(), psutil.Process().create_time(), since, " ".join(sys.argv))

    def __str__(self) -> str:
        return f"pid {self.pid}, since {self.since}: {self.command}"


class Home:
    """One home directory, made where missing."""

    def __init__(self, path: Path) -> None:
        """Make the layout.

        Raises: ConfigError when it cannot be made, or belongs to somebody else.
        """
        self.path = path.expanduser().absolute()
        _make(self.path, 0o700, may_be_foreign=True)  # a mounted volume is often root's
        self.logs = _make(self.path / "logs", 0o700)
        self.run = _make(self.path / "run", 0o700)
        self.mirrors = _make(self.path / "mirrors", 0o700)
        self.workspaces = _make(self.path / "workspaces", 0o711)
        self.postgres = _make(self.path / "postgres", 0o700)
        self.valkey = _make(self.path / "valkey", 0o700)
        self._lock_file = self.path / "lock"

    @contextmanager
    def held(self) -> Iterator[Home]:
        """Hold the home for this process.

        Raises: ConfigError that names the holder, when there is one.
        """
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(descriptor, patience_s=_LOCK_PATIENCE_S):
                raise ConfigError(
                    f"in use ({_read_holder(descriptor) or 'by a process that does not say its name'})",
                    place=str(self.path),
                    cure="stop it with `symphony down`, or set SYMPHONY_HOME to another directory",
                    category="home_in_use",
                )
            text = json.dumps(asdict(Holder.this_process())).encode()
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))
            yield self
        finally:
            os.close(descriptor)

    def holder(self) -> Holder | None:
        """Return who holds the home now."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return None if _lock(descriptor, patience_s=0) else _read_holder(descriptor)
        finally:
            os.close(descriptor)


def holder_of(path: Path) -> Holder | None:
    """Return who holds the home at a path, without making one.

    Raises: ConfigError when it cannot be looked at, or belongs to somebody else.
    """
    try:
        (path / "lock").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"cannot be used: {error.strerror}", place=str(path), cure=_CURE) from error
    return Home(path).holder()


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read; nobody sees half of it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


def _make(path: Path, mode: int, *, may_be_foreign: bool = False) -> Path:
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
        found = path.stat()
        if found.st_uid == os.geteuid():
            if stat.S_IMODE(found.st_mode) != mode:
                path.chmod(mode)
        elif not may_be_foreign:
            raise ConfigError(f"belongs to uid {found.st_uid}", place=str(path), cure=_CURE)
    except OSError as error:
        raise ConfigError(f"cannot be used: {error.strerror}", place=str(path), cure=_CURE) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise ConfigError("is not writable", place=str(path), cure=_CURE)
    return path


def _lock(descriptor: int, *, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        else:
            return True


def _read_holder(descriptor: int) -> Holder | None:
    try:
        holder = Holder(**json.loads(os.pread(descriptor, 65536, 0)))
        return holder if abs(psutil.Process(holder.pid).create_time() - holder.started) < 1 else None
    except (ValueError, TypeError, psutil.Error):
        return None  # it took the lock this instant and has not written yet
