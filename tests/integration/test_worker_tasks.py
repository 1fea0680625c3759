"""The control worker's tasks: what waits for a tracker leaves room for those who ring and sweep."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from symphony.domain.errors import Transient
from tests.conftest import wait_until
from tests.integration.board import fresh_id
from workers import tasks


@pytest.mark.parametrize(
    ("room", "use_case", "call"),
    [
        (2, (tasks.polling, "poll"), lambda: tasks.poll(str(fresh_id()))),
        (1, (tasks.delivering, "deliver"), tasks.deliver),
        (1, (tasks.sweeping, "prune"), tasks.prune),
    ],
    ids=["poll", "deliver", "prune"],
)
def test_a_tracker_that_hangs_leaves_room_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, room: int, use_case: tuple[Any, str], call: Callable[[], None]
) -> None:
    inside: list[bool] = []
    answered = threading.Event()

    def hang(*_: Any) -> None:
        inside.append(True)
        assert answered.wait(30)
        raise Transient("the tracker did not answer")

    greeting = threading.Semaphore(1)

    def hang_apart(*_: Any) -> None:
        assert greeting.acquire(blocking=False), "one greeting at a time"
        assert answered.wait(30)
        greeting.release()

    monkeypatch.setattr(tasks, "runtime", lambda: SimpleNamespace(deployment=None, guardian=None))
    monkeypatch.setattr(tasks.greeting, "greet", hang_apart)
    monkeypatch.setattr(*use_case, hang)
    waiting = [threading.Thread(target=call, daemon=True) for _ in range(room)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: len(inside) == room)
    late = threading.Thread(target=call, daemon=True)
    late.start()
    late.join(10)
    assert not late.is_alive() and len(inside) == room, "it takes another slot of the worker"
    answered.set()
    for thread in waiting:
        thread.join(10)
    call()
    assert len(inside) == room + 1, "the room is free again"
