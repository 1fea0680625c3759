"""A run whose worker dies goes on in the same conversation, on any node: tree and words agree, no call runs twice.

The model of these histories appends numbered lines to a file by calls that must not run twice. It believes what the
conversation says, and every request is compared with what lies in the workspace at that moment. A worker dies at a chosen
commit of the conversation, before or after it; the sweeper finds it dead and another node, or the same one, goes on.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from symphony.agents.openai.conversation import Conversation
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from symphony.stages import model_agent
from tests.fakes import model_replies as say
from tests.fakes.model_request import Request
from tests.fakes.model_server import ModelServer
from tests.fakes.repositories import Repository, git
from tests.integration.fleet import Fleet
from tests.integration.stage_bench import Bench, another_node, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

LINES = 4
_INTERRUPTED, _NOT_BEGUN = "This call was interrupted", "This call was not begun"


class Killed(BaseException):
    """The worker dies here: nothing of its own runs any more."""


@dataclass
class Death:
    """Kills at the commit of this number, before or after it; then lives for ever."""

    at: int
    after: bool
    seen: int = 0

    def around(self, commit: Callable[[], Any]) -> Any:
        """Commit, unless death comes first."""
        self.seen += 1
        if self.seen == self.at and not self.after:
            raise Killed
        done = commit()
        if self.seen == self.at:
            raise Killed
        return done


@dataclass
class Model:
    """Appends lines until there are enough, believing the conversation."""

    executed: Path
    workspace: Callable[[], Path]
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    mismatches: list[str] = field(default_factory=list)
    ending: say.Answer = field(default_factory=say.finish)

    def __call__(self, request: Request) -> say.Answer:
        """Answer one request."""
        believed = self.believed(request.body["input"])
        if believed is None:
            return say.shell("cat lines.txt 2> /dev/null; true")
        file = self.workspace() / "lines.txt"
        found = file.read_text().split() if file.exists() else []
        if found != believed:
            self.mismatches.append(f"believes {believed}, there is {found}")
        if len(believed) >= LINES:
            return self.ending
        number = next(self.numbers)
        return say.shell(f"echo {number} >> {self.executed}; echo line-{len(believed) + 1} >> lines.txt")

    @staticmethod
    def believed(items: list[dict[str, Any]]) -> list[str] | None:
        """Give the file's lines as the conversation has them; None where it says that they may be others."""
        lines: list[str] | None = []
        commands: dict[str, str] = {}
        for item in items:
            if item["type"] == "function_call" and item["name"] == "shell":
                commands[item["call_id"]] = json.loads(item["arguments"])["command"]
            elif item["type"] == "function_call_output" and item["call_id"] in commands:
                command, output = commands[item["call_id"]], item["output"]
                if output.startswith(_INTERRUPTED):
                    lines = None
                elif output.startswith(_NOT_BEGUN) or command.startswith("printf"):
                    continue
                elif command.startswith("cat"):
                    lines = [line for line in output.splitlines() if line.startswith("line-")]
                elif lines is not None:
                    lines = [*lines, command.rsplit("echo ", 1)[1].split()[0]]
            elif item["type"] == "message" and item["role"] == "user" and "workspace" in item["content"][0]["text"]:
                lines = None
        return lines


def history(
    seed: int, database_url: str, folder: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, bool]:
    """Play one history; give at which commit the worker died, and whether the run went on elsewhere."""
    dice = random.Random(seed)
    death = Death(dice.randrange(1, 26), dice.random() < 0.5)
    elsewhere = dice.random() < 0.6
    monkeypatch.setattr(model_agent, "KEEP_EVERY_S", dice.choice([0.0, 0.0, 1000.0]))

    class Mortal(Conversation):
        def __init__(self, write: Any) -> None:
            super().__init__(lambda body: death.around(lambda: write(body)))

    monkeypatch.setattr(model_agent, "Conversation", Mortal)
    at: list[Bench] = []
    model = Model(folder / "executed.txt", lambda: at[-1].workspace)
    with ModelServer(model) as server:
        environ = {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "OPENAI_BASE_URL": server.url}
        with (
            bench(database_url, folder, guardian, agent={"kind": "openai"}, environ=environ, name=f"board-{seed}") as first,
            another_node(first, "node-2") as second,
        ):
            at.append(first)
            first.bring(Stage.AGENT)
            died = _die_or_pass(first)
            if died:
                first.board.expire("DEMO-1", process_died=False)
                first.board.swept()
                first.deployment.settings = first.board.settings
                at.append(second if elsewhere else first)
                _go_on(first, at[-1])
            _judge(first, model)
    return death.at if died else 0, elsewhere


def _die_or_pass(work: Bench) -> bool:
    try:
        work.step()
    except Killed:
        return True
    return False


def _go_on(work: Bench, node: Bench) -> None:
    for _ in range(4):
        if work.run.stage not in (Stage.PROVISION, Stage.AGENT):
            return
        if node is not work and work.run.stage is Stage.AGENT and work.run.node != node.deployment.node:
            work.board.sql("UPDATE runs SET stage = 'provision', node = NULL WHERE id = %(id)s", id=work.run.id)
        work.step(on=node)


def _judge(work: Bench, model: Model) -> None:
    assert work.run.state is RunState.QUEUED and work.run.stage is Stage.PROOF, (work.run, work.attempts())
    assert not model.mismatches
    executed = Counter(model.executed.read_text().split())
    assert set(executed.values()) == {1}, f"a call ran twice: {executed}"
    told = git(work.folder, "-C", str(work.folder / "origin.git"), "show", f"{work.run.head_sha}:lines.txt")
    assert told.split() == [f"line-{number}" for number in range(1, LINES + 1)]
    states = [row[0] for row in work.board.sql("SELECT state FROM model_requests WHERE run_id = %(id)s", id=work.run.id)]
    assert "started" not in states
    assert states.count("discarded") <= 1, "more than one request was paid for nothing"
    work.board.assert_consistent()


@pytest.mark.timeout(180)
def test_a_killed_worker_is_followed_on_another_node(tmp_path: Path, database_url: str, broker_url: str) -> None:
    """Rule: SIGKILL after the third edit, real processes; the other node goes on in the same conversation."""
    with Fleet(tmp_path, database_url, broker_url) as fleet:
        model = Model(
            tmp_path / "executed.txt",
            lambda: tmp_path / f"home-{board.runs()[0].node}" / "workspaces" / "fleet" / "FLEET-1",
            ending=say.shell("printf 'done by FLEET-1\n' > FLEET-1.txt") + say.finish(),
        )
        with ModelServer(model) as server:
            key = {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "OPENAI_BASE_URL": server.url}
            board = fleet.board(issues=1, kind="openai")
            doomed = fleet.worker(node="node-1", env=key)
            fleet.start(fleet.control(), fleet.beat(), doomed)
            executed = model.executed
            fleet.until(
                lambda: executed.exists() and len(executed.read_text().split()) >= 3, timeout_s=60, what="three edits"
            )
            doomed.kill()
            fleet.start(fleet.worker(node="node-2", env=key))
            board.until_landed(timeout_s=90)
        assert not model.mismatches
        assert set(Counter(executed.read_text().split()).values()) == {1}, "a call ran twice"
        assert board.git("show", "main:lines.txt").split() == [f"line-{number}" for number in range(1, LINES + 1)]
        lost = fleet.sql("SELECT count(*) AS n FROM model_requests WHERE state <> 'done'")[0].n
        assert lost <= 1, "more than one request was paid for nothing"
        fleet.check(board)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_hundred_deaths(
    database_url: str, tmp_path: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch, repository: Repository
) -> None:
    """Rule: as in the few of the suite, over a hundred random points of death."""
    origin = tmp_path / "origin.git"
    for seed in range(1000, 1100):
        folder = tmp_path / str(seed)
        folder.mkdir()
        (folder / "origin.git").symlink_to(origin)
        died, elsewhere = history(seed, database_url, folder, guardian, monkeypatch)
        print(f"history {seed}: died at {died or 'no'} commit, went on {'elsewhere' if elsewhere else 'there'}", flush=True)


@pytest.mark.parametrize("seed", range(6))
def test_a_conversation_outlives_its_worker(
    seed: int,
    database_url: str,
    tmp_path: Path,
    guardian: Guardian,
    monkeypatch: pytest.MonkeyPatch,
    repository: Repository,
) -> None:
    """Rule: whichever commit was the last, tree and conversation agree, and nothing is run or paid twice but one request."""
    history(seed, database_url, tmp_path, guardian, monkeypatch)
