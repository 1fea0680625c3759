"""`symphony plan` on a real folder of issues, with and without a ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Block, Fail, Retry
from symphony.ledger.database import Database
from tests.fakes.board import Board
from tests.fakes.command import Command

TEXT = """\
---
name: payments
tracker:
  kind: files
  provider: {path: issues}
  required_labels: [agents]
  states: {started: In Progress, blocked: Blocked, done: Done}
repository: {url: ., branch: main, forge: git}
agent: {kind: command, command: "true", max_concurrent_agents: 3, max_concurrent_agents_by_state: {Rework: 1}}
---
Do it.
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "issues").mkdir()
    (tmp_path / "WORKFLOW.md").write_text(TEXT)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def board(database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    database = Database(database_url, pool_size=2)
    yield Board.make(database, folder)
    database.close()


def issue(folder: Path, name: str, state: str = "Todo", **more: object) -> None:
    lines = {"title": name.lower(), "state": state, "labels": "[agents]", **more}
    header = "\n".join(f"{key}: {value}" for key, value in lines.items())
    (folder / "issues" / f"{name}.md").write_text(f"---\n{header}\n---\nwords\n")


def test_order_limits_blockers_labels_and_broken_records(folder: Path, symphony: Command) -> None:
    issue(folder, "A-3", priority=3)
    issue(folder, "A-1", priority=1)
    issue(folder, "A-9", state="Rework", priority=1)
    issue(folder, "B-1", state="Rework", priority=2)
    issue(folder, "B-2", priority=4)
    issue(folder, "C-1", blocked_by="[A-1]", priority=1)
    issue(folder, "C-2", labels="[other]", priority=1)
    issue(folder, "D-1", state="Done")
    (folder / "issues" / "broken.md").write_text("---\ntitle: [\n---\n")
    said = symphony("plan", "--json").document
    assert [one["identifier"] for one in said["starts"]] == ["A-1", "A-9", "A-3"]
    held = {one["identifier"]: one["category"] for one in said["held_back"]}
    assert held == {"B-1": "state_limit", "B-2": "slots", "C-1": "blocked_by", "C-2": "labels"}
    assert said["ledger"]["answers"] is False and "nothing runs on this home" in said["ledger"]["reason"]
    assert len(said["omitted"]) == 1 and "broken" in said["omitted"][0]
    text = symphony("plan").out
    assert "3 issues start now" in text and "as if nothing had run yet" in text and "it lacks the label agents" in text
    assert text.index("A-1") < text.index("A-9") < text.index("A-3") < text.index("not now") < text.index("C-1")


def test_the_ledger_says_what_runs_what_is_due_and_what_is_used_up(folder: Path, board: Board, symphony: Command) -> None:
    for name in ("L-1", "F-1", "W-1", "M-1", "N-1", "Q-1"):
        issue(folder, name)
    board.claim(board.admit("L-1"))
    board.run("F-1", Fail("no"))
    board.rows("DELETE FROM effects RETURNING id")
    board.run("W-1", Retry("disk"))
    board.rows("UPDATE runs SET due_at = now() WHERE state = 'waiting' RETURNING id")
    board.run("M-1", Fail("no"))
    board.see("M-1")
    board.run("Q-1", Advance(), Block("Which?"))
    said = symphony("plan", "--json").document
    assert said["ledger"]["answers"] is True and said["slots"]["taken"] == 1
    assert [(one["identifier"], one["kind"]) for one in said["starts"]] == [("W-1", "goes on"), ("N-1", "starts")]
    held = {one["identifier"]: one["category"] for one in said["held_back"]}
    assert held == {"L-1": "live_run", "F-1": "epoch_consumed", "M-1": "undelivered_move", "Q-1": "live_run"}
    text = symphony("plan").out
    assert "W-1#1 goes on" in text and "`symphony retry F-1`" in text and "is blocked in agent" in text


def test_nothing_starts_in_a_paused_or_unserved_workflow(folder: Path, board: Board, symphony: Command) -> None:
    issue(folder, "A-1")
    symphony("pause", "payments")
    assert symphony("plan", "--json").document["held_back"][0]["category"] == "paused"
    symphony("resume", "payments")
    symphony("workflow", "remove", "payments")
    assert "nothing serves the workflow payments" in symphony("plan").out


def test_a_missing_file_is_the_users_mistake(folder: Path, symphony: Command) -> None:
    said = symphony("plan", "nowhere.md")
    assert (said.code, said.out) == (2, "") and said.err.count("\n") == 1
