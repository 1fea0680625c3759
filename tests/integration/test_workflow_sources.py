"""Workflows that lie in a repository: added, read again, kept when they break."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.engine import poll as polling
from symphony.engine import sources
from symphony.engine.deployment import Deployment
from symphony.ledger import processes, workflows
from symphony.ledger.database import Database
from symphony.ledger.records import WorkflowRow
from symphony.processes.guardian import Guardian
from symphony.settings import Settings
from tests.fakes.command import Command

TEXT = "---\nname: stored\ntracker: {kind: files, provider: {path: /}}\nagent: {kind: command, command: ls}\n---\nDo it\n"


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    guardian = Guardian.start()
    yield guardian
    guardian.close()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", str(place)], check=True)
    commit(place, TEXT)
    return place


def commit(place: Path, text: str) -> None:
    (place / "WORKFLOW.md").write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(place), "add", "-A"], check=True)
    subprocess.run(["git", "-C", str(place), *who, "commit", "-qm", "change"], check=True)


def test_a_repository_is_served_and_read_again(
    database_url: str, repository: Path, tmp_path: Path, guardian: Guardian, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    home = tmp_path / "home"
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setenv("SYMPHONY_HOME", str(home))
    symphony = Command(capsys)
    assert symphony("workflow", "add", str(repository), "--branch", "nope").code == 2
    assert symphony("workflow", "add", str(repository), "--branch", "main", "--path", "none.md").code == 2
    said = symphony("workflow", "add", str(repository), "--branch", "main")
    assert (said.code, said.out) == (0, "stored is served permanently\n"), said.err
    database = Database(database_url, pool_size=1)

    def row() -> WorkflowRow:
        return database.transact(lambda t: workflows.served(t))[0]

    def refresh() -> bool:
        return sources.refresh_git_workflow(database, guardian, row(), home=home)

    assert not refresh()
    commit(repository, TEXT.replace("Do it", "Do it well"))
    assert refresh() and row().content.endswith("Do it well\n")
    commit(repository, "---\ntracker: [\n---\n")
    assert not refresh() and row().load_error is not None and row().content.endswith("Do it well\n")
    commit(repository, TEXT.replace("Do it", "Do it well"))
    assert not refresh() and row().load_error is None
    database.close()


def test_a_repository_that_hangs_is_waited_for_by_one_poll(
    database_url: str, repository: Path, tmp_path: Path, guardian: Guardian
) -> None:
    """Rule: one poller a workflow, its reading included: the others' threads are for what else there is to do."""
    deployment = Deployment(Database(database_url, pool_size=4), Settings(home=tmp_path / "home"), "node-1", environ={})
    with guardian.tree("add") as tree:
        loaded = sources.read(tree, source := sources.GitSource(str(repository), "main", "WORKFLOW.md"), home=tmp_path)
    known = deployment.database.transact(lambda t: sources.store(t, loaded, source, home=tmp_path))
    deployment.database.transact(
        lambda t: processes.register(t, process_id=deployment.process_id, node="node-1", pid=1, queues=["control"], slots=0)
    )
    reading, answered = threading.Event(), threading.Event()

    def hangs(row: WorkflowRow) -> WorkflowRow:
        reading.set()
        assert answered.wait(30)
        return sources.refreshed(deployment, guardian, row)

    commit(repository, TEXT.replace("Do it", "Do it well"))
    first = threading.Thread(target=lambda: polling.poll(deployment, known, hangs), daemon=True)
    first.start()
    assert reading.wait(30)
    deployment.database.transact(lambda t: workflows.poll_soon(t, known))
    assert polling.poll(deployment, known, lambda row: pytest.fail("read a second time")) is False
    answered.set()
    first.join(30)
    (row,) = deployment.database.transact(workflows.served)
    assert row.content.endswith("Do it well\n") and row.polled_at is not None, row
    deployment.database.close()
