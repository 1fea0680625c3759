"""What a check's own reports tell: its tests by name, coverage, and what is odd about them.

Invariant: a report can take trust away and never gives it: whoever wrote it may have been told to lie, so a check passes
only when its exit code and its reports both say so. Proofs, rework and what people are shown rely on it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

_STORED_FAILURES = 100
_STORED_SKIPPED = 200
_STORED_FINDINGS = 50
_STORED_MESSAGE = 2_000


class CaseOutcome(StrEnum):
    """What one test came to."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Case:
    """One test; `message` says why it failed or was skipped."""

    name: str
    outcome: CaseOutcome
    message: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it fails the check that ran it."""
        return self.outcome in {CaseOutcome.FAILED, CaseOutcome.ERROR}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the code ran, in per cent of its lines."""

    percent: float
    covered: int | None = None
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """All reports of one check; each of `doubts` fails it, `findings` are only told."""

    files: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    coverage: Coverage | None = None
    findings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def bad(self) -> tuple[Case, ...]:
        """The tests that failed, in the order of the reports."""
        return tuple(case for case in self.cases if case.is_bad)

    def names(self, *outcomes: CaseOutcome) -> tuple[str, ...]:
        """Name the tests that came to one of `outcomes`."""
        return tuple(case.name for case in self.cases if case.outcome in outcomes)

    def count(self, outcome: CaseOutcome) -> int:
        """Count the tests that came to `outcome`."""
        return sum(case.outcome is outcome for case in self.cases)

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored: counts, the failures with their messages, the names of what was skipped."""
        failures = [
            {"name": case.name, "outcome": str(case.outcome), "message": case.message[:_STORED_MESSAGE]}
            for case in self.bad[:_STORED_FAILURES]
        ]
        return {
            "files": list(self.files[:_STORED_FINDINGS]),
            "tests": {str(outcome): self.count(outcome) for outcome in CaseOutcome} if self.cases else None,
            "failures": failures,
            "skipped": list(self.names(CaseOutcome.SKIPPED)[:_STORED_SKIPPED]),
            "coverage": asdict(self.coverage) if self.coverage is not None else None,
            "findings": list(self.findings[:_STORED_FINDINGS]),
            "doubts": list(self.doubts[:_STORED_FINDINGS]),
        }
