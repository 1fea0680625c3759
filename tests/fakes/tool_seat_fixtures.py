"""The fixture of a seat at which tools are called. Named in `pytest_plugins`, never imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.processes.guardian import Tree
from tests.fakes.tool_seat import Seat


@pytest.fixture
def seat(tree: Tree, tmp_path: Path) -> Iterator[Seat]:
    """A seat at a workspace that lies beside something secret."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("needle\n")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    seat = Seat(workspace, tree)
    yield seat
    seat.sessions.close()
