"""The agent stage without a repository: turns while the issue stays active, and what ends them (specification 16.5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.domain.errors import Transient
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from tests.conftest import wait_until
from tests.integration.stage_bench import ISSUE, Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

COUNT = "cat >> prompts.txt; echo turn >> turns.txt"


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian) -> Iterator[Bench]:
    """A board without a repository whose sessions have three turns."""
    sections = {"workspace": {"root": str(tmp_path / "root")}, "tracker_note": "x"}
    with bench(database_url, tmp_path, guardian, repository=False, agent={"max_turns": 3}, sections=sections) as made:
        made.agent(COUNT)
        yield made


def turns(work: Bench) -> int:
    """Count the turns that the agent took."""
    path = work.workspace / "turns.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def during_turn(work: Bench, number: int, then: str) -> None:
    """Let the agent wait in a turn until the test has moved the issue; `then` ends the turn."""
    work.agent(
        f"{COUNT}; test $(wc -l < turns.txt) -ne {number} || {{ touch ../ready; until test -e ../go; do sleep 0.02; done; {then}; }}"
    )


def test_turns_go_on_while_the_issue_is_active_up_to_the_limit(work: Bench) -> None:
    work.bring(Stage.AGENT)
    run = work.step()
    assert (run.state, run.stage, run.sessions, work.outcomes[-1]) == (RunState.WAITING, Stage.AGENT, 1, "continue")
    assert turns(work) == 3
    told = (work.workspace / "prompts.txt").read_text()
    assert told.count(f"Work on {ISSUE}.") == 1
    assert "turn 2 of at most 3" in told and "turn 3 of at most 3" in told
    run = work.step()
    assert (run.sessions, run.failures, turns(work)) == (2, 0, 6)
    counted = work.board.sql("SELECT turns FROM attempts WHERE stage = 'agent' ORDER BY number")
    assert [row[0] for row in counted] == [3, 3], "also where no renewal came between"


@pytest.mark.parametrize(
    ("state", "clean"), [("Done", True), ("Backlog", False)], ids=["terminal: cleaned", "inactive: kept"]
)
def test_an_issue_that_left_the_active_states_is_released(work: Bench, state: str, clean: bool) -> None:
    during_turn(work, 2, "true")
    work.bring(Stage.AGENT)
    thread, answers = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists())
    work.tracker.person_moves(ISSUE, state)
    (work.root / "go").touch()
    thread.join(30)
    (run,) = answers
    assert (run.state, run.clean_due, turns(work)) == (RunState.RELEASED, clean, 2)
    assert work.workspace.exists()


def test_an_issue_that_vanished_releases_and_keeps_the_workspace(work: Bench) -> None:
    during_turn(work, 1, "true")
    work.bring(Stage.AGENT)
    thread, answers = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists())
    del work.tracker.issues[ISSUE]
    (work.root / "go").touch()
    thread.join(30)
    assert (answers[0].state, answers[0].clean_due, turns(work)) == (RunState.RELEASED, False, 1)


def test_a_tracker_that_fails_during_the_refresh_fails_the_attempt_and_ends_nothing(work: Bench) -> None:
    """Rule: a tracker error never reads as "issue gone"."""
    work.bring(Stage.AGENT)

    def broken() -> None:
        raise Transient("the tracker is away")

    work.tracker.on_ids = broken
    run = work.step()
    assert (run.state, run.failures, work.outcomes[-1], run.error) == (RunState.WAITING, 1, "retry", "the tracker is away")
    assert turns(work) == 1
    work.tracker.on_ids = None
    assert work.step().sessions == 1


def test_an_issue_that_is_no_longer_dispatchable_is_released(work: Bench) -> None:
    during_turn(work, 1, "true")
    work.bring(Stage.AGENT)
    thread, answers = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists())
    work.tracker.put(ISSUE, dispatchable=False)
    (work.root / "go").touch()
    thread.join(30)
    assert answers[0].state is RunState.RELEASED


def test_a_question_blocks(work: Bench) -> None:
    work.agent("echo 'Which one?'; exit 75")
    work.bring(Stage.AGENT)
    run = work.step()
    assert (run.state, run.question) == (RunState.BLOCKED, "Which one?")


def test_a_failed_turn_is_retried_in_the_same_workspace(work: Bench) -> None:
    work.agent("echo a >> kept.txt; exit 2")
    work.bring(Stage.AGENT)
    run = work.step()
    assert (run.state, run.failures) == (RunState.WAITING, 1)
    work.step()
    assert (work.workspace / "kept.txt").read_text() == "a\na\n"


def test_a_daemon_of_one_turn_is_dead_in_the_next(work: Bench) -> None:
    work.agent("test -e spin || { touch spin; setsid bash -c 'while :; do touch beat; sleep 0.01; done' > /dev/null 2>&1 & "
               "until test -e beat; do sleep 0.01; done; exit 0; }; rm -f beat; sleep 0.3; test ! -e beat")  # fmt: skip
    work.bring(Stage.AGENT)
    assert work.step().sessions == 1


@pytest.mark.conformance("17.4", "a session that stalls is killed and tried again later")
def test_a_stalled_session_is_killed_and_retried(database_url: str, tmp_path: Path, guardian: Guardian) -> None:
    """Nothing of it lives when the retry is due, ten seconds later at the earliest."""
    agent = {"stall_timeout_ms": 500}
    with bench(database_url, tmp_path, guardian, repository=False, agent=agent) as work:
        work.agent("sleep 600 & echo $! > sleeper; echo $$ > agent; wait")
        work.bring(Stage.AGENT)
        run = work.step()
        assert (run.state, run.waiting_for, run.failures) == (RunState.WAITING, "backoff", 1)
        assert run.error is not None and "stalled: nothing heard for 0.5 s" in run.error
        told = work.board.sql("SELECT data->>'delay_s' FROM run_events WHERE kind = 'retried'")[0][0]
        assert float(told) == 10
        for name in ("agent", "sleeper"):
            assert not Path("/proc", (work.workspace / name).read_text().strip()).exists()
