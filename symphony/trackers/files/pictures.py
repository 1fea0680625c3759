"""Pictures that an issue's description shows: files of the board's folder, and nothing else.

Invariant: no path leads out of the folder, through no symbolic link and to no device; a picture is one by its content and
not by its name. What cannot be given is left as the text that names it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from symphony.trackers.protocol import MOST_PICTURE_BYTES, MOST_PICTURES, Picture, media_type_of

# No part gives back what it took or runs over the next bracket: a hostile description takes no time.
_SHOWN = re.compile(r"!\[[^\[\]\n]*+\]\(\s*+<?([^()<>\s]++)(?=[\s)>])")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def pictures(root: Path, description: str) -> tuple[Picture, ...]:
    """Read the pictures that a description shows, each once, in its order, within the limits."""
    names = dict.fromkeys(match[1] for match in _SHOWN.finditer(description))
    found = (Picture(name, kind, content) for name in names for kind, content in _read(root, unquote(name)))
    return tuple(picture for picture, _ in zip(found, range(MOST_PICTURES), strict=False))


def _read(root: Path, name: str) -> Iterator[tuple[str, bytes]]:
    parts = name.split("/")
    if ":" in name or any(part in ("", "..") for part in parts):
        return
    try:
        content = _content(root, [part for part in parts if part != "."])
    except (OSError, ValueError):
        return
    kind = media_type_of(content) if content is not None else None
    if content is not None and kind is not None:
        yield kind, content


def _content(root: Path, parts: list[str]) -> bytes | None:
    """Walk from folder to folder, so that a link that is put in the way meanwhile is not followed. Raises: OSError."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = file.read(MOST_PICTURE_BYTES + 1)
    return content if len(content) <= MOST_PICTURE_BYTES else None
