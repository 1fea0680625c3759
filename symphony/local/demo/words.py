"""What the demo says before and after the show: what will happen, whether it did, the summary, and where to look."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from symphony.agents.log import log_path
from symphony.ledger.usage import Used
from symphony.local.demo.chaos import Source
from symphony.local.demo.chosen_model import BUDGET_USD, ChosenModel
from symphony.local.demo.evidence import Evidence
from symphony.local.demo.sample import Sample
from symphony.local.demo.show import Show
from symphony.local.demo.story import SLOTS, WORKERS
from symphony.local.demo.verdict import Finding
from symphony.workflow.schema.agent import DEFAULT_MODEL

_SHORT = 10
_COLUMNS = ("issue", "state", "attempts", "seconds", "tokens", "cost", "landed commit")
_NUMBERS = frozenset({"attempts", "seconds", "tokens", "cost"})
_REPLAY_PORT = 8399


def introduce(console: Console, sample: Sample, model: ChosenModel, chaos: Source | None, *, keep: bool) -> None:
    """Say what will happen, which model it is, what is real and what is not."""
    fate = "it is kept" if keep else "removed at the end, --keep keeps it"
    _say(console, f"Symphony demo: {len(sample.story)} issues, a sample repository with real tests.", "bold")
    _say(console, f"Model: {model.name}.", "bold")
    if model.is_recorded:
        _say(console, "What the model says is a recording that Symphony serves on this machine; nothing is paid.")
        _say(console, "Everything else is real: every command, edit, test run, commit and merge.")
    else:
        _say(console, "Everything is real: the model, every command, edit, test run, commit and merge.")
        _say(console, f"It is paid: at most ${BUDGET_USD} an issue. `symphony demo --offline` plays a recorded model.")
    _say(console, f"{WORKERS} worker processes, {SLOTS} agents at most. Folder: {sample.folder} ({fate}).")
    _say(
        console,
        "Times are scaled to fit a demo: a silent worker counts as dead after 9 s (30 s by default), a failed agent is "
        "tried again after 2 s (10 s), the board is read every second (30 s).",
    )
    if chaos is not None:
        _say(console, f"Chaos: {chaos.words}.", "bold")
        _say(console, "The story's accidents happen or not, as chaos has it; every issue still ends as it should.")
    _say(console, "")
    for issue in sample.story:
        happens = f": {issue.happens}" if model.is_recorded or issue.with_any_model else ""
        _say(console, f"  {issue.identifier:8} {issue.title}{happens}")
    _say(console, "")
    _say(console, "Starting PostgreSQL, Valkey, beat, the workers and Flower ...")


def conclude(
    console: Console,
    show: Show,
    findings: Sequence[Finding],
    sample: Sample,
    model: ChosenModel,
    *,
    took_s: float,
    keep: bool,
) -> None:
    """Print the findings, what was done to it, the summary and the hints."""
    assert show.evidence is not None
    _say(console, "\nThe story, as repository, board and ledger tell it:", "bold")
    if show.out_of_patience:
        _say(console, "  ✗ it did not come to its end in time", "red")
    for finding in findings:
        mark, style = ("✗", "red") if finding.faults else ("✓", "green")
        _say(console, f"  {mark} {finding.sentence}", style)
        for fault in finding.faults:
            _say(console, f"      {fault}", "red")
    if not show.is_exact:
        _say(console, "\nWhat was done to it meanwhile:", "bold")
        for deed in show.deeds:
            _say(console, f"  {deed.at.timestamp() - show.began:5.1f} s  {deed.words}")
    _say(console, "")
    console.print(_summary(sample, show.evidence))
    failed = show.out_of_patience or any(finding.faults for finding in findings)
    verdict = "The demo went otherwise than the story says" if failed else "All as the story says"
    _say(console, f"\n{verdict}. {took_s:.0f} s.", "bold red" if failed else "bold green")
    for line in (_paid(show.evidence, model), *_hints(sample.folder, model, keep=keep)):
        _say(console, line)


def _paid(evidence: Evidence, model: ChosenModel) -> str:
    total = sum((used.cost_usd for used in evidence.used.values()), Decimal(0))
    if model.is_recorded:
        return f"Model: {model.name}. Nothing was paid; {DEFAULT_MODEL} would have cost {_money(total)} for these tokens."
    return f"Model: {model.name}. It cost {_money(total)}."


def _summary(sample: Sample, evidence: Evidence) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True, justify="right" if column in _NUMBERS else "left")
    for issue in sample.story:
        run = evidence.runs.get(issue.identifier)
        if run is None:
            table.add_row(issue.identifier, "not run", "0")
            continue
        style = {"landed": "", "blocked": "yellow"}.get(run["state"], "red")
        used = evidence.used[issue.identifier]
        table.add_row(
            issue.identifier,
            run["state"],
            str(len(evidence.agent_attempts(issue.identifier))),
            f"{(_end(run, evidence) - run['created_at']).total_seconds():.1f}",
            str(_tokens(used)),
            _money(used.cost_usd),
            (run["landed_sha"] or "")[:_SHORT],
            style=style,
        )
    return table


def _tokens(used: Used) -> int:
    return used.input_tokens + used.output_tokens


def _money(dollars: Decimal) -> str:
    return f"${dollars:.3f}"


def _end(run: dict[str, Any], evidence: Evidence) -> datetime:
    finished: datetime | None = run["finished_at"]
    return finished or max((event.at for event in evidence.of(run["identifier"], run["state"])), default=run["created_at"])


def _hints(folder: Path, model: ChosenModel, *, keep: bool) -> list[str]:
    if not keep:
        return ["`symphony demo --keep` keeps the folder: the repository, the board, each agent's log and the ledger."]
    home = f"SYMPHONY_HOME={folder}/home"
    again = [f"The ledger again:     {home} symphony up {folder}/board/WORKFLOW.md"]
    if model.is_recorded:
        replay = shlex.join([sys.executable, "-m", "symphony.local.demo.replay", str(_REPLAY_PORT)])
        given = f"OPENAI_BASE_URL=http://127.0.0.1:{_REPLAY_PORT}/v1 OPENAI_API_KEY=replay"
        again = [
            f"The model again:      {replay}",
            f"  then the ledger:    {given} {home} symphony up {folder}/board/WORKFLOW.md",
        ]
    return [
        f"The history:          git -C {folder}/origin.git log --graph --oneline main",
        f"The question:         cat {folder}/board/issues/DEMO-8.md",
        f"What an agent did:    cat {log_path(folder / 'home', 'demo', 'DEMO-3')}",
        *again,
        f"  then, beside it:    {home} symphony show DEMO-3",
        f'                      {home} symphony answer DEMO-8 "EUR"',
    ]


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)
