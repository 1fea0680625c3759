"""Three-way merge of a file's lines, for two edits of one text that were saved within the same moment.

Invariant: a line that either side added is in the result; where both changed the same place, theirs comes first and
what only ours has follows. In the front matter, where two answers would be no answer, theirs alone counts.
Used by the writer, when what came out of an exchange is not what was expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from symphony.trackers.files.document import Malformed, split


def merge(base: str, *, theirs: str, ours: str) -> str:
    """Give a text with the changes that theirs and ours made to base."""
    try:
        before, left, right = ("".join(split(text)[:3]) for text in (base, theirs, ours))
    except Malformed:
        return _merge(base, theirs, ours, union=True)
    head = _merge(before, left, right, union=False)
    return head + _merge(base[len(before) :], theirs[len(left) :], ours[len(right) :], union=True)


def _merge(base: str, theirs: str, ours: str, *, union: bool) -> str:
    before, left, right = (text.split("\n") for text in (base, theirs, ours))
    merged: list[str] = []
    at = at_left = at_right = 0
    for start, start_left, start_right, length in _unchanged(before, left, right):
        old, new_left, new_right = before[at:start], left[at_left:start_left], right[at_right:start_right]
        merged += _settle(old, new_left, new_right, union=union)
        merged += before[start : start + length]
        at, at_left, at_right = start + length, start_left + length, start_right + length
    return "\n".join(merged)


def _settle(base: list[str], theirs: list[str], ours: list[str], *, union: bool) -> list[str]:
    if theirs in (ours, base):
        return ours
    if ours == base or not union:
        return theirs
    return theirs + _added(ours, {*base, *theirs})


def _added(lines: list[str], known: set[str]) -> list[str]:
    """Give the lines that are not known, with the blank lines before them and after the last."""
    added: list[str] = []
    gap = False
    for line in lines:
        if line.strip() and line not in known:
            added += ["", line] if gap else [line]
        gap = not line.strip()
    return [*added, ""] if gap and added else added


def _unchanged(base: list[str], theirs: list[str], ours: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Give the runs of base that both sides kept (where in each, how long), and the end of all three."""
    lefts = SequenceMatcher(None, base, theirs, autojunk=False).get_matching_blocks()
    rights = SequenceMatcher(None, base, ours, autojunk=False).get_matching_blocks()
    left = right = 0
    while left < len(lefts) and right < len(rights):
        (at, at_theirs, size), (at_right, at_ours, size_right) = lefts[left], rights[right]
        start, end = max(at, at_right), min(at + size, at_right + size_right)
        if start < end:
            yield start, at_theirs + start - at, at_ours + start - at_right, end - start
        if at + size < at_right + size_right:
            left += 1
        else:
            right += 1
    yield len(base), len(theirs), len(ours), 0
