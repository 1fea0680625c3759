"""`symphony demo`: the main job on a sample board and repository, offline.

Invariant: everything lies in one new folder with a SYMPHONY_HOME and servers of its own, whatever the environment names;
at the end no process of it is left, nor the folder unless it is to be kept. Only the agents are scripted. The exit code
says what repository, board and ledger show.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from rich.console import Console

from symphony import settings as settings_module
from symphony.domain.errors import Cancelled, ConfigError
from symphony.local import leftovers
from symphony.local import up as up_module
from symphony.local.demo import words
from symphony.local.demo.sample import Sample, make
from symphony.local.demo.show import Show
from symphony.local.demo.story import WORKERS
from symphony.local.demo.verdict import Finding, judge
from symphony.telemetry import log as logging

_THREADS = 8
# A worker that is dead must be found so within the time of a demo, an agent that failed be tried again.
SCALED = {
    "SYMPHONY_LEASE_TTL": "6",
    "SYMPHONY_LEASE_RENEWAL": "2",
    "SYMPHONY_NODE_SILENCE": "6",
    "SYMPHONY_DRAIN": "5",
    "SYMPHONY_TICK": "0.5",
}


def run(*, keep: bool = False) -> int:
    """Give the demo and return 0 when the story came true, else 1.

    Raises:
        ConfigError: this machine lacks something that it needs.
        Cancelled: somebody stopped it; nothing is left.
    """
    began = time.monotonic()
    logging.configure(level="ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    folder = _new_folder()
    try:
        with _interruptible():
            return _perform(folder, console, began=began, keep=keep)
    finally:
        if not keep:
            _remove(folder)


def _perform(folder: Path, console: Console, *, began: float, keep: bool) -> int:
    words.introduce(console, folder, keep=keep)
    sample = make(folder)
    show = Show(sample, console)
    with _environment(sample):
        plan = up_module.Plan(paths=[sample.workflow], workers=WORKERS, slots=_THREADS, flower=False)
        up_module.run(plan, settings_module.load(), view=show.view)
    if show.failure is not None:
        raise show.failure
    if show.evidence is None:
        raise Cancelled("the demo was stopped")
    findings = [*judge(sample, show.evidence, show.killed), _nothing_left(sample.home)]
    words.conclude(console, show, findings, folder, took_s=time.monotonic() - began, keep=keep)
    return 1 if show.out_of_patience or any(finding.faults for finding in findings) else 0


def _new_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="symphony-demo-")).resolve()
    except OSError as error:
        raise ConfigError(
            f"no temporary folder can be made: {error.strerror}", place="TMPDIR", cure="name a folder that is writable"
        ) from error


@contextmanager
def _environment(sample: Sample) -> Iterator[None]:
    """Show this process and its children the demo's own Symphony, and none that the environment names."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("SYMPHONY_", "GIT_")):
            del os.environ[name]
    os.environ |= SCALED | {"SYMPHONY_HOME": str(sample.home)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let every polite signal unwind the stack; inside, `up` puts its own way of stopping over two of them."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def as_terminated(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    wanted = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt, signal.SIGHUP: as_terminated}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing_left(home: Path) -> Finding:
    """Look for processes that the demo has started and that have outlived `up`; end them."""
    left = [
        *leftovers.marked(home),
        *leftovers.serving(home / "postgres" / "data"),
        *leftovers.serving(home / "valkey" / "data"),
        *_working_in(home),
    ]
    leftovers.end(left, signal.SIGKILL, grace_s=5)
    return Finding("nothing is left running", [f"pid {process.pid} was still running" for process in left])


def _working_in(home: Path) -> list[psutil.Process]:
    """Find agents, checks and hooks of the home: a person's shell that looks around there is none."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if "SYMPHONY_RUN_ID" in process.environ() and Path(process.cwd()).is_relative_to(home):
                found.append(process)
    return found


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise ConfigError("could not be removed whole", place=str(folder), cure="remove it")
