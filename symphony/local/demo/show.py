"""What is seen of the demo while it happens, and the one thing that the demo itself does to it: killing a worker.

Invariant: everything shown is read from the ledger. The show ends `up` when the ledger says that nothing is left to do, or
when its patience is over, and takes the evidence from the ledger before that, since the servers end with `up`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from symphony.domain.errors import SymphonyError
from symphony.ledger import views
from symphony.local.demo.evidence import Event, Evidence, Holder, read_all, read_events, read_holder
from symphony.local.demo.sample import Sample
from symphony.local.demo.story import CRASHING, KILLED, REWORKED, STORY
from symphony.local.up import Up

_EVERY_S = 0.25
_PATIENCE_S = 180.0
_STYLES = {"landed": "green", "blocked": "yellow", "retried": "red", "lost": "red", "failed": "red", "reworked": "magenta"}


@dataclass(frozen=True, slots=True)
class Killed:
    """The worker process that the demo has killed."""

    name: str
    holder: Holder
    at: datetime


class Show:
    """One showing; `view` is what `up` calls in a thread of its own, the rest is read when that has ended."""

    def __init__(self, sample: Sample, console: Console) -> None:
        self.evidence: Evidence | None = None
        self.killed: Killed | None = None
        self.failure: Exception | None = None
        self.out_of_patience = False
        self._sample = sample
        self._console = console
        self._began = time.time()
        self._seen: set[int] = set()
        self._agents: Counter[str] = Counter()

    def view(self, up: Up, stop: threading.Event) -> None:
        """Follow the ledger until the story is over or somebody stops it, then stop `up`."""
        live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        try:
            with live or nullcontext():
                while not stop.wait(_EVERY_S) and not self._is_over(up, live):
                    continue
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the demo raises it
            self.failure = error
        finally:
            stop.set()

    def _is_over(self, up: Up, live: Live | None) -> bool:
        try:
            events = up.database.transact(read_events)
            self._tell(events)
            if live is not None:
                live.update(self._table(up.database.transact(views.runs_of)), refresh=True)
            self._kill_when_due(up, events)
            self.out_of_patience = time.time() - self._began > _PATIENCE_S
            idle = up.database.transact(lambda transaction: views.idleness(transaction, up.started_at)).is_idle
            if not idle and not self.out_of_patience:
                return False
            self.evidence = up.database.transact(read_all)
        except SymphonyError as error:
            if time.time() - self._began > 2 * _PATIENCE_S:
                raise
            self._say("", f"the ledger cannot be read for a moment: {error}", "red")
            return False
        self._tell(self.evidence.events)
        return True

    def _kill_when_due(self, up: Up, events: list[Event]) -> None:
        """Kill the worker under one agent, once the other accidents of the story have happened."""
        happened = {(event.identifier, event.kind) for event in events}
        if self.killed is not None or not {(REWORKED, "reworked"), (CRASHING, "retried")} <= happened:
            return
        log = self._sample.agent_log(KILLED)
        holder = up.database.transact(lambda transaction: read_holder(transaction, KILLED))
        if holder is None or not log.exists() or not log.stat().st_size:
            return
        # Only a child of this very process is ever killed, whatever a row says.
        name = next((child.name for child in up.supervisor.status() if child.pid == holder.pid), None)
        if name is None:
            return
        os.kill(holder.pid, signal.SIGKILL)
        self.killed = Killed(name, holder, datetime.now(UTC))
        self._say(KILLED, f"the demo kills {name} (pid {holder.pid}) with SIGKILL under its agent", "bold red")

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            if event.id in self._seen:
                continue
            self._seen.add(event.id)
            words = self._words(event)
            if words is not None:
                self._say(event.identifier, words, _STYLES.get(event.kind, ""), at=event.at.timestamp())

    def _words(self, event: Event) -> str | None:
        data = event.data
        match event.kind, event.stage:
            case "admitted", _:
                return "gets a slot"
            case "claimed", "agent":
                self._agents[event.identifier] += 1
                number = self._agents[event.identifier]
                return "its agent works" if number == 1 else f"its agent works, attempt {number}"
            case "claimed", "proof":
                return "the tests run on its change, merged with main"
            case "claimed", "land":
                return "is next to land"
            case "reworked", _:
                conflict = "conflicts with it" in (event.feedback or "")
                return "goes back to its agent: " + ("main has moved on, conflict" if conflict else "the tests failed")
            case "retried", _:
                return f"{_first_line(data['error'])}; tried again in {data['delay_s']:g} s"
            case "lost", _:
                return f"{data['error']}: its lease has run out, another worker takes it"
            case "blocked", _:
                return f"is blocked and asks: {_first_line(data['question'])}"
            case "landed", _:
                return f"has landed: {data['commit'][:10]}"
            case (("claimed" | "advanced" | "came_due"), _):
                return None
            case kind, _:
                return f"{kind} {_first_line(str(data.get('reason') or data.get('error') or ''))}".rstrip()

    def _table(self, runs: list[dict[str, Any]]) -> Table:
        found = {run["identifier"]: run for run in reversed(runs)}
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for column in ("issue", "title", "run", "stage", "attempts"):
            table.add_column(column, no_wrap=True)
        for issue in STORY:
            run = found.get(issue.identifier)
            cells = (run["state"], run["stage"], str(self._agents[issue.identifier])) if run else ("-", "", "")
            table.add_row(issue.identifier, issue.title, *cells, style=_STYLES.get(cells[0], ""))
        return table

    def _say(self, identifier: str, words: str, style: str = "", *, at: float | None = None) -> None:
        elapsed = max((at or time.time()) - self._began, 0.0)
        self._console.print(Text(f"{elapsed:5.1f} s  {identifier:8} {words}", style=style), soft_wrap=True)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
