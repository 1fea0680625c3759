"""`symphony logs`: what an issue's agent wrote on this node, and the full output of a proof's check.

Invariant: what is shown is harmless to a terminal and holds no secret; following waits for changes of the file, asks the
ledger at most once a second, and ends with the run.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from watchfiles import watch

from symphony.agents.log import log_path
from symphony.cli import completion
from symphony.cli.app import app
from symphony.cli.connection import InWorkflow, ledger
from symphony.cli.formatting import harmless
from symphony.domain.errors import ConfigError, SymphonyError
from symphony.domain.run import ENDED
from symphony.engine import lookup
from symphony.ledger import views
from symphony.ledger.database import Database, Transaction
from symphony.settings import Settings, load
from symphony.telemetry.redaction import redact

_CHUNK = 1 << 16
_ASK_EVERY_S = 1.0
_ATTEMPT_ID = 36


@app.command()
def logs(
    issue: Annotated[
        str, typer.Argument(metavar="ISSUE|RUN", help="DEMO-1, DEMO-1#2, or a run's id.", autocompletion=completion.issues)
    ],
    check: Annotated[str | None, typer.Option("--check", help="A check of its proof, in place of the agent.")] = None,
    last: Annotated[int | None, typer.Option("-n", "--last", min=0, help="Only the last lines.")] = None,
    workflow: InWorkflow = None,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run ends, or Ctrl-C.")] = False,
) -> None:
    """Show what the agent of an issue wrote on this node."""
    if follow and check is not None:
        raise ConfigError("a check's log does not grow", place="logs", cure="use --check without -f")
    settings = load()
    with ledger(settings) as database:
        row = database.transact(lambda transaction: _run(transaction, issue, workflow))
        if check is not None:
            _write_whole(_check_text(settings, row, check), last)
            return
        path = log_path(settings.home, row["workflow"], row["identifier"])
        _say_where(settings, row, path, follow=follow)
        try:
            _Tail(path, last).show(_changes(database, row, path) if follow else iter(()))
        except KeyboardInterrupt:
            typer.echo("", err=True)


def _run(transaction: Transaction, issue: str, workflow: str | None) -> dict[str, Any]:
    target = lookup.find(transaction, issue, workflow=workflow)
    row = views.run_in_full(transaction, target.run_id) if target.run_id is not None else None
    if row is None:
        name = target.issue.identifier
        raise ConfigError(
            f"{name} has no run yet, so there is no log", cure=f"`symphony why {name}` says what it waits for"
        )
    return row


def _say_where(settings: Settings, row: dict[str, Any], path: Path, *, follow: bool) -> None:
    """Say on standard error when what is shown is not all, and refuse when there is nothing.

    Raises:
        ConfigError: the agent worked on another node, or has not begun.
    """
    name, node = f"{row['identifier']}#{row['number']}", row["node"]
    elsewhere = node is not None and node != settings.node
    if elsewhere and not path.exists():
        raise ConfigError(
            f"the workspace of {name} is on the node {node}, this is {settings.node}: its log is there",
            cure=f"run `symphony logs {row['identifier']}` on {node}",
        )
    if elsewhere:
        typer.echo(f"{name} has moved to the node {node}; this is what was written on {settings.node}", err=True)
    if not path.exists() and not follow:
        if row["state"] in ENDED or any(attempt["stage"] == "agent" for attempt in row["attempts"]):
            raise ConfigError(f"the agent of {name} has left no log here", place=str(path), cure="it may have been cleaned")
        raise ConfigError(
            f"the agent of {name} has not begun: the run is {row['state']} in {row['stage']}",
            cure=f"`symphony logs {row['identifier']} -f` waits for it",
        )


def _changes(database: Database, row: dict[str, Any], path: Path) -> Iterator[None]:
    """Yield when the file may have grown, until the run has ended; stages are told on standard error."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    said = (row["state"], row["stage"])
    if row["state"] in ENDED:
        return
    asked = time.monotonic()
    for _ in watch(path.parent, recursive=False, debounce=200, rust_timeout=1000, yield_on_timeout=True):
        yield
        if time.monotonic() - asked < _ASK_EVERY_S:
            continue
        asked = time.monotonic()
        try:
            now = database.transact(lambda transaction: views.run_in_full(transaction, row["id"]))
        except SymphonyError as error:
            typer.echo(f"the ledger does not answer, following on: {redact(error.message)}", err=True)
            continue
        state = (now["state"], now["stage"]) if now is not None else ("gone", row["stage"])
        if state != said:
            typer.echo(f"{row['identifier']}#{row['number']} is now {state[0]} in {state[1]}", err=True)
            said = state
        if now is None or now["state"] in ENDED:
            yield
            return


@dataclass
class _Tail:
    """A file that others write to, shown line by line from where it was seen last."""

    path: Path
    last: int | None
    _offset: int = 0
    _identity: int = 0
    _decoder: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    _open_line: str = ""

    def show(self, changes: Iterator[None]) -> None:
        """Write what is there, then what comes with each change."""
        if self.last is not None:
            self._skip_to(self.last)
        self._write_new()
        for _ in changes:
            self._write_new()
        if self._open_line:
            self._write(self._open_line)

    def _skip_to(self, count: int) -> None:
        """Begin where the last `count` lines begin."""
        try:
            with self.path.open("rb") as file:
                self._identity = self.path.stat().st_ino
                end = position = file.seek(0, 2)
                ends: list[int] = []
                while position > 0 and len(ends) <= count:
                    step = min(_CHUNK, position)
                    position = file.seek(position - step)
                    block = file.read(step)
                    ends += [position + at for at in range(step - 1, -1, -1) if block[at] == 0x0A]
        except OSError:
            return
        inner = [at for at in ends if at != end - 1]
        self._offset = end if count == 0 else inner[count - 1] + 1 if len(inner) >= count else 0

    def _write_new(self) -> None:
        try:
            with self.path.open("rb") as file:
                there = self.path.stat()
                if there.st_ino != self._identity or there.st_size < self._offset:
                    if self._identity:
                        self._offset = 0
                    self._identity = there.st_ino
                file.seek(self._offset)
                while chunk := file.read(_CHUNK):
                    self._offset += len(chunk)
                    self._take(self._decoder.decode(chunk))
        except FileNotFoundError:
            return

    def _take(self, text: str) -> None:
        *lines, self._open_line = (self._open_line + text).split("\n")
        for one in lines:
            self._write(one)
        if len(self._open_line) > _CHUNK:
            self._write(self._open_line)
            self._open_line = ""

    def _write(self, text: str) -> None:
        typer.echo(harmless(redact(text)))


def _check_text(settings: Settings, row: dict[str, Any], check: str) -> str:
    """Give the full log of a check's newest execution, else what the ledger keeps of it.

    Raises:
        ConfigError: no proof of this run has a check of that name.
    """
    kept = _kept(settings.home / "logs" / "proofs" / str(row["id"]))
    if check in kept:
        return kept[check].read_text(encoding="utf-8", errors="replace")
    name = f"{row['identifier']}#{row['number']}"
    known = {one["name"]: one for proof in row["proofs"] for one in proof["checks"]}
    if check not in known:
        listed = ", ".join(sorted({*known, *kept}))
        cure = f"it has {listed}" if listed else f"`symphony why {row['identifier']}` says what it waits for"
        raise ConfigError(f"no proof of {name} has a check {check!r}", cure=cure)
    if known[check].get("dropped"):
        where = f"the full log is not kept on the node {settings.node}"
        typer.echo(f"{where}; this is the head and the tail that the ledger keeps", err=True)
    return str(known[check].get("output") or "")


def _kept(folder: Path) -> dict[str, Path]:
    """Give the newest kept log of each check: the files are called `<attempt id>-<check>.log`."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime):
        if len(path.stem) > _ATTEMPT_ID + 1 and path.stem[_ATTEMPT_ID] == "-":
            found[path.stem[_ATTEMPT_ID + 1 :]] = path
    return found


def _write_whole(text: str, last: int | None) -> None:
    lines = text.splitlines()
    for one in lines if last is None else lines[len(lines) - min(last, len(lines)) :]:
        typer.echo(harmless(redact(one)))
