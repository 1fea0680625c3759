"""What an agent is to a stage: something that works in a workspace until it has finished, asks, or is stopped.

Each kind of agent is one file or folder here, with a `turn` that ends in one of these. It raises Transient where another
attempt may succeed and ConfigError where it cannot be started as it is configured; `stages.agent` relies on that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from symphony.processes.guardian import Tree


@dataclass(frozen=True, slots=True)
class Finished:
    """The agent says that it is done; `account` is its own summary.

    With the outcome `no_change` it claims, for `reason`, that nothing is to be changed. `walkthrough` is its guide through
    the change, as it gave it and not yet compared with the change.
    """

    account: str
    outcome: Literal["done", "no_change"] = "done"
    reason: str | None = None
    walkthrough: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The agent needs a person."""

    question: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The agent was ended before it was done, because somebody asked for that."""


Turn = Finished | Asked | Stopped


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an agent gets for one turn.

    `opening` is the workflow's prompt, empty for a later turn of a session; `news` what a proof, a person or the session
    says beyond it. `heard` is called with each sign of life; `stop_reason` says why the turn must end now, or None;
    `stall_timeout` is the longest silence (None: not watched), `turn_timeout` the longest turn, or step of one where an
    agent works in steps. `ring_at_change` takes an eventfd that is rung when `stop_reason` may say something new, and None
    before that is closed.
    """

    opening: str
    news: str | None
    workspace: Path
    environment: Mapping[str, str]
    tree: Tree
    log: Path
    turn_timeout: timedelta
    stall_timeout: timedelta | None
    heard: Callable[[str], None]
    stop_reason: Callable[[], str | None]
    ring_at_change: Callable[[int | None], None]

    @property
    def prompt(self) -> str:
        """Everything that an agent without a memory must be told."""
        return "\n\n".join(filter(None, (self.opening, self.news)))
