"""Finding the reports that a check wrote, in a checkout whose content nobody can vouch for.

Invariant: only a regular file that is new, or was changed, since the look before the check counts; no symbolic link is
followed, and neither the number nor the size of what lies there can hold a worker up. Called while nothing runs in the
checkout.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.globs import matches

PLACES = (
    *("**/junit*.xml", "**/TEST-*.xml", "reports/*.xml", "test-results/*.xml", "test-reports/*.xml"),
    *("**/coverage.xml", "**/cobertura*.xml"),
)
"""Where reports commonly lie."""
_CLOSED = frozenset({".git", "node_modules", ".venv", "venv", ".tox", ".nox"})

Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ReportLimits:
    """How much is looked at; what is beyond is said and not read."""

    entries: int = 200_000
    depth: int = 32
    files: int = 500
    file_bytes: int = 8 * 1024 * 1024
    total_bytes: int = 32 * 1024 * 1024


LIMITS = ReportLimits()


def standing(checkout: Path, globs: Sequence[str] = (), *, limits: ReportLimits = LIMITS) -> dict[str, Signature]:
    """Look at the reports that lie there before a check; without `globs` in the common places."""
    return dict(_found(checkout, globs or PLACES, limits, []))


def written(
    checkout: Path, globs: Sequence[str], before: Mapping[str, Signature], *, limits: ReportLimits = LIMITS
) -> tuple[dict[str, bytes], list[str]]:
    """Read the reports that were written since `before`; also say what could not be read."""
    findings: list[str] = []
    contents: dict[str, bytes] = {}
    left = limits.total_bytes
    for path, signature in _found(checkout, globs or PLACES, limits, findings):
        if before.get(path) == signature:
            continue
        if len(contents) >= limits.files:
            findings.append(f"more than {limits.files} reports: the rest is not read")
            break
        read = _read(checkout / os.fsdecode(path), min(limits.file_bytes, left))
        if isinstance(read, str):
            findings.append(f"{printable(path)} {read}")
            continue
        contents[printable(path)] = read
        left -= len(read)
    return contents, findings


def printable(path: str) -> str:
    """Give a path that any text can hold."""
    return os.fsencode(path).decode(errors="replace")


def _found(
    checkout: Path, globs: Sequence[str], limits: ReportLimits, findings: list[str]
) -> Iterator[tuple[str, Signature]]:
    """Walk the checkout, names in order, and give what a glob means with what tells a change of it."""
    folders = [("", 0)]
    seen = 0
    while folders:
        folder, depth = folders.pop()
        entries = _entries(checkout / folder)
        below = []
        for entry in entries:
            seen += 1
            if seen > limits.entries:
                findings.append(f"more than {limits.entries} files in the checkout: not all are looked at")
                return
            path = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _CLOSED and depth < limits.depth:
                    below.append((f"{path}/", depth + 1))
            elif matches(path, globs) and (signature := _signature(entry)) is not None:
                yield path, signature
        folders += reversed(below)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _signature(entry: os.DirEntry[str]) -> Signature | None:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    # A change time cannot be set back, as a time of modification can.
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path, most: int) -> bytes | str:
    """Read a regular file, or say why not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "is no file that can be read"
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "is no regular file"
        content = file.read(most + 1)
    return content if len(content) <= most else "is too large to be read"
