"""`symphony why` in every state of a run, and for issues without one; the commands that it names are accepted."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Block, Cancel, Fail, Park, Release, Retry, Review, Rework
from symphony.ledger.database import Database
from tests.fakes.board import Board
from tests.fakes.command import Command


@pytest.fixture
def board(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    database = Database(database_url, pool_size=2)
    yield Board.make(database, tmp_path)
    database.close()


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def agent_at_work(board: Board) -> None:
    run = board.claim(board.run("A-1", Advance()))
    board.rows("UPDATE runs SET last_event_at = now(), last_event = 'output' WHERE id = :id RETURNING id", id=run.id)


def no_worker(board: Board) -> None:
    board.admit("A-1")
    board.rows("UPDATE processes SET heartbeat_at = now() - interval '1 hour' RETURNING id")


def silent_node(board: Board) -> None:
    board.run("A-1", Advance())
    board.rows("UPDATE runs SET node = 'n9' RETURNING id")


def landing_queue(board: Board) -> None:
    for name in ("A-0", "A-1"):
        board.admit(name)
    board.rows("UPDATE runs SET stage = 'land', target = 'origin#main', queued_at = created_at RETURNING id")


def asked_to_stop(board: Board) -> None:
    board.claim(board.admit("A-1"))
    board.rows("UPDATE runs SET request = 'cancel', request_reason = 'x' RETURNING id")


def consumed(board: Board) -> None:
    board.run("A-1", Fail("the disk is full\nmore"))
    board.rows("DELETE FROM effects RETURNING id")


def paused(board: Board) -> None:
    board.see("A-1")
    board.rows("UPDATE workflows SET paused_at = now() RETURNING id")


def unserved(board: Board) -> None:
    board.see("A-1")
    board.rows("UPDATE workflows SET served_until = now() - interval '1 s' RETURNING id")


def silent_tracker(board: Board) -> None:
    board.see("A-1")
    board.rows("UPDATE workflows SET poll_error = 'HTTP 502' RETURNING id")


def full(board: Board) -> None:
    for number in range(10):
        board.admit(f"B-{number}")
    board.see("A-1")


CASES: dict[str, tuple[Callable[[Board], object], str, str, list[str]]] = {
    "queued": (lambda b: b.admit("A-1"), "it is queued for provision", "a worker begins", ["cancel"]),
    "no worker": (no_worker, "no worker lives", "`symphony up`", ["cancel"]),
    "silent node": (silent_node, "on the node n9, whose workers are silent", "made elsewhere", ["cancel"]),
    "landing queue": (landing_queue, "A-0#1 is first, 1 before it", "when those before it have", ["cancel"]),
    "agent": (agent_at_work, "its command agent works on the node n1", "is proved", ["logs", "cancel"]),
    "asked": (asked_to_stop, "it was asked to stop for good", "its agent begins", ["cancel"]),
    "backoff": (
        lambda b: b.run("A-1", Retry("disk full", timedelta(minutes=3))),
        "after 1 failed ones of at most 5: disk full",
        "it asks again for provision",
        ["retry", "cancel"],
    ),
    "parked": (
        lambda b: b.run("A-1", Advance(), Advance(), Park(timedelta(minutes=5), "t fails on `main` itself")),
        "it waits: t fails on `main` itself",
        "asks again for proof",
        ["retry", "cancel"],
    ),
    "rework": (
        lambda b: b.run("A-1", Advance(), Advance(), Rework("t is red")),
        "goes back to its agent, round 1 of at most 3",
        "asks again for agent",
        ["retry", "cancel"],
    ),
    "blocked": (
        lambda b: b.run("A-1", Advance(), Block("Which colour?\nx")),
        "asks: Which colour?",
        "nothing happens by itself",
        ["answer", "retry", "cancel"],
    ),
    "reviewing": (
        lambda b: b.run("A-1", Advance(), Advance(), Review("look")),
        "waits for a review: look",
        "somebody approves it, or the issue is moved to 'Merging'",
        ["approve", "rework", "show", "cancel"],
    ),
    "failed": (consumed, "it failed in provision: the disk is full", "until somebody retries it", ["retry", "show"]),
    "cancelled": (lambda b: b.run("A-1", Cancel("wrong issue")), "it was cancelled: wrong issue", "", ["retry", "show"]),
    "released": (lambda b: b.run("A-1", Release("moved")), "it was let go: moved", "starts with the next poll", ["show"]),
    "failed and parked": (
        lambda b: (b.run("A-1", Fail("x")), b.see("A-1", state="Blocked")),
        "it failed in provision: x",
        "until somebody moves it",
        ["retry", "show"],
    ),
    "ready": (lambda b: b.see("A-1"), "ready to start", "starts with the next poll", []),
    "not active": (lambda b: b.see("A-1", state="Backlog"), "'Backlog' is none in which", "until somebody moves it", []),
    "paused": (paused, "payments is paused", "next poll", ["resume"]),
    "not served": (unserved, "nothing serves its workflow", "nothing, until", ["up"]),
    "tracker": (silent_tracker, "does not answer: HTTP 502", "next poll", ["check"]),
    "full": (full, "all 10 agent slots are taken", "next poll", ["plan"]),
}


def test_every_state_is_explained_and_its_commands_are_accepted(board: Board, symphony: Command, tmp_path: Path) -> None:
    for case, (make, now, then, verbs) in CASES.items():
        make(board)
        said = symphony("why", "A-1", "--json").document
        assert now in said["now"] and then in said["next"], (case, said)
        found = [action["command"].split()[1] for action in said["actions"]]
        assert [verb for verb in found if verb in verbs] == verbs, (case, said["actions"])
        if case in ("agent", "paused"):
            page = symphony("why", "a-1")
            assert page.code == 0 and now in page.out and all(one["command"] in page.out for one in said["actions"])
        words = shlex.split(said["actions"][0]["command"]) if said["actions"] else ["", ""]
        if words[1] in ("cancel", "retry", "answer", "approve", "rework", "resume", "show"):
            assert symphony(*words[1:]).code == 0, (case, words)
        board.database.transact(lambda t: t.run("TRUNCATE workflows, processes, issues, runs CASCADE"))
        board = Board.make(board.database, tmp_path)


def test_instants_are_told(board: Board, symphony: Command) -> None:
    agent_at_work(board)
    said = symphony("why", "A-1", "--json").document
    assert said["since"].endswith("Z") and said["next_at"] > said["since"] and said["next_at_is_latest"]
    assert "output" in said["facts"]["last sign of life"]
    assert "  since  " in symphony("why", "A-1").out and "at the latest" in symphony("why", "A-1").out


@pytest.mark.parametrize(
    ("agent", "minutes"),
    [
        ("{kind: command, command: 'true', turn_timeout_ms: 120000}", 2),
        ("{kind: openai, turn_timeout_ms: 120000, budget: {seconds: 3600}}", 52),
        ("{kind: openai, turn_timeout_ms: 120000, budget: {seconds: 60}}", 2),
        ("{kind: openai, turn_timeout_ms: 120000, budget: {seconds: null}}", None),
    ],
    ids=["command", "model", "budget used up", "model without a limit"],
)
def test_an_agents_latest_end_is_that_of_its_kind(board: Board, symphony: Command, agent: str, minutes: int | None) -> None:
    """Rule: a command has its turn; a model has what is left of the run's time, and the step that it begins at its end."""
    given = 'agent: {kind: command, command: "true"}'
    board.rows(
        "UPDATE workflow_versions SET content = replace(content, :given, :agent) RETURNING id",
        given=given,
        agent=f"agent: {agent}",
    )
    agent_at_work(board)
    board.rows(
        "INSERT INTO attempts (id, run_id, stage, number, token, node, process_id, version_id, sandbox, started_at,"
        " finished_at, outcome) SELECT gen_random_uuid(), run_id, stage, 9, 0, node, process_id, version_id, sandbox,"
        " now() - interval '20 minutes', now() - interval '10 minutes', 'retry' FROM attempts WHERE stage = 'agent'"
        " RETURNING id"
    )
    said = symphony("why", "A-1", "--json").document
    assert said["next_at_is_latest"] is (minutes is not None)
    if minutes is None:
        assert said["next_at"] is None
    else:
        left = datetime.fromisoformat(said["next_at"]) - datetime.fromisoformat(said["since"])
        assert abs(left - timedelta(minutes=minutes)) < timedelta(seconds=20)
    assert ("ended when silent for" in said["facts"]) is ("command" in agent)


def test_what_a_model_has_cost_so_far_is_told(board: Board, symphony: Command) -> None:
    agent_at_work(board)
    board.rows("INSERT INTO usage_days SELECT id, current_date, 'm', 12, 9, 0, 0, 1, 0, 0.42, 0 FROM runs RETURNING run_id")
    said = symphony("why", "A-1", "--json").document
    assert said["facts"]["spent so far"] == "$0.42 on 12 requests to its model"


def test_an_older_run_says_which_one_lives(board: Board, symphony: Command) -> None:
    consumed(board)
    symphony("retry", "A-1")
    board.admit("A-1")
    assert "A-1#2 is the one that lives" in symphony("why", "A-1#1").out
    assert "queued" in symphony("why", "A-1").out


def test_what_the_tracker_has_not_got_is_told(board: Board, symphony: Command) -> None:
    board.run("A-1", Advance(), Block("Which?"))
    board.rows("UPDATE effects SET error = 'HTTP 500' RETURNING id")
    facts = symphony("why", "A-1", "--json").document["facts"]
    assert "move to 'Blocked'" in facts["not yet in the tracker"] and "HTTP 500" in facts["not yet in the tracker"]


def test_an_issue_that_only_the_tracker_knows_is_explained(board: Board, symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "issues").mkdir()
    (tmp_path / "issues" / "A-7.md").write_text("---\ntitle: Later\nstate: Backlog\n---\nx\n")
    said = symphony("why", "A-7")
    assert said.code == 0 and "A-7: Later" in said.out and "move it to Todo" in said.out


def test_an_unknown_issue_is_the_users_mistake(board: Board, symphony: Command) -> None:
    said = symphony("why", "A-9")
    assert (said.code, said.out) == (2, "") and said.err.count("\n") == 1
