"""Agents on models, in their stage: a real conversation with the tests' model server, real tools, real repository."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from tests.fakes import model_replies as say
from tests.fakes.model_server import ModelServer
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import Bench, bench

pytest_plugins = ["tests.fakes.repository_fixtures"]

ADD = "*** Begin Patch\n*** Add File: new.txt\n+one\n*** End Patch\n"
Serve = Callable[..., AbstractContextManager[tuple[Bench, ModelServer]]]


@pytest.fixture
def serve(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Serve:
    """Serve a board whose agent is a model that plays a script."""

    @contextmanager
    def serve(script: Any, *, agent: dict[str, Any] | None = None, **options: Any) -> Iterator[tuple[Bench, ModelServer]]:
        server = options.pop("server", None) or ModelServer(script)
        with server:
            environ = {"OPENAI_API_KEY": "sk-test-0123456789abcdef", "OPENAI_BASE_URL": server.url}
            chosen = {"kind": "openai", **(agent or {})}
            with bench(database_url, tmp_path, guardian, agent=chosen, environ=environ, **options) as made:
                yield made, server

    return serve


def test_a_model_edits_tests_and_finishes(serve: Serve) -> None:
    script = [
        say.reasoning("Look first.") + say.calls(("list_files", {}), ("read_file", {"path": "src/app.py"})),
        say.patch(ADD) + say.shell("cat new.txt"),
        say.finish(summary="Added new.txt."),
    ]
    with serve(script) as (work, server):
        work.bring(Stage.PROOF)
        assert git(work.folder, "-C", str(work.workspace), "status", "--porcelain").strip() == "?? new.txt"
        kinds = [item["type"] for item in server.requests[-1].body["input"]]
        assert kinds.count("function_call") == kinds.count("function_call_output") == 4
        outputs = [item["output"] for item in server.requests[-1].body["input"] if item["type"] == "function_call_output"]
        assert "one" in outputs[-1]
        rows = work.board.sql("SELECT state, cost_usd, is_estimated FROM model_requests ORDER BY started_at")
        assert [(row.state, row.is_estimated) for row in rows] == [("done", False)] * 3
        assert work.board.sql("SELECT input_tokens FROM attempts WHERE stage = 'agent'")[0].input_tokens > 0
        assert json.dumps(server.requests[0].body).count("sk-test") == 0
        assert work.run.state is RunState.QUEUED
