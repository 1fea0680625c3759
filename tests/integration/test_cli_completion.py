"""Shell completion: bash's own machinery on the real script, candidates from a real ledger, silence without one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.cli import completion
from symphony.ledger.database import Database
from tests.fakes.board import Board
from tests.fakes.command import Command

PROGRAM = f"#!{sys.executable}\nimport sys\nfrom symphony.cli.main import main\nmain()\n"
TAB = """
source <(symphony --show-completion bash)
complete -p symphony >/dev/null || exit 9
COMP_WORDS=({words}); COMP_CWORD={at}; _symphony_completion symphony; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "symphony").write_text(PROGRAM)
    (tmp_path / "bin" / "symphony").chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SYMPHONY_HOME": str(tmp_path / "home"),
    }


def tab(environment: dict[str, str], *words: str) -> tuple[list[str], str]:
    """Press TAB in bash after these words."""
    quoted = " ".join(f"'{word}'" for word in ("symphony", *words))
    script = TAB.format(words=quoted, at=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return [word for word in done.stdout.splitlines() if word], done.stderr


@pytest.fixture
def board(database_url: str, tmp_path: Path) -> Iterator[Board]:
    database = Database(database_url, pool_size=1)
    yield Board.make(database, tmp_path)
    database.close()


def test_bash_completes_verbs_and_issues_of_the_ledger(
    board: Board, shell: dict[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEMO-1", "DEMO-2", "OPS-7"):
        board.see(name)
    shell["SYMPHONY_DATABASE_URL"] = database_url
    found, said = tab(shell, "canc")
    assert (found, said) == (["cancel"], "")
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setattr(completion, "_PATIENCE_S", 20.0)
    assert sorted(completion.issues("demo-")) == ["DEMO-1", "DEMO-2"]
    assert completion.workflows("p") == ["payments"] and completion.workflows("x") == []


def test_bash_gets_nothing_and_hears_nothing_without_a_ledger(shell: dict[str, str]) -> None:
    assert tab(shell, "why", "DE") == ([], "")


def test_a_ledger_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(completion, "_ask_ledger", lambda _what: ["LATE-1"] if answers.wait(60) else [])
    assert completion.issues("") == []
    assert not answers.is_set()
    answers.set()


@pytest.mark.parametrize(("given", "shell_name"), [("zsh", "zsh"), ("fish", "fish"), ("bash", "bash")])
def test_scripts_are_installed_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, shell_name: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    start_up = {"bash": ".bashrc", "zsh": ".zshrc"}.get(given)
    if start_up:
        (tmp_path / start_up).write_text("alias x=y")
    symphony = Command(capsys)
    said = [symphony("--install-completion", given), symphony(f"--install-completion={given}")]
    assert {one.code for one in said} == {0} and f"completion for {shell_name} is in" in said[0].out
    if start_up:
        lines = (tmp_path / start_up).read_text().splitlines()
        assert lines[0] == "alias x=y" and len(lines) == 2
    assert symphony("--show-completion", given).out == completion.SCRIPTS[given]


def test_an_unknown_shell_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    said = Command(capsys)("--show-completion", "tcsh")
    assert (said.code, said.out) == (2, "") and "tcsh is no shell" in said.err
