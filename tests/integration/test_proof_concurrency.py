"""Places for proofs: never more at once than there are, over all processes of a node; free when the holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from symphony.domain.errors import Cancelled
from symphony.proof.concurrency import place
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from symphony.proof.concurrency import place
folder, places, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for number in range(times):
    with place(folder, places, lambda: time.sleep(0.005)):
        mine = folder.parent / f"holding-{sys.argv[4]}"
        mine.touch()
        seen = len(list(folder.parent.glob("holding-*")))
        (folder.parent / f"seen-{sys.argv[4]}-{number}-{seen}").touch()
        time.sleep(float(sys.argv[5]))
        mine.unlink()
"""


def holder(folder: Path, places: int, times: int, name: str, seconds: float) -> subprocess.Popen[bytes]:
    """Start a process that takes a place again and again."""
    arguments = [str(folder), str(places), str(times), name, str(seconds)]
    return subprocess.Popen([sys.executable, "-c", HOLDER, *arguments], cwd=ROOT)


@pytest.mark.parametrize("places", [1, 2])
def test_processes_never_hold_more_places_than_there_are(tmp_path: Path, places: int) -> None:
    holders = [holder(tmp_path / "proofs", places, 15, str(number), 0.01) for number in range(4)]
    assert [process.wait(60) for process in holders] == [0] * 4
    seen = [int(path.name.rpartition("-")[2]) for path in tmp_path.glob("seen-*")]
    assert len(seen) == 60
    assert 1 <= max(seen) <= places


def give_up() -> None:
    """Wait no longer."""
    raise Cancelled("no place")


def test_a_place_is_free_as_soon_as_its_holder_is_killed(tmp_path: Path) -> None:
    process = holder(tmp_path / "proofs", 1, 1, "0", 600)
    try:
        wait_until(lambda: (tmp_path / "holding-0").exists())
        with pytest.raises(Cancelled), place(tmp_path / "proofs", 1, give_up):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with place(tmp_path / "proofs", 1, give_up):
        pass


def test_a_place_is_free_after_an_error_and_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with pytest.raises(ZeroDivisionError), place(tmp_path / "proofs", 2, give_up):
            raise ZeroDivisionError
        with place(tmp_path / "proofs", 1, give_up), pytest.raises(Cancelled), place(tmp_path / "proofs", 1, give_up):
            pass
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_waiter_gets_the_place_when_it_is_left(tmp_path: Path) -> None:
    process = holder(tmp_path / "proofs", 1, 1, "0", 0.3)
    wait_until(lambda: (tmp_path / "holding-0").exists() or process.poll() is not None)
    with place(tmp_path / "proofs", 1, lambda: time.sleep(0.01)):
        assert not (tmp_path / "holding-0").exists()
    assert process.wait(30) == 0
