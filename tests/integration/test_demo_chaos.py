"""`symphony demo --chaos` on a short story: at random from a seed without a terminal, and by the keys of a person at one."""

import fcntl
import os
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from symphony.domain.errors import ConfigError
from symphony.local.demo import chaos, run
from symphony.local.demo.chaos import Dice, Wish, source
from symphony.local.demo.replay import ReplayServer
from tests.conftest import wait_until
from tests.integration.up import of_home

SEED = 7
LIMIT_S = 200
PROGRAM = """
import sys
from symphony.local.demo import run
from symphony.local.demo.story import STORY
wanted, seed = sys.argv[1].split(","), int(sys.argv[2]) if sys.argv[2:] else None
sys.exit(run(tuple(issue for issue in STORY if issue.identifier in wanted), chaos=True, seed=seed))
"""
KILLED = re.compile(r"(worker-\d|control) \(pid \d+\) killed with SIGKILL")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def command(issues: str, *more: str) -> list[str]:
    return [sys.executable, "-P", "-c", PROGRAM, issues, *more]


def environment(temporary: Path, **more: str) -> dict[str, str]:
    dropped = ("SYMPHONY_", "OPENAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(temporary), **more}


def landed(said: str) -> set[str]:
    return set(re.findall(r"^(DEMO-\d+) +landed ", said, re.MULTILINE))


@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.parametrize(
    ("issues", "seed"), [("DEMO-1,DEMO-3", 31), pytest.param("DEMO-1,DEMO-3,DEMO-7", SEED, marks=pytest.mark.chaos)]
)
def test_everything_lands_whatever_a_seed_does_to_it(issues: str, seed: int, tmp_path: Path) -> None:
    done = subprocess.run(
        command(issues, str(seed)),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        check=False,
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert landed(said) == set(issues.split(",")) and "✗" not in said
    assert f"--seed {seed}` repeats it" in said
    listed = said.partition("What was done to it meanwhile:")[2].partition("issue ")[0]
    assert KILLED.search(listed) and "FLUSHALL (" in listed and "PostgreSQL (postmaster" in listed, said
    assert all(re.match(r" +\d+\.\d s  ", line) for line in listed.strip("\n").splitlines()), listed
    assert list(tmp_path.iterdir()) == [] and of_home(tmp_path) == []


class Seat:
    """A person at a terminal: what stands on it, without its escapes, and keys pressed on it."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._said = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        return ESCAPES.sub("", self._said.decode(errors="replace")).replace("\r", "")

    def press(self, key: str, until: re.Pattern[str]) -> None:
        """Press a key until what it does is seen: it may be too early for it."""
        before = len(until.findall(self.said))
        for _ in range(60):
            refused = self.said.count(f"{key}: not now")
            os.write(self._terminal, key.encode())
            wait_until(
                lambda: len(until.findall(self.said)) > before or self.said.count(f"{key}: not now") > refused,  # noqa: B023
                timeout_s=LIMIT_S,
                what=f"an answer to {key}",
            )
            if len(until.findall(self.said)) > before:
                return
        raise AssertionError(self.said)

    def _read(self) -> None:
        with suppress(OSError):
            while piece := os.read(self._terminal, 65536):
                self._said += piece


@contextmanager
def at_a_terminal(
    arguments: list[str], env: dict[str, str], cwd: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Seat, int]]:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    process = subprocess.Popen(
        arguments,
        env={**env, "TERM": "xterm"},
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        yield process, Seat(ours), theirs
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        os.close(theirs)
        os.close(ours)


@pytest.mark.timeout(LIMIT_S * 2)
def test_keys_do_it_at_a_terminal_and_any_endpoint_will_do(tmp_path: Path) -> None:
    with ReplayServer() as endpoint:
        key = {"OPENAI_API_KEY": "sk-a-key-of-the-users-own", "OPENAI_BASE_URL": endpoint.url}
        arguments, env = command("DEMO-1,DEMO-3"), environment(tmp_path, **key)
        with at_a_terminal(arguments, env, tmp_path) as (process, seat, terminal):
            before = termios.tcgetattr(terminal)
            wait_until(lambda: "its agent works" in seat.said or process.poll() is not None, timeout_s=LIMIT_S)
            assert process.poll() is None, seat.said
            seat.press("f", re.compile(r"FLUSHALL \(\d+ keys\)"))
            seat.press("k", KILLED)
            seat.press("p", re.compile(r"PostgreSQL \(postmaster, pid \d+\)"))
            assert process.wait(LIMIT_S) == 0, seat.said
            wait_until(lambda: "--keep" in seat.said.partition("All as the story says")[2], what="the end")
            assert termios.tcgetattr(terminal) == before
            said = seat.said
    assert said.count(f"Model: gpt-6.2-sol at {endpoint.url}") == 2 and "It cost $" in said, said
    assert "recorded model, offline" not in said and "of-the-users-own" not in said
    assert landed(said) == {"DEMO-1", "DEMO-3"}
    assert list(tmp_path.iterdir()) == [] and of_home(tmp_path) == []


def test_a_seed_repeats_its_deeds_and_another_one_does_others() -> None:
    plans = [Dice(seed).plan for seed in (SEED, SEED, SEED + 1)]
    assert plans[0] == plans[1] != plans[2]
    assert sorted(wish.key for _, wish in plans[0]) == ["f", "f", "k", "k", "p", "p"]
    assert {wish.key for _, wish in plans[0][:3]} == {"k", "f", "p"}
    assert [at for at, _ in plans[0]] == sorted(at for at, _ in plans[0])


def test_dice_wait_until_an_agent_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "_FIRST_S", 0.0)
    monkeypatch.setattr(chaos, "_GAP_S", (0.01, 0.02))
    dice = Dice(SEED)
    assert dice.next() is None
    dice.begin()
    wait_until(lambda: dice.next() == dice.plan[0][1], what="the first wish")


def test_without_a_terminal_it_is_dice() -> None:
    assert isinstance(source(None, is_terminal=False), Dice)
    assert isinstance(source(3, is_terminal=True), Dice)


@pytest.mark.parametrize(("insists", "deeds"), [(True, 1), (False, 0)])
def test_dice_insist_on_a_deed_and_a_person_is_told_that_it_is_too_early(
    monkeypatch: pytest.MonkeyPatch, insists: bool, deeds: int
) -> None:
    done = iter([None, None, "it is done"])
    monkeypatch.setitem(chaos._DEEDS, "p", lambda *_: next(done))
    stop, said = threading.Event(), []

    def say(_who: str, words: str, _style: str) -> None:
        said.append(words)
        stop.set()

    wishes: Any = SimpleNamespace(insists=insists, next=lambda: Wish("p", 0.5))
    wreaker = chaos.Chaos(wishes, say)
    up: Any = None
    wreaker.run(up, stop)
    assert wreaker.failure is None and len(wreaker.deeds) == deeds
    assert said == (["it is done"] if insists else ["p: not now, the last deed has not been got over"])


def test_a_seed_without_chaos_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="--chaos"):
        run(seed=1)
