"""The fixture that serves a board whose agent is a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from symphony.processes.guardian import Guardian
from tests.fakes.model_server import ModelServer
from tests.fakes.repositories import Repository
from tests.integration.served_model import Serve
from tests.integration.stage_bench import Bench, bench


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
