"""`symphony check --harness`: the audit of a repository, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from symphony.cli.formatting import document, line
from symphony.local.harness.audit import Audit, audit
from symphony.local.harness.report import measured
from symphony.telemetry.redaction import redact


def report(folder: Path, *, timeout_s: float, runs: bool, as_json: bool) -> None:
    """Audit the repository and say what was found.

    Raises:
        ConfigError: the folder is no repository's top, or has no commit.
    """
    made = audit(folder, timeout_s=timeout_s, runs=runs, tell=lambda sentence: typer.echo(sentence, err=True))
    if as_json:
        document(asdict(made))
    else:
        _write(made)


def _write(made: Audit) -> None:
    line(f"{made.name} at {made.commit[:7]}: {made.described}")
    could, most = measured(made.parts)
    partly = "" if could == most else f", from the {could} of {most} points that could be measured"
    line(f"score: {'not measured' if made.score is None else f'{made.score} of 100'}{partly}")
    line()
    for part in made.parts:
        points = "   not measured" if part.points is None else f"{part.points:>5} of {part.of:>2}    "
        line(f"{points}  {part.name}: {redact(part.said)}")
    if made.faults:
        line()
        line("what would make it better:")
        for fault in made.faults:
            line(f"  {redact(str(fault))}")
