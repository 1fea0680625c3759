"""The demo's folder: a repository with real tests and a board, all made anew.

    origin.git/           the bare repository that changes land in
    board/WORKFLOW.md     the workflow, board/issues/DEMO-1.md … the tracker
    home/                 SYMPHONY_HOME: servers, logs, workspaces

Invariant: nothing outside the folder is written, and the user's git configuration plays no part.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import ConfigError
from symphony.local.demo.chosen_model import BUDGET_USD
from symphony.local.demo.story import SLOTS, STORY, StoryIssue

CHECK = (sys.executable, "-S", "-B", "-m", "unittest", "discover", "-s", "tests", "-t", ".")
_ATTEMPTS, _ATTEMPTS_IN_CHAOS = 5, 100  # chaos may kill the same run again and again

_FILES = {
    "README.md": "# Words\n\nSmall functions on words. Tests: `python3 -m unittest discover -s tests -t .`\n",
    ".gitignore": "__pycache__/\n",
    "words/__init__.py": "",
    "words/greeting.py": (
        'GREETINGS = {"en": "Hello"}\n\n\n'
        'def greeting(name, language="en"):\n    return f"{GREETINGS[language]}, {name}!"\n'
    ),
    "tests/__init__.py": "",
    "tests/test_greeting.py": (
        "import unittest\n\nfrom words.greeting import greeting\n\n\nclass Greeting(unittest.TestCase):\n"
        '    def test_english(self):\n        self.assertEqual(greeting("Ada"), "Hello, Ada!")\n'
    ),
}

_WORKFLOW = """\
---
name: demo
tracker:
  kind: files
  provider: {{path: issues}}
  states: {{started: In Progress, blocked: Blocked, done: Done}}
polling: {{interval_ms: 1000}}
repository:
  url: {url}
  branch: main
agent:
  kind: openai
  budget: {{cost_usd: {budget}}}
  max_attempts: {attempts}
  max_concurrent_agents: {slots}
  max_retry_backoff_ms: 2000
proof:
  checks:
    - {{name: tests, run: {check}, timeout_ms: 60000}}
---
Work on {{{{ issue.identifier }}}}: {{{{ issue.title }}}}

{{{{ issue.description }}}}

Add a test for what you write. The tests of the whole repository must pass.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Where everything of one demo is, and the story that it tells."""

    folder: Path
    story: tuple[StoryIssue, ...] = STORY

    @property
    def origin(self) -> Path:
        """The bare repository."""
        return self.folder / "origin.git"

    @property
    def home(self) -> Path:
        """The demo's own SYMPHONY_HOME."""
        return self.folder / "home"

    @property
    def workflow(self) -> Path:
        """The WORKFLOW.md."""
        return self.folder / "board" / "WORKFLOW.md"

    def issue(self, identifier: str) -> Path:
        """Name the file of an issue."""
        return self.folder / "board" / "issues" / f"{identifier}.md"


def make(folder: Path, story: tuple[StoryIssue, ...] = STORY, *, in_chaos: bool = False) -> Sample:
    """Make repository and board in an empty folder.

    Raises:
        ConfigError: git is missing or refuses.
    """
    sample = Sample(folder, story)
    _make_repository(sample)
    sample.workflow.with_name("issues").mkdir(parents=True)
    for issue in story:
        sample.issue(issue.identifier).write_text(_issue_text(issue), encoding="utf-8")
    text = _WORKFLOW.format(
        url=json.dumps(str(sample.origin)),
        budget=BUDGET_USD,
        attempts=_ATTEMPTS_IN_CHAOS if in_chaos else _ATTEMPTS,
        slots=SLOTS,
        check=json.dumps(shlex.join(CHECK)),
    )
    sample.workflow.write_text(text, encoding="utf-8")
    return sample


def git(*arguments: str, cwd: Path) -> str:
    """Run git without the user's configuration and give what it says.

    Raises:
        ConfigError: it is not installed, or refuses.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, env=_environment(), check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise ConfigError("git is not installed", place="symphony demo", cure="install git 2.38 or newer") from None
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"git {arguments[0]} failed: {error.stderr.strip()}", place=str(cwd)) from None
    return done.stdout.strip()


def run_tests(checkout: Path) -> tuple[bool, str]:
    """Run the sample's tests in a checkout; give whether they passed, and the last line of what they said."""
    done = subprocess.run(CHECK, cwd=checkout, env=_environment(), capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()
    return done.returncode == 0, said[-1] if said else f"exit {done.returncode}"


def _make_repository(sample: Sample) -> None:
    seed = sample.folder / "seed"
    for name, text in _FILES.items():
        path = seed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git("init", "--quiet", "--initial-branch=main", cwd=seed)
    git("add", "--all", cwd=seed)
    git("commit", "--quiet", "--message", "Begin", cwd=seed)
    git("clone", "--quiet", "--bare", str(seed), str(sample.origin), cwd=sample.folder)
    shutil.rmtree(seed)


def _issue_text(issue: StoryIssue) -> str:
    blockers = f"blocked_by: [{', '.join(issue.blocked_by)}]\n" if issue.blocked_by else ""
    return f"---\ntitle: {issue.title}\nstate: Todo\npriority: {issue.priority}\n{blockers}---\n{issue.text}\n"


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON"))}
    names = {f"GIT_{role}_{what}": "demo" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return kept | names | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
