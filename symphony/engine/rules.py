"""What a version of a workflow means for scheduling, in one value.

Everything here comes from the parsed WORKFLOW.md of a row; a change of the file is a new version with rules of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from symphony.domain.admission import Slots, StateSets, is_routable
from symphony.domain.issue import Issue, normalized_state
from symphony.domain.reconcile import Position
from symphony.domain.stage import Stage
from symphony.ledger.records import WorkflowRow
from symphony.trackers.protocol import Tracker
from symphony.workflow.loader import LoadedWorkflow, parse
from symphony.workflow.resolution import Resolved, resolve
from symphony.workflow.schema import Workflow


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one version of a workflow."""

    loaded: LoadedWorkflow
    base_dir: Path

    @classmethod
    def of(cls, row: WorkflowRow) -> Rules:
        """Parse what the row keeps.

        Raises:
            InvalidWorkflow: the row was written by hand or by a newer Symphony.
        """
        return cls(parse(row.content, place=row.source, name=row.name), Path(row.base_dir))

    @property
    def workflow(self) -> Workflow:
        """The typed front matter."""
        return self.loaded.workflow

    def resolved(self, environ: Mapping[str, str]) -> Resolved:
        """Bind the workflow to a process's environment."""
        return resolve(self.loaded, environ=environ, base_dir=self.base_dir)

    @property
    def is_compatible(self) -> bool:
        """Whether the agent speaks to the tracker by itself, as the reference's does."""
        return self.workflow.is_compatible_mode

    @property
    def tells_progress(self) -> bool:
        """Whether its issues carry a comment of Symphony's that is kept up to date, and attachments."""
        return self.workflow.tracker.profile.annotates and not self.is_compatible

    @property
    def states(self) -> StateSets:
        """The active and terminal states, for comparison."""
        return self.workflow.tracker.state_sets

    @property
    def active_states(self) -> tuple[str, ...]:
        """The active states as they are written."""
        return tuple(self.workflow.tracker.active_states)

    @property
    def terminal_states(self) -> tuple[str, ...]:
        """The terminal states as they are written."""
        return tuple(self.workflow.tracker.terminal_states)

    @property
    def required_labels(self) -> tuple[str, ...]:
        """The labels that an issue must carry."""
        return self.workflow.tracker.required_labels

    @property
    def slots(self) -> Slots:
        """How many agents may work at once."""
        return self.workflow.agent.slots

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of a run."""
        return self.workflow.stages

    @property
    def poll_interval(self) -> timedelta:
        """The time between two polls."""
        return self.workflow.polling.interval

    @property
    def land_mode(self) -> str:
        """How a proved change reaches the branch."""
        return self.workflow.land.mode

    @property
    def lands(self) -> bool:
        """Whether a person can let a change land here."""
        return self.workflow.repository is not None and self.land_mode != "off"

    @property
    def parks_blocked(self) -> bool:
        """Whether the issue of a blocked run is moved out of the active states."""
        return "blocked" in self.moves and not self.is_compatible

    def begins_anew(self, *, keeps_work: bool) -> dict[str, Any]:
        """Give the columns of a run that is sent back: with `land.rework: restart` it begins upon the target again."""
        if self.workflow.land.rework == "continue" or keeps_work or self.workflow.repository is None:
            return {}
        return {"stage": str(Stage.PROVISION), "head_sha": None, "base_sha": None}

    @property
    def max_attempts(self) -> int:
        """The limit on failed attempts and crashes; 0: five crashes in a row."""
        return self.workflow.agent.max_attempts

    @property
    def max_rework(self) -> int:
        """The limit on rounds from a failed proof back to the agent."""
        return self.workflow.agent.max_rework

    @property
    def backoff_cap(self) -> timedelta:
        """The longest delay between attempts."""
        return self.workflow.agent.max_retry_backoff

    @property
    def moves(self) -> dict[str, str]:
        """The states that Symphony itself moves issues to, by what they mean."""
        named = self.workflow.tracker.states.model_dump()
        return {key: name for key, name in named.items() if name is not None}

    def movable_from(self, key: str) -> set[str]:
        """Name the states, normalised, out of which Symphony may move an issue for `key`.

        Elsewhere a person has put it, whose word wins.
        """
        ours = {name: normalized_state(state) for name, state in self.moves.items()}
        active = set(self.states.active)
        match key:
            case "started":
                return active - {ours.get("started"), ours.get("merging")}
            case "done" | "merging" | "rework":
                return active | {ours[name] for name in ("review", "blocked") if name in ours}
            case _:
                return active

    def is_movable(self, state: str, key: str) -> bool:
        """Tell whether an issue in this state would be moved for `key`."""
        return key in self.moves and normalized_state(state) in self.movable_from(key)

    def position(self, issue: Issue, tracker: Tracker) -> Position:
        """Say where an issue stands, as far as its run is concerned."""
        ours = {normalized_state(state): key for key, state in self.moves.items()}
        state = normalized_state(issue.state)
        if self.states.is_terminal(state):
            return Position.TERMINAL
        if ours.get(state) in {"review", "blocked"}:
            return Position.HANDED
        if self.states.is_active(state):
            if not is_routable(issue, self.required_labels):
                return Position.INACTIVE
            asked = {"merging": Position.MERGING if self.lands else Position.ACTIVE, "rework": Position.REWORK}
            return asked.get(ours.get(state, ""), Position.ACTIVE)
        return Position.STARTED if tracker.state_kind(issue.state) == "started" else Position.INACTIVE
