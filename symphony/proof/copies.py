"""Code that a change has copied: runs of lines that stand elsewhere, too, more often than before.

Invariant: one pass over the lines, whatever they are; blank lines, comments, imports and lone punctuation are no code, so
licences and braces are no copies. lizard's own finder numbers identifiers by file, and so misses a function that is copied
word for word between files that begin differently.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_NO_CODE = re.compile(
    r"\W*$|#|//|/?\*|--|;|%|(?:import|from|using|use|package|include|require|require_relative|module|namespace)\b|@import\b"
)
_MOST_PLACES = 50

Lines = list[tuple[int, str]]
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """Lines `line` to `end_line` of `path` stand at `of_line` of `of`, too."""

    path: str
    line: int
    end_line: int
    of: str
    of_line: int


def copies(base: Mapping[str, str], candidate: Mapping[str, str], *, lines: int) -> list[Copy]:
    """Find runs of at least `lines` lines of code that the candidate holds more often than the base did, where it has more.

    Files that are equal in both are where an original may stand.
    """
    before = _windows(base, lines)
    code = {path: _code(text) for path, text in candidate.items()}
    found: dict[str, list[tuple[int, Place]]] = {}
    for key, places in _windows(candidate, lines).items():
        if len(places) < 2 or len(places) <= len(before.get(key, ())):
            continue
        grown = Counter(path for path, _ in places)
        grown.subtract(path for path, _ in before.get(key, ()))
        original = next((place for place in places if grown[place[0]] <= 0), places[0])
        for path, start in places:
            if (path, start) != original and grown[path] > 0:
                found.setdefault(path, []).append((start, original))
    return [copy for path in sorted(found) for copy in _merged(path, code, sorted(found[path]), lines)]


def _code(text: str) -> Lines:
    stripped = ((number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in stripped if line and not _NO_CODE.match(line)]


def _keys(code: Lines, lines: int) -> Iterator[tuple[int, int]]:
    hashes = [hash(line) for _, line in code]
    for start in range(len(code) - lines + 1):
        yield start, hash(tuple(hashes[start : start + lines]))


def _windows(files: Mapping[str, str], lines: int) -> dict[int, list[Place]]:
    """Give for each run of lines where it begins; a file that repeats itself counts as often as it does so side by side."""
    places: dict[int, list[Place]] = {}
    for path, text in files.items():
        for start, key in _keys(_code(text), lines):
            known = places.setdefault(key, [])
            overlaps = known and known[-1][0] == path and start - known[-1][1] < lines
            if not overlaps and len(known) < _MOST_PLACES:
                known.append((path, start))
    return places


def _merged(path: str, code: Mapping[str, Lines], found: Iterable[tuple[int, Place]], lines: int) -> list[Copy]:
    """Join runs that follow one another, here and there."""
    merged: list[tuple[int, int, Place]] = []
    for start, other in found:
        if merged:
            first, last, of = merged[-1]
            if start <= last + lines and other[0] == of[0]:
                merged[-1] = (first, start, of)
                continue
        merged.append((start, start, other))
    own = code[path]
    return [Copy(path, own[first][0], own[last + lines - 1][0], of[0], code[of[0]][of[1]][0]) for first, last, of in merged]
