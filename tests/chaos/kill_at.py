"""Run the command `symphony` in this process with a trap: the process is SIGKILLed as a label passes for the n-th time.

    kill_at.py kill LABEL NTH TASK WORDS…     dies as LABEL passes for the NTH time in a Celery task of this name
    kill_at.py record FILE WORDS…             lives, and writes down every label, commit, push and ring with its task

Labels are heard whatever the log's level is. The record tells whether labels stand around all that a stage does.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import current_task, signals

from symphony.ledger.database import Database, Transaction
from symphony.processes.git import Git
from symphony.telemetry import log
from symphony.telemetry.labels import Label

LABELS = frozenset(str(label) for label in Label)


def task_name() -> str:
    """Name the task that this thread performs, without the prefix."""
    return str(current_task.name).rpartition(".")[2] if current_task else "-"


def killer(label: str, nth: int, task: str) -> Callable[[str], None]:
    """Make a listener that ends the process."""
    passed = 0
    lock = threading.Lock()

    def hear(word: str) -> None:
        nonlocal passed
        if word != label or task_name() != task:
            return
        with lock:
            passed += 1
            if passed == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    return hear


def recorder(file: str) -> Callable[[str], None]:
    """Make a listener that writes down what it hears, a line each: thread, task's id, task, word."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hear(word: str) -> None:
        if current_task:
            os.write(descriptor, f"{threading.get_ident()} {current_task.request.id} {task_name()} {word}\n".encode())

    return hear


def listen(hear: Callable[[str], None]) -> None:
    """Have every label told to `hear` on its way to the log."""
    configure = log.configure

    def tell(_logger: Any, _name: str, event: Any) -> Any:
        if event.get("event") in LABELS:
            hear(str(event["event"]))
        return event

    def configured(**options: Any) -> None:
        configure(**options)
        processors = structlog.get_config()["processors"]
        structlog.configure(
            processors=[tell, *processors], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
        )

    log.configure = configured


def watch(hear: Callable[[str], None]) -> None:
    """Have every commit of a transaction that wrote, every push and every ring told to `hear`."""
    once, remote = Database._once, Git.remote
    wrote = threading.local()

    def watched_once(self: Database, body: Any) -> Any:
        wrote.did = False
        result = once(self, body)
        if wrote.did:
            hear("commit")
        return result

    def noting(method: Any) -> Any:
        def noted(self: Transaction, statement: str, **parameters: Any) -> Any:
            result = method(self, statement, **parameters)
            head = statement.lstrip().upper()
            changes = head.startswith(("UPDATE", "INSERT", "DELETE")) or " UPDATE " in head.split("FOR NO KEY")[0]
            wrote.did = wrote.did or (changes and result is not None and result not in (0, []))
            return result

        return noted

    def watched_remote(self: Git, *arguments: str, **options: Any) -> str:
        result = remote(self, *arguments, **options)
        if arguments[0] == "push":
            hear("push")
        return result

    Transaction.run, Transaction.row, Transaction.rows = map(noting, (Transaction.run, Transaction.row, Transaction.rows))  # type: ignore[method-assign]
    Database._once = watched_once  # type: ignore[method-assign]
    Git.remote = watched_remote  # type: ignore[method-assign]

    def rung(sender: str, **_: Any) -> None:
        hear("ring")

    signals.after_task_publish.connect(rung, weak=False)


def prepare(words: list[str]) -> list[str]:
    """Set the trap that the words name and give the rest, which is for the command."""
    if words[0] == "record":
        hear = recorder(words[1])
        listen(hear)
        watch(hear)
        return words[2:]
    _, label, nth, task, *rest = words
    assert label in LABELS, label
    listen(killer(label, int(nth), task))
    return rest


if __name__ == "__main__":
    sys.argv[1:] = prepare(sys.argv[1:])
    from symphony.cli.main import main

    main()
