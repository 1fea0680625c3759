"""Errors that say what happens next.

Every failure that crosses a room's wall is one of these classes; `domain.retry` maps the class to a stage's outcome, so a
class is chosen by its consequence and never by where it came from. Where a call can be made again at once, only a
Transient makes that worth while; what comes of the attempt is another matter (docs/failure-model.md).

    SymphonyError
    ├── ConfigError         the operator's mistake: place, sentence, cure; the attempt fails, the next may find it mended
    ├── Transient           the world's mistake: try again, not before `retry_after`
    ├── Rejected            the other side understood and said no: the same call is not made again, the attempt fails
    ├── Poisoned            the input cannot be worked on: a person must change it
    ├── Fenced              the run is no longer ours: write nothing, clean up, leave
    ├── Cancelled           somebody wants the work to stop
    ├── Breach              a safety rule would be broken: stop, keep the evidence, tell a person
    └── InvariantViolated   our own mistake
"""

from __future__ import annotations

from datetime import timedelta


class SymphonyError(Exception):
    """An error whose class says what happens next; `category` is a stable word for logs and scripts."""

    def __init__(self, message: str, *, category: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.category = category or type(self).__name__.lower()


class ConfigError(SymphonyError):
    """The operator's mistake: `place` (file:line or setting), one sentence, and the `cure`."""

    def __init__(
        self, message: str, *, place: str | None = None, cure: str | None = None, category: str | None = None
    ) -> None:
        super().__init__(message, category=category)
        self.place = place
        self.cure = cure

    def __str__(self) -> str:
        """One line: place, fault, cure."""
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text} ({self.cure})" if self.cure else text


class Transient(SymphonyError):
    """Worth another try, not before `retry_after` where the other side named a time."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None, category: str | None = None) -> None:
        super().__init__(message, category=category)
        self.retry_after = retry_after


class Rejected(SymphonyError):
    """The other side understood and refused; the same request will be refused again."""


class Poisoned(SymphonyError):
    """The input cannot be worked on until a person changes it."""


class Fenced(SymphonyError):
    """The run has another owner now: write nothing, clean up, leave."""


class Cancelled(SymphonyError):
    """The work was asked to stop."""


class Breach(SymphonyError):
    """A safety rule would be broken."""


class InvariantViolated(SymphonyError):
    """A state that the design excludes was seen."""
