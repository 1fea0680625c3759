"""Specification 17.7: the command and the life of its host, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from symphony.local import leftovers
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
WORKFLOW = """\
---
name: {name}
tracker: {{kind: files}}
polling: {{interval_ms: 500}}
agent: {{kind: command, command: "true"}}
---
Do {{{{ issue.title }}}}
"""
WORKS_S = 90


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    (place / "issues").mkdir(parents=True)
    (place / "WORKFLOW.md").write_text(WORKFLOW.format(name="default"))
    return place


@contextmanager
def symphony(folder: Path, *arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command; at the end of the block nothing of it is left."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SYMPHONY_")}
    home = folder.parent / "home"
    process = subprocess.Popen(
        [sys.executable, "-m", "symphony", *arguments],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(ROOT), "SYMPHONY_HOME": str(home), "HOME": str(folder.parent)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        leftovers.end(leftovers.marked(home), signal.SIGKILL, grace_s=5)


@pytest.mark.conformance("17.7", "CLI accepts a positional workflow path argument")
def test_a_positional_path_is_served(folder: Path, database_url: str, broker_url: str) -> None:
    other = folder / "OTHER.md"
    other.write_text(WORKFLOW.format(name="other"))
    (folder / "WORKFLOW.md").write_text("---\nbroken: [\n---\n")
    env = {"SYMPHONY_DATABASE_URL": database_url, "SYMPHONY_BROKER_URL": broker_url}
    with symphony(folder, "OTHER.md", "--until-idle", "--no-view", **env) as process:
        out, err = process.communicate(timeout=WORKS_S)
        assert process.returncode == 0, err
    assert "nothing is left to do" in out


@pytest.mark.conformance("17.7", "CLI uses `./WORKFLOW.md` when no workflow path argument is provided")
@pytest.mark.conformance("17.7", "CLI exits with success when application starts and shuts down normally")
def test_the_default_file_is_served_and_a_stop_is_a_success(folder: Path, database_url: str, broker_url: str) -> None:
    env = {"SYMPHONY_DATABASE_URL": database_url, "SYMPHONY_BROKER_URL": broker_url}
    with symphony(folder, "--no-view", **env) as process:
        home = folder.parent / "home"
        wait_until(lambda: (home / "logs" / "beat.log").exists() or process.poll() is not None, what="children")
        with symphony(folder, "status", **env) as looking:
            assert "default: served" in looking.communicate(timeout=30)[0]
        with symphony(folder, "down") as ending:
            assert ending.wait(WORKS_S) == 0
        assert process.wait(30) == 0
        assert leftovers.marked(home) == []


@pytest.mark.conformance("17.7", "CLI errors on nonexistent explicit workflow path or missing default `./WORKFLOW.md`")
@pytest.mark.parametrize("arguments", [("none/WORKFLOW.md",), ()])
def test_a_missing_file_is_an_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    with symphony(tmp_path / "empty", *arguments) as process:
        _, err = process.communicate(timeout=30)
        assert process.returncode == 2
    assert "does not exist" in err and "WORKFLOW.md" in err and "Traceback" not in err


@pytest.mark.conformance("17.7", "CLI surfaces startup failure cleanly")
@pytest.mark.conformance("17.7", "CLI exits nonzero when startup fails or the host process exits abnormally")
def test_a_failing_start_is_a_sentence(folder: Path, broker_url: str) -> None:
    env = {"SYMPHONY_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "SYMPHONY_BROKER_URL": broker_url}
    with symphony(folder, "--no-view", **env) as process:
        _, err = process.communicate(timeout=WORKS_S)
        assert process.returncode == 2
    assert "SYMPHONY_DATABASE_URL" in err and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.conformance("17.7", "CLI exits nonzero when startup fails or the host process exits abnormally")
def test_an_abnormal_end_is_not_a_success(folder: Path, database_url: str, broker_url: str) -> None:
    env = {"SYMPHONY_DATABASE_URL": database_url, "SYMPHONY_BROKER_URL": broker_url}
    with symphony(folder, "--no-view", **env) as process:
        wait_until(lambda: (folder.parent / "home" / "logs" / "beat.log").exists(), what="children")
        process.kill()
        assert process.wait(10) != 0
