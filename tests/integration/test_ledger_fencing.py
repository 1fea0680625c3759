"""Fencing and claims (docs/adr/0003): a stale writer writes nothing, one claim wins, an ambiguous commit is found again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from symphony.domain.errors import Fenced
from symphony.domain.outcome import Advance, Block, Interrupted, Retry
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.execute import Claim, claim
from symphony.ledger import landings, runs
from symphony.ledger.database import FencedTransaction
from symphony.ledger.records import Run
from tests.conftest import wait_until
from tests.integration.board import Board, at_once, fresh_id


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board."""
    return Board(database_url, tmp_path)


def stale(board: Board) -> tuple[Claim, Claim]:
    """Let a run at land change hands: the claim that is stale now, and the present one."""
    board.bring("A-1", Stage.LAND)
    old = board.claim("A-1")
    board.prove(old)
    board.settle(old, Interrupted("handed over"))
    return old, board.claim("A-1")


def fingerprint(board: Board) -> list[Any]:
    """Everything that a stage can write."""
    return [
        board.sql(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("runs", "attempts", "run_events", "proofs", "landings", "effects", "issues")
    ]


def writes(board: Board, held: Claim) -> dict[str, Callable[[FencedTransaction], Any]]:
    """What a holder may write."""
    proof = board.database.transact(lambda t: landings.newest_proof(t, held.run.id))
    assert proof is not None
    return {
        "note": lambda t: runs.note(t, head_sha="stale"),
        "proof": lambda t: landings.add_proof(
            t, base_sha="s", head_sha="s", merge_sha="s", tree_sha="s", verdict="passed", checks=[]
        ),
        "intend": lambda t: landings.intend(t, proof),
        "settle landing": lambda t: landings.abandon_intended(t, fresh_id()),
    }


def test_a_stale_token_writes_nothing(board: Board) -> None:
    """Rule: every stage transaction begins with the token; no row = Fenced, write nothing."""
    old, _ = stale(board)
    before = fingerprint(board)
    for name, write in writes(board, old).items():
        with pytest.raises(Fenced):
            board.fenced(old, write)
        assert fingerprint(board) == before, name
    for outcome in (Advance(), Block("?"), Retry("x"), Interrupted("x")):
        with pytest.raises(Fenced):
            board.settle(old, outcome)
    assert fingerprint(board) == before


@pytest.mark.parametrize("what", ["note", "proof", "intend", "settle landing"])
def test_a_stale_write_beside_an_uncommitted_change_of_owner_writes_nothing(board: Board, what: str) -> None:
    """Rule: a token tested later than by the lock would let this one through under READ COMMITTED."""
    board.bring("A-1", Stage.LAND)
    old = board.claim("A-1")
    board.prove(old)
    write = writes(board, old)[what]
    answers: list[Any] = []

    def late() -> None:
        try:
            answers.append(board.fenced(old, write))
        except Fenced as error:
            answers.append(error)

    with psycopg.connect(board.url) as mover:
        mover.execute("UPDATE runs SET token = token + 1")
        thread = threading.Thread(target=late)
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_until(lambda: board.sql(waits)[0][0], timeout_s=3.5, what="the stale writer at the lock")
        mover.commit()
    thread.join(10)
    assert len(answers) == 1
    assert isinstance(answers[0], Fenced)
    assert not board.sql("SELECT 1 FROM landings")
    assert board.run("A-1").head_sha == "h"
    assert len(board.sql("SELECT 1 FROM proofs")) == 1


def test_a_change_of_owner_waits_for_a_fenced_write_in_progress(board: Board) -> None:
    """Rule: a write that began under a good token ends before the owner changes; then the token is stale."""
    board.bring("A-1", Stage.LAND)
    old = board.claim("A-1")
    inside, go = threading.Event(), threading.Event()

    def slow(transaction: FencedTransaction) -> Run:
        inside.set()
        assert go.wait(3)
        return runs.note(transaction, head_sha="written in time")

    writer = threading.Thread(target=lambda: board.fenced(old, slow))
    writer.start()
    assert inside.wait(10)
    mover = threading.Thread(target=lambda: board.sql("UPDATE runs SET token = token + 1"))
    mover.start()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    wait_until(lambda: board.sql(waits)[0][0], timeout_s=2.5, what="the mover at the lock")
    assert board.run("A-1").token == old.run.token
    go.set()
    writer.join(10)
    mover.join(10)
    assert (board.run("A-1").head_sha, board.run("A-1").token) == ("written in time", old.run.token + 1)
    with pytest.raises(Fenced):
        board.settle(old, Advance())


def test_settling_twice_settles_once(board: Board) -> None:
    """Rule: a stage's effect happens at most once, also when two settle at once."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    answers = at_once([lambda: board.settle(held, Block("why?")) for _ in range(6)])
    assert sum(isinstance(answer, Run) for answer in answers) == 1
    assert sum(isinstance(answer, Fenced) for answer in answers) == 5
    assert [kind for kind, _, _ in board.effects("A-1")].count("comment") == 1
    board.assert_consistent()


def test_one_of_twenty_claims_wins(board: Board) -> None:
    """Rule: claim WHERE state='queued'; everybody else finds nothing."""
    run = board.bring("A-1", Stage.PROVISION)
    colleagues = [board.colleague() for _ in range(4)]
    answers = at_once([lambda n=n: claim(colleagues[n % 4], run.id, Stage.PROVISION) for n in range(20)])  # type: ignore[misc]
    won = [answer for answer in answers if answer is not None]
    assert len(won) == 1, answers
    assert won[0].run.token == run.token + 1
    assert board.sql("SELECT count(*) FROM attempts")[0][0] == 1
    board.assert_consistent()


@pytest.mark.parametrize(
    "sets",
    [
        "due_at = now() + interval '1 hour'", "request = 'cancel'", "stage = 'proof'", "node = 'elsewhere'",
        "state = 'waiting', waiting_for = 'x'", "state = 'released', finished_at = now()", "node = NULL",
    ],
)  # fmt: skip
def test_what_may_not_be_claimed(board: Board, sets: str) -> None:
    """Rule: the claim's guard: state, stage, due time, request, and the node for an agent."""
    run = board.bring("A-1", Stage.AGENT)
    board.sql(f"UPDATE runs SET {sets}")
    assert claim(board.deployment, run.id, Stage.AGENT) is None
    assert not board.sql("SELECT 1 FROM attempts WHERE stage = 'agent'")
    assert board.run("A-1").token == run.token


def test_only_the_agent_follows_its_node(board: Board) -> None:
    """Rule: proof and land run anywhere."""
    elsewhere = board.colleague("node-2")
    run = board.bring("A-1", Stage.AGENT)
    assert claim(elsewhere, run.id, Stage.AGENT) is None
    board.step("A-1", Advance())
    claimed = claim(elsewhere, run.id, Stage.PROOF)
    assert claimed is not None
    assert claimed.run.node == "node-1"


def test_a_claim_whose_commit_is_ambiguous_is_found_again(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: re-reading after an ambiguous commit: the connection dies between the commit and its answer."""
    run = board.bring("A-1", Stage.PROVISION)
    kills = iter([True])
    original = board.database._once

    def committed_but_unheard(body: Any) -> Any:
        original(body)
        if next(kills, False):
            with psycopg.connect(board.url, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name = 'symphony'"
                )
        return original(body)

    monkeypatch.setattr(board.database, "_once", committed_but_unheard)
    claimed = claim(board.deployment, run.id, Stage.PROVISION)
    monkeypatch.undo()
    assert claimed is not None
    assert claimed.run.attempt_id == board.run("A-1").attempt_id
    assert claimed.number == 1
    assert board.run("A-1").token == run.token + 1 == claimed.run.token
    assert board.sql("SELECT count(*) FROM attempts")[0][0] == 1
    board.settle(claimed, Advance())
    board.assert_consistent()


def test_a_settlement_whose_commit_is_ambiguous_is_not_doubled(board: Board) -> None:
    """Rule: the second try finds its token gone: fenced, and everything is there once."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.settle(held, Block("why?"))
    before = fingerprint(board)
    with pytest.raises(Fenced):
        board.settle(held, Block("why?"))
    assert fingerprint(board) == before


def test_a_repeated_intention_is_the_same(board: Board) -> None:
    """Rule: a run's intention repeated after an ambiguous commit adds no second row and is not refused to its owner."""
    board.bring("A-1", Stage.LAND)
    held = board.claim("A-1")
    proof = board.prove(held)
    first = board.fenced(held, lambda t: landings.intend(t, proof))
    assert first is not None
    assert board.fenced(held, lambda t: landings.intended(t, held.run.id) or landings.intend(t, proof)) == first
    assert len(board.sql("SELECT 1 FROM landings")) == 1


def test_only_a_passed_proof_of_the_run_may_be_landed(board: Board) -> None:
    """Rule: every commit that becomes the target's tip has a passing proof for exactly its tree."""
    for name in ("A-1", "A-2"):
        board.bring(name, Stage.LAND)
    one = board.claim("A-1")
    failed = board.prove(one, "failed")
    assert board.fenced(one, lambda t: landings.intend(t, failed)) is None
    good = board.prove(one)
    board.settle(one, Interrupted("next"))
    board.sql("UPDATE runs SET queued_at = now() + interval '1 minute' WHERE id = %(id)s", id=one.run.id)
    other = board.claim("A-2")
    assert board.fenced(other, lambda t: landings.intend(t, good)) is None


def test_the_landing_queue_is_one_by_one_oldest_first(board: Board) -> None:
    """Rule: one lander per target, oldest first."""
    names = ["A-1", "A-2", "A-3"]
    for name in names:
        board.bring(name, Stage.LAND)
    ids = {name: board.run(name).id for name in names}
    for number, name in enumerate(["A-2", "A-3", "A-1"]):
        board.sql(f"UPDATE runs SET queued_at = now() - interval '{9 - number} minutes' WHERE id = %(id)s", id=ids[name])
    for winner in ("A-2", "A-3", "A-1"):
        answers = at_once([lambda name=name: claim(board.deployment, ids[name], Stage.LAND) for name in names * 3])  # type: ignore[misc]
        won = [answer.run.id for answer in answers if isinstance(answer, Claim)]
        assert won == [ids[winner]], answers
        assert not [answer for answer in answers if isinstance(answer, Exception)]
        held = next(answer for answer in answers if isinstance(answer, Claim))
        proof = board.prove(held)
        board.fenced(held, lambda t, proof=proof: landings.intend(t, proof))
        assert board.settle(held, Advance()).state is RunState.LANDED
    board.assert_consistent()


def test_another_target_does_not_wait(board: Board) -> None:
    """Rule: one lander per (repository, branch), not one at all."""
    board.bring("A-1", Stage.LAND)
    board.bring("A-2", Stage.LAND)
    board.sql("UPDATE runs SET target = 'other branch' WHERE id = %(id)s", id=board.run("A-2").id)
    board.claim("A-1")
    board.claim("A-2")


def test_an_intended_landing_holds_up_the_others_until_it_is_resolved(board: Board) -> None:
    """Rule: never beside another run whose push is intended; that one comes first, whatever its place in the queue."""
    board.bring("A-1", Stage.LAND)
    board.bring("A-2", Stage.LAND)
    held = board.claim("A-1")
    proof = board.prove(held)
    board.fenced(held, lambda t: landings.intend(t, proof))
    board.settle(held, Retry("the network"))
    other = board.run("A-2")
    assert claim(board.deployment, other.id, Stage.LAND) is None
    board.due("A-1")
    assert claim(board.deployment, other.id, Stage.LAND) is None
    again = board.claim("A-1")
    landing = board.database.transact(lambda t: landings.intended(t, again.run.id))
    assert landing is not None
    board.settle(again, Advance())
    assert claim(board.deployment, other.id, Stage.LAND) is not None


@pytest.mark.parametrize("end", ["retry", "crash"])
def test_a_run_with_an_intended_landing_never_ends_unresolved(board: Board, end: str) -> None:
    """Rule: the row is resolved forward: a failed run would leave the target's queue blocked for ever."""
    board.bring("A-1", Stage.LAND)
    held = board.claim("A-1")
    proof = board.prove(held)
    board.fenced(held, lambda t: landings.intend(t, proof))
    for _ in range(7):
        if end == "retry":
            board.settle(held, Retry("the network"))
        else:
            board.expire("A-1", process_died=True)
            board.swept()
        assert board.run("A-1").state is RunState.WAITING
        board.due("A-1")
        held = board.claim("A-1")
    board.assert_consistent()
