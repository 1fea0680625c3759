"""What the demo says before and after the show: what will happen, whether it did, the summary, and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from symphony.local.demo.evidence import Evidence
from symphony.local.demo.show import Show
from symphony.local.demo.story import SLOTS, STORY, WORKERS
from symphony.local.demo.verdict import Finding

_SHORT = 10


def introduce(console: Console, folder: Path, *, keep: bool) -> None:
    """Say what will happen, what is real and what is not."""
    fate = "it is kept" if keep else "removed at the end, --keep keeps it"
    _say(console, "Symphony demo: ten issues, a sample repository with real tests, offline.", "bold")
    _say(console, "The agents are small scripted programs: no model is asked.")
    _say(console, "Everything else is real: every command, test run, commit and merge.")
    _say(console, f"{WORKERS} worker processes, {SLOTS} agents at most. Folder: {folder} ({fate}).")
    _say(
        console,
        "Times are scaled to fit a demo: a silent worker counts as dead after 6 s (30 s by default), a failed agent is "
        "tried again after 2 s (10 s), the board is read every second (30 s).",
    )
    _say(console, "")
    for issue in STORY:
        _say(console, f"  {issue.identifier:8} {issue.title}: {issue.happens}")
    _say(console, "")
    _say(console, "Starting PostgreSQL, Valkey, beat and the workers ...")


def conclude(console: Console, show: Show, findings: Sequence[Finding], folder: Path, *, took_s: float, keep: bool) -> None:
    """Print the findings, the summary and the hints."""
    assert show.evidence is not None
    _say(console, "\nThe story, as repository, board and ledger tell it:", "bold")
    if show.out_of_patience:
        _say(console, "  ✗ it did not come to its end in time", "red")
    for finding in findings:
        mark, style = ("✗", "red") if finding.faults else ("✓", "green")
        _say(console, f"  {mark} {finding.sentence}", style)
        for fault in finding.faults:
            _say(console, f"      {fault}", "red")
    _say(console, "")
    console.print(_summary(show.evidence))
    failed = show.out_of_patience or any(finding.faults for finding in findings)
    verdict = "The demo went otherwise than the story says" if failed else "All as the story says"
    _say(console, f"\n{verdict}. {took_s:.0f} s.", "bold red" if failed else "bold green")
    for hint in _hints(folder, keep=keep):
        _say(console, hint)


def _summary(evidence: Evidence) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("issue", "state", "attempts", "seconds", "landed commit"):
        table.add_column(column, no_wrap=True, justify="right" if column in {"attempts", "seconds"} else "left")
    for issue in STORY:
        run = evidence.runs.get(issue.identifier)
        if run is None:
            table.add_row(issue.identifier, "not run", "0", "", "")
            continue
        style = {"landed": "", "blocked": "yellow"}.get(run["state"], "red")
        attempts = str(len(evidence.agent_attempts(issue.identifier)))
        commit = (run["landed_sha"] or "")[:_SHORT]
        seconds = f"{(_end(run, evidence) - run['created_at']).total_seconds():.1f}"
        table.add_row(issue.identifier, run["state"], attempts, seconds, commit, style=style)
    return table


def _end(run: dict[str, Any], evidence: Evidence) -> datetime:
    finished: datetime | None = run["finished_at"]
    return finished or max((event.at for event in evidence.of(run["identifier"], run["state"])), default=run["created_at"])


def _hints(folder: Path, *, keep: bool) -> list[str]:
    if not keep:
        return ["`symphony demo --keep` keeps the folder: the repository, the board, each agent's log and the ledger."]
    home = f"SYMPHONY_HOME={folder}/home"
    return [
        f"The history:          git -C {folder}/origin.git log --graph --oneline main",
        f"The question:         cat {folder}/board/issues/DEMO-8.md",
        f"What an agent said:   cat {folder}/home/logs/agents/DEMO-3.log",
        f"The ledger again:     {home} symphony up {folder}/board/WORKFLOW.md",
        f"  then, beside it:    {home} symphony show DEMO-3",
    ]


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)
