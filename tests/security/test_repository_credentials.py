"""A password in the repository's url, which `$NAME` brings in from the environment, is written down nowhere."""

from __future__ import annotations

from pathlib import Path

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from tests.fakes.repositories import Repository
from tests.integration.stage_bench import bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

PASSWORD = "correct-horse-battery"
TABLES = ("runs", "attempts", "run_events", "effects", "proofs", "landings", "workflows", "workflow_versions")


def test_a_password_in_the_url_is_in_no_row_and_no_file_beside_a_workspace(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    sections = {"repository": {"url": "$CODE"}, "proof": {"checks": [{"name": "tests", "run": "true"}]}}
    environ = {"CODE": f"file://ada:{PASSWORD}@/{repository.path}"}
    with bench(database_url, tmp_path, guardian, sections=sections, repository=False, environ=environ) as work:
        work.bring(Stage.LAND)
        marker = work.root / ".symphony/markers/DEMO-1"
        assert "origin.git" in marker.read_text() and PASSWORD not in marker.read_text()
        run = work.step()
        assert run.state is RunState.LANDED, run.error
        assert run.target is not None and run.target.endswith("origin.git#main")
        for table in TABLES:
            rows = work.board.sql(f"SELECT to_jsonb(t)::text FROM {table} t")
            assert not [row for (row,) in rows if PASSWORD in row], table
