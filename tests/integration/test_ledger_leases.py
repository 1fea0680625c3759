"""Leases and the sweeper (docs/adr/0003): who is renewed, who is blamed, and what becomes of a lost run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from symphony.domain.outcome import Advance, Block, Retry
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.execute import Claim
from symphony.engine.settle import settle
from symphony.engine.sweep import sweep
from symphony.ledger import leases, runs, views
from symphony.ledger.database import Held
from symphony.ledger.leases import Progress, Renewed
from tests.integration.board import Board, at_once

TTL = timedelta(seconds=30)


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Board:
    """A board."""
    return Board(database_url, tmp_path)


def renew(board: Board, *held: Claim, **progress: object) -> list[Renewed]:
    """Renew these leases."""
    told = [Progress(c.run.id, c.run.token, **progress) for c in held]  # type: ignore[arg-type]
    return board.database.transact(lambda t: leases.renew_if_token_matches(t, told, TTL))


def left(board: Board, name: str) -> float:
    """Give the seconds that a lease has left by the database's clock."""
    query = "SELECT extract(epoch FROM lease_until - now()) FROM runs WHERE id = %(id)s"
    return float(board.sql(query, id=board.run(name).id)[0][0])


def test_renewal_extends_an_expired_lease_whose_token_is_unchanged(board: Board) -> None:
    """Rule: it extends any lease whose token is unchanged, expired or not."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.expire("A-1", process_died=False)
    assert left(board, "A-1") < 0
    assert [answer.run_id for answer in renew(board, held)] == [held.run.id]
    assert left(board, "A-1") > 20


def test_renewal_leaves_a_moved_token_alone(board: Board) -> None:
    """Rule: a holder whose token has moved is not renewed and not answered."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.sql("UPDATE runs SET token = token + 1, lease_until = now() - interval '1 second'")
    assert renew(board, held) == []
    assert left(board, "A-1") < 0


def test_two_claims_of_a_run_in_one_process_do_not_mix(board: Board) -> None:
    """Rule: only the present token's progress is written, whatever else the process still holds."""
    board.bring("A-1", Stage.AGENT)
    old = board.claim("A-1")
    board.settle(old, Retry("x"))
    board.due("A-1")
    new = board.claim("A-1")
    told = [Progress(old.run.id, old.run.token, turns=9), Progress(new.run.id, new.run.token, turns=2)]
    for order in (told, told[::-1]):
        answers = board.database.transact(lambda t, order=order: leases.renew_if_token_matches(t, order, TTL))
        assert [answer.token for answer in answers] == [new.run.token]
        assert board.sql("SELECT turns FROM runs")[0][0] == 2


def test_a_locked_row_does_not_stop_the_others(board: Board) -> None:
    """Rule: SKIP LOCKED: one stuck row must not stop the rest."""
    held = []
    for name in ("A-1", "A-2", "A-3"):
        board.bring(name, Stage.AGENT)
        held.append(board.claim(name))
        board.expire(name, process_died=False)
    with psycopg.connect(board.url) as other:
        other.execute("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", (held[1].run.id,))
        assert {answer.run_id for answer in renew(board, *held)} == {held[0].run.id, held[2].run.id}
    assert left(board, "A-2") < 0 < left(board, "A-3")
    tokens = board.database.transact(lambda t: leases.tokens_of(t, [held[1].run.id]))
    assert tokens == {held[1].run.id: held[1].run.token}, "locked, not lost"


def test_renewal_brings_requests_back(board: Board) -> None:
    """Rule: it returns cancels; a stronger wish replaces a weaker one, never the reverse."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    asked = []
    for wish in ("hand_over", "rework", "release", "rework", "cancel", "release"):
        board.database.transact(lambda t, w=wish: runs.request(t, held.run, w, f"because {w}", clean=w == "cancel"))
        answer = renew(board, held)[0]
        asked.append((answer.request, answer.request_reason, answer.request_clean))
    assert [wish for wish, _, _ in asked] == ["hand_over", "rework", "release", "release", "cancel", "cancel"]
    assert asked[-1] == ("cancel", "because cancel", True)


def test_progress_reaches_the_row(board: Board) -> None:
    """Rule: it carries last-event times and token counts; a later, smaller count takes nothing back."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    renew(board, held, silent_s=2.0, last_event="said", session_id="s", turns=3, input_tokens=10, output_tokens=5)
    renew(board, held, turns=3, input_tokens=4, output_tokens=1)
    row = board.sql(
        "SELECT extract(epoch FROM now() - last_event_at), last_event, session_id, turns, input_tokens, output_tokens "
        "FROM runs"
    )[0]
    assert 1.5 < row[0] < 30
    assert tuple(row[1:]) == ("said", "s", 3, 10, 5)
    board.settle(held, Advance())
    assert tuple(board.sql("SELECT turns, input_tokens FROM attempts WHERE stage = 'agent'")[0]) == (3, 10)


def test_each_attempt_counts_its_own_and_the_run_counts_them_all(board: Board) -> None:
    """Rule: tokens of a run are those of all its attempts, a short last one and the one that runs now included."""
    board.bring("A-1", Stage.AGENT)
    for given, turns in ((10, 3), (7, 1)):
        held = board.claim("A-1")
        renew(board, held, turns=turns, input_tokens=given, output_tokens=1)
        board.settle(held, Retry("x"))
        board.due("A-1")
    held = board.claim("A-1")
    last = Progress(held.run.id, held.run.token, turns=2, input_tokens=4, output_tokens=2)
    settle(board.database, Held(held.run.id, held.run.token), Retry("x"), held.rules, last)
    board.due("A-1")
    held = board.claim("A-1")
    attempts = board.sql("SELECT turns, input_tokens, output_tokens FROM attempts WHERE stage = 'agent' ORDER BY number")
    assert [tuple(row) for row in attempts] == [(3, 10, 1), (1, 7, 1), (2, 4, 2), (0, 0, 0)]
    renew(board, held, turns=1, input_tokens=5, output_tokens=1)
    for _ in range(2):
        (row,) = board.database.transact(lambda t: views.runs_of(t))
        totals = board.database.transact(views.totals)
        assert [(r["input_tokens"], r["output_tokens"]) for r in (row, totals)] == [(26, 5), (26, 5)]
        board.settle(held, Advance()) if board.run("A-1").state is RunState.RUNNING else None
    assert board.run("A-1").stage is Stage.PROOF


def test_renewals_are_hot_updates(board: Board) -> None:
    """Rule: the renewal path touches no indexed column, so its updates are HOT."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")

    def counted() -> tuple[int, int]:
        board.sql("SELECT pg_stat_force_next_flush()")
        row = board.sql("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'runs'")[0]
        return row[0], row[1]

    with board.database.connection() as connection:
        connection.exec_driver_sql("SELECT 1")
    board.deployment.database.close()
    before = counted()
    for turn in range(20):
        renew(board, held, turns=turn, last_event="x" * turn)
    board.deployment.database.close()
    after = counted()
    updates, hot = after[0] - before[0], after[1] - before[1]
    assert updates >= 20
    assert hot >= updates * 0.9


@pytest.mark.parametrize("missed", ["NULL", "now() - interval '20 seconds'"])
def test_after_missed_sweeps_nobody_is_blamed_for_one_ttl(board: Board, missed: str) -> None:
    """Rule: a sweeper that missed ticks waits one TTL before it blames anybody, nodes included."""
    board.sql("UPDATE sweeps SET blameless_until = NULL")
    board.deployment.settings = board.settings.model_copy(update={"lease_ttl": timedelta(milliseconds=100)})
    for name, stage in (("A-1", Stage.AGENT), ("A-2", Stage.AGENT)):
        board.bring(name, stage)
    board.claim("A-1")
    board.expire("A-1", process_died=True)
    board.sql(f"UPDATE sweeps SET swept_at = {missed}")
    board.deployment.settings = board.settings
    assert sweep(board.deployment) == []
    assert board.run("A-1").state is RunState.RUNNING
    assert board.run("A-2").stage is Stage.AGENT
    blameless = "SELECT extract(epoch FROM blameless_until - now()) FROM sweeps"
    assert 25 < float(board.sql(blameless)[0][0]) <= 30
    board.sql("UPDATE sweeps SET blameless_until = now() - interval '1 second', swept_at = now()")
    board.deployment.settings = board.settings.model_copy(update={"lease_ttl": timedelta(seconds=1)})
    assert [run.id for run in sweep(board.deployment)] == [board.run("A-1").id]
    assert board.run("A-2").stage is Stage.PROVISION


def test_a_young_server_takes_nothing_from_what_missed_sweeps_gave(board: Board) -> None:
    """Rule: one TTL after missed ticks, also where PostgreSQL has begun before they went on."""
    day = timedelta(days=1)
    board.sql("UPDATE sweeps SET swept_at = NULL")
    given = []
    for _ in range(2):
        assert not board.database.transact(lambda t: leases.begin_sweep(t, day))
        given.append(board.sql("SELECT blameless_until FROM sweeps")[0][0])
    assert given[0] == given[1]


def test_a_young_server_is_given_one_ttl(board: Board) -> None:
    """Rule: a sweeper that finds PostgreSQL young waits one TTL."""
    board.bring("A-1", Stage.AGENT)
    board.claim("A-1")
    board.expire("A-1", process_died=True)
    board.deployment.settings = board.settings.model_copy(update={"lease_ttl": timedelta(days=1)})
    board.blame()
    assert sweep(board.deployment) == []
    assert board.run("A-1").state is RunState.RUNNING


def test_a_lease_that_is_not_over_is_left(board: Board) -> None:
    """Rule: only an expired lease is ended, however silent the process."""
    board.bring("A-1", Stage.AGENT)
    board.claim("A-1")
    board.sql("UPDATE processes SET heartbeat_at = now() - interval '1 hour'")
    board.swept()
    assert board.run("A-1").state is RunState.RUNNING


def test_five_sweepers_end_a_lease_once(board: Board) -> None:
    """Rule: only the sweeper ends an expired lease, once."""
    for name in ("A-1", "A-2", "A-3"):
        board.bring(name, Stage.AGENT)
        board.claim(name)
    for name in ("A-1", "A-2", "A-3"):
        board.expire(name, process_died=True)
    board.blame()
    colleagues = [board.colleague() for _ in range(5)]
    for colleague in colleagues:
        colleague.settings = board.settings.model_copy(update={"lease_ttl": timedelta(seconds=1)})
    answers = at_once([lambda c=c: sweep(c) for c in colleagues])  # type: ignore[misc]
    assert not [answer for answer in answers if isinstance(answer, Exception)], answers
    assert sum(len(answer) for answer in answers) == 3
    assert [board.run(name).crashes for name in ("A-1", "A-2", "A-3")] == [1, 1, 1]
    assert board.sql("SELECT count(*) FROM run_events WHERE kind = 'lost'")[0][0] == 3
    board.assert_consistent()


@pytest.mark.parametrize("process_died", [True, False])
def test_only_a_dead_process_is_a_crash(board: Board, process_died: bool) -> None:
    """Rule: crashes + 1 when the process row died too, else interrupted, which counts for nothing."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.expire("A-1", process_died=process_died)
    board.swept()
    run = board.run("A-1")
    assert (run.state, run.crashes, run.failures) == (RunState.WAITING, int(process_died), 0)
    assert run.token > held.run.token
    assert board.sql("SELECT outcome FROM attempts WHERE id = %(id)s", id=held.run.attempt_id)[0][0] == "lost"
    assert renew(board, held) == []


@pytest.mark.parametrize("limit", [5, 0])
def test_a_poison_issue_does_not_loop(database_url: str, tmp_path: Path, limit: int) -> None:
    """Rule: failed at max_attempts crashes; where that is 0, five in a row."""
    board = Board(database_url, tmp_path, agent=f"{{kind: command, command: 'true', max_attempts: {limit}}}")
    board.bring("A-1", Stage.AGENT)
    for crash in range(1, 6):
        assert board.run("A-1").state is RunState.QUEUED
        board.claim("A-1")
        board.expire("A-1", process_died=True)
        board.swept()
        assert board.run("A-1").crashes == crash
        board.sql("UPDATE processes SET heartbeat_at = now()")
        if crash < 5:
            board.due("A-1")
    assert board.run("A-1").state is RunState.FAILED
    assert ("move", "pending") in [(kind, state) for kind, state, _ in board.effects("A-1")]
    board.assert_consistent()


def test_without_a_limit_only_crashes_in_a_row_count(database_url: str, tmp_path: Path) -> None:
    """Rule: with max_attempts 0 a good attempt between crashes starts the row anew."""
    board = Board(database_url, tmp_path, agent="{kind: command, command: 'true', max_attempts: 0}")
    board.bring("A-1", Stage.AGENT)
    for crash in range(1, 9):
        board.claim("A-1")
        board.expire("A-1", process_died=True)
        board.swept()
        board.sql("UPDATE processes SET heartbeat_at = now()")
        board.due("A-1")
        if crash % 4 == 0:
            board.step("A-1", Retry("an ordinary failure"))
            board.due("A-1")
    run = board.run("A-1")
    assert (run.state, run.crashes, run.failures) == (RunState.QUEUED, 8, 2)


@pytest.mark.parametrize(("wish", "state", "clean"), [("cancel", "cancelled", True), ("release", "released", False)])
def test_what_was_asked_of_a_lost_run_is_done(board: Board, wish: str, state: str, clean: bool) -> None:
    """Rule: the sweeper honours a request when the holder is gone; nothing is counted or restarted."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.database.transact(lambda t: runs.request(t, held.run, wish, "a person", clean=clean))
    board.expire("A-1", process_died=True)
    board.swept()
    run = board.run("A-1")
    assert (str(run.state), run.clean_due, run.crashes) == (state, clean, 0)
    board.assert_consistent()


@pytest.mark.parametrize("process_died", [True, False])
@pytest.mark.parametrize("stage", [Stage.AGENT, Stage.PROOF, Stage.LAND])
def test_rework_that_was_asked_of_a_lost_run_is_done(board: Board, stage: Stage, process_died: bool) -> None:
    """Rule: what a person wants changed outlives the holder that was told of it: nothing lands without."""
    board.bring("A-1", stage)
    held = board.claim("A-1")
    board.database.transact(lambda t: runs.note_approved(t, held.run.id))
    board.database.transact(lambda t: runs.request(t, held.run, "rework", "make it red"))
    board.expire("A-1", process_died=process_died)
    board.swept()
    run = board.run("A-1")
    assert (run.state, run.stage, run.feedback) == (RunState.WAITING, Stage.AGENT, "make it red")
    assert (run.rework_rounds, run.approved_at, run.crashes) == (0, None, int(process_died))
    board.assert_consistent()


@pytest.mark.parametrize(("head", "stage"), [("h", Stage.PROOF), (None, Stage.AGENT)])
def test_a_lost_run_that_was_to_hand_over_does(board: Board, head: str | None, stage: Stage) -> None:
    """Rule: merging: no more agent, where there is something to prove."""
    board.bring("A-1", Stage.AGENT)
    held = board.claim("A-1")
    board.fenced(held, lambda t: runs.note(t, base_sha="b", head_sha=head, target="origin main"))
    board.database.transact(lambda t: runs.request(t, held.run, "hand_over", "merging"))
    board.expire("A-1", process_died=True)
    board.swept()
    assert (board.run("A-1").stage, board.due("A-1").state) == (stage, RunState.QUEUED)


@pytest.mark.parametrize("sets", ["stopped_at = now()", "heartbeat_at = now() - interval '1 hour'"])
def test_a_lost_nodes_queued_agents_are_provisioned_again(board: Board, sets: str) -> None:
    """Rule: a silent node loses its runs: provisioned elsewhere; blocked ones and other stages stay."""
    for name in ("A-1", "A-2", "A-3"):
        board.bring(name, Stage.AGENT)
    board.step("A-2", Block("?"))
    board.step("A-3", Advance())
    tokens = {name: board.run(name).token for name in ("A-1", "A-2", "A-3")}
    board.swept()
    assert board.run("A-1").stage is Stage.AGENT, "a node that lives keeps its runs"
    board.sql(f"UPDATE processes SET {sets}")
    board.swept()
    lost = board.run("A-1")
    assert (lost.stage, lost.node, lost.state) == (Stage.PROVISION, None, RunState.QUEUED)
    assert lost.token > tokens["A-1"]
    assert {name: board.run(name).token for name in ("A-2", "A-3")} == {name: tokens[name] for name in ("A-2", "A-3")}
    elsewhere = board.colleague("node-2")
    assert board.claim("A-1", elsewhere).run.node == "node-2"
