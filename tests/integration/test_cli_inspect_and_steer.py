"""The verbs that look at runs and steer them, on a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Block, Fail, Retry, Review
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.ledger import issues
from symphony.ledger.database import Database
from tests.fakes.board import Board
from tests.fakes.command import Command

PARKED_AFTER = timedelta(minutes=5)


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


def pending(board: Board) -> list[tuple[str, str]]:
    rows = board.rows("SELECT kind, payload FROM effects WHERE state = 'pending' ORDER BY issue_id, seq")
    return [(row.kind, row.payload.get("to") or row.payload.get("body")) for row in rows]


def test_status_has_the_shape_of_the_api_and_groups_runs(board: Board, symphony: Command) -> None:
    board.claim(board.admit("DEMO-1"))
    board.run("DEMO-2", Retry("disk full"))
    board.run("DEMO-3", Block("Which colour?"))
    state = symphony("status", "--json").document
    assert state["counts"] == {"running": 1, "retrying": 1, "queued": 0, "blocked": 1, "reviewing": 0}
    running, retrying = state["running"][0], state["retrying"][0]
    assert (running["issue_identifier"], running["stage"], running["attempt"]) == ("DEMO-1", "provision", 1)
    assert running["issue_url"] == "https://t/DEMO-1"
    assert running["turn_count"] == 0 and running["tokens"]["total_tokens"] == 0 and running["started_at"].endswith("Z")
    assert (retrying["issue_identifier"], retrying["attempt"], retrying["error"]) == ("DEMO-2", 1, "disk full")
    assert retrying["due_at"]
    assert set(state["codex_totals"]) == {"input_tokens", "output_tokens", "total_tokens", "seconds_running"}
    assert state["rate_limits"] is None and state["workflows"][0]["name"] == "payments"
    said = symphony("status").out
    assert "1 running" in said and "Which colour?" in said and "disk full" in said


def test_show_has_the_fields_of_the_contract(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Advance(), Fail("no way"))
    shown = symphony("show", "demo-1", "--json").document
    assert {"identifier", "title", "state"} <= shown["issue"].keys()
    wanted = "id state stage attempt crashes node branch base_sha head_sha landed_sha error tokens created_at finished_at"
    assert set(wanted.split()) <= shown["run"].keys()
    assert (shown["run"]["id"], shown["run"]["state"], shown["run"]["error"]) == (str(run.id), "failed", "no way")
    stages = [(a["stage"], a["number"], a["outcome"], a["error"]) for a in shown["attempts"]]
    assert stages == [("provision", 1, "advance", None), ("agent", 1, "fail", "no way")]
    assert all({"node", "started_at", "finished_at"} <= a.keys() for a in shown["attempts"])
    assert [e["kind"] for e in shown["events"]] == ["admitted", "claimed", "advanced", "claimed", "failed"]
    assert all({"at", "kind", "data"} <= e.keys() for e in shown["events"])
    assert shown["proof"] is None
    assert "no way" in symphony("show", "DEMO-1#1").out
    assert symphony("show", str(run.id), "--md").out.startswith("# DEMO-1#1: A title")


def test_show_gives_the_newest_proof(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Advance(), Advance())
    board.rows(
        "INSERT INTO proofs (id, run_id, base_sha, head_sha, merge_sha, tree_sha, verdict, checks) "
        "VALUES (gen_random_uuid(), :id, 'b', 'h', 'm', 'abcdef123', 'passed', CAST(:checks AS jsonb)) RETURNING id",
        id=run.id,
        checks=[
            {"name": "t", "command": "make", "verdict": "passed", "seconds": 1.5, "output": "fine ```", "exit_code": 0}
        ],
    )
    proof = symphony("show", "DEMO-1", "--json").document["proof"]
    assert (proof["verdict"], proof["tree_sha"], proof["checks"][0]["name"]) == ("passed", "abcdef123", "t")
    assert "````\nfine ```\n````" in symphony("show", "DEMO-1", "--md").out


def test_an_issue_without_a_run_is_shown(board: Board, symphony: Command) -> None:
    board.see("DEMO-1")
    assert symphony("show", "DEMO-1", "--json").document["run"] is None
    assert "no run yet" in symphony("show", "DEMO-1").out


def test_runs_lists_newest_first_and_of_one_issue(board: Board, symphony: Command) -> None:
    board.run("DEMO-1", Fail("x"))
    board.admit("DEMO-2")
    listed = symphony("runs", "--json").document
    assert [run["issue"]["identifier"] for run in listed] == ["DEMO-2", "DEMO-1"]
    assert [run["name"] for run in symphony("runs", "--issue", "demo-1", "--json").document] == ["DEMO-1#1"]
    assert "DEMO-2#1" in symphony("runs").out


def test_runs_of_an_unknown_workflow_is_a_mistake(board: Board, symphony: Command) -> None:
    board.run("DEMO-1", Fail("no way"))
    assert "DEMO-1#1" in symphony("runs", "-w", "payments").out
    said = symphony("runs", "-w", "payment")
    assert said.code == 2 and "payments" in said.err


def test_a_question_is_shown_while_it_is_asked_and_before_an_older_error(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Block("Which colour?"))
    board.rows("UPDATE runs SET error = 'disk full' WHERE id = :id RETURNING id", id=run.id)
    for verb in (("status",), ("runs",), ("show", "DEMO-1"), ("show", "DEMO-1", "--md")):
        assert "Which colour?" in symphony(*verb).out, verb
    assert symphony("status", "--json").document["blocked"][0]["last_message"] == "Which colour?"
    symphony("answer", "DEMO-1", "blue")
    assert symphony("show", "DEMO-1", "--json").document["run"]["question"] is None
    assert "Which colour?" not in symphony("runs").out + symphony("status").out


def test_the_markdown_of_a_failed_run_says_why(board: Board, symphony: Command) -> None:
    board.run("DEMO-1", Fail("no way"))
    assert symphony("show", "DEMO-1", "--md").out.splitlines()[2:] == ["**Failed · 0 s**", "", "no way"]


def test_control_characters_of_an_issue_reach_no_terminal(board: Board, symphony: Command) -> None:
    board.admit("DEMO-1", title="\x1b[2Jbad\x07")
    assert "\x1b" not in symphony("status").out + symphony("runs").out + symphony("show", "DEMO-1").out


@pytest.mark.parametrize("word", ["DEMO-9", "DEMO-1#7", "#1", "", "00000000-0000-7000-8000-000000000000", "é", "DEMO-1#²"])
def test_what_is_unknown_is_a_sentence(board: Board, symphony: Command, word: str) -> None:
    board.admit("DEMO-1")
    for verb in (["show"], ["retry"], ["runs", "--issue"]):
        said = symphony(*verb, word)
        if verb == ["runs", "--issue"] and not word:
            continue
        assert said.code == 2 and said.out == "" and said.err.count("\n") == 1, said


def test_near_matches_are_named(board: Board, symphony: Command) -> None:
    board.admit("DEMO-12")
    assert "did you mean DEMO-12" in symphony("show", "DEMO-21").err


def test_an_identifier_with_a_hash_is_an_identifier(board: Board, symphony: Command) -> None:
    board.admit("acme/api#3")
    assert symphony("show", "acme/api#3", "--json").document["run"]["number"] == 1
    assert symphony("show", "acme/api#3#1", "--json").code == 0


def test_the_same_identifier_in_two_workflows_is_ambiguous(board: Board, symphony: Command, tmp_path: Path) -> None:
    board.admit("DEMO-1")
    Board.make(board.database, tmp_path, name="billing").admit("DEMO-1")
    said = symphony("show", "DEMO-1")
    assert said.code == 2 and "DEMO-1 in billing" in said.err and "DEMO-1 in payments" in said.err
    shown = symphony("show", "DEMO-1", "--workflow", "billing", "--json").document
    assert shown["run"]["workflow"] == "billing"
    assert "did you mean billing?" in symphony("show", "DEMO-1", "-w", "biling").err


def test_retry_of_an_ended_run_begins_an_epoch_and_asks_for_a_poll(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Fail("x"))
    board.rows("DELETE FROM effects RETURNING id")
    assert board.database.transact(lambda t: issues.candidates(t, board.workflow_id, 9)) == []
    said = symphony("retry", "DEMO-1")
    assert (said.code, said.out) == (0, "DEMO-1 gets a new run\n")
    assert [i.id for i in board.database.transact(lambda t: issues.candidates(t, board.workflow_id, 9))] == [run.issue_id]
    assert board.rows("SELECT poll_due_at <= now() AS due FROM workflows")[0].due


def test_retry_moves_a_parked_issue_back(board: Board, symphony: Command) -> None:
    board.run("DEMO-1", Fail("x"))
    board.rows("DELETE FROM effects RETURNING id")
    board.see("DEMO-1", state="Blocked")
    assert symphony("retry", "DEMO-1").code == 0
    assert pending(board) == [("move", "Todo")]


def test_retry_of_a_finished_issue_says_what_it_waits_for(board: Board, symphony: Command) -> None:
    board.run("DEMO-1", Fail("x"))
    board.see("DEMO-1", state="Done")
    assert "once its issue is active again; it is now 'Done'" in symphony("retry", "DEMO-1").out


def test_retry_makes_a_waiting_run_due(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Retry("x", PARKED_AFTER))
    assert symphony("retry", "DEMO-1").code == 0
    assert board.rows("SELECT due_at <= now() AS due FROM runs WHERE id = :id", id=run.id)[0].due
    assert board.now(run).state is RunState.WAITING


def test_cancel_asks_the_holder_and_ends_what_nobody_holds(board: Board, symphony: Command) -> None:
    held, free = board.claim(board.admit("DEMO-1")), board.admit("DEMO-2")
    assert "asked to stop" in symphony("cancel", "DEMO-1", "-m", "wrong issue").out
    now = board.now(held)
    assert (now.state, now.request, now.request_reason) == (RunState.RUNNING, "cancel", "wrong issue")
    assert board.settle(held, Advance()).state is RunState.CANCELLED
    assert symphony("cancel", "DEMO-2").code == 0
    assert board.now(free).state is RunState.CANCELLED
    assert {row.consumed for row in board.rows("SELECT epoch = consumed_epoch AS consumed FROM issues")} == {True}
    assert symphony("cancel", "DEMO-2").code == 2


def test_an_answer_reaches_the_agent_and_the_issue_leaves_blocked(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Advance(), Block("Which?"))
    assert ("move", "Blocked") in pending(board)
    assert symphony("answer", "DEMO-1", "the", "blue", "one").code == 0
    now = board.now(run)
    assert (now.state, now.stage, now.feedback, now.question) == (RunState.WAITING, Stage.AGENT, "the blue one", "Which?")
    moves = [to for kind, to in pending(board) if kind == "move"]
    assert moves == ["In Progress"], "the undelivered move to Blocked is superseded"


def test_an_answer_to_what_asks_nothing_is_refused(board: Board, symphony: Command) -> None:
    board.claim(board.admit("DEMO-1"))
    said = symphony("answer", "DEMO-1", "blue")
    assert said.code == 2 and "asks nothing" in said.err
    assert symphony("answer", "DEMO-1", " ").code == 2


def test_rework_sends_back_what_is_in_review_and_asks_a_holder(board: Board, symphony: Command) -> None:
    reviewed = board.run("DEMO-1", Advance(), Advance(), Review("look"))
    assert symphony("rework", "DEMO-1", "-m", "more tests").code == 0
    now = board.now(reviewed)
    assert (now.state, now.stage, now.feedback, now.rework_rounds) == (RunState.WAITING, Stage.AGENT, "more tests", 0)
    held = board.claim(board.admit("DEMO-2"))
    assert symphony("rework", "DEMO-2", "-m", "no").code == 0
    assert board.now(held).request == "rework"
    board.admit("DEMO-3")
    assert symphony("rework", "DEMO-3", "-m", "no").code == 2


def test_approve_lands_a_reviewed_run_and_moves_the_issue(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Advance(), Advance(), Review("look"))
    said = symphony("approve", "DEMO-1", "-m", "well done")
    assert said.code == 0
    assert (board.now(run).state, board.now(run).stage) == (RunState.QUEUED, Stage.PROOF), (
        "without a proof it is proved first"
    )
    assert ("move", "Merging") in pending(board) and ("comment", "well done") in pending(board)


def test_approve_where_nothing_lands_is_refused(board: Board, symphony: Command, tmp_path: Path) -> None:
    Board.make(board.database, tmp_path, name="off", land="off").admit("DEMO-1")
    assert "lands nothing" in symphony("approve", "DEMO-1").err


def test_a_landing_that_is_being_pushed_is_left_alone(board: Board, symphony: Command) -> None:
    run = board.run("DEMO-1", Advance(), Advance())
    board.rows(
        "WITH p AS (INSERT INTO proofs (id, run_id, base_sha, head_sha, merge_sha, tree_sha, verdict, checks) "
        "VALUES (gen_random_uuid(), :id, 'b', 'h', 'm', 't', 'passed', '[]') RETURNING *) "
        "INSERT INTO landings (id, run_id, proof_id, target, base_sha, head_sha, merge_sha, tree_sha) "
        "SELECT gen_random_uuid(), run_id, id, 'x', 'b', 'h', 'm', 't' FROM p RETURNING id",
        id=run.id,
    )
    for verb in (["cancel"], ["rework", "-m", "x"]):
        said = symphony(verb[0], "DEMO-1", *verb[1:])
        assert said.code == 1 and "being pushed" in said.err
    assert board.now(run).token == run.token


def test_a_named_run_that_has_ended_is_not_mistaken_for_the_live_one(board: Board, symphony: Command) -> None:
    board.run("DEMO-1", Fail("x"))
    symphony("retry", "DEMO-1")
    live = board.admit("DEMO-1")
    said = symphony("cancel", "DEMO-1#1")
    assert said.code == 2 and "DEMO-1#2" in said.err
    assert board.now(live).state is RunState.QUEUED


def test_pause_and_resume_concern_admission_only(board: Board, symphony: Command) -> None:
    run = board.claim(board.admit("DEMO-1"))
    assert symphony("pause", "payments").code == 0
    assert board.rows("SELECT paused_at FROM workflows")[0].paused_at is not None
    assert board.now(run).state is RunState.RUNNING
    assert "paused" in symphony("status").out
    assert symphony("resume").code == 0
    assert board.rows("SELECT paused_at FROM workflows")[0].paused_at is None
    assert "did you mean payments?" in symphony("pause", "payment").err


def test_workflows_are_listed_and_removed(board: Board, symphony: Command) -> None:
    assert symphony("workflow", "list", "--json").document[0]["permanent"] is True
    assert symphony("workflow", "remove", "payments").code == 0
    assert symphony("workflow", "list", "--json").document[0]["served"] is False
    assert symphony("workflow", "remove", "nobody").code == 2


def test_a_workflow_is_the_same_by_every_spelling_of_its_path(
    board: Board, symphony: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "shop" / "WORKFLOW.md"
    (file.parent / "sub").mkdir(parents=True)
    file.write_text("---\ntracker: {kind: files}\nagent: {kind: command, command: 'true'}\n---\nx\n")
    monkeypatch.chdir(file.parent / "sub")
    for spelling in (str(file), "../WORKFLOW.md", "../../shop/WORKFLOW.md"):
        said = symphony("workflow", "add", spelling)
        assert (said.code, said.out) == (0, "shop is served permanently\n"), said.err
    assert [row.source for row in board.rows("SELECT source FROM workflows WHERE name = 'shop'")] == [str(file)]
