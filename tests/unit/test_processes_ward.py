from __future__ import annotations

import pytest

from symphony.processes.ward import ASKED, TRUST, Ward, Worker
from symphony.processes.wire import Channel, pair


def ward(**settings: float | None) -> Ward:
    request = {"re": 1, "trust_until": None, "deadline_s": None, **settings}
    return Ward("a", 1, Channel(pair()[0]), request, opened=0.0)


def worker(*, heard_at: float, reachable: bool = True) -> Worker:
    said = Worker(silence_s=5.0, frozen_limit_s=600.0, heard_at=heard_at)
    said.reachable = reachable
    return said


@pytest.mark.parametrize(
    ("at", "heard_at", "reachable", "expected"),
    [
        (9.9, 0.0, True, "go on"),  # silent, but trusted
        (10.0, 4.0, False, "trust"),  # silent
        (10.0, 6.0, False, "freeze"),
        (10.0, 6.0, True, "trust"),  # the lease was not renewed although it could have been
    ],
)
def test_the_end_of_trust(at: float, heard_at: float, reachable: bool, expected: str) -> None:
    assert ward(trust_until=10.0).verdict(at, worker(heard_at=heard_at, reachable=reachable)) == expected


def test_a_frozen_tree_goes_on_dies_or_waits() -> None:
    tree = ward(trust_until=10.0)
    tree.freeze(10.0, TRUST)
    assert tree.verdict(20.0, worker(heard_at=20.0, reachable=False)) == "go on"
    assert tree.verdict(20.0, worker(heard_at=20.0, reachable=True)) == "go on"  # its row may be locked just now
    assert tree.verdict(20.0, worker(heard_at=14.0, reachable=False)) == "trust"
    assert tree.verdict(610.1, worker(heard_at=610.0, reachable=False)) == "trust"
    tree.trust_until = 50.0
    assert tree.verdict(20.0, worker(heard_at=20.0)) == "thaw"


def test_frozen_time_counts_toward_no_deadline() -> None:
    tree, lively = ward(deadline_s=10.0), worker(heard_at=0.0)
    tree.freeze(5.0, ASKED)
    assert tree.verdict(100.0, lively) == "go on"
    assert tree.thaw(105.0, ASKED)
    assert tree.frozen_s == 100.0
    assert tree.verdict(110.0, lively) == "go on"
    assert tree.verdict(110.1, lively) == "deadline"


def test_a_tree_that_is_frozen_twice_goes_on_when_both_reasons_are_gone() -> None:
    tree = ward()
    tree.freeze(1.0, ASKED)
    tree.freeze(2.0, TRUST)
    assert not tree.thaw(3.0, ASKED)
    assert tree.thaw(4.0, TRUST)
    assert tree.frozen_s == 3.0
