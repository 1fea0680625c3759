"""The comments of an issue's Markdown body: ours found and written by their hidden markers, people's read as they come.

Invariant: text that does not stand between our two markers is never changed, only added to. Ours are recognised
wherever they stand, so one is never written twice; nothing in a comment's text can pass for a marker.
Used by the files adapter only.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from symphony.domain.errors import InvariantViolated
from symphony.domain.issue import Comment
from symphony.trackers.files.document import clean, instant
from symphony.trackers.protocol import OWN_COMMENT

AUTHOR = "Symphony"
_KEY = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}"
_OPEN = re.compile(rf"^<!-- symphony:(?P<key>{_KEY}) -->[ \t]*(?:\r?\n|\Z)", re.MULTILINE)
_SECTION = re.compile(r"^ {0,3}##[ \t]++comments[ \t]*+:?[ \t]*+#*+[ \t]*+\r?$", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)")
_HEADING = re.compile(r" {0,3}###[ \t]++(?P<text>.{1,200})")
_AT = r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?"
_SIGNED = re.compile(rf"(?P<author>.*?\S)\s*[·—–,|(\[-]?\s*(?P<at>{_AT})[)\]]?")
_BREAK = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})")
_BULLET = re.compile(r"(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_HINT = re.compile(r"\A\s*(?:<!--(?:(?!-->).)*-->\s*)+\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Block:
    """A comment of ours with its markers; offsets into the body."""

    key: str
    start: int
    inner: int
    inner_end: int
    end: int


def read(body: str) -> tuple[str, tuple[Comment, ...]]:
    """Give the description and the comments, in the order in which they stand."""
    blocks = _blocks(body)
    section = _section(body, blocks)
    if section is None:
        return body, ()
    comments: list[Comment] = []
    seen: Counter[str] = Counter()
    at = body.index("\n", section) + 1 if "\n" in body[section:] else len(body)
    for block in [block for block in blocks if block.start >= at]:
        comments += _peoples(body[at : block.start], seen)
        author, created_at, text = _signed(body[block.inner : block.inner_end])
        comments.append(Comment(OWN_COMMENT + block.key, author or AUTHOR, clean(text), created_at))
        at = block.end
    return body[:section], (*comments, *_peoples(body[at:], seen))


def write(body: str, *, key: str, text: str, now: datetime, newline: str = "\n") -> str:
    """Give the body with one comment of this key and text: edited where it stands, else added at the end.

    Raises: InvariantViolated for a key that cannot stand in a marker.
    """
    if not re.fullmatch(_KEY, key) or "--" in key:
        raise InvariantViolated(f"{key!r} cannot be the key of a comment")
    text = _harmless(text).replace("\n", newline)
    blocks = _blocks(body)
    block = next((block for block in blocks if block.key == key), None)
    if block is not None:
        heading, _, said = body[block.inner : block.inner_end].partition("\n")
        if said.strip() == text:
            return body
        inner = newline.join([heading.rstrip() if _HEADING.match(heading) else _title(now), "", text, "", ""])
        return body[: block.inner] + inner + body[block.inner_end :]
    new = newline.join([f"<!-- symphony:{key} -->", _title(now), "", text, "", f"<!-- /symphony:{key} -->", ""])
    torn = next((match for match in _OPEN.finditer(body) if match["key"] == key), None)
    if torn is not None:
        # Its closing marker was deleted: where our text ends is unknown, so what stands there becomes the person's.
        return body if text in body[torn.end() :] else body[: torn.start()] + new + newline + body[torn.end() :]
    if _section(body, blocks) is None:
        body += _gap(body, newline) + "## Comments" + newline
    return body + _gap(body, newline) + new


def _title(now: datetime) -> str:
    return f"### {AUTHOR} · {now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _gap(body: str, newline: str) -> str:
    """Give the line ends after which a new paragraph may begin."""
    if not body.strip():
        return newline
    ending = body[len(body.rstrip("\r\n \t")) :].count("\n")
    return newline * max(0, 2 - ending)


def _harmless(text: str) -> str:
    text = re.sub(r"<!--(?=\s*/?\s*symphony:)", "&lt;!--", clean(text), flags=re.IGNORECASE)
    return re.sub(r"\r\n?", "\n", text).strip() or "(empty)"


def _blocks(body: str) -> list[_Block]:
    blocks: list[_Block] = []
    at = 0
    while (opening := _OPEN.search(body, at)) is not None:
        at = opening.end()
        closing = re.compile(rf"^<!-- /symphony:{re.escape(opening['key'])} -->(?:[ \t]*\r?\n)?", re.M).search(body, at)
        following = _OPEN.search(body, at)
        if closing is not None and (following is None or following.start() > closing.start()):
            blocks.append(_Block(opening["key"], opening.start(), at, closing.start(), closing.end()))
            at = closing.end()
    return blocks


def _section(body: str, blocks: list[_Block]) -> int | None:
    """Find where the last heading `## Comments` begins that is neither in a comment of ours nor in a code block."""
    if not _SECTION.search(body):
        return None
    visible = body
    for block in blocks:
        hidden = re.sub(r"[^\n]", " ", body[block.start : block.end])
        visible = visible[: block.start] + hidden + visible[block.end :]
    lines = visible.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    fenced = _fenced(lines)
    found = [starts[n] for n, line in enumerate(lines) if n not in fenced and _SECTION.fullmatch(line)]
    return found[-1] if found else None


def _fenced(lines: list[str]) -> set[int]:
    """Number the lines inside code fences that are closed; one that never closes is taken for text."""
    marks = [(n, match) for n, line in enumerate(lines) if (match := _FENCE.fullmatch(line.rstrip("\r")))]
    inside: set[int] = set()
    after = -1
    for index, (n, opening) in enumerate(marks):
        if n <= after:
            continue
        for m, closing in marks[index + 1 :]:
            if not closing["info"].strip() and closing["fence"].startswith(opening["fence"]):
                inside.update(range(n, m + 1))
                after = m
                break
    return inside


def _peoples(text: str, seen: Counter[str]) -> Iterator[Comment]:
    for piece in _pieces(text):
        author, created_at, said = _signed(piece)
        if not said.strip() or _HINT.match(said):
            continue
        said = clean(said)
        digest = hashlib.sha256(f"{author}\0{created_at}\0{said}".encode()).hexdigest()[:20]
        seen[digest] += 1
        yield Comment(f"{digest}-{seen[digest]}", clean(author) if author else None, said, created_at)


def _pieces(text: str) -> Iterator[str]:
    """Cut people's text into comments: at headings and rules; where there is no heading, at paragraphs and bullets."""
    lines = text.replace("\r\n", "\n").split("\n")
    fenced = _fenced(lines)
    piece: list[str] = []
    headed = blank = False
    for n, line in enumerate(lines):
        plain = n not in fenced
        heading = plain and _HEADING.fullmatch(line) is not None
        rule = plain and _BREAK.fullmatch(line) is not None
        continued = headed or (bool(piece) and line[:1] in {" ", "\t"} and _BULLET.match(piece[0]) is not None)
        fresh = plain and not continued and (blank or _BULLET.match(line) is not None)
        if heading or rule or (fresh and line.strip()):
            yield "\n".join(piece)
            piece = []
        headed = heading or (headed and not rule)
        blank = plain and not line.strip()
        if not rule:
            piece.append(line)
    yield "\n".join(piece)


def _signed(piece: str) -> tuple[str | None, datetime | None, str]:
    """Take author, time and text out of a comment whose first line is `### Author · time`."""
    first, _, rest = piece.strip().partition("\n")
    heading = _HEADING.fullmatch(first.rstrip("\r"))
    signed = _SIGNED.fullmatch(heading["text"].rstrip(" \t#")) if heading else None
    created_at = instant(signed["at"]) if signed else None
    if signed is None or created_at is None:
        return None, None, piece.strip()
    return signed["author"], created_at, rest.replace("\r\n", "\n").strip()
