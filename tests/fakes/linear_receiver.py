"""A receiver of webhooks for tests: it takes what is posted to it and keeps it as it came.

Invariant: the bytes are kept, not what they mean, since signatures are of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from symphony.local.demo.model_http import Endpoint, Exchange


@dataclass(frozen=True)
class Taken:
    """One post: its headers' names are in lower case."""

    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """Receives while its context is open; `answers` gives the status for each post, 200 unless told otherwise."""

    def __init__(self, answers: Callable[[Taken], int] = lambda _: 200) -> None:
        self.taken: list[Taken] = []
        self._answers = answers
        self._endpoint = Endpoint(self._take)

    @property
    def url(self) -> str:
        """The address to post to."""
        return f"{self._endpoint.url}/hook"

    def __enter__(self) -> Self:
        self._endpoint.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self._endpoint.__exit__()

    def _take(self, exchange: Exchange) -> None:
        taken = Taken(exchange.headers, exchange.body)
        self.taken.append(taken)
        exchange.send(self._answers(taken), b"", kind="text/plain")
