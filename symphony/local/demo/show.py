"""What is seen of the demo while it happens, and what the demo itself does to it: killing a worker, and chaos.

Invariant: everything shown is read from the ledger. The show ends `up` when the ledger says that nothing is left to do, or
when its patience is over, and takes the evidence from the ledger before that, since the servers end with `up`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from symphony.domain.errors import SymphonyError
from symphony.ledger import views
from symphony.local.demo.chaos import Chaos, Deed, Source, kill_child
from symphony.local.demo.evidence import Event, Evidence, Holder, read_all, read_events, read_holder
from symphony.local.demo.sample import Sample
from symphony.local.demo.story import FAILING, KILLED, REWORKED, STORY
from symphony.local.up import Up

_EVERY_S = 0.25
_PATIENCE_S, _PATIENCE_WITH_A_REAL_MODEL_S = 180.0, 2400.0
_STYLES = {"landed": "green", "blocked": "yellow", "retried": "red", "lost": "red", "failed": "red", "reworked": "magenta"}


@dataclass(frozen=True, slots=True)
class Killed:
    """The worker process that the demo has killed; `outlived` are commands of the agent that were seen alive too long."""

    name: str
    holder: Holder
    at: datetime
    commands: tuple[psutil.Process, ...]
    outlived: list[int] = field(default_factory=list)


class Show:
    """One showing; `view` is what `up` calls in a thread of its own, the rest is read when that has ended.

    `is_recorded` is whether the model is; with `chaos`, its wishes come true meanwhile.
    """

    def __init__(self, sample: Sample, console: Console, *, is_recorded: bool, chaos: Source | None) -> None:
        self.evidence: Evidence | None = None
        self.killed: Killed | None = None
        self.failure: Exception | None = None
        self.out_of_patience = False
        self.is_exact = is_recorded and chaos is None and sample.story == STORY
        self.began = time.time()
        self._story = sample.story
        self._console = console
        self._patience_s = _PATIENCE_S if is_recorded else _PATIENCE_WITH_A_REAL_MODEL_S
        self._wishes = chaos
        self._chaos = Chaos(chaos, self._say) if chaos is not None else None
        self._is_ledger_away = False
        self._seen: set[int] = set()
        self._agents: Counter[str] = Counter()

    @property
    def deeds(self) -> list[Deed]:
        """All that was done to the demo, in order: the story's own kill, and chaos."""
        done = list(self._chaos.deeds) if self._chaos is not None else []
        if self.killed is not None:
            done.append(
                Deed(self.killed.at, f"{self.killed.name} (pid {self.killed.holder.pid}) killed under {KILLED}'s agent")
            )
        return sorted(done, key=lambda deed: deed.at)

    def view(self, up: Up, stop: threading.Event) -> None:
        """Follow the ledger until the story is over or somebody stops it, then stop `up`."""
        live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        if up.flower_url is not None:
            self._say("", f"Flower, the window on the workers: {up.flower_url}")
        wreaking = None
        if self._chaos is not None:
            wreaking = threading.Thread(target=self._chaos.run, args=(up, stop), name="chaos", daemon=True)
            wreaking.start()
        try:
            with live or nullcontext():
                while not stop.wait(_EVERY_S) and not self._is_over(up, live):
                    continue
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the demo raises it
            self.failure = error
        finally:
            stop.set()
            if wreaking is not None and self._chaos is not None:
                wreaking.join()
                self.failure = self.failure or self._chaos.failure

    def _is_over(self, up: Up, live: Live | None) -> bool:
        self.out_of_patience = time.time() - self._last_trouble() > self._patience_s
        try:
            events = up.database.transact(read_events)
            self._say_whether_the_ledger_answers(None)
            self._tell(events)
            if live is not None:
                live.update(self._picture(up.database.transact(views.runs_of)), refresh=True)
            self._kill_when_due(up, events)
            self._look_for_what_outlived(events)
            idle = up.database.transact(lambda transaction: views.idleness(transaction, up.started_at)).is_idle
            if not idle and not self.out_of_patience:
                return False
            self.evidence = up.database.transact(read_all)
        except SymphonyError as error:
            if time.time() - self._last_trouble() > 2 * self._patience_s:
                raise
            self._say_whether_the_ledger_answers(error)
            return False
        self._tell(self.evidence.events)
        return True

    def _last_trouble(self) -> float:
        """Give the instant from which patience counts: the beginning, or what was done last."""
        return max([self.began, *(deed.at.timestamp() for deed in self.deeds)])

    def _kill_when_due(self, up: Up, events: list[Event]) -> None:
        """Kill the worker under one agent, where the story is told exactly after its other accidents."""
        happened = {(event.identifier, event.kind) for event in events}
        if self.killed is not None or (self.is_exact and not {(REWORKED, "reworked"), (FAILING, "retried")} <= happened):
            return
        holder = up.database.transact(lambda transaction: read_holder(transaction, KILLED))
        # Only a child of this very process is ever killed, whatever a row says.
        name = next(
            (child.name for child in up.supervisor.status() if holder is not None and child.pid == holder.pid), None
        )
        if holder is None or name is None:
            return
        commands = _commands_below(holder.pid)
        if kill_child(up, name) == holder.pid:
            self.killed = Killed(name, holder, datetime.now(UTC), commands)
            self._say(KILLED, f"the demo kills {name} (pid {holder.pid}) with SIGKILL under its agent", "bold red")

    def _look_for_what_outlived(self, events: list[Event]) -> None:
        """Note the commands of the killed agent that are alive when its next attempt has begun."""
        killed = self.killed
        if killed is None or killed.outlived:
            return
        began = [
            event for event in events if event.identifier == KILLED and event.kind == "claimed" and event.at > killed.at
        ]
        if began:
            killed.outlived.extend(process.pid for process in killed.commands if _lives(process))

    def _say_whether_the_ledger_answers(self, error: SymphonyError | None) -> None:
        if error is not None and not self._is_ledger_away:
            self._say("", "the ledger does not answer", "red")
        elif error is None and self._is_ledger_away:
            self._say("", "the ledger answers again", "green")
        self._is_ledger_away = error is not None

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            if event.id in self._seen:
                continue
            self._seen.add(event.id)
            if self._wishes is not None and (event.kind, event.stage) == ("claimed", "agent"):
                self._wishes.begin()
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
                return f"{kind}: {_first_line(str(data.get('reason') or data.get('error') or ''))}".rstrip(": ")

    def _picture(self, runs: list[dict[str, Any]]) -> Group:
        hint = [Text(f"chaos: {self._wishes.words}", style="bold")] if self._wishes is not None else []
        return Group(self._table(runs), *hint)

    def _table(self, runs: list[dict[str, Any]]) -> Table:
        found = {run["identifier"]: run for run in reversed(runs)}
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for column in ("issue", "title", "run", "stage", "attempts"):
            table.add_column(column, no_wrap=True)
        for issue in self._story:
            run = found.get(issue.identifier)
            cells = (run["state"], run["stage"], str(self._agents[issue.identifier])) if run else ("-", "", "")
            table.add_row(issue.identifier, issue.title, *cells, style=_STYLES.get(cells[0], ""))
        return table

    def _say(self, identifier: str, words: str, style: str = "", *, at: float | None = None) -> None:
        elapsed = max((at or time.time()) - self.began, 0.0)
        self._console.print(Text(f"{elapsed:5.1f} s  {identifier:8} {words}", style=style), soft_wrap=True)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


def _commands_below(pid: int) -> tuple[psutil.Process, ...]:
    """List the processes that a worker's guardian holds."""
    with suppress(psutil.Error):
        return tuple(psutil.Process(pid).children(recursive=True))
    return ()


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
