"""Drive `supervised.py` from a test, and look at what stands on a home."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from symphony.local import leftovers
from tests.conftest import wait_until

SCRIPT = Path(__file__).with_name("supervised.py")
NO_SERVERS = {"SYMPHONY_DATABASE_URL": "postgresql://elsewhere/x", "SYMPHONY_BROKER_URL": "redis://elsewhere/0"}


class Up:
    """A running `supervised.py`: what it said, and signals to it."""

    def __init__(self, home: Path, children: Sequence[str], env: Mapping[str, str], prefix: Sequence[str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SYMPHONY_")}
        self.home = home
        self.said: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(SCRIPT), str(home), *children],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**clean, "PYTHONPATH": str(SCRIPT.parents[2]), **env},
            text=True,
        )
        assert self.process.stdout and self.process.stderr
        self._readers = [
            threading.Thread(
                target=self._hear, args=(self.process.stdout, lambda line: self.said.append(json.loads(line)))
            ),
            threading.Thread(target=self._hear, args=(self.process.stderr, self.lines.append)),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _hear(stream: Any, take: Any) -> None:
        with stream:
            for line in stream:
                take(line.rstrip("\n"))

    @property
    def urls(self) -> dict[str, str]:
        """The urls, waited for."""
        wait_until(lambda: self._urls() or self.process.poll() is not None, timeout_s=60, what="servers")
        assert self._urls(), self.lines
        return self._urls()[0]

    def _urls(self) -> list[dict[str, str]]:
        return [said for said in self.said if "database" in said]

    def states(self, name: str) -> list[str]:
        """The states that a child went through."""
        return [said["state"] for said in self.said if said.get("name") == name]

    def order(self, *words: tuple[str, str]) -> bool:
        """Tell whether (child, state) pairs were said in this order."""
        seen = iter([(said.get("name"), said.get("state")) for said in self.said])
        return all(word in seen for word in words)

    def pid(self, name: str) -> int:
        """The process of a child that is ready, waited for."""
        found = lambda: [said for said in self.said if said.get("name") == name][-1:]  # noqa: E731
        wait_until(lambda: found() and found()[0]["state"] == "ready", what=f"{name} ready")
        return int(found()[0]["pid"])

    def wait(self, timeout_s: float = 30) -> int:
        """Wait for the end and for the last lines."""
        code = self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(5)
        return code

    def stop(self, timeout_s: float = 30) -> int:
        """Send SIGTERM and wait."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)


@contextmanager
def up(home: Path, *children: str, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()) -> Iterator[Up]:
    """Run one; at the end of the block nothing of it is left."""
    running = Up(home, children, env or {}, prefix)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
        # Only what carries exactly this home's mark, or serves exactly its data: a test must never end a stranger.
        started = [
            *leftovers.marked(home),
            *(p for room in ("postgres", "valkey") for p in leftovers.serving(home / room / "data")),
        ]
        leftovers.end(started, signal.SIGKILL, grace_s=5)


def of_home(home: Path) -> list[psutil.Process]:
    """Return the living processes that have to do with a home, found broadly: to look at, never to end."""
    place = str(home)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            values = [process.cwd(), *process.cmdline(), *process.environ().values()]
            if any(value == place or f"{place}/" in value for value in values):
                found.append(process)
    return found
