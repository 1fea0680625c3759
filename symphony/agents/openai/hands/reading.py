"""Reading a part of a file: text with line numbers, or an image.

Invariant: memory stays within a few MiB whatever the file is: lines are cut while they are read, what is skipped is not
kept.
"""

from __future__ import annotations

import os

from symphony.agents.openai.hands.paths import Refused, parts_of, regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

MOST_SHOWN = 48 * 1024
LONGEST_LINE = 2000
MOST_IMAGE = 5 * 1024 * 1024
_COUNTED = 16 << 20
_HEAD = 8192
_CHUNK = 1 << 20
_IMAGES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"))


def read(path: str, offset: int, limit: int) -> str | tuple[str, str]:
    """Give `limit` lines from line `offset` on, or the image. Raises: Refused."""
    parts = parts_of(path)
    if not parts:
        raise Refused("The workspace is a folder: list_files shows what is in it.")
    with regular(parts) as (opened, seen):
        head = os.pread(opened, _HEAD, 0)
        kind = _image(head)
        if kind:
            return _picture(path, opened, seen.st_size, kind)
        if b"\0" in head:
            return f"{path} is binary: {seen.st_size} bytes, beginning with {head[:16].hex(' ')}."
        with open(opened, "rb", closefd=False) as file:
            return _lines(file, offset, limit, seen.st_size)


def _image(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((kind for magic, kind in _IMAGES if head.startswith(magic)), None)


def _picture(path: str, opened: int, size: int, kind: str) -> tuple[str, str]:
    if size > MOST_IMAGE:
        raise Refused(f"{path} is an image of {size} bytes; at most {MOST_IMAGE} can be shown. Make a smaller copy of it.")
    data = bytearray()
    while chunk := os.read(opened, MOST_IMAGE + 1 - len(data)):
        data += chunk
    if len(data) > MOST_IMAGE:
        raise Refused(f"{path} grows while it is read: try again.")
    import base64

    return f"{path}: {kind} image, {size} bytes.", f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _lines(file: BinaryIO, offset: int, limit: int, size: int) -> str:
    for skipped in range(offset - 1):
        if not _line(file, 0)[1]:
            return f"Nothing there: the file has {_count(skipped)}."
    shown: list[str] = []
    room, number = MOST_SHOWN, offset
    while len(shown) < limit and room > 0:
        kept, length = _line(file, LONGEST_LINE)
        if not length:
            break
        text = kept.decode("utf-8", "backslashreplace").rstrip("\r\n")
        if length > len(kept):
            text += f" […{length - len(kept)} bytes more]"
        line = f"{number:>6}\t{text}"
        room -= len(line) + 1
        shown.append(line)
        number += 1
    if not shown:
        return "The file is empty." if offset == 1 else f"Nothing there: the file has {_count(offset - 1)}."
    return "\n".join(shown) + _rest(file, number, size)


def _line(file: BinaryIO, longest: int) -> tuple[bytes, int]:
    """Read a line; give its first `longest` bytes and its length with its end, 0 behind the last one."""
    kept, length = b"", 0
    while piece := file.readline(_CHUNK):
        if len(kept) < longest:
            kept += piece[: longest - len(kept)]
        length += len(piece)
        if piece.endswith(b"\n"):
            break
    return kept, length


def _rest(file: BinaryIO, following: int, size: int) -> str:
    """Say how much of the file follows, if anything does."""
    if size - file.tell() > _COUNTED:
        return f"\n(the file goes on, {size} bytes in all; next: offset {following})"
    more, last = 0, b""
    while chunk := file.read(_CHUNK):
        more += chunk.count(b"\n")
        last = chunk
    if not last:
        return ""
    more += not last.endswith(b"\n")
    return f"\n(of {following - 1 + more} lines; next: offset {following})"


def _count(lines: int) -> str:
    return f"{lines} line" if lines == 1 else f"{lines} lines"
