"""What an audit says: faults with place and cure, and parts that add up to a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that makes agents' work harder here; `category` is a stable word."""

    category: str
    place: str
    message: str
    cure: str

    def __str__(self) -> str:
        """One line: place, fault, cure."""
        return f"{self.place}: {self.message} ({self.cure})"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the score; `points` None: not measured, and not counted."""

    name: str
    points: int | None
    of: int
    said: str


@dataclass(frozen=True, slots=True)
class Section:
    """What one look at a repository came to."""

    parts: tuple[Part, ...] = ()
    faults: tuple[Fault, ...] = field(default=())


def measured(parts: Sequence[Part]) -> tuple[int, int]:
    """Give the points that could be measured, and how many there are."""
    return sum(part.of for part in parts if part.points is not None), sum(part.of for part in parts)


def score_of(parts: Sequence[Part]) -> int | None:
    """Give the points of what was measured as a share of a hundred; None when nothing was."""
    measured = [part for part in parts if part.points is not None]
    most = sum(part.of for part in measured)
    return round(100 * sum(part.points or 0 for part in measured) / most) if most else None
