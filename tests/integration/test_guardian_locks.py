"""The lock of a place: inherited by the tree, asked back by the next holder on the node, never held by what is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from symphony.domain.errors import Transient
from symphony.processes import procfs
from symphony.processes.guardian import Guardian
from tests.fakes.guardian_worker import Worker
from tests.fakes.seen_processes import alive, daemon, mark, python, sleeper, until

ENV = {"PATH": os.environ["PATH"]}
Start = Callable[..., Worker]
# Leaves its session and parents as a daemon does, but keeps what it inherited: the lock.
KEEPER = "import os, time\nos.fork() and os._exit(0)\nos.setsid()\nos.fork() and os._exit(0)\ntime.sleep(600)"


@pytest.fixture
def start() -> Iterator[Start]:
    workers: list[Worker] = []

    def start(**settings: object) -> Worker:
        workers.append(Worker(mark(), **settings))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    with Guardian.start() as guardian:
        yield guardian


def _tree(worker: Worker) -> list[int]:
    return [pid for pid in alive(worker.word) if pid != worker.process.pid]


def test_the_next_holder_asks_and_gets_it_when_the_last_process_is_gone(start: Start, tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    first = start(lock=lock)
    until(lambda: len(_tree(first)) == 2)
    began = time.monotonic()
    second = start(lock=lock)
    assert time.monotonic() - began < 10
    assert _tree(first) == []
    assert "refused" not in second.said
    assert first.hear_until(ended="handover")["lost"] is False


@pytest.mark.parametrize("stopped", [["worker"], ["warden"], ["guardian"], ["worker", "guardian", "warden"]])
def test_who_is_stopped_cannot_hold_it(start: Start, tmp_path: Path, stopped: list[str]) -> None:
    lock = str(tmp_path / "lock")
    first = start(lock=lock)
    for who in stopped:
        first.signal(who, signal.SIGSTOP)
    second = start(lock=lock)
    assert "refused" not in second.said
    assert _tree(first) == []


def test_what_is_left_when_all_three_are_killed_at_once_is_killed_by_the_next_holder(
    guardian: Guardian, tmp_path: Path
) -> None:
    word, lock = mark(), tmp_path / "lock"
    script = """
import os, sys
from pathlib import Path
from symphony.processes.guardian import Guardian
guardian = Guardian.start()
tree = guardian.tree("a", lock=Path(sys.argv[1]))
tree.run([sys.executable, "-c", sys.argv[2], sys.argv[3]], cwd=Path("/"), env={})
for pid in (guardian.pid, tree.warden):
    os.kill(pid, 19)
print("ready", guardian.pid, tree.warden, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(lock), KEEPER, word]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        _, guardian_pid, warden = worker.stdout.readline().split()
        until(lambda: [pid for pid in alive(word) if pid != worker.pid])
        os.kill(worker.pid, signal.SIGKILL)
        os.kill(int(guardian_pid), signal.SIGKILL)
        os.kill(int(warden), signal.SIGKILL)
    assert len(alive(word)) == 1, "the daemon should have survived, else this proves nothing"
    with guardian.tree(mark(), lock=lock, lock_timeout_s=4):
        assert alive(word) == []


def test_it_is_free_only_when_the_last_process_that_inherited_it_is_gone(guardian: Guardian, tmp_path: Path) -> None:
    import fcntl

    word, lock = mark(), tmp_path / "lock"
    with guardian.tree(word, lock=lock) as tree:
        tree.run(python(KEEPER, word), cwd=Path("/"), env=ENV)
        until(lambda: alive(word))
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


HOLDER = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, 2); print(1, flush=True); time.sleep(600)"


def test_a_lock_that_is_not_free_in_time_names_its_holder(guardian: Guardian, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    command = python(HOLDER, str(lock))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        try:
            with pytest.raises(Transient, match=f"still held by process {holder.pid}"):
                guardian.tree(mark(), lock=lock, lock_timeout_s=0)
            assert holder.poll() is None
        finally:
            holder.kill()
    with guardian.tree(mark(), lock=lock, lock_timeout_s=0):
        pass


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"pid": 1}', '{"pid": "x"}', "\0" * 5000])
def test_what_the_file_says_is_not_believed(guardian: Guardian, tmp_path: Path, content: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(content)
    with guardian.tree(mark(), lock=lock):
        assert json.loads(lock.read_text())["pid"] > 1


def test_a_bystander_that_the_file_names_is_not_signalled(guardian: Guardian, start: Start, tmp_path: Path) -> None:
    lock, word = tmp_path / "lock", mark()
    with subprocess.Popen(sleeper(word)) as bystander:
        until(lambda: alive(word))
        try:
            first = start(lock=str(lock))
            said = json.loads(lock.read_text())
            seen = procfs.stat(bystander.pid)
            assert seen is not None
            lock.write_text(json.dumps({**said, "pid": bystander.pid, "started": seen.started}))
            with guardian.tree(mark(), lock=lock, lock_timeout_s=6):
                assert _tree(first) == []
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_a_lock_that_cannot_be_opened(guardian: Guardian, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        guardian.tree(mark(), lock=tmp_path / "missing" / "lock")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="link"):
        guardian.tree(mark(), lock=tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_many_holders_one_after_another(guardian: Guardian, tmp_path: Path) -> None:
    for _ in range(10):
        word = mark()
        with guardian.tree(word, lock=tmp_path / "lock") as tree:
            tree.run(daemon(word), cwd=Path("/"), env=ENV)
        assert alive(word) == []
