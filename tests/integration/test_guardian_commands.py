"""Commands start, fail, write and end through the guardian as they would without it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from symphony.domain.errors import InvariantViolated
from symphony.processes import procfs
from symphony.processes.guardian import Guardian, Tree
from tests.fakes.seen_processes import alive, daemon, mark, python, until

ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def guardian() -> Iterator[Guardian]:
    with Guardian.start() as guardian:
        yield guardian


@pytest.fixture
def tree(guardian: Guardian) -> Iterator[Tree]:
    with guardian.tree(mark()) as tree:
        yield tree


def test_a_command_gets_its_folder_environment_input_and_nothing_else(tree: Tree, tmp_path: Path) -> None:
    code = """
import os, sys
print(os.getcwd(), dict(os.environ), sys.stdin.read(), sorted(map(int, os.listdir('/proc/self/fd')))[:-1])
"""
    done = tree.run(python(code), cwd=tmp_path, env={"ONE": "1", "LC_ALL": "C.UTF-8"}, stdin=b"hello")
    expected = f"{tmp_path} {{'ONE': '1', 'LC_ALL': 'C.UTF-8'}} hello [0, 1, 2]"
    assert (done.returncode, done.stdout.text().strip(), done.stderr.text()) == (0, expected, "")
    assert not done.timed_out
    assert done.limit is None


def test_the_lock_is_the_only_further_descriptor(guardian: Guardian, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = """
import os
for n in range(3, 64):
    if os.path.exists(f'/proc/self/fd/{n}'):
        print(os.readlink(f'/proc/self/fd/{n}'))
"""
    with guardian.tree(mark(), lock=lock) as tree:
        done = tree.run(python(code), cwd=tmp_path, env=ENV)
    assert done.stdout.text().strip() == str(lock)


def test_a_command_has_its_own_session_and_default_signals(tree: Tree, tmp_path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        done = tree.run(["sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status"], cwd=tmp_path, env=ENV)
        own = tree.run(python("import os; print(os.getsid(0) == os.getpid())"), cwd=tmp_path, env=ENV)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    libc_keeps = 0b11 << 31  # signals 32 and 33, which no program may set: as they were inherited
    masks = [int(line.split()[1], 16) & ~libc_keeps for line in done.stdout.text().splitlines()]
    assert masks == [0, 0]
    assert own.stdout.text() == "True\n"


def test_open_files_and_umask_are_those_of_the_worker(tree: Tree, tmp_path: Path) -> None:
    done = tree.run(["sh", "-c", "ulimit -Sn; umask"], cwd=tmp_path, env=ENV)
    mask = os.umask(0)
    os.umask(mask)
    assert done.stdout.text().split() == [str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]), f"{mask:04o}"]


@pytest.mark.parametrize("word", ["missing", "./missing", "/missing/command"])
def test_a_command_that_is_not_there(tree: Tree, tmp_path: Path, word: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        tree.run([word], cwd=tmp_path, env=ENV)
    assert caught.value.filename == word


def test_a_folder_that_is_not_there(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        tree.run(["true"], cwd=tmp_path / "missing", env=ENV)
    assert caught.value.filename == str(tmp_path / "missing")


def test_a_command_that_may_not_run(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(PermissionError):
        tree.run([str(tmp_path / "script")], cwd=tmp_path, env=ENV)
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(OSError, match="Exec format error"):
        tree.run([str(tmp_path / "text")], cwd=tmp_path, env=ENV)


def test_a_command_that_cannot_be_said(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(InvariantViolated, match="null"):
        tree.run(["echo", "a\0b"], cwd=tmp_path, env=ENV)
    with pytest.raises(InvariantViolated):
        tree.run([], cwd=tmp_path, env=ENV)


def test_bytes_that_are_no_text_and_long_environments_pass(tree: Tree, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe")
    done = tree.run(
        ["sh", "-c", 'printf %s "$0"; printf %s "$LONG" | wc -c', odd], cwd=tmp_path, env={**ENV, "LONG": "x" * 100_000}
    )
    assert done.stdout.head == b"\xff\xfe100000\n"


def test_exit_codes_and_signals(tree: Tree, tmp_path: Path) -> None:
    assert tree.run(["sh", "-c", "exit 75"], cwd=tmp_path, env=ENV).returncode == 75
    assert tree.run(["sh", "-c", "kill -TERM $$"], cwd=tmp_path, env=ENV).returncode == -signal.SIGTERM


def test_a_talk_with_a_command(tree: Tree, tmp_path: Path) -> None:
    with tree.start(["cat"], cwd=tmp_path, env=ENV) as process:
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        assert process.stdout.readline() == b"one\n"
        assert process.wait(0.05) is None
        process.stdin.close()
        assert process.wait(10) == 0


def test_errors_are_merged_where_asked(tree: Tree, tmp_path: Path) -> None:
    with tree.start(["sh", "-c", "echo a; echo b >&2"], cwd=tmp_path, env=ENV, stdin=b"", merge_stderr=True) as process:
        assert process.stderr is None
        assert process.stdout.read() == b"a\nb\n"


def test_a_signal_reaches_the_whole_group(tree: Tree, tmp_path: Path) -> None:
    word = mark()
    parent = "import os, sys, time; os.fork(); time.sleep(600)"
    with tree.start(python(parent, word), cwd=tmp_path, env=ENV) as process:
        until(lambda: len(alive(word)) == 2)
        process.signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        until(lambda: alive(word) == [])


def test_ten_million_bytes_of_input(tree: Tree, tmp_path: Path) -> None:
    done = tree.run(["wc", "-c"], cwd=tmp_path, env=ENV, stdin=b"x" * 10_000_000)
    assert done.stdout.text().strip() == "10000000"


def test_a_gigabyte_of_output_in_one_line_costs_no_memory(tree: Tree, tmp_path: Path) -> None:
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak()
    command = "printf head; head -c 1000000000 /dev/zero; printf tail"
    done = tree.run(["sh", "-c", command], cwd=tmp_path, env=ENV, head=4, tail=4)
    assert (done.stdout.head, done.stdout.tail, done.stdout.dropped) == (b"head", b"tail", 1_000_000_000)
    assert peak() - before < 20_000


def test_a_timeout_kills_the_command_with_its_children_and_not_the_tree(tree: Tree, tmp_path: Path) -> None:
    word, other = mark(), mark()
    tree.run(daemon(other), cwd=tmp_path, env=ENV)
    until(lambda: alive(other))
    began = time.monotonic()
    code = "import os, time; os.fork(); print('here', flush=True); time.sleep(600)"
    done = tree.run(python(code, word), cwd=tmp_path, env=ENV, timeout_s=1.0)
    assert 0.9 < time.monotonic() - began < 10
    assert (done.returncode, done.timed_out, done.limit) == (-signal.SIGKILL, True, None)
    assert done.stdout.text().split() == ["here", "here"]
    assert alive(word) == []
    assert len(alive(other)) == 1


def test_a_background_process_that_keeps_the_pipe_does_not_hold_the_run(tree: Tree, tmp_path: Path) -> None:
    word = mark()
    chatter = "import sys, time\nwhile True: print('x' * 70000, flush=True); time.sleep(0.01)"
    command = ["sh", "-c", '"$@" & echo done', "sh", *python(chatter, word)]
    began = time.monotonic()
    done = tree.run(command, cwd=tmp_path, env=ENV)
    assert time.monotonic() - began < 5
    assert (done.returncode, b"done" in done.stdout.head) == (0, True)
    (left,) = alive(word)
    written = Path(f"/proc/{left}/io")

    def bytes_written() -> int:
        return int(written.read_text().split("wchar: ")[1].split()[0])

    before = bytes_written()
    until(lambda: bytes_written() > before + 1_000_000)  # it is neither blocked nor hit by SIGPIPE


def test_five_hundred_threads_at_once(guardian: Guardian, tmp_path: Path) -> None:
    start = threading.Barrier(500)

    def one(number: int) -> str:
        start.wait()
        with guardian.tree(f"many-{number}", lock=tmp_path / f"lock-{number}") as tree:
            return tree.run(["echo", str(number)], cwd=tmp_path, env=ENV, timeout_s=60).stdout.text()

    before = len(list(Path("/proc/self/fd").iterdir()))
    _raise_open_files()
    with ThreadPoolExecutor(500) as pool:
        assert list(pool.map(one, range(500))) == [f"{number}\n" for number in range(500)]
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 1)


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def test_pipes_do_not_leak_into_what_other_threads_start(tree: Tree, tmp_path: Path) -> None:
    over = threading.Event()

    def fork_all_the_time() -> None:
        while not over.is_set():
            subprocess.run(["true"], check=True, close_fds=False)

    thread = threading.Thread(target=fork_all_the_time)
    thread.start()
    try:
        for _ in range(20):
            with tree.start(["cat"], cwd=tmp_path, env=ENV) as process:
                assert process.stdin is not None
                lingerer = subprocess.Popen(["sleep", "600"], close_fds=False)
                try:
                    process.stdin.close()
                    assert process.wait(10) == 0
                    assert process.stdout.read() == b""
                finally:
                    lingerer.kill()
                    lingerer.wait()
    finally:
        over.set()
        thread.join()


def test_a_fork_of_the_worker_cannot_use_its_guardian(guardian: Guardian) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            guardian.tree("forked")
        except InvariantViolated:
            os._exit(3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


def test_a_tree_costs_little_memory(guardian: Guardian, tmp_path: Path) -> None:
    trees = [guardian.tree(mark()) for _ in range(40)]
    try:
        for tree in trees:
            tree.start(["sleep", "600"], cwd=tmp_path, env=ENV)
        assert procfs.proportional(tree.warden for tree in trees) / len(trees) < 2_000_000
        assert procfs.resident([guardian.pid]) < 16_000_000
    finally:
        for tree in trees:
            tree.close()
