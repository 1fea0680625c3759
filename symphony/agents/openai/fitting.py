"""Where a patch's hunks fit in a file, and what the file is after them.

Invariant: a hunk is placed only where all its old lines are, and only when there is one such place; whitespace at line
ends, line endings and typographic signs may differ, the kept lines stay as the file has them. Linear in file and hunk,
whatever they are. Relied on by `patch`.
"""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MOST_PLACES = 1000
_SHOWN_PLACES = 5
_MOST_VOTES = 50_000
_SHOWN = 120
_BOM = "\ufeff"
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", " "),
    }
)


class Misfit(Exception):
    """Which hunk does not fit, and why, said to the model."""


class Hunk:
    """A change of one place: `lines` are (sign, text), `headers` what the place is below, outermost first."""

    def __init__(self, number: int, headers: Sequence[str], lines: Sequence[tuple[str, str]], *, at_end: bool) -> None:
        self.number = number
        self.headers = headers
        self.lines = lines
        self.at_end = at_end

    @property
    def old(self) -> list[str]:
        """The lines that must be there."""
        return [text for sign, text in self.lines if sign != "+"]


def _same(line: str) -> str:
    return line


def _folded(line: str) -> str:
    return line.translate(_PLAIN).rstrip()


# How alike a line of the patch and a line of the file must be: the first way that gives a place decides.
_WAYS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("", _same),
    ("apart from whitespace at line ends", str.rstrip),
    ("apart from typographic signs", _folded),
)


def fit(path: str, content: bytes, hunks: Sequence[Hunk]) -> tuple[bytes, str]:
    """Give the file after its hunks, and where they were placed.

    Raises: Misfit for the first hunk that has no place, or several.
    """
    fitting = _Fitting(path, content)
    for hunk in hunks:
        fitting.place(hunk)
    return fitting.fitted()


class _Fitting:
    def __init__(self, path: str, content: bytes) -> None:
        text = content.decode("utf-8", "surrogateescape")
        self._bom = _BOM if text.startswith(_BOM) else ""
        pieces = text.removeprefix(_BOM).split("\n")
        ended = [*(piece + "\n" for piece in pieces[:-1]), *([pieces[-1]] if pieces[-1] else [])]
        self._path = path
        self._ends = [piece[len(piece.rstrip("\n").removesuffix("\r")) :] for piece in ended]
        self._lines = [piece[: len(piece) - len(end)] for piece, end in zip(ended, self._ends, strict=True)]
        self._usual_end = next((end for end in self._ends if end), "\n")
        self._indexes: dict[str, _Index] = {}
        self._after = 0
        self._written: list[str] = []
        self._account: list[str] = []

    def place(self, hunk: Hunk) -> None:
        """Take a hunk at its one place."""
        start, how = self._find(hunk)
        self._written += self._raw(self._after, start)
        here, end = start, "".join(self._ends[start : start + 1])
        for sign, text in hunk.lines:
            if sign == "+":
                self._end_last_line()
                self._written.append(text + (end or self._usual_end))
            else:
                self._written += self._raw(here, here + 1) if sign == " " else []
                end = self._ends[here]
                here += 1
        self._after = here
        self._account.append(f"hunk {hunk.number} at line {start + 1}" + (f" {how}" if how else ""))

    def fitted(self) -> tuple[bytes, str]:
        """Give the whole file."""
        rest = self._raw(self._after, len(self._lines))
        if rest:
            self._end_last_line()
        text = self._bom + "".join(self._written + rest)
        return text.encode("utf-8", "surrogateescape"), ", ".join(self._account)

    def _raw(self, start: int, end: int) -> list[str]:
        return [line + ending for line, ending in zip(self._lines[start:end], self._ends[start:end], strict=True)]

    def _end_last_line(self) -> None:
        if self._written and not self._written[-1].endswith("\n"):
            self._written[-1] += self._usual_end

    def _find(self, hunk: Hunk) -> tuple[int, str]:
        """Give the line that a hunk begins at, from 0, and what is to be said of it."""
        if not hunk.old:
            return self._place_without_context(hunk), ""
        for how, way in _WAYS:
            index = self._index(how, way)
            places = index.places([way(line) for line in hunk.old], self._after)
            if len(places) > 1 and hunk.at_end:
                places = [place for place in places if place + len(hunk.old) == len(self._lines)] or places
            warning = ""
            if places and hunk.headers:
                places, warning = self._below(hunk, places)
            if len(places) > 1:
                raise Misfit(self._ambiguous(hunk, places))
            if places:
                return places[0], " ".join(filter(None, (how, warning)))
        raise Misfit(self._nowhere(hunk))

    def _place_without_context(self, hunk: Hunk) -> int:
        if hunk.headers or (self._lines and not hunk.at_end and hunk.number > 1):
            raise Misfit(
                f"{self._name(hunk)} adds lines without saying where: give the lines before or after them as context."
            )
        return len(self._lines)

    def _below(self, hunk: Hunk, places: list[int]) -> tuple[list[int], str]:
        """Keep the places in the blocks that the headers open, or else behind their lines; and say what is odd."""
        blocks = blocks_of(self._lines, hunk.headers)
        if blocks is None:
            return places, f"(there is no line {hunk.headers[-1]!r})" if len(places) == 1 else ""
        inside = [place for place in places if any(place in block for block in blocks)]
        if inside:
            return inside, ""
        first = min(block.start for block in blocks)
        behind = [place for place in places if place >= first]
        if not behind:
            raise Misfit(
                f"{self._name(hunk)} fits at {_listed(places)} only, which is above {hunk.headers[-1]!r}: correct what "
                "stands behind @@, or leave it out."
            )
        told = "" if all(not block for block in blocks) else f"(which is not within {hunk.headers[-1]!r}: check it)"
        return behind, told

    def _index(self, how: str, way: Callable[[str], str]) -> _Index:
        if how not in self._indexes:
            self._indexes[how] = _Index([way(line) for line in self._lines])
        return self._indexes[how]

    def _name(self, hunk: Hunk) -> str:
        return f"{self._path}: hunk {hunk.number}"

    def _ambiguous(self, hunk: Hunk, places: list[int]) -> str:
        more = "give more lines of context, or name what the place is in behind @@"
        return f"{self._name(hunk)} fits at several places ({_listed(places)}): {more}."

    def _nowhere(self, hunk: Hunk) -> str:
        name, index = self._name(hunk), self._index(*_WAYS[-1])
        above = index.places([_folded(line) for line in hunk.old], 0)
        if above:
            return (
                f"{name} fits at {_listed(above)} only, which is above the hunk before it: order them from top to bottom."
            )
        new = [_folded(text) for sign, text in hunk.lines if sign != "-"]
        if len(new) > 1 and any(new) and (there := index.places(new, 0)):
            return f"{name} does not fit, but what it leads to is there already, at {_listed(there)}."
        nearest = nearest_place(self._lines, hunk.old, self._after)
        if nearest is None:
            return f"{name} does not fit: none of its lines is in the file. Read the file again."
        return f"{name} does not fit. {_difference(self._lines, hunk.old, nearest)}"


class _Index:
    """Lines in which a run of lines is found in linear time."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._text = "".join(f"\n{line}" for line in lines) + "\n"
        self._starts: list[int] = []
        place = 0
        for line in lines:
            self._starts.append(place)
            place += len(line) + 1

    def places(self, wanted: Sequence[str], after: int) -> list[int]:
        """Give where `wanted` begins, from line `after` on; at most a few."""
        found: list[int] = []
        if after >= len(self._starts):
            return found
        needle = "".join(f"\n{line}" for line in wanted) + "\n"
        place = self._text.find(needle, self._starts[after])
        while place >= 0 and len(found) < _MOST_PLACES:
            found.append(bisect_left(self._starts, place))
            place = self._text.find(needle, place + 1)
        return found


def blocks_of(lines: Sequence[str], headers: Sequence[str]) -> list[range] | None:
    """Give the lines below the header lines, each header below the one before; None when one is nowhere."""
    blocks = [range(len(lines))]
    for header in headers:
        wanted = header.strip()
        below = []
        for alike in (header.__eq__, lambda line, w=wanted: line.strip() == w, lambda line, w=wanted: w in line):
            below = [
                range(number + 1, _block_end(lines, number))
                for number in sorted({number for block in blocks for number in block})
                if alike(lines[number])
            ]
            if below:
                break
        if not below:
            return None
        blocks = below
    return blocks


def _block_end(lines: Sequence[str], opening: int) -> int:
    """Give the first line behind the block that a line opens, by its indentation; brackets that only close belong to it."""
    indent = _indent(lines[opening])
    for number in range(opening + 1, len(lines)):
        line = lines[number].strip()
        if line and _indent(lines[number]) <= indent and line[0] not in ")]}{":
            return number
    return len(lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def nearest_place(lines: Sequence[str], wanted: Sequence[str], after: int) -> int | None:
    """Give the line where most of `wanted` would be at its place; None when none of it is anywhere."""
    offsets: dict[str, list[int]] = {}
    for offset, line in enumerate(wanted):
        if line.strip():
            offsets.setdefault(line.strip(), []).append(offset)
    votes: dict[int, int] = {}
    for number, line in enumerate(lines):
        for offset in offsets.get(line.strip(), ()):
            votes[number - offset] = votes.get(number - offset, 0) + 1
        if len(votes) > _MOST_VOTES:
            break
    if not votes:
        return None
    return max(votes, key=lambda place: (votes[place], place >= after, -place))


def _difference(lines: Sequence[str], wanted: Sequence[str], place: int) -> str:
    """Say what differs first, when `wanted` is laid over the lines at `place`."""
    for offset, line in enumerate(wanted):
        number = place + offset
        there = lines[number] if 0 <= number < len(lines) else None
        if there is not None and _folded(there) == _folded(line):
            continue
        near = f"The nearest place is line {max(place, 0) + 1}; line {number + 1}"
        if there is None:
            return f"{near} is not in the file, which has {len(lines)} lines. The patch has: {_cut(line)}"
        how = " differs in its indentation" if there.strip() == line.strip() else " differs"
        return f"{near}{how}.\n  file:  {_cut(there)}\n  patch: {_cut(line)}"
    return f"The nearest place is line {place + 1}."


def _listed(places: Sequence[int]) -> str:
    numbers = ", ".join(str(place + 1) for place in places[:_SHOWN_PLACES])
    more = " and more" if len(places) > _SHOWN_PLACES else ""
    return f"line{'s' if len(places) > 1 else ''} {numbers}{more}"


def _cut(line: str) -> str:
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
