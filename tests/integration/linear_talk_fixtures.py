"""A played Linear, a workflow on its project, and an issue that is ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.linear_records import Issue
from tests.fakes.linear_schema import SMALL, real_schema
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_talk import STATES, Talk


@pytest.fixture(params=["real", "small"] if real_schema() else ["small"])
def server(request: pytest.FixtureRequest) -> Iterator[LinearServer]:
    """A workspace of Linear's; whatever a test does, no request of ours may be one that Linear would not take."""
    with LinearServer(states=STATES, schema=SMALL if request.param == "small" else real_schema()) as server:
        yield server
        assert server.violations == []


@pytest.fixture
def talk(database_url: str, tmp_path: Path, server: LinearServer) -> Iterator[Talk]:
    """A workflow on the workspace's project."""
    talk = Talk(database_url, tmp_path, server)
    yield talk
    talk.database.close()


@pytest.fixture
def issue(server: LinearServer) -> Issue:
    """An issue that is ready."""
    return server.create_issue("Fix the parser")
