"""Fixtures: homes whose database is made already. Named in `pytest_plugins`, never imported."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from symphony.local.home import Home
from symphony.local.postgres import PostgresServer


@pytest.fixture(scope="session")
def pristine_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database was made and never used."""
    path = tmp_path_factory.mktemp("pristine") / "home"
    PostgresServer(Home(path), durable=False).prepare()
    return path


@pytest.fixture
def made_home(tmp_path: Path, pristine_home: Path) -> Path:
    """A home of the test's own, copied because making a database takes a second."""
    subprocess.run(["cp", "-a", str(pristine_home), str(tmp_path / "home")], check=True)
    return tmp_path / "home"
