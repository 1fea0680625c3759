"""What tests see of processes: who lives with a mark in its command line, and waiting for a condition."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from symphony.processes import procfs

_numbers = itertools.count(1)

# Leaves its session and its parent and lets go of every descriptor, as a daemon does; then sleeps.
DAEMON = """
import os, sys, time
os.fork() and os._exit(0)
os.setsid()
os.fork() and os._exit(0)
os.closerange(0, 256)
time.sleep(600)
"""


def mark() -> str:
    """Return a word that no other command line has."""
    return f"mark-{os.getpid()}-{next(_numbers)}-{time.monotonic_ns()}"


def daemon(word: str) -> list[str]:
    """Return the command of a daemon that carries `word`."""
    return [sys.executable, "-I", "-S", "-c", DAEMON, word]


def sleeper(word: str) -> list[str]:
    """Return a command that sleeps and carries `word`."""
    return [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)", word]


def python(code: str, *words: str) -> list[str]:
    """Return the command that runs `code`."""
    return [sys.executable, "-I", "-S", "-c", code, *words]


def alive(word: str) -> list[int]:
    """Return the processes that live and carry `word`."""
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    carrying = [pid for pid in found if word.encode() in procfs.read(f"/proc/{pid}/cmdline")]
    return procfs.living(carrying)


def states(word: str) -> set[str]:
    """Return the states of the processes that carry `word`."""
    return {seen.state for pid in alive(word) if (seen := procfs.stat(pid))}


def until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    """Wait for `condition`.

    Raises: AssertionError when it does not come true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def seconds_until(condition: Callable[[], object], timeout_s: float = 15.0) -> float:
    """Wait for `condition` and return how long that took."""
    began = time.monotonic()
    until(condition, timeout_s)
    return time.monotonic() - began
