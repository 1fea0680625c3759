"""The tool `shell`: commands that outlive their call, and trees that do not outlive theirs."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from pathlib import Path

import pytest

from symphony.agents.openai.tools import sessions as sessions_room
from symphony.domain.errors import Cancelled, Transient
from symphony.processes.guardian import Guardian, Limits
from tests.conftest import wait_until
from tests.fakes.seen_processes import alive, daemon, mark, states
from tests.fakes.tool_seat import Seat, session_of

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.fakes.tool_seat_fixtures"]


def test_a_command_tells_its_exit_code_and_output(seat: Seat) -> None:
    assert (
        seat.text("shell", command="echo one; echo two >&2; pwd; exit 3")
        == f"Exit code 3\nOutput:\none\ntwo\n{seat.workspace}\n"
    )
    assert seat.text("shell", command="true") == "Exit code 0\nNo output."
    assert seat.text("shell", command="kill -9 $$") == "Killed by signal 9 (SIGKILL)\nNo output."
    assert seat.text("shell", command="cat") == "Exit code 0\nNo output."
    assert seat.text("shell", command="echo $SYMPHONY_ARTIFACTS").endswith("/artifacts\n")


def test_a_long_output_is_cut_in_the_middle(seat: Seat) -> None:
    told = seat.text("shell", command="echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo last")
    assert told.startswith("Exit code 0\nOutput:\nfirst\n") and told.endswith("\nlast\n")
    assert "bytes left out" in told
    assert len(told) < 40_000


def test_a_command_outlives_its_call_and_is_asked_again(seat: Seat) -> None:
    go = seat.workspace / "go"
    told = seat.text("shell", command=f"echo one; until [ -e {go} ]; do sleep 0.01; done; echo two; exit 4", wait_ms=300)
    assert "Still running after 0.3 s as process" in told and "Output:\none\n" in told
    name = session_of(told)
    assert "No output." in seat.text("shell", session=name, wait_ms=0)
    go.touch()
    assert seat.text("shell", session=name) == "Exit code 4\nOutput:\ntwo\n"
    assert f"There is no session '{name}'" in seat.text("shell", session=name)


def test_a_session_that_nobody_asks_is_not_blocked(seat: Seat) -> None:
    go, done = seat.workspace / "go", seat.workspace / "done"
    told = seat.text(
        "shell",
        command=f"until [ -e {go} ]; do sleep 0.01; done; head -c 3000000 /dev/zero | tr '\\0' x; touch {done}",
        wait_ms=0,
    )
    go.touch()
    wait_until(done.exists)
    assert "Exit code 0" in seat.text("shell", session=session_of(told))


def test_a_session_takes_input_interrupts_and_its_end(seat: Seat) -> None:
    told = seat.text("shell", command="while read line; do echo got $line; done; echo over", input="one\n", wait_ms=200)
    name = session_of(told)
    assert "got one\n" in told
    assert "got two\n" in seat.text("shell", session=name, input="two\n", wait_ms=200)
    assert seat.text("shell", session=name, input="three\n\x04") == "Exit code 0\nOutput:\ngot three\nover\n"
    name = session_of(
        seat.text("shell", command="trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done", wait_ms=300)
    )
    assert seat.text("shell", session=name, input="\x03") == "Exit code 5\nOutput:\ncaught\n"
    name = session_of(seat.text("shell", command="trap '' INT TERM; sleep 600", wait_ms=100))
    assert "Killed by signal 9" in seat.text("shell", session=name, input="\x1c")


def test_input_that_cannot_be_sent_is_told(seat: Seat) -> None:
    name = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    assert "standard input is closed" in seat.text("shell", session=name, input="x", wait_ms=0)
    name = session_of(seat.text("shell", command="sleep 600", input="", wait_ms=0))
    assert "Still running" in seat.text("shell", session=name, input="x" * (1 << 20), wait_ms=0)
    assert "more than 1 MiB" in seat.text("shell", session=name, input="x" * (1 << 20), wait_ms=0)
    told = seat.text("shell", command="exec <&-; sleep 0.3; echo done", input="x" * 500_000)
    assert told.endswith("Exit code 0\nOutput:\ndone\n")


def test_large_input_reaches_a_slow_reader(seat: Seat) -> None:
    assert (
        seat.text("shell", command="sleep 0.2; wc -c", input="x" * 1_000_000 + "\x04") == "Exit code 0\nOutput:\n1000000\n"
    )


def test_a_daemon_that_keeps_the_pipe_does_not_keep_the_call(seat: Seat) -> None:
    word = mark()
    began = time.monotonic()
    chatter = shlex.join(
        [sys.executable, "-I", "-S", "-c", "import time\nwhile 1: print('x' * 70000, flush=True); time.sleep(0.01)", word]
    )
    told = seat.text("shell", command=f"{chatter} & echo done")
    assert time.monotonic() - began < 10 and told.startswith("Exit code 0") and "done" in told
    assert alive(word)
    seat.sessions.close()
    wait_until(lambda: not alive(word), what="its end by a closed pipe")


def test_too_many_sessions_are_refused(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_room, "MOST_COMMANDS", 2)
    first = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    second = session_of(seat.text("shell", command="true; sleep 0.1", wait_ms=0))
    wait_until(lambda: seat.sessions.get(second).finished.is_set())  # type: ignore[union-attr]
    third = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    assert seat.sessions.names() == [first, third]
    said = seat.text("shell", command="sleep 600", wait_ms=0)
    assert said.startswith("Nothing was started") and first in said and third in said


def test_closing_a_desk_ends_its_commands(seat: Seat) -> None:
    word, stubborn = mark(), mark()
    seat.text("shell", command=f": {word}; sleep 600; true", wait_ms=100)
    seat.text("shell", command=f"trap '' TERM; : {stubborn}; while :; do sleep 0.05; done", wait_ms=100)
    assert alive(word) and alive(stubborn)
    seat.sessions.close()
    wait_until(lambda: not alive(word) and not alive(stubborn))
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "command-reader"])


def test_a_call_ends_when_the_work_must(seat: Seat) -> None:
    timer = threading.Timer(0.3, lambda: setattr(seat, "stop", "the issue was cancelled"))
    timer.start()
    began = time.monotonic()
    assert "the work is being stopped: the issue was cancelled" in seat.text("shell", command="sleep 600", wait_ms=600_000)
    assert time.monotonic() - began < 10


def test_a_silent_command_gives_signs_of_life(seat: Seat) -> None:
    seat.text("shell", command="sleep 1.2; echo; sleep 1.2")
    assert set(seat.heard) == {"waiting", "output"}


def test_frozen_time_does_not_count(seat: Seat) -> None:
    word = mark()
    answers: list[str] = []
    thread = threading.Thread(
        target=lambda: answers.append(seat.text("shell", command=f": {word}; sleep 600; true", wait_ms=1500))
    )
    thread.start()
    wait_until(lambda: alive(word))
    seat.tree.freeze()
    assert states(word) <= {"T"}
    time.sleep(1.6)  # what is tested is that this time does not count
    assert not answers
    seat.tree.thaw()
    thread.join(20)
    assert "Still running after" in answers[0]


def test_a_killed_tree_ends_the_run_and_not_only_the_call(seat: Seat) -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            seat.text("shell", command="sleep 600", wait_ms=600_000)
        except BaseException as error:
            raised.append(error)

    name = session_of(seat.text("shell", command="sleep 600", wait_ms=0))
    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: len(seat.sessions._served) == 2)
    seat.tree.kill()
    thread.join(20)
    assert [type(error) for error in raised] == [Cancelled]
    for tool, arguments in (
        ("shell", {"session": name}),
        ("shell", {"command": "true"}),
        ("read_file", {"path": "a"}),
        ("nope", {}),
    ):
        with pytest.raises(Cancelled):
            seat.call(tool, **arguments)
    seat.sessions.close()


def test_a_tree_over_its_limit_ends_the_run(guardian: Guardian, tmp_path: Path) -> None:
    with guardian.tree(mark(), limits=Limits(processes=20)) as tree:
        seat = Seat(tmp_path, tree)
        with pytest.raises(Transient) as raised:
            seat.text("shell", command="for i in $(seq 100); do sleep 600 & done; wait", wait_ms=60_000)
        assert raised.value.category == "processes"
        seat.sessions.close()


def test_what_cannot_be_started_is_answered(seat: Seat) -> None:
    assert seat.text("shell", command="x" * 200_000) == "The command was not started: Argument list too long: bash."
    seat.path = "/nowhere"
    assert seat.text("shell", command="true") == "The command was not started: No such file or directory: bash."
    seat.workspace.rmdir()
    assert "No such file or directory" in seat.text("shell", command="true")
    assert "No such file or directory" in seat.text("read_file", path="a")


def test_a_daemon_lives_until_the_tree_does_not(seat: Seat) -> None:
    word = mark()
    assert "Exit code 0" in seat.text("shell", command=shlex.join(daemon(word)))
    wait_until(lambda: alive(word))
    seat.tree.kill()
    assert not alive(word)


def test_waiting_for_a_silent_command_is_no_repetition(seat: Seat) -> None:
    """Rule: a long test suite that writes nothing may be asked again and again; each answer says how old it is."""
    name = session_of(seat.text("shell", command="sleep 60", wait_ms=0))
    answers = {seat.text("shell", session=name, wait_ms=1_100) for _ in range(2)}
    assert len(answers) == 2 and all("since its start" in answer for answer in answers)
