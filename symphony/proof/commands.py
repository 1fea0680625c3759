"""Checks that are commands: run one after another in a clean checkout, each with its time-out.

Invariant: commands come from the registered workflow, never from the workspace; each check begins with no process of
the one before it alive, and its reports are read when none of its own is. What a check wrote is kept in full for `log`,
head and tail for the row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from symphony.domain.errors import Transient
from symphony.domain.proof import CheckResult, Verdict, judged
from symphony.processes.capture import Capture, Captured
from symphony.processes.guardian import Completed, Tree
from symphony.proof.report_files import standing
from symphony.proof.reports import read_reports
from symphony.telemetry.redaction import redact

SETUP = "setup"
_KEPT = 65_536
_LOGGED = 4 * 1024 * 1024
_LIMITS = frozenset({"memory", "processes", "deadline"})
_ONE_STREAM = 'exec bash -c "$0" 2>&1'
"""What a check says of an error stands where it happened in what it wrote."""

Log = Callable[[str, str], object]
"""Takes a check's name and all that it wrote, as far as that is kept, without secrets."""


@dataclass(frozen=True, slots=True)
class Command:
    """One thing to run: a shell command line, its name, the longest time that it may take, and where it writes reports."""

    name: str
    run: str
    timeout: timedelta
    reports: tuple[str, ...] = ()


def run_checks(
    tree: Tree,
    checkout: Path,
    environment: Mapping[str, str],
    setup: Command | None,
    checks: Sequence[Command],
    log: Log | None = None,
) -> list[CheckResult]:
    """Run the setup and, when it passed, every check, also after one has failed; a limit ends them all.

    Raises:
        Transient: the tree was ended from outside.
    """
    results: list[CheckResult] = []
    if setup is not None:
        results.append(run_command(tree, checkout, environment, setup, log))
        if results[0].verdict is not Verdict.PASSED:
            return results
    for check in checks:
        before = standing(checkout, check.reports)
        result = run_command(tree, checkout, environment, check, log)
        results.append(judged(result, read_reports(checkout, check.reports, before)))
        if tree.ended is not None:
            break
    return results


def run_command(
    tree: Tree, checkout: Path, environment: Mapping[str, str], command: Command, log: Log | None = None
) -> CheckResult:
    """Run one command to its end, or to a limit; nothing of it lives on.

    Raises:
        Transient: the tree was ended from outside.
    """
    began = time.monotonic()
    completed = tree.run(
        ["bash", "-c", _ONE_STREAM, command.run],
        cwd=checkout,
        env=environment,
        timeout_s=command.timeout.total_seconds(),
        head=_LOGGED,
        tail=_LOGGED,
    )
    seconds = time.monotonic() - began
    if tree.ended is not None and tree.ended not in _LIMITS:
        raise Transient(f"the check {command.name} was ended: {tree.ended}", category=tree.ended)
    if tree.ended is None:
        tree.clear()
    if log is not None:
        log(command.name, redact(completed.stdout.text()))
    kept = _shortened(completed.stdout)
    return CheckResult(
        name=command.name,
        command=command.run,
        verdict=_verdict(completed),
        exit_code=completed.returncode,
        seconds=round(seconds, 3),
        output=redact(kept.text()),
        dropped=kept.dropped,
    )


def _shortened(captured: Captured) -> Captured:
    """Keep as much of the head and the tail as a row holds."""
    kept = Capture(_KEPT, _KEPT)
    kept.add(captured.head)
    kept.add(captured.tail)
    result = kept.result()
    return Captured(result.head, result.tail, result.dropped + captured.dropped)


def _verdict(completed: Completed) -> Verdict:
    if completed.limit in _LIMITS:
        return Verdict.KILLED
    if completed.timed_out:
        return Verdict.TIMED_OUT
    return Verdict.PASSED if completed.returncode == 0 else Verdict.FAILED
