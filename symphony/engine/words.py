"""What Symphony writes to people on an issue, in Markdown; where something was proved, the run's one artefact."""

from __future__ import annotations

from symphony.ledger.records import Run
from symphony.proof import artefact
from symphony.proof.artefact import Facts
from symphony.telemetry.redaction import redact

_LONGEST = 4000
_LONGEST_COMMENT = 60_000  # a forge takes 65,536, and our mark comes to it


def question(text: str, *, is_moved: bool) -> str:
    """Put a question that blocks the run; `is_moved`: the issue leaves the active states until there is an answer."""
    how = "Reply here, or move the issue back to an active state, to go on." if is_moved else "Reply here to go on."
    return f"**Blocked.** {clipped(text)}\n\n{how}"


def failure(run: Run, error: str) -> str:
    """Say that no further attempt will help."""
    attempts, crashes = _counted(run.failures, "failed attempt", "s"), _counted(run.crashes, "crash", "es")
    return (
        f"**Failed** in {run.stage} after {attempts} and {crashes}: {clipped(error)}\n\n"
        "Move the issue out of the active states and back, or use `symphony retry`, to start anew."
    )


def landed(facts: Facts) -> str:
    """Say what landed, with its evidence."""
    return artefact.markdown(facts, most=_LONGEST_COMMENT)


def review(run: Run, reason: str, facts: Facts | None) -> str:
    """Ask a person to decide, with the evidence where there is any."""
    branch = f" on `{run.branch}`" if run.branch else ""
    asked = f"**Ready for review**{branch}: {clipped(reason)}"
    if facts is None or facts.verdict is None:
        return asked
    return f"{asked}\n\n{artefact.markdown(facts, most=_LONGEST_COMMENT - len(asked) - 2)}"


def clipped(text: str) -> str:
    """Give a text without secrets, and no longer than people read."""
    text = redact(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n… ({len(text) - _LONGEST} more characters)"


def _counted(number: int, word: str, plural: str) -> str:
    return f"{number} {word}{'' if number == 1 else plural}"
