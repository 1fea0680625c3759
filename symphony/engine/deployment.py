"""What every use case of the engine needs: the ledger, this process, its settings and its trackers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock
from uuid import UUID

from symphony.domain.issue import Issue
from symphony.engine.quota import SharedQuota
from symphony.engine.rules import Rules
from symphony.ledger.database import Database, new_id
from symphony.ledger.records import WorkflowRow
from symphony.settings import Settings
from symphony.telemetry.redaction import remember_secrets
from symphony.trackers.protocol import Tracker
from symphony.trackers.registry import open_tracker


@dataclass(frozen=True, slots=True)
class LastPoll:
    """What this process recorded last of a workflow's board: its number, the version whose rules it used, the list."""

    seq: int
    version_id: UUID
    listed: Mapping[str, Issue]


@dataclass
class Deployment:
    """One process of a deployment; `environ` is where this process resolves `$VAR` references."""

    database: Database
    settings: Settings
    node: str
    process_id: UUID = field(default_factory=new_id)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    given_up_polls: dict[UUID, int] = field(default_factory=dict, repr=False)
    """The last poll of each workflow that failed here: its end may not have reached the database."""
    last_polls: dict[UUID, LastPoll] = field(default_factory=dict, repr=False)
    """The last poll of each workflow that this process recorded, so that what has not changed is not written again."""
    comments_read: dict[UUID, Mapping[UUID, datetime]] = field(default_factory=dict, repr=False)
    """When the issue of each live run had last changed when its comments were read here, by workflow."""
    refs_looked_at: dict[str, float] = field(default_factory=dict, repr=False)
    """When refs of ended runs were last looked for here (time.monotonic), by repository."""
    _rules: dict[UUID, Rules] = field(default_factory=dict, repr=False)
    _trackers: dict[UUID, Tracker] = field(default_factory=dict, repr=False)
    _opened: dict[UUID, UUID] = field(default_factory=dict, repr=False)
    """The version of each workflow whose tracker was opened last."""
    _lock: Lock = field(default_factory=Lock, repr=False)

    def rules(self, workflow: WorkflowRow) -> Rules:
        """Give the rules of a workflow's newest valid version; they are parsed once for each version."""
        with self._lock:
            known = self._rules.get(workflow.version_id)
        if known is None:
            known = Rules.of(workflow)
            with self._lock:
                self._rules[workflow.version_id] = known
        return known

    def tracker(self, workflow: WorkflowRow) -> Tracker:
        """Give the tracker of a workflow's newest valid version, opened once for each version.

        Raises:
            ConfigError: the adapter refuses its settings, or a secret is missing in this process.
        """
        with self._lock:
            known = self._trackers.get(workflow.version_id)
        if known is None:
            rules = self.rules(workflow)
            provider = rules.resolved(self.environ).tracker_provider()
            secrets = {name: secret.get_secret_value() for name, secret in provider.secrets.items()}
            remember_secrets(secrets.values())
            known = open_tracker(
                provider.kind,
                {name: str(value) if isinstance(value, Path) else value for name, value in provider.values.items()}
                | secrets,
                active_states=rules.active_states,
                terminal_states=rules.terminal_states,
                base_dir=rules.base_dir,
                environ=self.environ,
                authors=rules.workflow.tracker.authors,
                quota_of=lambda key: SharedQuota(self.database, key),
            )
            with self._lock:
                self._trackers[workflow.version_id] = known
                older = self._opened.get(workflow.id, workflow.version_id)
                self._opened[workflow.id] = workflow.version_id
                if older != workflow.version_id:  # what an adapter remembers of a board goes with its version
                    self._trackers.pop(older, None)
        return known
