"""The supervisor with plain children: restarts, order, and nothing left."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from symphony.local import leftovers
from tests.conftest import lives, wait_until
from tests.integration.up import NO_SERVERS, SCRIPT, of_home, up


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_what_dies_is_restarted_and_its_lines_carry_its_name(home: Path) -> None:
    with up(home, "worker-1=echo hello; exec sleep 60", env=NO_SERVERS) as running:
        first = running.pid("worker-1")
        wait_until(lambda: "worker-1 | hello" in running.lines, what="the first words")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: running.states("worker-1").count("ready") == 2, what="restart")
        assert running.pid("worker-1") != first
        wait_until(lambda: running.lines.count("worker-1 | hello") == 2, what="the second words")
        assert running.stop() == 0
    assert running.lines.count("worker-1 | hello") == 2
    assert (home / "logs/worker-1.log").read_text().splitlines().count("hello") == 2


def test_it_never_gives_up_and_pauses_longer(home: Path) -> None:
    with up(home, "bad=exit 3", "missing=exec /no/such/program", env=NO_SERVERS) as running:
        wait_until(lambda: running.states("bad").count("pausing") >= 4, what="four ends")
        wait_until(lambda: running.states("missing").count("pausing") >= 2, what="two ends")
        assert running.stop() == 0
    pauses = [line for line in running.lines if line.startswith("bad | ended with 3")]
    assert pauses[:4] == [f"bad | ended with 3; starts again in {pause} s" for pause in (0.2, 0.4, 0.8, 1.6)]


def test_the_longest_pause_is_five_seconds(tmp_path: Path) -> None:
    from symphony.local.child import Child, Watch
    from symphony.local.logs import ChildLog

    watch = Watch(Child(name="bad", command=["/no"]), {}, ChildLog(tmp_path, "bad", None), lambda _: None)
    for _ in range(40):
        watch._pause(1)
    assert time.monotonic() + 5 >= watch._due


def test_sigterm_drains(home: Path) -> None:
    worker = "trap 'sleep 1; echo drained; exit 0' TERM; while :; do sleep 0.1; done"
    with up(home, f"worker-1={worker}", env=NO_SERVERS) as running:
        running.pid("worker-1")
        assert running.stop() == 0
    assert "worker-1 | drained" in running.lines


@pytest.mark.parametrize("signals", [1, 2], ids=["after the grace", "at once by a second signal"])
def test_what_does_not_stop_is_killed(home: Path, signals: int) -> None:
    env = {**NO_SERVERS, "GRACE": "1" if signals == 1 else "60"}
    with up(home, "deaf=trap '' TERM; while :; do sleep 0.1; done", env=env) as running:
        running.pid("deaf")
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in running.states("deaf"))
        if signals == 2:
            running.process.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
    assert running.said[-1]["returncode"] == -signal.SIGKILL
    assert of_home(home) == []


def test_a_stopped_child_stops_too(home: Path) -> None:
    with up(home, "worker-1=exec sleep 60", env={**NO_SERVERS, "GRACE": "60"}) as running:
        os.kill(running.pid("worker-1"), signal.SIGSTOP)
        assert running.stop() == 0
    assert running.said[-1]["returncode"] == -signal.SIGTERM


ESCAPES = {
    "setsid": "setsid sleep 1234.5 & exec sleep 60",
    "daemon": "(setsid sh -c 'sleep 1234.5 & sleep 1234.5 &' &) ; exec sleep 60",
    "without environment": "env -i setsid sleep 1234.5 & exec sleep 60",
    "deaf": "(setsid sh -c 'trap \"\" TERM INT HUP; sleep 1234.5; :' &) ; exec sleep 60",
}


def sleepers(below: int) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(below).children(recursive=True):
        with suppress(psutil.Error):
            found += [process] if process.cmdline()[-1:] == ["1234.5"] else []
    return found


@pytest.mark.parametrize("way", ESCAPES)
def test_no_grandchild_is_left(home: Path, way: str) -> None:
    with up(home, f"worker-1={ESCAPES[way]}", env=NO_SERVERS) as running:
        running.pid("worker-1")
        wait_until(lambda: sleepers(running.process.pid), what="an escaped grandchild")
        escaped = sleepers(running.process.pid)
        assert running.stop() == 0
        assert [process for process in escaped if lives(process.pid)] == []


def test_a_stray_of_a_dead_child_is_ended_while_the_rest_runs(home: Path) -> None:
    script = "setsid sleep 1234.5 & sleep 1; exit 0"
    with up(home, f"once={script}", "worker-1=exec sleep 60", env={**NO_SERVERS, "STRAY_GRACE": "1"}) as running:
        worker = running.pid("worker-1")
        wait_until(lambda: sleepers(running.process.pid), what="a stray")
        stray = sleepers(running.process.pid)[0]
        wait_until(lambda: not lives(stray.pid), timeout_s=40, what="the end of the stray")
        assert lives(worker)
        zombies = [p for p in psutil.Process(running.process.pid).children() if p.status() == psutil.STATUS_ZOMBIE]
        assert len(zombies) <= 1  # one that died this instant


def test_children_of_the_process_itself_are_left_alone(home: Path) -> None:
    code = f"""
import subprocess, sys, time
from pathlib import Path
from symphony.local.child import Child
from symphony.local.home import Home
from symphony.local.supervisor import Supervisor
home = Home(Path({str(home)!r}))
with home.held(), Supervisor(home) as supervisor:
    supervisor.add(Child(name="x", command=["sleep", "60"]))
    own = subprocess.Popen(["sleep", "60"], start_new_session=True)
    time.sleep(3)
assert own.poll() is None
own.kill()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_killed_supervisor_takes_its_children_along(home: Path) -> None:
    with up(home, "a=exec sleep 1234.5", "deaf=trap '' TERM INT; sleep 1234.5", env=NO_SERVERS) as running:
        pids = [running.pid("a"), running.pid("deaf")]
        running.process.kill()
        wait_until(lambda: not any(lives(pid) for pid in pids), what="their end")


def test_the_next_supervisor_ends_what_escaped_the_killed_one(home: Path) -> None:
    with up(home, "a=setsid sleep 1234.5 & exec sleep 60", env=NO_SERVERS) as running:
        running.pid("a")
        wait_until(lambda: sleepers(running.process.pid), what="an escaped grandchild")
        escaped = sleepers(running.process.pid)[0]
        running.process.kill()
        running.wait()
        assert lives(escaped.pid)
        with up(home, env=NO_SERVERS) as following:
            assert following.urls
            assert not lives(escaped.pid)


def test_what_merely_names_the_home_is_not_a_leftover(home: Path) -> None:
    home.mkdir()
    bystanders = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, "SYMPHONY_HOME": str(home)}),
        subprocess.Popen(["sleep", "60"], cwd=home),
        subprocess.Popen(["sleep", "60"], env={**os.environ, leftovers.MARK: str(home) + "2"}),
    ]
    try:
        with up(home, env=NO_SERVERS) as running:
            assert running.urls
            assert [bystander.poll() for bystander in bystanders] == [None, None, None]
            assert running.stop() == 0
    finally:
        for bystander in bystanders:
            bystander.kill()
            bystander.wait()


def test_a_second_up_on_one_home_names_the_holder(home: Path) -> None:
    with up(home, env=NO_SERVERS) as running:
        assert running.urls
        with up(home, env=NO_SERVERS) as second:
            assert second.wait() == 1
        (line,) = second.lines
        assert f"pid {running.process.pid}" in line
        assert "since 20" in line
        assert SCRIPT.name in line
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        with up(home, env=NO_SERVERS) as third:
            assert third.urls


def test_a_terminal_that_nobody_reads_stops_nobody(home: Path) -> None:
    mark = home.parent / "mark"
    noise = f"seq -f 'a line that fills the pipe %g' 30000; touch {mark}; exec sleep 60"
    stuck, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(home), f"noisy={noise}"],
        stdout=subprocess.DEVNULL,
        stderr=writer,
        env={**os.environ, **NO_SERVERS, "PYTHONPATH": str(SCRIPT.parents[2])},
    )
    try:
        wait_until(mark.exists, timeout_s=60, what="the end of the noise")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(stuck)
        os.close(writer)


def test_logs_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from symphony.local import logs

    monkeypatch.setattr(logs, "_FILE_LIMIT", 1000)
    log = logs.ChildLog(tmp_path, "x", None)
    for number in range(1000):
        log.write(b"line %d" % number)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["x.log", "x.log.1"]
    assert sum(file.stat().st_size for file in files) < 2200
    assert log.last_words() == "line 999"
