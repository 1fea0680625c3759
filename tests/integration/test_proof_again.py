"""Checks that are run again: limits alone on the node, failures once more, and what is red and then green on the same tree."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.errors import Cancelled
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from symphony.proof.concurrency import alone, place
from tests.conftest import wait_until
from tests.fakes.repositories import Repository
from tests.integration.stage_bench import Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board with one check, `tests`, that may take a second."""
    sections = {"proof": {"checks": [{"name": "tests", "run": f". {tmp_path}/check.sh", "timeout_ms": 1000}]}}
    with bench(database_url, tmp_path, guardian, sections=sections) as made:
        yield made


def once(folder: Path, bad: str) -> str:
    """Give a check that does something bad on its first run on a candidate, and passes from then on."""
    return f"! test -f new.txt || test -e {folder}/was || {{ touch {folder}/was; {bad}; }}"


def checks_of(work: Bench) -> list[dict[str, Any]]:
    """Give the checks of the newest proof."""
    checks: list[dict[str, Any]] = work.proofs()[-1].checks
    return checks


def flaky_of(work: Bench) -> list[str]:
    """Give the flaky checks of the newest proof."""
    flaky: list[str] = work.board.sql("SELECT flaky FROM proofs ORDER BY id DESC LIMIT 1")[0][0]
    return flaky


def test_a_check_that_ran_too_long_once_passes_alone_and_is_flaky(work: Bench) -> None:
    work.check(once(work.folder, "echo stuck; sleep 600"))
    work.bring(Stage.PROOF)
    run = work.step()
    assert (run.stage, run.rework_rounds) == (Stage.LAND, 0)
    (check,) = checks_of(work)
    assert (check["verdict"], check["flaky"]) == ("passed", True)
    assert [(one["verdict"], one["output"]) for one in check["earlier"]] == [("timed_out", "stuck\n")]
    assert flaky_of(work) == ["tests"]
    work.step()
    (said,) = [payload["body"] for kind, _, payload in work.board.effects("DEMO-1") if kind == "comment"]
    assert "flaky: it was red on the same tree before" in said


def test_the_second_run_waits_until_the_node_is_its_own(work: Bench) -> None:
    places = work.folder / "home" / "run" / "proofs"
    work.check(once(work.folder, "sleep 600"))
    work.bring(Stage.PROOF)
    with ExitStack() as busy:
        busy.enter_context(place(places, os.cpu_count() or 1, lambda: None))
        if (os.cpu_count() or 1) == 1:
            busy.close()
        thread, answers = work.step_aside()
        wait_until(lambda: (work.folder / "was").exists() and not list((work.folder / "home" / "checkouts").iterdir()))
        # Nobody begins beside it, though a place is free.
        wait_until(lambda: is_shut(places))
        with pytest.raises(Cancelled), place(places, os.cpu_count() or 1, give_up):
            pass
        assert thread.is_alive() or (os.cpu_count() or 1) == 1
    thread.join(30)
    assert answers[0] is not None and answers[0].stage is Stage.LAND
    assert flaky_of(work) == ["tests"]


def give_up() -> None:
    """Wait no longer."""
    raise Cancelled("no place")


def is_shut(places: Path) -> bool:
    """Tell whether somebody is alone, or waits to be."""
    with (places / "alone.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_nobody_is_beside_whoever_is_alone(tmp_path: Path) -> None:
    """Rule: also not in places that only another workflow has."""
    seen: list[str] = []
    inside: set[str] = set()

    def one(number: int) -> None:
        for _ in range(10):
            if number < 2:
                with alone(tmp_path, 2, lambda: time.sleep(0.001)):
                    seen.append("alone" if not inside else f"beside {inside}")
            else:
                with place(tmp_path, number, lambda: time.sleep(0.001)):
                    inside.add(threading.current_thread().name)
                    time.sleep(0.001)
                    inside.discard(threading.current_thread().name)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == ["alone"] * 20


def test_a_check_that_runs_too_long_twice_is_the_agents(work: Bench) -> None:
    work.check("! test -f new.txt || sleep 600")
    work.bring(Stage.PROOF)
    run = work.step()
    assert (run.stage, run.rework_rounds) == (Stage.AGENT, 1)
    assert run.feedback is not None and "ran longer than it may" in run.feedback
    (check,) = checks_of(work)
    assert (check["verdict"], check["flaky"], len(check["earlier"])) == ("timed_out", False, 1)


def test_a_limit_that_the_target_meets_too_is_nobodys_rework(work: Bench) -> None:
    work.bring(Stage.PROOF)
    work.check("sleep 600")
    run = work.step()
    assert (run.state, run.stage, run.rework_rounds) == (RunState.WAITING, Stage.PROOF, 0)
    assert run.waiting_for == "tests fails on `main` itself"


def test_what_used_too_much_once_is_run_again_with_all_that_it_ended(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    bomb = once(tmp_path, "for n in $(seq 40); do sleep 600 & done; wait")
    sections = {
        "sandbox": {"processes": 12},
        "proof": {"checks": [{"name": "bomb", "run": bomb}, {"name": "after", "run": f"echo after >> {tmp_path}/after"}]},
    }
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        assert work.step().stage is Stage.LAND
        assert [(check["name"], check["verdict"], check["flaky"]) for check in checks_of(work)] == [
            ("bomb", "passed", True), ("after", "passed", False),
        ]  # fmt: skip
        assert (tmp_path / "after").read_text() == "after\n"
        assert not list((tmp_path / "home" / "checkouts").iterdir())


def test_a_check_that_failed_once_and_is_green_on_the_target_is_flaky(work: Bench) -> None:
    work.check(once(work.folder, "echo unlucky; false"))
    work.bring(Stage.PROOF)
    run = work.step()
    assert (run.stage, run.rework_rounds) == (Stage.LAND, 0)
    (check,) = checks_of(work)
    assert check["flaky"] and check["earlier"][0]["output"] == "unlucky\n"
    assert flaky_of(work) == ["tests"]


def test_a_later_proof_of_the_same_tree_that_is_green_tells_that_it_is_flaky(work: Bench) -> None:
    work.check("! test -f new.txt || test -e ../../better")
    work.bring(Stage.PROOF)
    assert work.step().rework_rounds == 1
    assert flaky_of(work) == []
    (work.folder / "home" / "better").touch()
    work.agent("touch new.txt")
    work.step()
    assert work.step().stage is Stage.LAND
    first, second = work.proofs()
    assert first.tree_sha == second.tree_sha and (first.verdict, second.verdict) == ("failed", "passed")
    assert flaky_of(work) == ["tests"]


def test_checks_stand_on_what_those_before_them_made(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    """Rule: a run again is one of all that comes before it, too; what comes after it is left out."""
    sections = {"proof": {"checks": [
        {"name": "build", "run": "echo built > product"},
        {"name": "tests", "run": f"grep -q built product && {once(tmp_path, 'false')}"},
        {"name": "slow", "run": f"echo slow >> {tmp_path}/slow"},
    ]}}  # fmt: skip
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        assert work.step().stage is Stage.LAND
        assert [(check["name"], check["flaky"]) for check in checks_of(work)] == [
            ("build", False), ("tests", True), ("slow", False),
        ]  # fmt: skip
        assert (tmp_path / "slow").read_text() == "slow\n"


def test_each_run_has_its_log_on_the_node(work: Bench) -> None:
    secret = "ghp_" + "a" * 30
    work.check(f"echo on $(ls new.txt) >&2; echo {secret}; seq 200000; test ! -f new.txt || exit 3")
    work.bring(Stage.PROOF)
    run = work.step()
    folder = work.folder / "home" / "logs" / "proofs" / str(run.id)
    logs = {path.name[37:]: path.read_text() for path in folder.iterdir()}
    assert logs.keys() == {"tests.log", "tests@target.log", "tests@again.log"}
    assert all(
        path.name[:36] == str(work.board.sql("SELECT id FROM attempts ORDER BY id DESC")[0][0]) for path in folder.iterdir()
    )
    assert logs["tests.log"].startswith("on new.txt\n[redacted]\n1\n") and logs["tests.log"].endswith("\n199999\n200000\n")
    (check,) = checks_of(work)
    assert check["dropped"] > 0 and len(check["output"]) < 140_000 and secret not in check["output"]
    assert check["log"] == "symphony logs 'DEMO-1#1' --check tests@again"
