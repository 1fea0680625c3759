"""Checks that are commands: run one after another in a clean checkout, each with its time-out.

Invariant: commands come from the registered workflow, never from the workspace; each check begins with no process of
the one before it alive.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from symphony.domain.errors import Transient
from symphony.domain.proof import CheckResult, Verdict
from symphony.processes.guardian import Completed, Tree
from symphony.telemetry.redaction import redact

SETUP = "setup"
_KEPT = 65_536
_LIMITS = frozenset({"memory", "processes", "deadline"})


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to run: a shell command line, its name and the longest time that it may take."""

    name: str
    run: str
    timeout: timedelta


def run_checks(
    tree: Tree, checkout: Path, environment: Mapping[str, str], setup: Command | None, checks: Sequence[Command]
) -> list[CheckResult]:
    """Run the setup and, when it passed, every check, also after one has failed; a limit ends them all.

    Raises:
        Transient: the tree was ended from outside.
    """
    if setup is not None:
        result = _run(tree, checkout, environment, setup)
        if result.verdict is not Verdict.PASSED:
            return [result]
    results: list[CheckResult] = []
    for check in checks:
        results.append(_run(tree, checkout, environment, check))
        if tree.ended is not None:
            break
    return results


def _run(tree: Tree, checkout: Path, environment: Mapping[str, str], command: Command) -> CheckResult:
    began = time.monotonic()
    completed = tree.run(
        ["bash", "-c", command.run],
        cwd=checkout,
        env=environment,
        timeout_s=command.timeout.total_seconds(),
        head=_KEPT,
        tail=_KEPT,
    )
    seconds = time.monotonic() - began
    if tree.ended is not None and tree.ended not in _LIMITS:
        raise Transient(f"the check {command.name} was ended: {tree.ended}", category=tree.ended)
    if tree.ended is None:
        tree.clear()
    output = completed.stdout.text() + completed.stderr.text()
    return CheckResult(
        name=command.name,
        command=command.run,
        verdict=_verdict(completed),
        exit_code=completed.returncode,
        seconds=round(seconds, 3),
        output=redact(output),
        dropped=completed.stdout.dropped + completed.stderr.dropped,
    )


def _verdict(completed: Completed) -> Verdict:
    if completed.limit in _LIMITS:
        return Verdict.KILLED
    if completed.timed_out:
        return Verdict.TIMED_OUT
    return Verdict.PASSED if completed.returncode == 0 else Verdict.FAILED
