"""Whoever is killed or stopped, worker, guardian or warden: nothing of the tree stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from symphony.domain.errors import Transient
from symphony.processes import procfs
from symphony.processes.guardian import Guardian
from tests.fakes.guardian_worker import Worker
from tests.fakes.seen_processes import alive, daemon, mark, seconds_until, sleeper, until

ENV = {"PATH": os.environ["PATH"]}
pytest_plugins = ["tests.fakes.guardian_fixtures"]

Start = Callable[..., Worker]


def _all_gone(worker: Worker) -> bool:
    return not worker.tree() and not procfs.living([worker.said["guardian"], worker.said["warden"]])


def _state_of(worker: Worker, who: str) -> str | None:
    seen = procfs.stat(worker.said[who])
    return seen.state if seen else None


def test_a_killed_worker_leaves_nothing_within_two_seconds(start: Start) -> None:
    worker = start()
    worker.signal("worker", signal.SIGKILL)
    assert seconds_until(lambda: _all_gone(worker)) < 2.0


@pytest.mark.parametrize("stopped", [["guardian"], ["warden"], ["warden", "guardian"]])
def test_nor_when_its_guardian_or_warden_was_stopped(start: Start, stopped: list[str]) -> None:
    worker = start()
    for who in stopped:
        worker.signal(who, signal.SIGSTOP)
    if "guardian" in stopped:
        until(lambda: _state_of(worker, "guardian") == "T")
    worker.signal("worker", signal.SIGKILL)
    assert seconds_until(lambda: _all_gone(worker)) < 2.0 + len(stopped)


def test_a_worker_that_is_killed_while_its_tree_is_frozen(start: Start) -> None:
    worker = start(trust_s=0.5)
    worker.tell("reachable 0")
    worker.hear_until(frozen=True)
    worker.signal("worker", signal.SIGKILL)
    assert seconds_until(lambda: _all_gone(worker)) < 2.0


def test_a_worker_that_is_stopped_keeps_its_tree_until_the_trust_ends(start: Start) -> None:
    worker = start(trust_s=3.0, silence_s=1.0)
    worker.signal("worker", signal.SIGSTOP)
    time.sleep(1.5)
    assert len(worker.tree()) == 2
    assert seconds_until(lambda: not worker.tree()) < 3.0
    worker.signal("worker", signal.SIGCONT)
    assert worker.hear_until(ended="trust")["lost"] is False


def test_a_worker_and_its_guardian_that_are_both_stopped(start: Start) -> None:
    worker = start(trust_s=1.0, silence_s=1.0)
    worker.signal("guardian", signal.SIGSTOP)
    worker.signal("worker", signal.SIGSTOP)
    assert seconds_until(lambda: not worker.tree()) < 10.0


def test_a_killed_guardian_is_told_and_its_trees_die(start: Start) -> None:
    worker = start()
    worker.signal("guardian", signal.SIGKILL)
    said = worker.hear_until(lost=True)
    assert said["ended"] == "guardian"
    assert seconds_until(lambda: _all_gone(worker)) < 2.0


def test_a_guardian_and_a_warden_that_are_both_killed(start: Start) -> None:
    worker = start()
    for who in ("warden", "guardian"):
        worker.signal(who, signal.SIGKILL)
    worker.hear_until(lost=True)
    assert seconds_until(lambda: _all_gone(worker)) < 3.0


def test_a_killed_guardian_whose_warden_is_stopped(start: Start) -> None:
    worker = start()
    worker.signal("guardian", signal.SIGSTOP)
    worker.signal("warden", signal.SIGSTOP)
    worker.signal("guardian", signal.SIGKILL)
    assert seconds_until(lambda: _all_gone(worker)) < 4.0


def test_a_stopped_guardian_is_woken_by_its_worker(start: Start) -> None:
    worker = start(trust_s=60.0)
    worker.signal("guardian", signal.SIGSTOP)
    until(lambda: _state_of(worker, "guardian") == "T")
    until(lambda: _state_of(worker, "guardian") != "T")
    assert len(worker.tree()) == 2


def test_a_guardian_that_is_told_to_end_takes_its_trees_along(start: Start) -> None:
    worker = start()
    worker.signal("guardian", signal.SIGTERM)
    worker.hear_until(lost=True)
    assert seconds_until(lambda: _all_gone(worker)) < 2.0


def test_what_a_killed_warden_leaves_is_killed_by_the_guardian() -> None:
    word, other = mark(), mark()
    with Guardian.start() as guardian, guardian.tree(word) as tree, guardian.tree(other) as neighbour:
        neighbour.run(daemon(other), cwd=Path("/"), env=ENV)
        tree.run(daemon(word), cwd=Path("/"), env=ENV)
        process = tree.start(sleeper(word), cwd=Path("/"), env=ENV)
        until(lambda: len(alive(word)) == 2)
        os.kill(tree.warden, signal.SIGKILL)
        assert process.wait(5) == -signal.SIGKILL
        assert seconds_until(lambda: not alive(word)) < 2.0
        assert tree.ended == "warden"
        with pytest.raises(Transient):
            tree.run(["true"], cwd=Path("/"), env=ENV)
        tree.kill()
        assert len(alive(other)) == 1
        assert not guardian.lost.is_set()


def test_a_stopped_warden_is_woken_at_once() -> None:
    with Guardian.start() as guardian, guardian.tree(mark()) as tree:
        for _ in range(3):
            os.kill(tree.warden, signal.SIGSTOP)
            assert tree.run(["echo", "on"], cwd=Path("/"), env=ENV).stdout.text() == "on\n"
        os.kill(tree.warden, signal.SIGSTOP)
        tree.kill()


def test_all_calls_end_when_the_guardian_is_killed() -> None:
    word = mark()
    guardian = Guardian.start()
    tree = guardian.tree(word)
    process = tree.start(sleeper(word), cwd=Path("/"), env=ENV)
    os.kill(guardian.pid, signal.SIGKILL)
    assert guardian.lost.wait(5)
    assert process.wait(5) == -signal.SIGKILL
    tree.kill()
    assert alive(word) == []
    tree.close()
    with pytest.raises(Transient):
        tree.freeze()
    with pytest.raises(Transient):
        guardian.tree("other")
    guardian.renew({word: 0.0}, database_reachable=True)
    guardian.close()
