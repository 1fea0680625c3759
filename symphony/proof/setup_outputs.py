"""Which files a setup has made in a checkout, and how they are brought to another path.

Invariant: no symbolic link is followed; what is not the setup's own is never touched. Only the cache of setups uses this.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

Footprint = dict[str, tuple[int, int, int]]
"""The files of a checkout before its setup, with what tells a change of each."""


@dataclass(frozen=True, slots=True)
class Found:
    """The paths of what holds a text, and how many bytes all of it takes."""

    paths: list[str]
    bytes: int


def footprint(checkout: Path) -> Footprint:
    """Look at what lies in a checkout before its setup."""
    return {path: _signature(found) for path, found in _entries(checkout)}


def outputs_of(checkout: Path, before: Footprint) -> list[str] | None:
    """Name what the setup has made, whole folders where all in them is new; None when it changed what was there."""
    folders = {path.rpartition("/")[0] for path in before}
    folders |= {folder[:end] for folder in list(folders) for end in _slashes(folder)}
    seen: set[str] = set()
    outputs: list[str] = []
    waiting = [""]
    while waiting:
        top = waiting.pop()
        for entry in _listed(checkout / top):
            path = f"{top}{entry.name}"
            found = entry.stat(follow_symlinks=False)
            if path == ".git":
                continue
            if path in before:
                seen.add(path)
                if _signature(found) != before[path]:
                    return None
            elif stat.S_ISDIR(found.st_mode) and path in folders:
                waiting.append(f"{path}/")
            else:
                outputs.append(path)
    return sorted(outputs) if seen == before.keys() else None


def paths_with(folder: Path, text: bytes) -> Found:
    """Find the files and links below a folder that hold a text."""
    paths: list[str] = []
    size = 0
    for path, found in _entries(folder):
        size += found.st_blocks * 512
        if stat.S_ISLNK(found.st_mode):
            holds = text in os.fsencode((folder / path).readlink())
        else:
            holds = stat.S_ISREG(found.st_mode) and found.st_size >= len(text) and _holds(folder / path, text)
        if holds:
            paths.append(path)
    return Found(paths, size)


def rewrite(folder: Path, paths: Iterable[str], old: bytes, new: bytes) -> None:
    """Replace a text by one of the same length in files and links, whose times and modes stay.

    Raises:
        OSError: one of them cannot be written.
        ValueError: the two are not of one length.
    """
    if len(old) != len(new):
        raise ValueError("a path can be replaced by one of its length only")
    for path in paths:
        place = folder / path
        found = place.lstat()
        if stat.S_ISLNK(found.st_mode):
            target = os.fsencode(place.readlink()).replace(old, new)
            place.unlink()
            place.symlink_to(os.fsdecode(target))
            os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
            continue
        place.chmod(found.st_mode | stat.S_IWUSR)
        with os.fdopen(os.open(place, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b") as file:
            content = file.read().replace(old, new)
            file.seek(0)
            file.write(content)
        place.chmod(stat.S_IMODE(found.st_mode))
        os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns))


def _slashes(path: str) -> list[int]:
    return [at for at, letter in enumerate(path) if letter == "/"]


def _signature(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_size, found.st_mtime_ns


def _holds(path: Path, text: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text) >= 0


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Walk all that is no folder, by paths within `folder`; git's own folder at the top is passed over."""
    waiting = [""]
    while waiting:
        top = waiting.pop()
        for entry in _listed(folder / top):
            path = f"{top}{entry.name}"
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                if path != ".git":
                    waiting.append(f"{path}/")
            else:
                yield path, found


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except PermissionError:
        return []
