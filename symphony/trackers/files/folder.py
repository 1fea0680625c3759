"""The folder of issues: which names are issues, and the bytes of one, read when nobody is in the middle of saving it.

Invariant: nothing outside the folder is ever read or written, and an unreadable folder or file is an error, never an
absent issue. What looks torn or missing within a moment of a change is looked at again before it is believed: editors
truncate, rename away and write in steps.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import Transient
from symphony.trackers.files.document import Malformed
from symphony.trackers.files.exchange import has_writer

SUFFIX = ".md"
LARGEST = 1024 * 1024
PAUSE_S = 0.02
PATIENCE = 5
_FRESH_S = 2.0
_SETTLED_S = 2.0
_QUIET_S = 0.05
_LEFT_OUT = frozenset({"readme.md"})

Version = tuple[int, int, int, int, int]


class Vanished(Exception):
    """The folder is there and readable, and has no file of this name."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes and what the file system says of it."""

    data: bytes
    status: os.stat_result

    @property
    def text(self) -> str:
        """The bytes as text; what is not UTF-8 travels as surrogates."""
        return self.data.decode(errors="surrogateescape")


class Folder:
    """One flat folder; `name` is always the name of a file in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._device: int | None = None

    def names(self) -> dict[str, os.stat_result | None]:
        """List the issue files, sorted; with the status of those that are plain files. Raises: Transient."""
        found: dict[str, os.stat_result | None] = {}
        try:
            device = self.root.stat().st_dev
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if is_issue_file(entry.name) and not entry.is_dir(follow_symlinks=False):
                        found[entry.name] = _status(entry)
        except OSError as fault:
            raise unreadable(self.root, fault) from fault
        if not found and self._device not in (None, device):
            raise Transient(f"{self.root} is empty and on another file system than before", category="tracker_request")
        self._device = self._device if self._device is not None and not found else device
        return dict(sorted(found.items()))

    def locate(self, name: str) -> Path:
        """Give the real file behind a name. Raises: Malformed."""
        path = self.root / name
        if not path.is_symlink():
            return path
        root, real = Path(os.path.realpath(self.root)), Path(os.path.realpath(path))
        if not real.exists():
            raise Malformed("it is a link to nothing")
        if not real.is_relative_to(root):
            raise Malformed("it is a link that leaves the folder")
        if real.parent == root and is_issue_file(real.name):
            raise Malformed(f"it is another name of {real.name}")
        return real

    def read(self, name: str, *, settled: bool = False) -> Content:
        """Read a file, as `read_file` does. Raises: Malformed, Transient, Vanished."""
        try:
            return read_file(self.locate(name), settled=settled)
        except FileNotFoundError:
            self.changed_lately()
            raise Vanished(name) from None

    def changed_lately(self) -> bool:
        """Tell whether a name came or went within the last moments. Raises: Transient."""
        try:
            return is_fresh(self.root.stat())
        except OSError as fault:
            raise unreadable(self.root, fault) from fault


def is_issue_file(name: str) -> bool:
    """Tell whether a name in the folder is meant as an issue's, and not hidden, a backup or an explanation."""
    return name.endswith(SUFFIX) and not name.startswith(".") and name.lower() not in _LEFT_OUT and "/" not in name


def file_name(issue_id: str) -> str | None:
    """Give the file name of an issue, None where an issue cannot have this id."""
    name = issue_id + SUFFIX
    return name if is_issue_file(name) and identifier(name) is not None else None


def identifier(name: str) -> str | None:
    """Give the identifier that a file name stands for, None where it cannot be one."""
    stem = name.removesuffix(SUFFIX)
    printable = not any(
        ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 or ord(character) == 127 for character in stem
    )
    return stem if printable and stem.strip() else None


def version(status: os.stat_result) -> Version:
    """Give what changes whenever a file's content does (unless within one tick of the clock: see `is_fresh`)."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_fresh(status: os.stat_result) -> bool:
    """Tell whether something changed so lately that it may be changing still."""
    return abs(time.time() - status.st_ctime) < _FRESH_S


def read_file(path: Path, *, settled: bool = False) -> Content:
    """Read a whole file; `settled`: only when nobody has it open for writing, else after a moment as it stands.

    Raises: Malformed, Transient, FileNotFoundError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise unreadable(path, fault) from fault
    try:
        deadline = time.monotonic() + (_SETTLED_S if settled else PAUSE_S * PATIENCE)
        while True:
            content, busy = _look(descriptor, settled=settled)
            if not busy:
                return content
            if time.monotonic() > deadline:
                break
            time.sleep(PAUSE_S / 4)
        if settled:
            raise Transient(f"{path} is being written to by another program", category="tracker_request")
        return content
    except OSError as fault:
        raise unreadable(path, fault) from fault
    finally:
        os.close(descriptor)


def glance(path: Path) -> bytes | None:
    """Give a file's bytes, None when somebody is writing to it or it is no issue's file. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        content, busy = _look(descriptor, settled=True)
        return None if busy else content.data
    except Malformed:
        return None
    finally:
        os.close(descriptor)


def _look(descriptor: int, *, settled: bool) -> tuple[Content, bool]:
    """Read what an open file holds now, and tell whether it is being changed."""
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        raise Malformed("it is no plain file")
    data = os.pread(descriptor, LARGEST + 1, 0)
    if before.st_size > LARGEST or len(data) > LARGEST:
        raise Malformed(f"it is larger than {LARGEST // 1024} KiB")
    after = os.fstat(descriptor)
    writer = has_writer(descriptor) if settled or is_fresh(after) else False
    if writer is None:
        writer = abs(time.time() - after.st_mtime) < _QUIET_S
    return Content(data, after), writer or version(before) != version(after) or len(data) != after.st_size


def pauses() -> Iterator[int]:
    """Count a few tries with a short pause between them."""
    for number in range(PATIENCE):
        if number:
            time.sleep(PAUSE_S)
        yield number


def unreadable(path: Path, fault: OSError) -> Transient:
    """Build the error of a folder or file that the system would not read or write."""
    return Transient(f"{path}: {fault.strerror or fault}", category="tracker_request")


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
