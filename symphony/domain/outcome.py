"""What a stage can say when it ends. The engine's settle turns each into rows; stages never write run states."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Advance:
    """The stage is done; the next one may begin, or the run has landed."""


@dataclass(frozen=True, slots=True)
class Continue:
    """The turns of this session are used up and the issue wants more: another session soon, not a failure."""


@dataclass(frozen=True, slots=True)
class Rework:
    """Back to the agent with what must be better; a person's round is not counted.

    `keeps_work`: what the feedback speaks of lies in the workspace, so the work goes on there whatever `land.rework` says.
    """

    feedback: str
    by_person: bool = False
    keeps_work: bool = False


@dataclass(frozen=True, slots=True)
class Park:
    """Wait for something outside, then the same stage again."""

    wait: timedelta
    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; again after a backoff, or not before `retry_after`."""

    error: str
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The attempt was cut short through no fault of its own: the same stage again at once, nothing counted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Review:
    """A person decides whether this lands."""

    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """Only a person can help; the question is put to them."""

    question: str


@dataclass(frozen=True, slots=True)
class Release:
    """The issue no longer wants this run; the epoch is not consumed."""

    reason: str
    clean: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """The run is stopped for good, its workspace removed where `clean`."""

    reason: str
    clean: bool = True


@dataclass(frozen=True, slots=True)
class Fail:
    """No further attempt will help."""

    error: str


Outcome = Advance | Continue | Rework | Park | Retry | Interrupted | Review | Block | Release | Cancel | Fail


def name_of(outcome: Outcome) -> str:
    """Give the word under which an outcome stands in `attempts.outcome`."""
    return type(outcome).__name__.lower()
