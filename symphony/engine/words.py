"""What Symphony writes to people on an issue, in Markdown."""

from __future__ import annotations

from symphony.ledger.records import Proof, Run
from symphony.telemetry.redaction import redact

_SHORT = 7
_LONGEST = 4000


def question(text: str, *, is_moved: bool) -> str:
    """Put a question that blocks the run; `is_moved`: the issue leaves the active states until there is an answer."""
    how = "Reply here, or move the issue back to an active state, to go on." if is_moved else "Reply here to go on."
    return f"**Blocked.** {_clipped(text)}\n\n{how}"


def failure(run: Run, error: str) -> str:
    """Say that no further attempt will help."""
    attempts, crashes = _counted(run.failures, "failed attempt", "s"), _counted(run.crashes, "crash", "es")
    return (
        f"**Failed** in {run.stage} after {attempts} and {crashes}: {_clipped(error)}\n\n"
        "Move the issue out of the active states and back, or use `symphony retry`, to start anew."
    )


def landed(run: Run, proof: Proof | None) -> str:
    """Say what landed, with its proof."""
    rounds = f", {_counted(run.rework_rounds, 'round', 's')} of rework" if run.rework_rounds else ""
    return f"**Landed** `{(run.landed_sha or '')[:_SHORT]}`{rounds}.\n\n{evidence(proof)}".rstrip()


def review(run: Run, reason: str, proof: Proof | None) -> str:
    """Ask a person to decide."""
    branch = f" on `{run.branch}`" if run.branch else ""
    return f"**Ready for review**{branch}: {_clipped(reason)}\n\n{evidence(proof)}".rstrip()


def evidence(proof: Proof | None) -> str:
    """List the checks of a proof, one line each, under its verdict."""
    if proof is None:
        return ""
    lines = [f"Proof **{proof.verdict}** for tree `{proof.tree_sha[:_SHORT]}`:"]
    lines += [f"- {check['name']}: {check['verdict']} ({check['seconds']:.1f} s)" for check in proof.checks]
    return "\n".join(lines)


def _counted(number: int, word: str, plural: str) -> str:
    return f"{number} {word}{'' if number == 1 else plural}"


def _clipped(text: str) -> str:
    text = redact(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\n… ({len(text) - _LONGEST} more characters)"
