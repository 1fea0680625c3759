"""Trust in a lease: while it lasts a tree runs; after it the tree is frozen or dies, as the worker says."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.fakes.guardian_worker import Worker
from tests.fakes.seen_processes import seconds_until, states, until

pytest_plugins = ["tests.fakes.guardian_fixtures"]

Start = Callable[..., Worker]


def _states(worker: Worker) -> set[str]:
    return states(f"{worker.word}\0")  # the worker's own command line goes on after the mark


def test_a_worker_that_cannot_reach_the_database_has_its_tree_frozen_and_thawed(start: Start) -> None:
    worker = start(trust_s=1.0)
    worker.tell("reachable 0")
    worker.hear_until(frozen=True)
    until(lambda: _states(worker) == {"T"})
    time.sleep(1.0)
    assert len(worker.tree()) == 2
    worker.tell("trust 60")
    said = worker.hear_until(frozen=False)
    assert 0.9 < said["frozen_s"] < 10
    assert said["ended"] is None
    until(lambda: _states(worker) == {"S"})


def test_a_tree_stays_frozen_for_a_limited_time_only(start: Start) -> None:
    worker = start(trust_s=0.5, frozen_limit_s=1.5)
    worker.tell("reachable 0")
    worker.hear_until(frozen=True)
    began = time.monotonic()
    assert worker.hear_until(ended="trust")
    assert 1.0 < time.monotonic() - began < 10
    until(lambda: not worker.tree())


def test_a_worker_that_falls_silent_loses_its_frozen_tree(start: Start) -> None:
    worker = start(trust_s=0.5, silence_s=1.0)
    worker.tell("reachable 0")
    worker.hear_until(frozen=True)
    worker.tell("quiet 1")
    assert worker.hear_until(ended="trust")
    assert seconds_until(lambda: not worker.tree()) < 3.0


def test_a_lease_that_is_not_renewed_though_the_database_answers(start: Start) -> None:
    worker = start(trust_s=1.0)
    assert worker.hear_until(ended="trust")["code"] in {None, -9}
    until(lambda: not worker.tree())


def test_a_renewed_lease_keeps_its_tree(start: Start) -> None:
    worker = start(trust_s=1.0)
    worker.tell("trust 60")
    time.sleep(2.0)
    assert len(worker.tree()) == 2


def test_frozen_time_does_not_bring_the_deadline_nearer(start: Start) -> None:
    worker = start(trust_s=0.5, deadline_s=2.5)
    worker.tell("reachable 0")
    worker.hear_until(frozen=True)
    time.sleep(3.0)
    assert len(worker.tree()) == 2
    worker.tell("trust 60")
    worker.hear_until(frozen=False, ended=None)
    assert worker.hear_until(ended="deadline")
