"""`symphony demo`: the main job on a sample board and repository, offline unless there is a key for a real model.

Invariant: everything lies in one new folder with a SYMPHONY_HOME and servers of its own, whatever the environment names;
at the end no process of it is left, nor the folder unless it is to be kept. Only the model may be a recorded one. The exit
code says what repository, board and ledger show.
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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from symphony import settings as settings_module
from symphony.domain.errors import Cancelled, ConfigError
from symphony.local import leftovers
from symphony.local import up as up_module
from symphony.local.demo import words
from symphony.local.demo.chaos import Source, source
from symphony.local.demo.chosen_model import ChosenModel, chosen_model
from symphony.local.demo.sample import Sample, make
from symphony.local.demo.show import Show
from symphony.local.demo.story import STORY, WORKERS, StoryIssue
from symphony.local.demo.verdict import Finding, judge
from symphony.local.ports import any_free_port
from symphony.telemetry import log as logging

_THREADS = 8
# A worker that is dead must be found so within the time of a demo, an agent that failed be tried again.
SCALED = {
    "SYMPHONY_LEASE_TTL": "9",
    "SYMPHONY_LEASE_RENEWAL": "1",
    "SYMPHONY_NODE_SILENCE": "9",
    "SYMPHONY_DRAIN": "5",
    "SYMPHONY_TICK": "0.5",
}


@dataclass(frozen=True, slots=True)
class Performance:
    """How the demo is given: on which sample, by which model, and with which chaos, if any."""

    sample: Sample
    console: Console
    model: ChosenModel
    chaos: Source | None
    keep: bool
    began: float


def run(
    story: tuple[StoryIssue, ...] = STORY,
    *,
    keep: bool = False,
    offline: bool = False,
    chaos: bool = False,
    seed: int | None = None,
) -> int:
    """Give the demo and return 0 when the story came true, else 1; chaos without a seed listens to the terminal's keys.

    Raises:
        ConfigError: this machine lacks something that it needs.
        Cancelled: somebody stopped it; nothing is left.
    """
    if seed is not None and not chaos:
        raise ConfigError("a seed is for chaos", place="--seed", cure="add --chaos")
    began = time.monotonic()
    logging.configure(level="ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    folder = _new_folder()
    try:
        with _interruptible(), chosen_model(offline=offline) as model:
            wishes = source(seed, is_terminal=console.is_terminal) if chaos else None
            return _perform(Performance(make(folder, story, in_chaos=chaos), console, model, wishes, keep, began))
    finally:
        if not keep:
            _remove(folder)


def _perform(one: Performance) -> int:
    sample = one.sample
    words.introduce(one.console, sample, one.model, one.chaos, keep=one.keep)
    show = Show(sample, one.console, is_recorded=one.model.is_recorded, chaos=one.chaos)
    with _environment(sample, one.model), one.chaos or nullcontext():
        # Another demo that starts now would find Flower's own port free as well.
        plan = up_module.Plan(paths=[sample.workflow], workers=WORKERS, slots=_THREADS, flower_port=any_free_port())
        up_module.run(plan, settings_module.load(), view=show.view)
    if show.failure is not None:
        raise show.failure
    if show.evidence is None:
        raise Cancelled("the demo was stopped")
    told = judge(sample, show.evidence, show.killed, is_recorded=one.model.is_recorded, is_exact=show.is_exact)
    findings = [*told, _nothing_left(sample.home)]
    took_s = time.monotonic() - one.began
    words.conclude(one.console, show, findings, sample, one.model, took_s=took_s, keep=one.keep)
    return 1 if show.out_of_patience or any(finding.faults for finding in findings) else 0


def _new_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="symphony-demo-")).resolve()
    except OSError as error:
        raise ConfigError(
            f"no temporary folder can be made: {error.strerror}", place="TMPDIR", cure="name a folder that is writable"
        ) from error


@contextmanager
def _environment(sample: Sample, model: ChosenModel) -> Iterator[None]:
    """Show this process and its children the demo's own Symphony and model, and none other that the environment names."""
    before = dict(os.environ)
    wanted = model.environment(before) | SCALED | {"SYMPHONY_HOME": str(sample.home)}
    os.environ.clear()
    os.environ |= wanted
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
