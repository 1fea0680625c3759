"""A change as git tells it, read into files and hunks.

Invariant: what stands in a hunk cannot pose as the header of another: lines are counted as the hunk's own header says. The
walkthrough is checked against this and quotes from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

OPTIONS = ("--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
"""What `git diff` must be told, so that this reads it."""
Status = Literal["added", "deleted", "modified"]

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_LONGEST_LINE = 400
_KEPT_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines of a change with their marks; `start` and `count` are of the new file, `old_start` of the old one."""

    old_start: int
    start: int
    count: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What became of one file."""

    path: str
    status: Status = "modified"
    added: int = 0
    deleted: int = 0
    is_binary: bool = False
    hunks: tuple[Hunk, ...] = ()


def parse_diff(text: bytes) -> list[FileDiff]:
    """Read the output of `git diff` with `OPTIONS`; of a very large one only the first lines are kept, all are counted."""
    lines = text.split(b"\n")
    files: list[FileDiff] = []
    left = _KEPT_CHARACTERS
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if line.startswith(b"diff --git "):
            files.append(FileDiff(_path_of_both(line[len(b"diff --git ") :])))
        elif not files:
            continue
        elif found := _HUNK.match(line):
            hunk, added, deleted, at = _hunk(lines, at, found, left)
            left -= sum(map(len, hunk.lines))
            last = files[-1]
            files[-1] = replace(last, added=last.added + added, deleted=last.deleted + deleted, hunks=(*last.hunks, hunk))
        else:
            files[-1] = _with_header(files[-1], line)
    return files


def changed_lines(files: Sequence[FileDiff], mark: str = "+") -> Iterator[str]:
    """Give the added lines of a change, or the removed ones (`-`), without their marks."""
    for file in files:
        for hunk in file.hunks:
            yield from (line[1:] for line in hunk.lines if line[:1] == mark)


def _with_header(file: FileDiff, line: bytes) -> FileDiff:
    if line.startswith(b"new file mode"):
        return replace(file, status="added")
    if line.startswith(b"deleted file mode"):
        return replace(file, status="deleted")
    if line.startswith((b"Binary files ", b"GIT binary patch")):
        return replace(file, is_binary=True)
    if line.startswith((b"--- ", b"+++ ")) and (name := _unquoted(line[4:].removesuffix(b"\t"))) != b"/dev/null":
        return replace(file, path=_text(name[2:]))
    return file


def _hunk(lines: Sequence[bytes], at: int, header: re.Match[bytes], left: int) -> tuple[Hunk, int, int, int]:
    """Read the lines of one hunk; also give how many were added and deleted, and where it ends."""
    old_start, old, start, new = (int(group) if group is not None else 1 for group in header.groups())
    count, kept, added, deleted = new, [], 0, 0
    while at < len(lines) and (old > 0 or new > 0 or lines[at].startswith(b"\\")):
        line = lines[at]
        at += 1
        if line.startswith(b"\\"):
            continue
        mark = line[:1]
        old -= mark != b"+"
        new -= mark != b"-"
        added += mark == b"+"
        deleted += mark == b"-"
        if left > 0:
            kept.append(_text(line[:_LONGEST_LINE].removesuffix(b"\r")))
            left -= len(kept[-1])
    return Hunk(old_start, start, count, tuple(kept)), added, deleted, at


def _path_of_both(names: bytes) -> str:
    """Give the path of a file whose two names are the same, as they are where no renames are looked for."""
    if names.startswith(b'"'):
        return _text(_unquoted(names[: names.find(b'" ') + 1])[2:])
    return _text(names[: len(names) // 2][2:])


def _unquoted(name: bytes) -> bytes:
    if not (name.startswith(b'"') and name.endswith(b'"') and len(name) > 1):
        return name

    def meaning(found: re.Match[bytes]) -> bytes:
        escaped = found[1]
        return bytes([int(escaped, 8) & 255]) if len(escaped) == 3 else _LETTERS.get(escaped, escaped)

    return _ESCAPE.sub(meaning, name[1:-1])


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
