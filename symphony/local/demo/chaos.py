"""Chaos in the demo: workers killed, the broker emptied, PostgreSQL killed, by a person's keys or by seeded dice.

Invariant: only children of this very process are killed and only the demo's own broker is emptied, whatever a row says;
each deed is noted with its instant. The show runs it in a thread of its own, for its servers may be away.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from symphony.local.up import Up

_LOOK_S = 0.1
_FIRST_S = 1.0
_GAP_S = (1.5, 4.0)
_ROUNDS = 2
_HINT = "k kills a worker (SIGKILL)   f empties the broker (FLUSHALL)   p kills PostgreSQL (SIGKILL)"


@dataclass(frozen=True, slots=True)
class Wish:
    """A deed that is wanted: its key, and for a worker which of them, as a share of their number in [0, 1)."""

    key: str
    share: float


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done, and when."""

    at: datetime
    words: str


class Keyboard:
    """Keys of the terminal on standard input, each heard at once; the terminal is as before when the context is left."""

    insists = False
    words = _HINT

    def __enter__(self) -> Self:
        self._fd = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def begin(self) -> None:
        """Nothing: a person needs no start."""

    def next(self) -> Wish | None:
        """Wait a moment for a key."""
        if not select.select([self._fd], [], [], _LOOK_S)[0]:
            return None
        try:
            pressed = os.read(self._fd, 1)
        except OSError:
            pressed = b""
        if not pressed:  # the terminal is gone
            time.sleep(_LOOK_S)
        key = pressed.decode(errors="replace").lower()
        return Wish(key, random.random()) if key in _DEEDS else None  # noqa: S311


class Dice:
    """Two rounds of every deed, in an order and at instants that follow from a seed: `plan`, in seconds after `begin`."""

    insists = True

    def __init__(self, seed: int) -> None:
        self.words = f"at random from seed {seed}; `symphony demo --chaos --seed {seed}` repeats it"
        dice = random.Random(seed)  # noqa: S311
        keys = [key for _ in range(_ROUNDS) for key in dice.sample(sorted(_DEEDS), len(_DEEDS))]
        due = _FIRST_S
        self.plan: list[tuple[float, Wish]] = []
        for key in keys:
            due += dice.uniform(*_GAP_S)
            self.plan.append((due, Wish(key, dice.random())))
        self._began: float | None = None
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing: dice change no terminal."""

    def begin(self) -> None:
        """Count from now on, if not already."""
        self._began = self._began or time.monotonic()

    def next(self) -> Wish | None:
        """Wait a moment for a wish to come due."""
        if self._began is not None and self._done < len(self.plan):
            at, wish = self.plan[self._done]
            if time.monotonic() - self._began >= at:
                self._done += 1
                return wish
        time.sleep(_LOOK_S)
        return None


Source = Keyboard | Dice


def source(seed: int | None, *, is_terminal: bool) -> Source:
    """Give the keyboard where a person sits at it, else dice; a seed that was given is thrown in any case."""
    if seed is None and is_terminal and _is_ours(sys.stdin.fileno()):
        return Keyboard()
    return Dice(random.randrange(1_000_000) if seed is None else seed)  # noqa: S311


class Chaos:
    """Carries out the wishes of a source; `deeds` is what was done so far, `failure` what ended it before its time."""

    def __init__(self, wishes: Source, say: Callable[[str, str, str], None]) -> None:
        self.deeds: list[Deed] = []
        self.failure: Exception | None = None
        self._wishes = wishes
        self._say = say

    def run(self, up: Up, stop: threading.Event) -> None:
        """Do what is wished until the demo stops."""
        try:
            while not stop.is_set():
                wish = self._wishes.next()
                if wish is not None and not stop.is_set():
                    self._fulfil(up, stop, wish)
        except Exception as error:  # noqa: BLE001 - the thread's boundary: the demo raises it
            self.failure = error

    def _fulfil(self, up: Up, stop: threading.Event, wish: Wish) -> None:
        while True:
            words = _DEEDS[wish.key](up, wish.share)
            if words is not None:
                self.deeds.append(Deed(datetime.now(UTC), words))
                self._say("chaos", words, "bold red")
                return
            if not self._wishes.insists:
                self._say("chaos", f"{wish.key}: not now, the last deed has not been got over", "red")
                return
            if stop.wait(_LOOK_S):
                return


def kill_child(up: Up, name: str) -> int | None:
    """Kill a child of the supervisor with SIGKILL and give its pid; None where it does not run."""
    found = next((child for child in up.supervisor.status() if child.name == name), None)
    if found is None or found.pid is None or found.state != "ready":
        return None
    os.kill(found.pid, signal.SIGKILL)
    return found.pid


def _kill_worker(up: Up, share: float) -> str | None:
    names = [child.name for child in up.supervisor.status() if child.name.startswith(("worker-", "control"))]
    name = names[int(share * len(names))]
    pid = kill_child(up, name)
    return f"{name} (pid {pid}) killed with SIGKILL" if pid is not None else None


def _flush(up: Up, _: float) -> str | None:
    import redis

    try:
        with redis.Redis.from_url(up.endpoints.broker_url, socket_timeout=1, socket_connect_timeout=1) as client:
            keys = client.dbsize()
            client.flushall()
    except redis.RedisError:
        return None
    return f"the broker emptied with FLUSHALL ({keys} keys)"


def _kill_postgres(up: Up, _: float) -> str | None:
    pid = kill_child(up, "postgres")
    return f"PostgreSQL (postmaster, pid {pid}) killed with SIGKILL" if pid is not None else None


_DEEDS: dict[str, Callable[[Up, float], str | None]] = {"k": _kill_worker, "f": _flush, "p": _kill_postgres}


def _is_ours(fd: int) -> bool:
    """Tell whether the file is a terminal in whose foreground this process runs: another one's must be left alone."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False
