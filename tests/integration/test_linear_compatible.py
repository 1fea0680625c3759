"""A file of the reference's form against Linear: its board is read as it says, and moves and comments are the agent's.

The agent of such a file is codex; here a command stands in its place. SYMPHONY_TEST_REFERENCE_WORKFLOW may name a file of
somebody else's, which is then taken byte for byte.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import execute as executing
from symphony.engine import poll as polling
from symphony.engine.clean import clean
from symphony.engine.deliver import deliver
from symphony.engine.deployment import Deployment
from symphony.engine.keeper import LeaseKeeper
from symphony.engine.rules import Rules
from symphony.ledger import processes, runs, workflows
from symphony.ledger.database import Database
from symphony.ledger.records import Run
from symphony.processes.guardian import Guardian
from symphony.settings import Settings
from symphony.stages.table import STAGES
from tests.fakes.linear_server import LinearServer
from tests.fakes.repositories import git

pytest_plugins = ["tests.fakes.repository_fixtures"]

STATES = (
    ("Backlog", "backlog"), ("Todo", "unstarted"), ("In Progress", "started"), ("Human Review", "started"),
    ("Rework", "started"), ("Merging", "started"), ("Done", "completed"), ("Canceled", "canceled"),
)  # fmt: skip
OWN = """---
tracker:
  kind: linear
  provider:
    project_slug: "payments-%s"
  required_labels: []
  active_states: [Todo, In Progress, Merging, Rework]
  terminal_states: [Closed, Cancelled, Canceled, Duplicate, Done]
polling:
  interval_ms: 5000
workspace:
  root: ~/workspaces
hooks:
  after_create: |
    git clone --depth 1 https://github.com/openai/symphony .
agent:
  max_concurrent_agents: 10
  max_turns: 20
codex:
  command: codex app-server
  approval_policy: never
  thread_sandbox: workspace-write
---

You work on `{{ issue.identifier }}`: {{ issue.title }} ({{ issue.state }}, {{ issue.labels }}, {{ issue.url }})
{%% if attempt %%}This is attempt {{ attempt }}.{%% endif %%}
"""
REFERENCE = os.environ.get("SYMPHONY_TEST_REFERENCE_WORKFLOW")


@dataclass
class Served:
    """The workflow on one node, with a command where the file has codex."""

    linear: LinearServer
    deployment: Deployment
    guardian: Guardian
    keeper: LeaseKeeper
    id: Any
    home: Path

    def poll(self) -> None:
        """Poll now; admission follows."""
        self.deployment.database.transact(lambda t: workflows.poll_soon(t, self.id))
        assert polling.poll(self.deployment, self.id)

    def run(self, number: int = 1) -> Run:
        """Give the run of an issue."""
        (live,) = (
            run for run, snapshot in self.deployment.database.transact(lambda t: runs.live_with_snapshots(t, self.id))
            if snapshot["identifier"] == f"ENG-{number}"
        )  # fmt: skip
        return live

    def step(self, number: int = 1) -> Run:
        """Execute the stage in which the issue's run is queued."""
        run = self.run(number)
        settled = executing.execute(self.deployment, self.guardian, self.keeper, run.id, run.stage, STAGES[run.stage])
        assert settled is not None
        return settled

    def agent(self, script: str) -> None:
        """Be this agent from now on."""
        (self.home / "agent.sh").write_text(script)


@pytest.fixture
def linear() -> Iterator[LinearServer]:
    """A workspace of Linear's."""
    with LinearServer(states=STATES) as server:
        yield server
        assert server.violations == []


def text_of(linear: LinearServer) -> str:
    """Give the file; the project of the workspace is given the slug that the file names."""
    text = Path(REFERENCE).read_text(encoding="utf-8") if REFERENCE else OWN % linear.project.slug_id
    slug = yaml.safe_load(text.split("---")[1])["tracker"]["provider"]["project_slug"]
    linear.rename_project(linear.project, slug.rpartition("-")[2])
    return text


@pytest.fixture
def served(
    linear: LinearServer, database_url: str, tmp_path: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """Serve the file, whose repository is found at a local one."""
    origin = tmp_path / "openai" / "symphony"
    origin.mkdir(parents=True)
    git(origin, "init", "-q", "-b", "main")
    git(origin, "commit", "-q", "--allow-empty", "-m", "first")
    (tmp_path / ".gitconfig").write_text(f'[url "{origin.parent.parent}/"]\n\tinsteadOf = https://github.com/\n')
    text = text_of(linear)
    environ = {**os.environ, "HOME": str(tmp_path), "LINEAR_API_KEY": linear.key, "SYMPHONY_TEST_SEEN": "yes"}
    environ |= {"GIT_CONFIG_GLOBAL": str(tmp_path / ".gitconfig")}
    monkeypatch.setenv("HOME", str(tmp_path))
    database = Database(database_url, pool_size=4)
    settings = Settings(home=tmp_path / "home", database_url=database_url, node="node-1")
    deployment = Deployment(database, settings, "node-1", environ=environ)
    digest = hashlib.sha256(text.encode()).hexdigest()
    workflow_id = database.transact(
        lambda t: workflows.register(
            t, name="reference", source_kind="file", source=str(tmp_path / "WORKFLOW.md"), content=text, digest=digest,
            base_dir=str(tmp_path), serve_for=None,
        )
    )  # fmt: skip
    database.transact(
        lambda t: processes.register(t, process_id=deployment.process_id, node="node-1", pid=1, queues=["control"], slots=9)
    )
    row = database.transact(lambda t: workflows.get(t, workflow_id))
    assert row is not None
    _replace_the_agent(deployment, row, linear, f". {tmp_path}/agent.sh")
    own = Database(database_url, pool_size=1)
    keeper = LeaseKeeper(own, guardian, settings, deployment.process_id, lambda: None)
    keeper.start()
    yield Served(linear, deployment, guardian, keeper, workflow_id, tmp_path)
    keeper.stop()
    own.close()
    database.close()


def _replace_the_agent(deployment: Deployment, row: Any, linear: LinearServer, command: str) -> None:
    """Put a command in the place of codex, and the played Linear in that of the real one; the rest is the file's."""
    rules = Rules.of(row)
    assert rules.is_compatible
    workflow = rules.workflow
    agent = workflow.agent.model_copy(update={"kind": "command", "command": command})
    tracker = workflow.tracker.model_copy(update={"provider": workflow.tracker.provider | {"endpoint": linear.url}})
    changed = workflow.model_copy(update={"agent": agent, "tracker": tracker})
    assert changed.is_compatible_mode
    deployment._rules[row.version_id] = Rules(replace(rules.loaded, workflow=changed), rules.base_dir)


def test_what_is_read_is_the_projects_issues_in_the_files_states(linear: LinearServer, served: Served) -> None:
    """Rule: the same issues for the same board: the project's, in an active state, dispatchable or not."""
    seen = [linear.create_issue(state=state) for state in ("Todo", "In Progress", "Rework", "Merging")]
    for state in ("Backlog", "Human Review", "Done", "Canceled"):
        linear.create_issue(state=state)
    linear.create_issue(project_id=linear.add_project("Beta").id)
    linear.block(seen[0], by=seen[1])
    served.poll()
    rows = served.deployment.database.transact(
        lambda t: [row.identifier for row in t.rows("SELECT identifier FROM issues ORDER BY identifier")]
    )
    assert sorted(rows) == sorted(issue.identifier for issue in seen)
    assert not [write for write in linear.writes if write.key], "reading wrote something"


def test_the_agent_moves_and_comments_and_symphony_does_not(linear: LinearServer, served: Served) -> None:
    """Rule: turns go on while the issue is active; the agent hands it over by moving it; nothing else is written."""
    linear.create_issue("Fix the parser", labels=["bug"])
    served.agent(
        "cat > prompt.txt; env > environment.txt; echo turn >> turns.txt; until test -e ../go; do sleep 0.02; done"
    )
    served.poll()
    assert served.step().stage is Stage.AGENT
    linear.comment("ENG-1", "The agent's own words.")
    linear.move("ENG-1", "Human Review")
    workspace = served.home / yaml.safe_load(_front(served))["workspace"]["root"].removeprefix("~/") / "ENG-1"
    (workspace.parent / "go").touch()
    run = served.step()
    assert run.state is RunState.RELEASED
    assert "ENG-1" in (workspace / "prompt.txt").read_text()
    assert (workspace / "turns.txt").read_text().count("turn") == 1
    environment = (workspace / "environment.txt").read_text()
    assert "SYMPHONY_TEST_SEEN=yes" in environment and linear.key not in environment
    deliver(served.deployment)
    assert not [write for write in linear.writes if write.key]


def test_a_closed_issue_is_cleaned(linear: LinearServer, served: Served) -> None:
    """Rule: terminal stops the run and removes its workspace; its hook `before_remove` may fail."""
    linear.create_issue()
    served.agent("cat > /dev/null")
    served.poll()
    served.step()
    workspace = next(served.home.rglob("ENG-1"))
    linear.move("ENG-1", "Done")
    served.poll()
    clean(served.deployment, served.guardian)
    assert not workspace.exists()


def _front(served: Served) -> str:
    row = served.deployment.database.transact(lambda t: workflows.get(t, served.id))
    assert row is not None
    return row.content.split("---")[1]
