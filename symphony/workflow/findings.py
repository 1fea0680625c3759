"""What is wrong or worth knowing about a WORKFLOW.md, in sentences with a place and a cure.

A file's faults are found all at once: a person who mends one should not meet the next. `InvalidWorkflow` is the
`ConfigError` that carries them; loader, resolution, prompt and `symphony check` speak in these values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.domain.errors import ConfigError

KeyPath = tuple[str | int, ...]
"""Where a value stands below the root of the front matter."""

INVALID = "invalid_workflow_config"
NOT_IN_THIS_BUILD = "not_in_this_build"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault or warning; `category` is a stable word, `line` counts from 1 in the file."""

    category: str
    message: str
    key: str | None = None
    line: int | None = None
    place: str = "WORKFLOW.md"
    cure: str | None = None
    severity: Literal["error", "warning"] = "error"

    @property
    def where(self) -> str:
        """Give `WORKFLOW.md:LINE`, or the file alone where no line is known."""
        return f"{self.place}:{self.line}" if self.line else self.place

    def __str__(self) -> str:
        """One line: place, fault, cure."""
        return str(self.as_error())

    def as_error(self) -> ConfigError:
        """Give the error to raise where this finding stops the work."""
        return ConfigError(self.message, place=self.where, cure=self.cure, category=self.category)


class InvalidWorkflow(ConfigError):
    """A workflow that cannot be used: the first fault is the sentence, all of them are in `findings`."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda finding: finding.line or 0))
        first, *others = self.findings
        more = f"; {len(others)} more after it" if others else ""
        super().__init__(first.message + more, place=first.where, cure=first.cure, category=first.category)


@dataclass(frozen=True, slots=True)
class Places:
    """The lines of a front matter's keys."""

    place: str
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int | None:
        """Give the line of the value at `path`, or of the nearest key above it."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return None

    def finding(
        self,
        category: str,
        path: KeyPath,
        message: str,
        *,
        cure: str | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> Finding:
        """Make a finding about the value at `path`."""
        return Finding(category, message, dotted(path), self.line(path), self.place, cure, severity)


def dotted(path: KeyPath) -> str:
    """Spell a path the way people write it: `proof.checks[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
