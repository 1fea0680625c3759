"""The promise of landing (the README), judged by the bare repository alone, over random histories."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from symphony.processes.guardian import Guardian
from tests.acceptance.intruded_origin import MAIN
from tests.acceptance.landing_histories import History, verify, watched

pytest_plugins = ["tests.fakes.repository_fixtures"]


def play(history: History, *, lanes: int = 1) -> int:
    """Play a history to its rest and judge it; with `lanes`, that many threads land at once for a while before."""
    try:
        with watched():
            history.race(lanes)
            history.play()
        return verify(history)
    finally:
        history.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_queue_among_dying_and_late_landers_keeps_its_promise(
    seed: int, database_url: str, tmp_path: Path, guardian: Guardian
) -> None:
    """Rule: only proved trees become tips of ours, nothing is lost or restored by us, a run lands once."""
    landed = play(History(seed, database_url, tmp_path / "history", guardian, runs=4))
    assert landed >= 1, "a history in which nothing lands shows nothing"


def test_ten_landers_at_once_and_an_intruder_keep_the_promise(
    database_url: str, tmp_path: Path, guardian: Guardian
) -> None:
    """Rule: one lander a target at a time, however many want to; the intruder interferes from a thread of his own."""
    history = History(7, database_url, tmp_path / "history", guardian, runs=10, danger=0.0)
    assert play(history, lanes=10) >= 6


def test_without_an_intruder_every_sound_change_lands(database_url: str, tmp_path: Path, guardian: Guardian) -> None:
    """Rule: a queue that nobody disturbs lands everything that neither clashes in text nor in the check."""
    history = History(0, database_url, tmp_path / "history", guardian, runs=4, danger=0.0, intrusions=0)
    assert play(history) == 2, "two of four: 0 and 2 clash in the check, 1 and 3 too"


def test_what_was_taken_out_of_the_target_does_not_come_back(database_url: str, tmp_path: Path, guardian: Guardian) -> None:
    """Rule: an intruder may rewind; a run that was begun before lands its own change, not what it stood on."""
    history = History(0, database_url, tmp_path / "history", guardian, runs=2, danger=0.0, intrusions=0)
    removed = history.origin.tip()
    history.origin.git("update-ref", MAIN, f"{MAIN}~1")
    assert play(history) == 2
    assert removed not in history.origin.git("rev-list", MAIN).splitlines()
    assert "things/first-2" not in history.origin.git("ls-tree", "--name-only", MAIN, "things/").splitlines()


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_two_hundred_histories_keep_the_promise(database_url: str, tmp_path: Path, guardian: Guardian) -> None:
    """Rule: as above, over two hundred histories of two to ten landers, every fourth with threads."""
    landed, began = 0, time.monotonic()
    for seed in range(1000, 1200):
        dice = random.Random(seed)
        history = History(seed, database_url, tmp_path / str(seed), guardian, runs=dice.choice([2, 3, 3, 4, 5, 10]))
        landed += play(history, lanes=history.runs if seed % 4 == 0 else 1)
        print(f"history {seed}: {landed} landings so far, {time.monotonic() - began:.0f} s", flush=True)
    assert landed >= 200
