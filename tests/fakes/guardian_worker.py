"""A worker process for tests: opens one tree, runs a daemon and a sleeper in it, does as it is told on standard input.

Lines in: `trust SECONDS` (from now), `reachable 0|1`, `quiet 0|1` (renews or not), `close`. Lines out: JSON, first what was
started, then each change of what the tree says of itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fakes.seen_processes import alive, daemon, sleeper

ROOT = Path(__file__).parents[2]


class Worker:
    """The test's handle of a worker process."""

    def __init__(self, word: str, **settings: object) -> None:
        self.word = word
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.guardian_worker", json.dumps({"word": word, **settings})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        self._unread = b""
        self.said = self.hear()

    def hear(self, timeout_s: float = 30.0) -> dict[str, Any]:
        """Return the next line that the worker says."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            assert select.select([self.process.stdout], [], [], timeout_s)[0], "the worker says nothing"
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, "the worker has ended"
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        return said

    def hear_until(self, **wanted: object) -> dict[str, Any]:
        """Return the first line that has these values."""
        while True:
            line = self.hear()
            if all(line.get(key) == value for key, value in wanted.items()):
                return line

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def tree(self) -> list[int]:
        """The daemon and the sleeper, without the worker itself, whose command line carries the mark too."""
        return [pid for pid in alive(self.word) if pid != self.process.pid]

    def signal(self, who: str, number: signal.Signals) -> None:
        """Signal the worker, its guardian or its warden."""
        os.kill(self.process.pid if who == "worker" else int(self.said[who]), number)

    def end(self) -> None:
        """Kill the worker, waking what a test has stopped."""
        for pid in (self.said.get("guardian"), self.said.get("warden"), self.process.pid):
            if pid is not None and Path(f"/proc/{pid}").exists():
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue
        self.process.kill()
        self.process.communicate()


def main() -> None:
    """Be the worker."""
    from symphony.domain.errors import SymphonyError
    from symphony.processes import wire
    from symphony.processes.guardian import Guardian

    settings = json.loads(sys.argv[1])
    word = settings["word"]
    guardian = Guardian.start(
        silence_s=settings.get("silence_s", 5.0), frozen_limit_s=settings.get("frozen_limit_s", 600.0)
    )
    trust = settings.get("trust_s")
    until = None if trust is None else wire.now() + trust
    try:
        tree = guardian.tree(
            "tree",
            lock=Path(settings["lock"]) if "lock" in settings else None,
            lock_timeout_s=settings.get("lock_timeout_s", 20.0),
            trust_until=until,
            deadline_s=settings.get("deadline_s"),
        )
    except SymphonyError as error:
        print(json.dumps({"refused": str(error)}), flush=True)
        sys.stdin.read()
        return
    env = dict(os.environ)
    tree.run(daemon(word), cwd=Path("/"), env=env)
    sleeping = tree.start(sleeper(word), cwd=Path("/"), env=env)
    print(json.dumps({"guardian": guardian.pid, "warden": tree.warden, "sleeper": sleeping.pid}), flush=True)
    reachable, quiet, seen = True, False, {}
    while True:
        if select.select([sys.stdin], [], [], 0.05)[0]:
            match sys.stdin.readline().split():
                case ["trust", seconds]:
                    until = wire.now() + float(seconds)
                case ["reachable", value]:
                    reachable = value == "1"
                case ["quiet", value]:
                    quiet = value == "1"
                case ["close"]:
                    tree.close()
                case []:
                    return
        if not quiet:
            guardian.renew({} if until is None else {"tree": until}, database_reachable=reachable)
        frozen = tree.frozen_s
        time.sleep(0.01)
        now = {"ended": tree.ended, "lost": guardian.lost.is_set(), "frozen": tree.frozen_s > frozen}
        if now != seen:
            seen = now
            print(json.dumps({**now, "frozen_s": tree.frozen_s, "code": sleeping.returncode}), flush=True)


if __name__ == "__main__":
    main()
