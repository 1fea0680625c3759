"""A fleet of real processes on real servers: workers, control workers and beats, which a test may kill as it likes.

Invariant: it ends only processes that it started or that carry its own mark, and none of them outlives the fleet.
Everything is read from the ledger, from the bare repository and from the agents' own log, never from the processes.

    with Fleet(tmp_path, database_url, broker_url) as fleet:
        board = fleet.board(issues=3)
        fleet.start(fleet.control(), fleet.worker(), fleet.beat())
        board.until_landed()
        fleet.check(board)
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
from psycopg.rows import namedtuple_row

from symphony.ledger import workflows
from symphony.ledger.database import Database
from tests.chaos.board import FILES, REPOSITORY, WORKFLOW, Board, command_lines, git, make_repository
from tests.chaos.verdicts import check_history, check_landed_once, check_slots, most_at_once, slot_intervals
from tests.conftest import wait_until

__all__ = ["SCALED", "Board", "Fleet", "Member", "git", "most_at_once", "slot_intervals"]

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "tests" / "chaos" / "agent.py"
MARK = "SYMPHONY_FLEET"
SCALED = {
    "SYMPHONY_LEASE_TTL": "4", "SYMPHONY_LEASE_RENEWAL": "1", "SYMPHONY_TICK": "1",
    "SYMPHONY_DRAIN": "2", "SYMPHONY_NODE_SILENCE": "4",
}  # fmt: skip
"""The clockwork at about an eighth of its size."""

_START_S = 180


@dataclass
class Member:
    """One process of a fleet: how it is started, and the one that runs now."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; its output is appended to its log."""
        assert self.process is None or self.process.poll() is not None, f"{self.name} runs"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, env=self.environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        return self

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Tell whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def text(self) -> str:
        """Everything that it wrote in all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it and take it in."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float = 30) -> int:
        """Wait for its end and give its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)


@dataclass
class Fleet:
    """The processes of one deployment; the servers are the caller's."""

    folder: Path
    database_url: str
    broker_url: str
    settings: Mapping[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    boards: list[Board] = field(default_factory=list)
    _connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def worker(
        self, name: str | None = None, *, node: str = "node-1", slots: int = 4, queues: str | None = None,
        via: Sequence[str] = (), env: Mapping[str, str] | None = None,
    ) -> Member:  # fmt: skip
        """Prepare a worker process; `via` stands between the interpreter and the verb instead of `-m symphony`."""
        name = name or self._next("stage")
        words = ["worker", "--node", node, "--slots", str(slots), "--name", name]
        words += ["--queues", queues] if queues else []
        return self._member(name, words, node=node, via=via, env=env)

    def control(self, name: str | None = None, *, slots: int = 4, node: str = "node-1", **more: Any) -> Member:
        """Prepare a control worker."""
        return self.worker(name or self._next("control"), slots=slots, node=node, queues="control", **more)

    def beat(self, name: str | None = None, *, via: Sequence[str] = ()) -> Member:
        """Prepare a beat."""
        return self._member(name or self._next("beat"), ["beat"], node="node-1", via=via, env=None)

    def web(self, port: int, *, node: str = "node-1") -> Member:
        """Prepare the status API of a node."""
        return self._member("web", ["web", "--port", str(port)], node=node, via=(), env=None)

    def start(self, *members: Member, wait: bool = True) -> None:
        """Start members, and wait until the workers among them have written their rows."""
        for member in members:
            member.start()
        if wait:
            self.until(lambda: all(self.is_ready(member) for member in members), timeout_s=_START_S, what="workers ready")

    def is_ready(self, member: Member) -> bool:
        """Tell whether a worker's present process has written its row, and fail when it has ended instead."""
        assert member.runs, f"{member.name} ended:\n{member.text[-3000:]}"
        query = "SELECT 1 FROM processes WHERE pid = %s AND stopped_at IS NULL"
        return "beat" in member.command or bool(self.sql(query, member.pid))

    def process_id(self, member: Member) -> Any:
        """Give the id of a worker's present process in the ledger."""
        query = "SELECT id FROM processes WHERE pid = %s ORDER BY started_at DESC"
        return self.sql(query, member.pid)[0].id

    def board(
        self, name: str = "fleet", *, issues: int = 3, slots: int = 3, seconds: float = 0.5, ways: str = "",
        command: str | None = None, check: str = "'true'", poll_ms: int = 500, repository: bool = True, agent: str = "",
        kind: str = "command",
        extra: str = "", states: str = "started: In Progress, done: Done, blocked: Blocked", tracker: str = FILES,
    ) -> Board:  # fmt: skip
        """Make a board, its repository and its issues NAME-1…, and register it; `agent`, `extra`: more YAML lines.

        Another `tracker` than a folder of files has its issues made by whoever plays it.
        """
        folder = self.folder / name
        board = Board(self, name, folder, [], slots, repository)
        (folder / "issues").mkdir(parents=True)
        if repository:
            make_repository(folder)
        for number in range(1, issues + 1):
            board.add_issue(f"{name.upper()}-{number}")
        line = command or f"{sys.executable} -SE {AGENT} {board.agent_log} {seconds} {ways}"
        text = WORKFLOW.format(
            name=name, states=states, poll_ms=poll_ms, slots=slots, kind=kind, agent=agent and f"  {agent}",
            extra=extra, command=f"'{line}'", tracker=tracker,
            repository=REPOSITORY.format(url=board.origin, check=check) if repository else "",
        )  # fmt: skip
        (folder / "WORKFLOW.md").write_text(text)
        database = Database(self.database_url, pool_size=1)
        try:
            board.id = database.transact(
                lambda t: workflows.register(
                    t, name=name, source_kind="file", source=str(folder / "WORKFLOW.md"), content=text,
                    digest=hashlib.sha256(text.encode()).hexdigest(), base_dir=str(folder), serve_for=None,
                )
            )  # fmt: skip
        finally:
            database.close()
        self.boards.append(board)
        return board

    def sql(self, query: str, *parameters: Any) -> list[Any]:
        """Ask the ledger on the fleet's own connection, a new one where that has ended; rows are named tuples."""
        with suppress(psycopg.OperationalError):
            return self._ask(query, parameters)
        return self._ask(query, parameters)

    def _ask(self, query: str, parameters: tuple[Any, ...]) -> list[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.database_url, autocommit=True, row_factory=namedtuple_row)
        cursor = self._connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def until(self, condition: Callable[[], object], *, timeout_s: float = 30, what: str = "the condition") -> float:
        """Wait for a condition and give the seconds that it took; what everybody said last goes with a failure."""
        began = time.monotonic()
        try:
            wait_until(lambda: condition() or time.sleep(0.08), timeout_s=timeout_s, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.report()}") from None
        return time.monotonic() - began

    @staticmethod
    def pause(seconds: float) -> None:
        """Let an instant pass that the story's dice chose; never a wait for something."""
        time.sleep(seconds)

    def report(self) -> str:
        """Say how things stand: runs, attempts that ended badly, and the last lines of every log."""
        parts = []
        with suppress(psycopg.Error):
            parts += [
                f"{run.identifier} {run.state} {run.stage} node={run.node} due={run.due_at:%T} rung={run.rung_at} "
                f"rings={run.rings} crashes={run.crashes} failures={run.failures} {run.waiting_for} {run.error}"
                for board in self.boards for run in board.runs() if run.state != "landed"
            ]  # fmt: skip
        for member in self.members:
            lines = [line for line in member.text.splitlines() if "_committ" not in line]
            parts.append("\n  ".join([f"— {member.name}:", *lines[-12:]]))
        return "\n".join(parts)

    def check(self, *boards: Board) -> None:
        """Demand what must hold at the end of every story: landed once, slots kept, history sound, nothing left alive."""
        for board in boards or self.boards:
            check_landed_once(board)
            check_history(board)
            check_slots(board)
            self.until(lambda board=board: not board.agents(), timeout_s=10, what="no agent left alive")  # type: ignore[misc]

    def close(self) -> None:
        """Kill everything that is left of this fleet, and wait until it is gone."""
        if self._connection is not None:
            self._connection.close()
        for member in self.members:
            if member.runs:
                member.signal(signal.SIGKILL)
        for member in self.members:
            if member.process is not None:
                member.process.wait()
        for process in self.leftovers():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        wait_until(lambda: not self.leftovers(), timeout_s=20, what="the end of the fleet's processes")

    def leftovers(self) -> list[psutil.Process]:
        """List the living processes that carry this fleet's mark, or are agents of its boards."""
        own = [process for process, _ in command_lines() if _environment(process).get(MARK) == str(self.folder)]
        return own + [process for board in self.boards for process in board.agents()]

    def _member(
        self, name: str, words: list[str], *, node: str, via: Sequence[str], env: Mapping[str, str] | None
    ) -> Member:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SYMPHONY_")}
        environment = {
            **clean, **SCALED, **self.settings, **(env or {}), MARK: str(self.folder), "PYTHONPATH": str(ROOT),
            "SYMPHONY_HOME": str(self.folder / f"home-{node}"), "SYMPHONY_NODE": node,
            "SYMPHONY_DATABASE_URL": self.database_url, "SYMPHONY_BROKER_URL": self.broker_url,
        }  # fmt: skip
        command = [sys.executable, *(via or ("-m", "symphony")), *words]
        member = Member(name, command, environment, self.folder / f"{name}.log")
        self.members.append(member)
        return member

    def _next(self, kind: str) -> str:
        return f"{kind}-{sum(member.name.startswith(kind) for member in self.members) + 1}"


def _environment(process: psutil.Process) -> dict[str, str]:
    with suppress(psutil.Error, OSError):
        return process.environ()
    return {}
