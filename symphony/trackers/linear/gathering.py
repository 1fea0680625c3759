"""Questions for issues by their ids that several threads ask at about the same time, gathered into one request.

Invariant: an answer is from a request that began after the question was asked; each asker gets what concerns its own ids
only, and an error of the request is everybody's. Relied on by stages, which look at their issues between turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

Found = TypeVar("Found")

WAIT_S = 0.2


class _Batch(Generic[Found]):
    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.is_full = threading.Event()
        self.is_answered = threading.Event()
        self.found: Mapping[str, Found] = {}
        self.error: BaseException | None = None


class Gathering(Generic[Found]):
    """Asks `fetch` for at most so many ids at once."""

    def __init__(
        self, fetch: Callable[[Collection[str]], Mapping[str, Found]], *, most: int, wait_s: float = WAIT_S
    ) -> None:
        self._fetch = fetch
        self._most = most
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._open: _Batch[Found] | None = None

    def ask(self, ids: Collection[str]) -> Mapping[str, Found]:
        """Give what there is of the ids of all who ask now. Raises: what `fetch` does."""
        if len(ids) >= self._most:
            return self._fetch(ids)
        with self._lock:
            batch = self._open
            leads = batch is None or len(batch.ids | set(ids)) > self._most
            if batch is None or leads:
                batch = self._open = _Batch()
            batch.ids.update(ids)
            if len(batch.ids) == self._most:
                batch.is_full.set()
        if leads:
            self._lead(batch)
        batch.is_answered.wait()
        if batch.error is not None:
            raise batch.error
        return batch.found

    def _lead(self, batch: _Batch[Found]) -> None:
        """Wait for others, then ask for all."""
        try:
            batch.is_full.wait(self._wait_s)
            self._close(batch)
            batch.found = self._fetch(batch.ids)
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            batch.error = error
        finally:
            self._close(batch)
            batch.is_answered.set()

    def _close(self, batch: _Batch[Found]) -> None:
        with self._lock:
            if self._open is batch:
                self._open = None
