"""The fixture that starts worker processes with one tree each, and ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.fakes.guardian_worker import Worker
from tests.fakes.seen_processes import mark, until


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def start(**settings: object) -> Worker:
        workers.append(Worker(mark(), **settings))
        until(lambda: len(workers[-1].tree()) == 2)
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()
