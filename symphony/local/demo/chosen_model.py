"""The model behind the demo's agents: a recorded one on loopback, or the real one where the user has a key for it.

Invariant: with the recorded model no request leaves this machine, whatever proxy the environment names, and no key of the
user's reaches a process of the demo. What the demo says of its model is said here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from symphony.local.demo.replay import ReplayServer
from symphony.workflow.schema.agent import DEFAULT_MODEL

API_KEY, BASE_URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"
BUDGET_USD = 1
"""What one issue may cost with a real model."""
_DEFAULT_URL = "https://api.openai.com/v1"
_RECORDED_KEY = "replay"
_LIMITS = frozenset({"SYMPHONY_PRICES", "SYMPHONY_DAILY_USD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenModel:
    """The model, and what the processes of the demo find of it in their environment."""

    is_recorded: bool
    name: str
    given: Mapping[str, str]

    def environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """Give the environment of the demo, made from the user's: a Symphony of its own, and this model."""
        return {name: value for name, value in ours.items() if self._is_kept(name)} | dict(self.given)

    def _is_kept(self, name: str) -> bool:
        if name.startswith(("SYMPHONY_", "GIT_")):
            return name in _LIMITS and not self.is_recorded
        is_of_the_net = name.startswith("OPENAI_") or name.lower().endswith("_proxy")
        return not (self.is_recorded and is_of_the_net)


@contextmanager
def chosen_model(*, offline: bool) -> Iterator[ChosenModel]:
    """Give the real model where there is a key for it, else serve the recorded one meanwhile."""
    if not offline and os.environ.get(API_KEY, "").strip():
        url = os.environ.get(BASE_URL, "").strip() or _DEFAULT_URL
        yield ChosenModel(is_recorded=False, name=f"{DEFAULT_MODEL} at {_without_credentials(url)}", given={})
        return
    with ReplayServer() as server:
        given = {API_KEY: _RECORDED_KEY, BASE_URL: server.url}
        yield ChosenModel(is_recorded=True, name="recorded model, offline", given=given)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
