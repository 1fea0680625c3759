"""The agent of kind `command`: what its exits mean, what it is told, and which clock ends it."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from symphony.agents.command import CommandAgent
from symphony.agents.protocol import Asked, Assignment, Finished, Stopped, Turn
from symphony.domain.errors import ConfigError, Transient
from symphony.processes.guardian import Guardian, Limits, Tree
from symphony.telemetry.redaction import MASK, remember_secrets
from tests.conftest import wait_until
from tests.fakes.seen_processes import alive, daemon, mark

pytest_plugins = ["tests.fakes.repository_fixtures"]

LOG_LIMIT = 16 << 20
CHUNK = 65_536
DEADLINE_S = 30


@dataclass
class Seat:
    """A place where a command agent takes its turns."""

    tree: Tree
    folder: Path
    heard: list[str] = field(default_factory=list)
    stop_reason: Callable[[], str | None] = lambda: None
    bell: int | None = None
    on_sign: Callable[[], None] = lambda: None
    turn_timeout: timedelta = timedelta(seconds=60)
    stall_timeout: timedelta | None = timedelta(seconds=60)

    @property
    def log(self) -> Path:
        """The agent's log."""
        return self.folder / "logs" / "agents" / "DEMO-1.log"

    def turn(self, command: str, prompt: str = "Do it.") -> Turn:
        """Take a turn; one that does not end is a failure, not a hanging test."""
        answers: list[Turn | BaseException] = []

        def take() -> None:
            try:
                answers.append(CommandAgent(command).turn(self._assignment(prompt)))
            except BaseException as error:
                answers.append(error)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        thread.join(DEADLINE_S)
        if thread.is_alive():
            self.tree.kill()
            raise AssertionError("the turn does not end")
        (answer,) = answers
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _hear(self, sign: str) -> None:
        self.heard.append(sign)
        self.on_sign()

    def _assignment(self, prompt: str) -> Assignment:
        return Assignment(
            opening=prompt,
            news=None,
            workspace=self.folder,
            environment={"PATH": os.environ["PATH"]},
            tree=self.tree,
            log=self.log,
            turn_timeout=self.turn_timeout,
            stall_timeout=self.stall_timeout,
            heard=self._hear,
            stop_reason=lambda: self.stop_reason(),
            ring_at_change=self._ring_at_change,
        )

    def _ring_at_change(self, bell: int | None) -> None:
        self.bell = bell

    def stop(self, reason: str) -> None:
        """Ask the agent to stop, as a lease does."""
        assert self.bell is not None
        self.stop_reason = lambda: reason
        os.eventfd_write(self.bell, 1)


@pytest.fixture
def seat(tree: Tree, tmp_path: Path) -> Seat:
    """A seat in an empty folder."""
    return Seat(tree, tmp_path)


def test_exit_0_finishes_with_its_own_account(seat: Seat) -> None:
    assert seat.turn("echo one; echo two >&2") == Finished("one\ntwo")
    assert seat.log.read_bytes() == b"one\ntwo\n"
    assert seat.heard[0] == "started" and "output" in seat.heard


@pytest.mark.parametrize(
    ("command", "question"),
    [
        ("echo thinking; echo 'Which one?'", "Which one?"),
        ("printf 'Which one?'", "Which one?"),
        ("echo 'Which one?'; echo; echo '   '", "Which one?"),
        ("true", "The agent is blocked and did not say why."),
        (r"printf 'caf\351 or tea?'", "caf\ufffd or tea?"),
        ("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo 'After all that?'", "After all that?"),
    ],
)
def test_exit_75_asks_the_last_line(seat: Seat, command: str, question: str) -> None:
    assert seat.turn(f"{command}; exit 75") == Asked(question)


def test_secrets_are_not_in_a_question_an_account_or_an_error(seat: Seat) -> None:
    remember_secrets(["correct-horse-battery"])
    assert seat.turn("echo 'is correct-horse-battery right?'; exit 75") == Asked(f"is {MASK} right?")
    assert seat.turn("echo ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaa") == Finished(MASK)
    with pytest.raises(Transient) as raised:
        seat.turn("echo correct-horse-battery; exit 1")
    assert "horse" not in str(raised.value)


def test_secrets_are_not_in_the_log(seat: Seat) -> None:
    remember_secrets(["correct-horse-battery"])
    seat.turn(r"printf 'caf\351 correct-horse-'; sleep 0.3; printf 'battery\nghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaa'")
    assert seat.log.read_bytes() == b"caf\xe9 " + MASK.encode() + b"\n" + MASK.encode()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("echo broken; exit 3", "the agent exited with 3: broken"),
        ("exit 1", "the agent exited with 1"),
        ("echo last; kill -SEGV $$", "the agent was killed by signal 11: last"),
        ("kill -9 $$", "the agent was killed by signal 9"),
        ("no-such-agent", "exited with 127"),
    ],
)
def test_every_other_end_fails_the_attempt(seat: Seat, command: str, error: str) -> None:
    with pytest.raises(Transient, match=error):
        seat.turn(command)


def test_a_command_that_is_missing_is_named(seat: Seat) -> None:
    with pytest.raises(Transient, match="no-such-agent: command not found"):
        seat.turn("no-such-agent")


def test_without_a_shell_it_is_the_operators_mistake(seat: Seat, tmp_path: Path) -> None:
    assignment = seat._assignment("x")
    without = Assignment(
        **{**{n: getattr(assignment, n) for n in assignment.__slots__}, "environment": {"PATH": str(tmp_path)}}
    )
    with pytest.raises(ConfigError, match="bash"):
        CommandAgent("true").turn(without)


def test_a_long_prompt_arrives_whole(seat: Seat) -> None:
    prompt = "".join(f"{number:07} ä\n" for number in range(100_000))
    assert len(prompt.encode()) > 1 << 20
    seat.turn("cat > prompt.txt", prompt)
    assert (seat.folder / "prompt.txt").read_text() == prompt


def test_a_program_that_never_reads_its_prompt_ends_as_any_other(seat: Seat) -> None:
    assert seat.turn("echo done", "x" * (2 << 20)) == Finished("done")
    assert seat.turn("exec <&-; echo done", "x" * (2 << 20)) == Finished("done")


def test_an_empty_prompt_is_no_terminal_and_no_waiting(seat: Seat) -> None:
    assert seat.turn("wc -c", "") == Finished("0")


def test_a_hundred_megabytes_of_output_leave_a_bounded_log_and_the_last_line(seat: Seat) -> None:
    script = (
        "import sys\nline = b'x' * 1023 + b'\\n'\nsys.stdout.buffer.write(b'first\\n')\n"
        "for _ in range(100): sys.stdout.buffer.write(line * 1024)\nprint('last', flush=True)"
    )
    (seat.folder / "chatter.py").write_text(script)
    turn = seat.turn(f"{sys.executable} chatter.py")
    assert isinstance(turn, Finished)
    assert turn.account.startswith("first") and turn.account.endswith("last") and "bytes left out" in turn.account
    assert len(turn.account) < 40_000
    assert LOG_LIMIT <= seat.log.stat().st_size <= LOG_LIMIT + CHUNK
    with seat.log.open("rb") as log:
        assert log.read(1030) == b"first\n" + b"x" * 1023 + b"\n"


def test_the_logs_of_later_turns_follow_the_earlier(seat: Seat) -> None:
    seat.turn("echo one")
    seat.turn("echo two")
    assert seat.log.read_text() == "one\ntwo\n"


def test_a_silent_agent_stalls(seat: Seat) -> None:
    seat.stall_timeout = timedelta(seconds=0.7)
    with pytest.raises(Transient, match=r"stalled: nothing heard for 0\.7 s") as raised:
        seat.turn("echo a; exec sleep 600")
    assert raised.value.category == "stalled"


def test_an_agent_that_closes_its_output_is_watched_all_the_same(seat: Seat) -> None:
    seat.stall_timeout = timedelta(seconds=0.7)
    with pytest.raises(Transient, match="stalled"):
        seat.turn("exec > /dev/null 2>&1; sleep 600")


def test_a_chatty_agent_does_not_stall_but_its_turn_ends(seat: Seat) -> None:
    seat.stall_timeout, seat.turn_timeout = timedelta(seconds=1.5), timedelta(seconds=3)
    with pytest.raises(Transient, match="took longer than 3 s") as raised:
        seat.turn("while :; do echo .; sleep 0.2; done")
    assert raised.value.category == "turn_timeout"


def test_without_a_stall_timeout_silence_is_no_fault(seat: Seat) -> None:
    seat.stall_timeout = None
    assert seat.turn("sleep 1.2; echo done") == Finished("done")


def test_frozen_time_counts_toward_neither_clock(seat: Seat) -> None:
    seat.stall_timeout, seat.turn_timeout = timedelta(seconds=2), timedelta(seconds=3)

    def freeze() -> None:
        wait_until(lambda: "output" in seat.heard)
        seat.tree.freeze()
        try:
            wait_until(lambda: seat.tree.frozen_s > 4)
        finally:
            seat.tree.thaw()

    freezer = threading.Thread(target=freeze)
    freezer.start()
    assert seat.turn("echo started; sleep 0.5; echo done") == Finished("started\ndone")
    freezer.join()


def test_a_stopped_agent_may_clean_up(seat: Seat) -> None:
    watcher = threading.Thread(target=lambda: (wait_until(lambda: "output" in seat.heard), seat.stop("asked")))
    watcher.start()
    turn = seat.turn("trap 'echo bye > bye.txt; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    watcher.join()
    assert turn == Stopped()
    assert (seat.folder / "bye.txt").read_text() == "bye\n"


def test_an_agent_that_ignores_its_stop_is_left_to_the_tree(seat: Seat) -> None:
    watcher = threading.Thread(target=lambda: (wait_until(lambda: "output" in seat.heard), seat.stop("asked")))
    watcher.start()
    assert seat.turn("trap '' TERM; echo ready; while :; do sleep 0.05; done") == Stopped()
    watcher.join()


def test_a_silent_daemon_that_holds_the_pipe_does_not_hold_the_turn(seat: Seat) -> None:
    assert seat.turn("sleep 600 & echo done") == Finished("done")


def test_a_daemon_that_goes_on_writing_does_not_hold_the_turn(seat: Seat) -> None:
    """What it writes after the agent's exit is nobody's last words."""
    seat.on_sign = lambda: time.sleep(0.02)  # time enough to fill the pipe again
    assert isinstance(seat.turn("echo done; yes & sleep 0.5"), Finished)


def test_a_daemon_lives_until_its_tree_is_cleared(seat: Seat) -> None:
    word = mark()
    arguments = shlex.join(daemon(word))
    assert seat.turn(arguments) == Finished("")
    wait_until(lambda: alive(word))
    seat.tree.clear()
    assert not alive(word)


def test_the_limit_on_memory_is_said(guardian: Guardian, tmp_path: Path) -> None:
    with guardian.tree(f"memory-{tmp_path.name}", limits=Limits(memory_bytes=64 << 20)) as tree:
        with pytest.raises(Transient, match="the agent was ended: memory") as raised:
            Seat(tree, tmp_path).turn(f"exec {sys.executable} -c \"import time; x = b'x' * (256 << 20); time.sleep(600)\"")
        assert raised.value.category == "memory"


def test_the_limit_on_processes_is_said(guardian: Guardian, tmp_path: Path) -> None:
    with guardian.tree(f"processes-{tmp_path.name}", limits=Limits(processes=5)) as tree:
        with pytest.raises(Transient, match="the agent was ended: processes") as raised:
            Seat(tree, tmp_path).turn("for n in 1 2 3 4 5 6 7 8 9; do sleep 600 & done; wait")
        assert raised.value.category == "processes"
