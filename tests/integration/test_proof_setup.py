"""Setups: real dependencies of pip and npm, made once by the target's files, never touched by a candidate."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.ledger.records import Run
from symphony.processes.guardian import Guardian
from tests.conftest import wait_until
from tests.fakes.packages import tarball, wheel
from tests.fakes.repositories import Repository
from tests.integration.stage_bench import ISSUE, Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]


def settings_of(folder: Path, setup: str, check: str, *cache: str) -> dict[str, Any]:
    """Give sections with a setup that counts how often it runs in `folder`/setups, and one check."""
    counted = f"echo ran >> {folder}/setups && {setup}"
    wanted: dict[str, Any] = {"run": counted, "cache": list(cache)}
    return {"proof": {"setup": wanted, "checks": [{"name": "tests", "run": check}]}}


def runs_of_setup(folder: Path) -> int:
    """Say how often the setup has run."""
    path = folder / "setups"
    return len(path.read_text().splitlines()) if path.exists() else 0


def land_next(work: Bench, issue: str, agent: str) -> Run:
    """Bring a new issue to its end."""
    work.agent(agent)
    work.tracker.put(issue)
    work.board.poll()
    work.board.admit()
    run = work.board.run(issue)
    while run.state in {RunState.QUEUED, RunState.WAITING} and not run.rework_rounds and run.waiting_for is None:
        run = step(work, issue)
    return run


def step(work: Bench, issue: str) -> Run:
    """Execute the next stage of an issue."""
    from symphony.engine.execute import execute
    from symphony.stages.table import STAGES

    run = work.board.run(issue)
    if run.state is RunState.WAITING:
        run = work.board.due(issue)
    settled = execute(work.deployment, work.guardian, work.keeper, run.id, run.stage, STAGES[run.stage])
    assert settled is not None
    return settled


def setups_shown(work: Bench, issue: str) -> list[tuple[str, bool]]:
    """Give verdict and origin of the setups in an issue's newest proof."""
    rows = work.board.sql(
        "SELECT checks FROM proofs p JOIN runs r ON r.id = p.run_id JOIN issues i ON i.id = r.issue_id "
        "WHERE i.identifier = %(issue)s ORDER BY p.id DESC LIMIT 1",
        issue=issue,
    )
    return [(check["verdict"], check.get("cached", False)) for check in rows[0][0] if check["name"] == "setup"]


def test_a_python_repository_with_dependencies_lands_and_installs_them_once(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "greeting", "1.0", says="hello")
    repository.person.commit({
        "requirements.txt": "greeting==1.0\n", ".gitignore": "__pycache__/\n.venv/\n",
        "app.py": "from greeting import hello\n\n\ndef loud():\n    return hello().upper()\n",
        "tests/__init__.py": "",
        "tests/test_app.py": "import unittest\n\nfrom app import loud\n\n\nclass Loud(unittest.TestCase):\n"
        "    def test_loud(self):\n        self.assertEqual(loud(), 'HELLO')\n",
    })  # fmt: skip
    repository.person.push()
    setup = (
        f"{sys.executable} -m venv --without-pip .venv && {sys.executable} -m pip --python .venv/bin/python install -q"
        f" --no-index --find-links {wheels} -r requirements.txt"
    )
    # A command of the environment names its interpreter by an absolute path.
    check = (
        '.venv/bin/greeting && head -2 .venv/bin/greeting | grep -qF "$PWD/.venv/bin/python"'
        " && .venv/bin/python -m unittest -q"
    )
    sections = settings_of(tmp_path, setup, check, "requirements.txt")
    environ = {"HOME": str(tmp_path), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with bench(database_url, tmp_path, guardian, sections=sections, environ=environ) as work:
        run = land_next(work, "DEMO-1", "printf 'def quiet():\\n    return hello().lower()\\n' >> app.py")
        assert run.state is RunState.LANDED, run.feedback or run.waiting_for
        assert (runs_of_setup(tmp_path), setups_shown(work, "DEMO-1")) == (1, [("passed", True)])
        run = land_next(work, "DEMO-2", "echo more > more.txt")
        assert run.state is RunState.LANDED, run.feedback or run.waiting_for
        assert (runs_of_setup(tmp_path), setups_shown(work, "DEMO-2")) == (1, [("passed", True)])
        # Another version of a dependency: the candidate's own setup, which the next candidate does not get.
        wheel(wheels, "greeting", "2.0", says="Hello")
        run = land_next(work, "DEMO-3", "echo greeting==2.0 > requirements.txt")
        assert run.state is RunState.LANDED, run.feedback or run.waiting_for
        assert (runs_of_setup(tmp_path), setups_shown(work, "DEMO-3")) == (2, [("passed", False)])
        run = land_next(work, "DEMO-4", "echo x > x.txt")
        assert run.state is RunState.LANDED, run.feedback or run.waiting_for
        assert (runs_of_setup(tmp_path), setups_shown(work, "DEMO-4")) == (3, [("passed", True)])
        assert not list((tmp_path / "home" / "checkouts").iterdir())


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm here")
def test_a_node_repository_with_dependencies_lands_and_installs_them_once(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    package = tarball(tmp_path / "tarballs", "greeting", "1.0.0", says="hello")
    environ = {"HOME": str(tmp_path / "npm"), "LANG": "C.UTF-8"}
    (tmp_path / "npm").mkdir()
    manifest = (
        '{"name": "app", "version": "1.0.0", "private": true, "scripts": {"test": "greeting && node --test"},'
        f' "dependencies": {{"greeting": "file:{package}"}}}}\n'
    )
    clone = repository.person.clone
    (clone / "package.json").write_text(manifest)
    subprocess.run(
        ["npm", "install", "--package-lock-only", "--offline", "--no-audit", "--no-fund"], cwd=clone, check=True,
        env={"PATH": os.environ["PATH"], **environ}, capture_output=True,
    )  # fmt: skip
    repository.person.commit({
        ".gitignore": "node_modules/\n",
        "app.js": "const { hello } = require('greeting');\nexports.loud = () => hello().toUpperCase();\n",
        "app.test.js": "const test = require('node:test');\nconst assert = require('node:assert');\n"
        "const { loud } = require('./app.js');\ntest('loud', () => assert.equal(loud(), 'HELLO'));\n",
    })  # fmt: skip
    repository.person.push()
    sections = settings_of(tmp_path, "npm ci --offline --no-audit --no-fund", "npm test", "package-lock.json")
    with bench(database_url, tmp_path, guardian, sections=sections, environ=environ) as work:
        for number, agent in enumerate(("echo '// more' >> app.js", "echo one > one.txt"), 1):
            run = land_next(work, f"DEMO-{number}", agent)
            assert run.state is RunState.LANDED, run.feedback or run.waiting_for
            assert (runs_of_setup(tmp_path), setups_shown(work, f"DEMO-{number}")) == (1, [("passed", True)])
        log = next((tmp_path / "home" / "logs" / "proofs").glob("*/*-tests.log")).read_text()
        assert "hello" in log and "pass 1" in log


@pytest.fixture
def counted(tmp_path: Path) -> dict[str, Any]:
    """Sections whose setup makes a folder `deps` that says where it lies."""
    return settings_of(
        tmp_path, "mkdir deps && pwd > deps/where && cp lock deps/lock && chmod -w deps/where && ln -s \"$PWD/deps/lock\" deps/link",
        f"test \"$(cat deps/where)\" = \"$PWD\" && cmp lock deps/link && . {tmp_path}/check.sh", "lock", "*.lock",
    )  # fmt: skip


@pytest.fixture
def locked(repository: Repository) -> Repository:
    """A repository with a file that decides about its setup."""
    repository.person.commit({"lock": "1\n"})
    repository.person.push()
    return repository


def test_a_candidate_writes_into_its_own_copy_only(
    database_url: str, tmp_path: Path, guardian: Guardian, locked: Repository, counted: dict[str, Any]
) -> None:
    with bench(database_url, tmp_path, guardian, sections=counted) as work:
        work.check("chmod -R u+w deps; echo poison > deps/lock; echo poison > deps/more; rm deps/link")
        assert land_next(work, "DEMO-1", "echo a > a").state is RunState.LANDED
        work.check("cmp lock deps/lock && ! test -e deps/more")
        assert land_next(work, "DEMO-2", "echo b > b").state is RunState.LANDED
    assert runs_of_setup(tmp_path) == 1


@pytest.mark.parametrize(
    "agent", ["echo 2 > lock", "echo x > new.lock", "git rm -q --cached lock; rm lock; mkdir lock; echo 1 > lock/a"]
)
def test_a_candidate_that_changes_what_decides_runs_its_own_setup_and_keeps_nothing(
    database_url: str, tmp_path: Path, guardian: Guardian, locked: Repository, counted: dict[str, Any], agent: str
) -> None:
    with bench(database_url, tmp_path, guardian, sections=counted) as work:
        work.agent(agent)
        work.bring(Stage.PROOF)
        work.step()
        assert not [path for path in (tmp_path / "home" / "setups").glob("*") if path.is_dir()]
        assert ("passed", True) not in setups_shown(work, ISSUE)


@pytest.mark.parametrize("agent", ["mkdir deps; echo mine > deps/lock", "ln -s /etc deps", "echo mine > deps"])
def test_a_candidate_in_whose_way_a_kept_setup_lies_keeps_its_files(
    database_url: str, tmp_path: Path, guardian: Guardian, locked: Repository, counted: dict[str, Any], agent: str
) -> None:
    """Its own setup runs, and fails here; what matters is that nothing was written over, or through a link."""
    with bench(database_url, tmp_path, guardian, sections=counted) as work:
        land_next(work, "DEMO-1", "echo a > a")
        run = land_next(work, "DEMO-2", agent)
        assert run.rework_rounds == 1 and run.feedback is not None and "check `setup`" in run.feedback
        assert land_next(work, "DEMO-3", "echo c > c").state is RunState.LANDED
    assert not Path("/etc/where").exists()


def test_a_setup_that_changes_files_of_the_repository_is_not_kept(
    database_url: str, tmp_path: Path, guardian: Guardian, locked: Repository
) -> None:
    sections = settings_of(tmp_path, "echo generated > README.md", "grep -q generated README.md", "lock")
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        for number in (1, 2):
            assert land_next(work, f"DEMO-{number}", f"echo a > {number}").state is RunState.LANDED
        assert setups_shown(work, "DEMO-2") == [("passed", False)]


def test_proofs_at_once_make_it_once(database_url: str, tmp_path: Path, guardian: Guardian, locked: Repository) -> None:
    setup = f"until test -e {tmp_path}/go; do sleep 0.02; done; mkdir deps"
    sections = settings_of(tmp_path, setup, "test -d deps", "lock")
    sections["proof"]["concurrency"] = 3
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        for number in (1, 2, 3):
            work.agent(f"echo a > {number}")
            work.tracker.put(f"DEMO-{number}")
            work.board.poll()
            work.board.admit()
            step(work, f"DEMO-{number}")
            step(work, f"DEMO-{number}")
        threads = [threading.Thread(target=step, args=(work, f"DEMO-{number}")) for number in (1, 2, 3)]
        for thread in threads:
            thread.start()
        checkouts = tmp_path / "home" / "checkouts"
        wait_until(lambda: checkouts.exists() and len(list(checkouts.iterdir())) == 4, what="three proofs and one setup")
        (tmp_path / "go").touch()
        for thread in threads:
            thread.join(30)
        assert runs_of_setup(tmp_path) == 1
        assert [work.board.run(f"DEMO-{number}").stage for number in (1, 2, 3)] == [Stage.LAND] * 3


def test_a_setup_that_is_red_on_the_target_costs_no_rework(
    database_url: str, tmp_path: Path, guardian: Guardian, locked: Repository
) -> None:
    (tmp_path / "registry").touch()
    sections = settings_of(tmp_path, f"mkdir deps && test -e {tmp_path}/registry", "true", "lock")
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        assert land_next(work, "DEMO-1", "echo a > a").state is RunState.LANDED
        (tmp_path / "registry").unlink()
        # The target's is known and good, but a candidate with a setup of its own is not to blame for a dead registry.
        run = land_next(work, "DEMO-2", "echo 2 > lock")
        assert (run.state, run.stage, run.rework_rounds) == (RunState.WAITING, Stage.PROOF, 0)
        assert run.waiting_for == "setup fails on `main` itself"
        (tmp_path / "registry").touch()
        assert step(work, "DEMO-2").stage is Stage.LAND
        assert work.board.sql("SELECT flaky FROM proofs ORDER BY id DESC LIMIT 1")[0][0] == ["setup"]
