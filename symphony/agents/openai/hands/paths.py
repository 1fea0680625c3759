"""Paths as a model names them, opened one component at a time below the workspace.

Invariant: no symbolic link is followed and nothing above the workspace is reached, also when somebody swaps a component
meanwhile: every step opens a name in a folder that is already open. Only regular files are opened; a pipe or a device
is looked at and never touched. Relied on by everything in this room.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_SIMILAR = 3
_MOST_SIMILAR = 2000
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class Refused(Exception):
    """What cannot be done, said to the model."""


def shown(path: str) -> str:
    """Give a path as one printable line; bytes that are no UTF-8 and control characters are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def parts_of(path: str) -> list[str]:
    """Give the components of a path below the workspace; none for the workspace itself.

    Raises: Refused for a path that leads out of it.
    """
    root = os.getcwd()  # noqa: PTH109 -- pathlib costs more than all the rest
    if path.startswith("/"):
        if path != root and not path.startswith(f"{root}/"):
            raise Refused(f"{path} is outside of the workspace: name a path relative to it.")
        path = path.removeprefix(root).lstrip("/")
    plain = os.path.normpath(path or ".")
    parts = [] if plain == "." else plain.split("/")
    if ".." in parts:
        raise Refused(f"{path} leads out of the workspace.")
    return parts


@contextmanager
def root_folder() -> Iterator[int]:
    """Open the workspace, which is this program's folder."""
    root = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def entry(parts: list[str]) -> Iterator[tuple[int, os.stat_result]]:
    """Open a path to look at it: a descriptor that reads nothing, and what it is. The caller gets no symbolic link.

    Raises: Refused.
    """
    with root_folder() as root:
        here, seen = os.dup(root), os.fstat(root)
        try:
            for number, part in enumerate(parts):
                here, seen = _step(here, seen, parts, number, part)
            yield here, seen
        finally:
            os.close(here)


def _step(here: int, seen: os.stat_result, parts: list[str], number: int, part: str) -> tuple[int, os.stat_result]:
    if not stat.S_ISDIR(seen.st_mode):
        raise Refused(f"{'/'.join(parts[:number])} is no folder.")
    try:
        found = os.open(part, LOOK, dir_fd=here)
    except FileNotFoundError:
        raise Refused(_missing(here, parts, number)) from None
    except OSError as error:
        raise Refused(f"{'/'.join(parts[: number + 1])} cannot be opened: {error.strerror}.") from None
    seen = os.fstat(found)
    if stat.S_ISLNK(seen.st_mode):
        try:
            target = os.readlink("", dir_fd=found)
        finally:
            os.close(found)
        name = "/".join(parts[: number + 1])
        raise Refused(f"{name} is a symbolic link to {shown(target)}, which is not followed: name the path it leads to.")
    os.close(here)
    return found, seen


def _missing(here: int, parts: list[str], number: int) -> str:
    """Say what is not there, and what has a similar name."""
    name, folder = "/".join(parts[: number + 1]), "/".join(parts[:number]) or "the workspace"
    with scan(here) as entries:
        names = [found.name for found, _ in zip(entries, range(_MOST_SIMILAR), strict=False)]
    from difflib import get_close_matches

    similar = ", ".join(shown(found) for found in get_close_matches(parts[number], names, _SIMILAR))
    return f"{name} does not exist." + (f" In {folder} there is: {similar}." if similar else "")


@contextmanager
def scan(folder: int) -> Iterator[Iterator[os.DirEntry[str]]]:
    """List a folder that was opened to look at."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(readable) as entries:
            yield entries
    finally:
        os.close(readable)


@contextmanager
def regular(parts: list[str]) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file for reading.

    Raises: Refused for anything else; OSError when it may not be read.
    """
    name = "/".join(parts) or "."
    with entry(parts[:-1]) as (folder, _), entry(parts) as (_, looked):
        if not stat.S_ISREG(looked.st_mode):
            raise Refused(f"{name} is {_KINDS.get(stat.S_IFMT(looked.st_mode), 'special')}, not a file.")
        # What is opened may have been swapped since: never wait for it, and look again.
        opened = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
        try:
            seen = os.fstat(opened)
            if not os.path.samestat(seen, looked):
                raise Refused(f"{name} changes while it is read: try again.")
            yield opened, seen
        finally:
            os.close(opened)
