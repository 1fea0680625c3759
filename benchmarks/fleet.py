"""Many agents at once on one machine: how long, how many together, how much memory and processor time each.

    python -m benchmarks.fleet [--issues 500] [--seconds 10]

Agents only sleep, then move their own issue to Done, so what is measured is Symphony. Everything is real: `symphony up`
with its embedded servers in a fresh home. Memory is PSS (shared pages divided fairly), sampled each second; processor
time is that of all of Symphony's processes, the servers' apart. The figures go to standard output as one table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from symphony.ledger.database import Database
from symphony.local.home import Home
from symphony.local.postgres import PostgresServer

SERVERS = ("postgres", "valkey")
OURS = ("up", "beat", "control", "worker-1", "guardians", "wardens")
WORKFLOW = """---
name: bench
tracker:
  kind: files
  provider: {{path: issues}}
polling: {{interval_ms: 1000}}
agent:
  kind: command
  command: sleep {seconds}; sed -i s/Todo/Done/ {board}/issues/$SYMPHONY_ISSUE.md
  max_concurrent_agents: {issues}
---
Sleep for {{{{ issue.identifier }}}}.
"""

CONCURRENCY = """
WITH edges AS (
  SELECT started_at AS at, 1 AS step FROM attempts WHERE stage = 'agent'
  UNION ALL SELECT finished_at, -1 FROM attempts WHERE stage = 'agent' AND finished_at IS NOT NULL)
SELECT max(running) FROM (SELECT sum(step) OVER (ORDER BY at, step) AS running FROM edges) counted
"""
SPAN = """
SELECT extract(epoch FROM max(r.finished_at) - min(r.created_at)) AS seconds,
  percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM a.started_at - r.created_at)) AS starts,
  count(*) AS ended
FROM runs r JOIN attempts a ON a.run_id = r.id AND a.stage = 'agent' WHERE r.finished_at IS NOT NULL
"""


@dataclass
class Watch:
    """What the processes below one process use, sampled until it ends."""

    root: psutil.Process
    peak_pss: Counter[str] = field(default_factory=Counter)
    processor: dict[int, tuple[str, float]] = field(default_factory=dict)
    kinds: dict[psutil.Process, str] = field(default_factory=dict)

    def sample(self) -> None:
        """Take one sample; of the many guardians' wardens, which are all alike, every tenth is asked for its memory."""
        now: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        for process in self.family():
            try:
                kind = self.kinds.setdefault(process, kind_of(process))
                if kind == "agents":
                    continue
                self.processor[process.pid] = (kind, processor_time(process))
                seen[kind] += 1
                weight = 10 if kind == "wardens" else 1
                if seen[kind] % weight == 0:
                    now[kind] += weight * process.memory_full_info().pss
            except (psutil.Error, OSError):
                continue
        for kind, pss in now.items():
            self.peak_pss[kind] = max(self.peak_pss[kind], pss)

    def family(self) -> Iterable[psutil.Process]:
        """List the process and all below it."""
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            return []

    def seconds(self, *kinds: str) -> float:
        """Sum the processor time seen of these kinds."""
        return sum(spent for kind, spent in self.processor.values() if kind in kinds)


def processor_time(process: psutil.Process) -> float:
    """Give the seconds that a process has run, finer than the clock ticks of /proc/PID/stat: a warden runs for less."""
    return sum(
        int(line.split()[0]) / 1e9
        for task in Path(f"/proc/{process.pid}/task").iterdir()
        for line in (task / "schedstat").read_text().splitlines()
    )


def kind_of(process: psutil.Process) -> str:
    """Name what a process is for us."""
    words = " ".join(process.cmdline())
    if any(server in process.name() for server in SERVERS):
        return "servers"
    if "guardian_main" in words:
        parent = process.parent()
        return "wardens" if parent is not None and "guardian_main" in " ".join(parent.cmdline()) else "guardians"
    for name in ("worker-1", "control", "beat", "flower", "up"):
        if "symphony" in words and f" {name}" in words:
            return name
    return "agents"


def run(issues: int, seconds: float) -> dict[str, Any]:
    """Run the fleet once and give the figures."""
    with tempfile.TemporaryDirectory(prefix="symphony-bench-") as folder:
        board, home = Path(folder, "board"), Path(folder, "home")
        (board / "issues").mkdir(parents=True)
        for number in range(1, issues + 1):
            (board / "issues" / f"B-{number}.md").write_text(f"---\ntitle: Sleep {number}\nstate: Todo\n---\nSleep.\n")
        (board / "WORKFLOW.md").write_text(WORKFLOW.format(seconds=seconds, board=board, issues=issues))
        return measure(board, home, issues)


def measure(board: Path, home: Path, issues: int) -> dict[str, Any]:
    """Bring Symphony up on a board, watch it until every run has ended, and read the figures."""
    environment = {**os.environ, "SYMPHONY_HOME": str(home)}
    command = [sys.executable, "-m", "symphony", "up", "--slots", str(issues), "--no-view", str(board / "WORKFLOW.md")]
    up = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    watch = Watch(psutil.Process(up.pid))
    done = threading.Event()

    def sample() -> None:
        while not done.wait(1.0):
            watch.sample()

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        database = open_ledger(home)
        while database.transact(lambda t: t.value("SELECT count(*) FROM runs WHERE finished_at IS NOT NULL")) < issues:
            if up.poll() is not None:
                raise SystemExit(f"symphony up ended with {up.returncode}")
            time.sleep(0.5)
        span = database.transact(lambda t: t.row(SPAN))
        together = database.transact(lambda t: t.value(CONCURRENCY))
        database.close()
    finally:
        done.set()
        sampler.join()
        up.terminate()
        up.wait()
    assert span is not None
    ours = sum(watch.peak_pss[kind] for kind in OURS)
    return {
        "issues": issues,
        "wall_s": round(float(span.seconds), 1),
        "agents_at_once": int(together),
        "start_p50_s": round(float(span.starts[0]), 2),
        "start_p99_s": round(float(span.starts[1]), 2),
        "memory_per_slot_mib": round(ours / issues / 2**20, 2),
        "memory_mib": {kind: round(watch.peak_pss[kind] / 2**20) for kind in (*OURS, "flower", "servers")},
        "cpu_per_issue_ms": round(sum(watch.seconds(kind) for kind in OURS) / issues * 1000, 1),
        "cpu_s": {kind: round(watch.seconds(kind), 1) for kind in (*OURS, "flower", "servers")},
    }


def open_ledger(home: Path) -> Database:
    """Connect to the embedded server of a home, once it and the schema are there."""
    until = time.monotonic() + 120
    while True:
        try:
            database = Database(PostgresServer(Home(home)).url, pool_size=2)
            database.transact(lambda t: t.value("SELECT count(*) FROM runs"))
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return database


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--issues", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10)
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.issues, chosen.seconds), indent=2))
