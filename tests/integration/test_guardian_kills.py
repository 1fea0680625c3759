"""A tree dies whole: daemons, bombs and stopped processes too; on kill, close, deadline and limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.domain.errors import Cancelled, InvariantViolated, Transient
from symphony.processes.guardian import Guardian, Limits, Tree
from tests.fakes.seen_processes import alive, daemon, mark, python, sleeper, states, until

ENV = {"PATH": os.environ["PATH"]}
# Forks as a bomb does, but slowly and not for ever: this test must not hurt the machine when it fails.
BOMB = """
import os, time
for _ in range(300):
    time.sleep(0.01)
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
time.sleep(600)
"""
# Never more than a few at a time, but each lives only for a moment and starts the next one in a session of its own.
RELAY = """
import os, time
until = time.monotonic() + 60
while time.monotonic() < until:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


@pytest.fixture(scope="module")
def guardian() -> Iterator[Guardian]:
    with Guardian.start() as guardian:
        yield guardian


@pytest.fixture
def tree(guardian: Guardian) -> Iterator[Tree]:
    with guardian.tree(mark()) as tree:
        yield tree


def test_kill_returns_when_daemons_are_gone_too(tree: Tree) -> None:
    word = mark()
    for _ in range(3):
        tree.run(daemon(word), cwd=Path("/"), env=ENV)
    process = tree.start(sleeper(word), cwd=Path("/"), env=ENV)
    until(lambda: len(alive(word)) == 4)
    tree.kill()
    assert alive(word) == []
    assert tree.ended == "cancel"
    assert process.wait(5) == -signal.SIGKILL
    with pytest.raises(Cancelled):
        tree.run(["true"], cwd=Path("/"), env=ENV)


def test_a_cancelled_run_says_so(tree: Tree) -> None:
    import threading

    word = mark()
    killer = threading.Thread(target=lambda: (until(lambda: alive(word)), tree.kill()))
    killer.start()
    done = tree.run(sleeper(word), cwd=Path("/"), env=ENV)
    killer.join()
    assert (done.returncode, done.limit, done.timed_out) == (-signal.SIGKILL, "cancel", False)


def test_close_leaves_nothing(guardian: Guardian) -> None:
    word = mark()
    with guardian.tree(word) as tree:
        tree.run(daemon(word), cwd=Path("/"), env=ENV)
        until(lambda: alive(word))
    assert alive(word) == []
    assert tree.ended is None
    tree.close()


def test_clear_leaves_a_tree_that_can_be_used(tree: Tree) -> None:
    word = mark()
    tree.run(daemon(word), cwd=Path("/"), env=ENV)
    until(lambda: alive(word))
    tree.clear()
    assert alive(word) == []
    assert tree.ended is None
    assert tree.run(["echo", "on"], cwd=Path("/"), env=ENV).stdout.text() == "on\n"


def test_two_trees_do_not_touch_each_other(guardian: Guardian, tree: Tree) -> None:
    word = mark()
    tree.run(daemon(word), cwd=Path("/"), env=ENV)
    until(lambda: alive(word))
    with guardian.tree(mark()) as other:
        other.kill()
    assert len(alive(word)) == 1


def test_stopped_processes_die_as_well(tree: Tree) -> None:
    word = mark()
    process = tree.start(sleeper(word), cwd=Path("/"), env=ENV)
    process.signal(signal.SIGSTOP)
    until(lambda: states(word) == {"T"})
    tree.kill()
    assert alive(word) == []


def test_a_relay_of_processes_that_each_leave_their_session_is_caught(guardian: Guardian) -> None:
    word = mark()
    with guardian.tree(word) as tree:
        tree.run(python(RELAY, word), cwd=Path("/"), env=ENV)
        until(lambda: alive(word))
    time.sleep(0.1)
    assert alive(word) == []


def test_the_deadline_of_a_tree(guardian: Guardian) -> None:
    word = mark()
    with guardian.tree(word, deadline_s=0.5) as tree:
        tree.run(daemon(word), cwd=Path("/"), env=ENV)
        done = tree.run(sleeper(word), cwd=Path("/"), env=ENV)
        assert (done.returncode, done.limit, tree.ended) == (-signal.SIGKILL, "deadline", "deadline")
        until(lambda: alive(word) == [])
        with pytest.raises(Transient):
            tree.run(["true"], cwd=Path("/"), env=ENV)


def test_a_fork_bomb_meets_the_limit_of_processes(guardian: Guardian) -> None:
    word = mark()
    with guardian.tree(word, limits=Limits(processes=60)) as tree:
        done = tree.run(python(BOMB, word), cwd=Path("/"), env=ENV)
        assert (done.limit, tree.ended) == ("processes", "processes")
        until(lambda: alive(word) == [])


def test_a_tree_over_its_memory_is_killed(guardian: Guardian) -> None:
    word = mark()
    hog = "import time; a = [bytearray(b'x' * 10_000_000) for _ in range(20)]; time.sleep(600)"
    with guardian.tree(word, limits=Limits(memory_bytes=150_000_000)) as tree:
        done = tree.run(python(hog, word), cwd=Path("/"), env=ENV)
        assert (done.returncode, done.limit) == (-signal.SIGKILL, "memory")
    assert alive(word) == []


def test_memory_that_processes_share_counts_once(guardian: Guardian) -> None:
    shared = "import os, time; a = b'x' * 50_000_000; [os.fork() for _ in range(2)]; time.sleep(2.5)"
    with guardian.tree(mark(), limits=Limits(memory_bytes=120_000_000)) as tree:
        assert tree.run(python(shared), cwd=Path("/"), env=ENV).limit is None


def test_freeze_stops_everything_and_thaw_lets_it_go_on(tree: Tree, tmp_path: Path) -> None:
    word, file = mark(), tmp_path / "file"
    writer = "import os, sys\nos.fork() or os.setsid()\nos.fork()\nwhile True: open(sys.argv[2], 'a').write('x')"
    tree.start(python(writer, word, str(file)), cwd=Path("/"), env=ENV, stdin=b"")
    until(lambda: file.exists() and file.stat().st_size > 1000 and len(alive(word)) >= 3)
    tree.freeze()
    size = file.stat().st_size
    assert states(word) == {"T"}
    time.sleep(0.3)
    assert file.stat().st_size == size
    assert 0.3 < tree.frozen_s < 10
    with pytest.raises(InvariantViolated):
        tree.run(["true"], cwd=Path("/"), env=ENV)
    tree.thaw()
    until(lambda: file.stat().st_size > size)
    frozen_s = tree.frozen_s
    time.sleep(0.1)
    assert tree.frozen_s == frozen_s


def test_freeze_catches_what_forks_all_the_time(guardian: Guardian) -> None:
    word = mark()
    with guardian.tree(word) as tree:
        tree.run(python(RELAY, word), cwd=Path("/"), env=ENV)
        for _ in range(3):
            until(lambda: alive(word))
            tree.freeze()
            assert states(word) == {"T"}
            tree.thaw()


def test_frozen_time_counts_toward_no_timeout(guardian: Guardian) -> None:
    import threading

    with guardian.tree(mark(), deadline_s=2.0) as tree:
        timer = threading.Timer(0.2, lambda: (tree.freeze(), time.sleep(2.5), tree.thaw()))
        timer.start()
        done = tree.run(["sleep", "0.8"], cwd=Path("/"), env=ENV, timeout_s=1.8)
        timer.join()
    assert (done.returncode, done.timed_out, done.limit) == (0, False, None)


def test_a_frozen_tree_can_be_killed(tree: Tree) -> None:
    word = mark()
    tree.start(sleeper(word), cwd=Path("/"), env=ENV)
    tree.freeze()
    tree.kill()
    assert alive(word) == []


def test_closing_the_guardian_ends_all_trees() -> None:
    words = [mark() for _ in range(5)]
    with Guardian.start() as guardian:
        trees = [guardian.tree(word) for word in words]
        for word, tree in zip(words, trees, strict=True):
            tree.run(daemon(word), cwd=Path("/"), env=ENV)
    assert [alive(word) for word in words] == [[]] * 5
    assert not guardian.lost.is_set()
    with pytest.raises(Transient):
        guardian.tree("late")
    guardian.close()


def test_a_name_is_free_again_after_close(guardian: Guardian) -> None:
    with guardian.tree("name"), pytest.raises(InvariantViolated), guardian.tree("name"):
        pass
    for _ in range(5):
        with guardian.tree("name"):
            continue


NO_ROOT = ["unshare", "-U", "--map-user=65534", "--map-group=65534"]


@pytest.mark.skipif(subprocess.call([*NO_ROOT, "true"]) != 0, reason="no user namespaces here")
def test_it_works_without_root(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from symphony.processes.guardian import Guardian
with Guardian.start() as guardian, guardian.tree("a", lock=Path(sys.argv[1])) as tree:
    tree.run([sys.executable, "-c", sys.argv[2], sys.argv[3]], cwd=Path("/"), env={})
    tree.freeze()
    tree.thaw()
    print(tree.run(["/usr/bin/id", "-u"], cwd=Path("/"), env={}).stdout.text())
"""
    word = mark()
    command = [*NO_ROOT, sys.executable, "-c", script, str(tmp_path / "lock"), daemon(word)[4], word]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("65534", "")
    assert alive(word) == []
