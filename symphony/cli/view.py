"""The view of `up`: a live table on a terminal, plain lines elsewhere, and at the end what became of each run.

Invariant: it is driven from the ledger alone and changes nothing; a ledger that is away is said, and waited for. `up`
runs it in a thread of its own.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from symphony.cli.formatting import cell, harmless, one_line, seconds, short
from symphony.cli.formatting import table as plain_table
from symphony.domain.errors import SymphonyError
from symphony.ledger import views
from symphony.ledger.database import Transaction
from symphony.local.up import Up
from symphony.telemetry.redaction import redact
from symphony.workflow.loader import parse

_EVERY_S = 0.5
_LINES = 6
_ENDED_SHOWN = 10
_MOST_ROWS = 40
_ASKING = frozenset({"blocked", "reviewing"})
_ENDED = frozenset({"landed", "failed", "cancelled", "released"})
_COLOURS = {"running": "cyan", "landed": "green", "failed": "red", "blocked": "yellow", "reviewing": "yellow"}


@dataclass
class Seen:
    """What the ledger said last; `trouble` is why it says nothing now."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    workflows: list[dict[str, Any]] = field(default_factory=list)
    trouble: str | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    new_lines: list[str] = field(default_factory=list)
    _said: dict[Any, tuple[object, ...]] = field(default_factory=dict)
    _slots: dict[UUID, int] = field(default_factory=dict)

    def look(self, up: Up) -> None:
        """Read the ledger, and note a line for each change."""

        def read(transaction: Transaction) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
            return views.runs_changed_since(transaction, up.started_at), views.workflows_now(transaction)

        try:
            self.runs, self.workflows = up.database.transact(read)
        except SymphonyError as error:
            self._note("trouble", (True,), f"the ledger cannot be read: {error}")
            self.trouble = str(error)
            return
        if self.trouble is not None:
            self._note("trouble", (False,), "the ledger answers again")
            self.trouble = None
        for run in self.runs:
            said = f"{run['identifier']}#{run['number']} {run['stage']} {run['state']}"
            question = run["question"] if run["state"] in _ASKING else None
            about = run["landed_sha"] or question or run["error"]
            text = f"{said}: {one_line(str(about))}" if about else said
            self._note(run["id"], (run["state"], run["stage"]), text)
        for workflow in (row for row in self.workflows if row["is_served"]):
            for key in ("poll_error", "load_error"):
                known = (workflow["id"], key)
                if workflow[key] or known in self._said:
                    said = f"{key.replace('_', ' ')}: {workflow[key]}" if workflow[key] else "is fine again"
                    self._note(known, (workflow[key],), f"{workflow['name']} {said}")

    def slots_of(self, workflow: dict[str, Any]) -> str:
        """Say how many agents work, of how many that may."""
        version = workflow["version_id"]
        if version not in self._slots:
            self._slots[version] = parse(workflow["content"], place=workflow["name"]).workflow.agent.slots.total
        return f"{workflow['slots_taken']}/{self._slots[version]} agents"

    def take_lines(self) -> list[str]:
        """Give the lines that are new since the last time."""
        new, self.new_lines = self.new_lines, []
        return new

    def _note(self, key: object, value: tuple[object, ...], text: str) -> None:
        if self._said.get(key) != value:
            self._said[key] = value
            said = f"{time.strftime('%H:%M:%S')} {harmless(redact(text))}"
            self.lines.append(said)
            self.new_lines.append(said)


def choose_view(*, is_plain: bool) -> Callable[[Up, threading.Event], None]:
    """Give the live table on a terminal, lines elsewhere."""
    return plain if is_plain or not sys.stdout.isatty() else live


def plain(up: Up, stop: threading.Event) -> None:
    """Print one line for each change of a run."""
    seen = Seen()
    for address in _addresses(up):
        print(address, flush=True)
    ending = False
    while not ending:
        ending = stop.wait(_EVERY_S)
        seen.look(up)
        for text in seen.take_lines():
            print(text, flush=True)
    summarise(seen, up)


def live(up: Up, stop: threading.Event) -> None:
    """Keep one table up to date on the terminal."""
    seen = Seen()
    with Live(console=Console(), auto_refresh=False, transient=True) as screen:
        while not stop.wait(_EVERY_S):
            seen.look(up)
            screen.update(_picture(seen, up), refresh=True)
        seen.look(up)
    summarise(seen, up)


def summarise(seen: Seen, up: Up) -> None:
    """Say what became of each run; when people ended `up`, that it is stopping."""
    rows = [
        (
            f"{run['identifier']}#{run['number']}", run["state"], run["attempt"] or 0, _lasted(run),
            short(run["landed_sha"]) or None, _last(run),
        )
        for run in seen.runs
    ]  # fmt: skip
    if rows:
        print(flush=True)
        plain_table(("RUN", "STATE", "ATTEMPTS", "TIME", "LANDED", "LAST"), rows)
    print("nothing is left to do" if up.is_idle else "stopping: what runs is brought to an end", flush=True)


def _picture(seen: Seen, up: Up) -> Group:
    parts: list[Text | Table] = [Text(_header(seen), style="bold"), Text(" · ".join(_addresses(up)), style="dim")]
    if seen.trouble:
        parts.append(Text(f"the ledger cannot be read: {cell(seen.trouble)}", style="red"))
    parts.append(_table(seen.runs))
    sick = [status for status in up.supervisor.status() if status.state == "pausing" and status.restarts]
    parts += [Text(f"{status.name} ended with {status.returncode} and is started again", style="red") for status in sick]
    parts += [Text(text, style="dim", no_wrap=True, overflow="ellipsis") for text in list(seen.lines)[-_LINES:]]
    return Group(*parts)


def _header(seen: Seen) -> str:
    counts: dict[str, int] = {}
    for run in seen.runs:
        counts[run["state"]] = counts.get(run["state"], 0) + 1
    served = [f"{row['name']} {seen.slots_of(row)}" for row in seen.workflows if row["is_served"]]
    return " · ".join([*served, *(f"{count} {state}" for state, count in counts.items())])


def _table(runs: list[dict[str, Any]]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    for name in ("Run", "Title", "Stage", "State", "Attempt", "Node", "Time", "Last"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=3 if name in ("Title", "Last") else None)
    ended = [run for run in runs if run["state"] in _ENDED][-_ENDED_SHOWN:]
    shown = [run for run in runs if run["state"] not in _ENDED][: _MOST_ROWS - len(ended)] + ended
    for run in shown:
        values = (
            f"{run['identifier']}#{run['number']}", run["snapshot"].get("title"), run["stage"], run["state"],
            run["attempt"], run["node"], _lasted(run), _last(run),
        )  # fmt: skip
        style = _COLOURS.get(run["state"], "")
        table.add_row(*(Text(cell(value), style=style if n == 3 else "") for n, value in enumerate(values)))
    return table


def _addresses(up: Up) -> list[str]:
    known = (("Flower", up.flower_url), ("Status", up.web_url))
    return [f"{name}: {url}" for name, url in known if url]


def _lasted(run: dict[str, Any]) -> str | None:
    if run["finished_at"] is not None:
        return seconds((run["finished_at"] - run["created_at"]).total_seconds())
    return seconds(run["held_for"].total_seconds()) if run["held_for"] is not None else None


def _last(run: dict[str, Any]) -> str | None:
    text = run["question"] if run["state"] == "blocked" else run["error"]
    return redact(str(text)) if text else run["waiting_for"] or run["last_event"]
