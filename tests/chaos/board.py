"""A board of a fleet: a folder of issues, a bare repository, and the log that the agents keep of themselves.

Invariant: what is told here is read from the repository, the ledger and that log at the moment of asking. Relied on by
`tests.integration.fleet` and by the verdicts on its stories.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from tests.integration.fleet import Fleet

_GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_TERMINAL_PROMPT": "0", "GIT_TEMPLATE_DIR": "",
    "GIT_AUTHOR_NAME": "seed", "GIT_AUTHOR_EMAIL": "seed@localhost",
    "GIT_COMMITTER_NAME": "seed", "GIT_COMMITTER_EMAIL": "seed@localhost",
}  # fmt: skip
WORKFLOW = """---
name: {name}
tracker:
  {tracker}
  states: {{{states}}}
polling: {{interval_ms: {poll_ms}}}
{repository}
agent:
  kind: {kind}
  command: {command}
  max_concurrent_agents: {slots}
{agent}
{extra}
---
Work on {{{{ issue.identifier }}}}: {{{{ issue.title }}}}
"""
FILES = """kind: files
  provider: {path: issues}"""
REPOSITORY = """repository: {{url: {url}, branch: main}}
proof:
  checks: [{{name: tests, run: {check}}}]
  concurrency: 2"""


@dataclass(frozen=True)
class Life:
    """One agent as its own log tells it: `until` is the last sign of life, not later than its end."""

    issue: str
    attempt: str
    pid: int
    since: float
    until: float
    ended: bool
    longest_silence: float


@dataclass
class Board:
    """One workflow with its folder of issues, its bare repository and its agents' log."""

    fleet: Fleet
    name: str
    folder: Path
    issues: list[str]
    slots: int
    has_repository: bool
    id: Any = None

    @property
    def origin(self) -> Path:
        """The bare repository."""
        return self.folder / "origin.git"

    @property
    def agent_log(self) -> Path:
        """What the agents wrote about themselves."""
        return self.folder / "agents.log"

    def issue_file(self, identifier: str) -> Path:
        """The file of an issue."""
        return self.folder / "issues" / f"{identifier}.md"

    def add_issue(self, identifier: str, state: str = "Todo") -> None:
        """Put an issue on the board."""
        new = self.folder / f".{identifier}"
        new.write_text(f"---\ntitle: Thing {identifier}\nstate: {state}\npriority: 2\n---\nMake it\n")
        new.rename(self.issue_file(identifier))
        self.issues.append(identifier)

    def git(self, *words: str) -> str:
        """Ask the bare repository."""
        return git(self.origin, *words)

    def landed(self) -> list[str]:
        """List the issues in the order in which the target took them, with repetitions."""
        subjects = self.git("log", "--first-parent", "--reverse", "--format=%s", "main").splitlines()[1:]
        return [subject.partition(":")[0] for subject in subjects]

    def runs(self) -> list[Any]:
        """List the runs with their issues' identifiers, oldest first."""
        return self.fleet.sql(
            "SELECT r.*, i.identifier, i.state AS issue_state FROM runs r JOIN issues i ON i.id = r.issue_id "
            "WHERE r.workflow_id = %s ORDER BY r.id",
            self.id,
        )

    def attempts(self) -> list[Any]:
        """List the attempts with their issues' identifiers, oldest first."""
        return self.fleet.sql(
            "SELECT a.*, i.identifier FROM attempts a JOIN runs r ON r.id = a.run_id JOIN issues i ON i.id = r.issue_id "
            "WHERE r.workflow_id = %s ORDER BY a.id",
            self.id,
        )

    def events(self) -> list[Any]:
        """List the runs' events, oldest first."""
        return self.fleet.sql(
            "SELECT e.* FROM run_events e JOIN runs r ON r.id = e.run_id WHERE r.workflow_id = %s ORDER BY e.at, e.id",
            self.id,
        )

    def states(self) -> Counter[str]:
        """Count the runs by state."""
        return Counter(run.state for run in self.runs())

    def lives(self) -> list[Life]:
        """Read the agents' own log."""
        lines = self.agent_log.read_text().splitlines() if self.agent_log.exists() else []
        seen: dict[tuple[str, str, int], list[tuple[float, str]]] = defaultdict(list)
        for line in lines:
            at, issue, attempt, pid, word = line.split()
            seen[issue, attempt, int(pid)].append((float(at), word))
        return [
            Life(
                issue,
                attempt,
                pid,
                said[0][0],
                said[-1][0],
                said[-1][1] == "end",
                max((after[0] - before[0] for before, after in pairwise(said)), default=0.0),
            )
            for (issue, attempt, pid), said in seen.items()
        ]

    def agents(self) -> list[psutil.Process]:
        """List the living processes of this board's agents, their daemons too."""
        return [process for process, line in command_lines() if str(self.agent_log) in line]

    def until_landed(self, timeout_s: float = 60) -> None:
        """Wait until each issue has landed and the tracker says so."""
        wanted = len(self.issues)

        def done() -> bool:
            rows = self.runs()
            ended = sum(run.state == "landed" for run in rows)
            return ended >= wanted and all(run.issue_state == "Done" for run in rows if run.state == "landed")

        self.fleet.until(done, timeout_s=timeout_s, what=f"{wanted} landed issues on {self.name}")
        pending = "SELECT 1 FROM effects WHERE state = 'pending'"
        self.fleet.until(lambda: not self.fleet.sql(pending), timeout_s=timeout_s, what="all effects delivered")


def git(place: Path, *words: str) -> str:
    """Run git without anybody's configuration."""
    done = subprocess.run(
        ["git", *words], cwd=place, env={**os.environ, **_GIT}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def make_repository(folder: Path) -> None:
    """Make `origin.git` with one commit on main, and the clone that seeded it."""
    git(folder, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(folder, "init", "-q", "-b", "main", "seed")
    (folder / "seed" / "README").write_text("seed\n")
    git(folder / "seed", "add", "-A")
    git(folder / "seed", "commit", "-qm", "seed")
    git(folder / "seed", "push", "-q", "../origin.git", "main")


def command_lines() -> list[tuple[psutil.Process, str]]:
    """List the living processes with their command lines; a zombie and a thread of the kernel have none."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if line := " ".join(process.cmdline()):
                found.append((process, line))
    return found
