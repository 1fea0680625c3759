"""What a candidate changes, read out of a store of git: the files with their hunks, and their contents on both sides.

Invariant: only objects are read, by the one git runner; nothing is checked out, and no attribute or driver of the change
takes part. Complexity, lost tests and the walkthrough are made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from symphony.domain.errors import Rejected
from symphony.processes.git import Git
from symphony.proof.diff import OPTIONS, FileDiff, parse_diff

_FILE_BYTES = 1024 * 1024
_TOTAL_BYTES = 32 * 1024 * 1024
_ORIGINALS_BYTES = 4 * 1024 * 1024
_GITLINK = "160000"


@dataclass(frozen=True, slots=True)
class Change:
    """The files that differ, and the contents of those that are not too large, by path."""

    files: tuple[FileDiff, ...] = ()
    base: Mapping[str, bytes] = field(default_factory=dict)
    candidate: Mapping[str, bytes] = field(default_factory=dict)


def change_between(git: Git, base: str, candidate: str) -> Change:
    """Read what differs between two commits or trees of the store.

    Raises:
        SymphonyError: as git fails.
    """
    told = git.output("diff", "--raw", "-z", "--no-abbrev", "--no-renames", "--end-of-options", base, candidate)
    sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
    statuses: dict[str, str] = {}
    parts = told.split(b"\0")
    for described, name in zip(parts[::2], parts[1::2], strict=False):
        path = name.decode(errors="replace")
        old_mode, new_mode, old, new, status = described.decode().removeprefix(":").split(" ")
        statuses[path] = status
        for mode, blob, side in ((old_mode, old, sides[0]), (new_mode, new, sides[1])):
            if mode != _GITLINK and set(blob) != {"0"}:
                side[path] = blob
    blobs = _blobs(git, [*sides[0].values(), *sides[1].values()], _TOTAL_BYTES)
    before, after = ({path: blobs[blob] for path, blob in side.items() if blob in blobs} for side in sides)
    return Change(tuple(_files(git, base, candidate, statuses)), before, after)


def originals(git: Git, commit: str, paths: Iterable[str], *, most_bytes: int = _ORIGINALS_BYTES) -> dict[str, bytes]:
    """Give unchanged files that a change of `paths` may have copied from: those of its languages, the nearest first.

    Raises:
        SymphonyError: as git fails.
    """
    changed = set(paths)
    suffixes = {PurePosixPath(path).suffix for path in changed} - {""}
    folders = {str(PurePosixPath(path).parent) for path in changed}
    found: dict[str, str] = {}
    for entry in git.output("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        described, _, name = entry.partition(b"\t")
        path = name.decode(errors="replace")
        if b" blob " in described and path not in changed and PurePosixPath(path).suffix in suffixes:
            found[path] = described.split(b" ")[2].decode()
    near = sorted(found, key=lambda path: (str(PurePosixPath(path).parent) not in folders, path))
    blobs = _blobs(git, [found[path] for path in near], most_bytes)
    return {path: blobs[found[path]] for path in near if found[path] in blobs}


def _files(git: Git, base: str, candidate: str, statuses: Mapping[str, str]) -> Iterable[FileDiff]:
    """Give every file that differs, with its hunks where the whole diff can be read."""
    try:
        text = git.output("diff", "-p", *OPTIONS, "--end-of-options", base, candidate)
    except Rejected as error:
        if error.category != "output_too_large":
            raise
        text = b""
    hunks = {file.path: file for file in parse_diff(text)}
    for path, status in statuses.items():
        file = hunks.get(path)
        if file is not None:
            yield file
        elif status == "A":
            yield FileDiff(path, "added")
        else:
            yield FileDiff(path, "deleted" if status == "D" else "modified")


def _blobs(git: Git, wanted: Iterable[str], most_bytes: int) -> dict[str, bytes]:
    """Read blobs, in order, those that are not too large as long as there is room."""
    names = list(dict.fromkeys(wanted))
    sizes = git.output("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", stdin=_lines(names))
    chosen: list[str] = []
    for line in sizes.decode().splitlines():
        name, _, size = line.partition(" blob ")
        if size.isdigit() and int(size) <= min(_FILE_BYTES, most_bytes):
            chosen.append(name)
            most_bytes -= int(size)
    told = git.output("cat-file", "--batch", stdin=_lines(chosen))
    blobs: dict[str, bytes] = {}
    at = 0
    while at < len(told):
        end = told.index(b"\n", at)
        name, _, size = told[at:end].decode().partition(" blob ")
        blobs[name] = told[end + 1 : end + 1 + int(size)]
        at = end + int(size) + 2
    return blobs


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()
