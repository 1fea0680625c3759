"""What a tracker's webhook does: it rings the poll of the workflows whose secret it bears, and opens sessions.

Invariant: nothing that a webhook says is believed but that something may have changed, and that a session is there; what is
true is what the next poll sees. So a lost, doubled, late or forged one costs seconds. Relied on by `web/webhooks.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import SecretStr

from symphony.domain.errors import ConfigError
from symphony.engine.rules import Rules
from symphony.ledger import sessions, webhooks, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import WorkflowRow
from symphony.telemetry.log import get_logger
from symphony.telemetry.redaction import remember_secrets

SECRET = "webhook_secret"  # noqa: S105 (a key's name)

log = get_logger()


@dataclass(frozen=True, slots=True)
class Bell:
    """A workflow that webhooks may ring, and the secret with which they must be signed."""

    workflow_id: UUID
    secret: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class SpokenTo:
    """A session that a webhook tells of; `by_person`: somebody said something in it, else it was only opened."""

    id: str
    tracker_id: str
    by_person: bool


class Bells:
    """The bells of one kind of tracker as this process's environment resolves them, read once for each version."""

    def __init__(self, kind: str, environ: Mapping[str, str]) -> None:
        self._kind = kind
        self._environ = environ
        self._known: dict[UUID, SecretStr | None] = {}

    def of_served(self, transaction: Transaction) -> list[Bell]:
        """List the bells of the workflows that are served now."""
        served = workflows.served(transaction)
        known = {row.version_id: self._known.get(row.version_id) for row in served if row.version_id in self._known}
        for row in served:
            if row.version_id not in known:
                known[row.version_id] = self._secret(row)
        self._known = known
        return [Bell(row.id, secret) for row in served if (secret := known[row.version_id]) is not None]

    def _secret(self, row: WorkflowRow) -> SecretStr | None:
        try:
            rules = Rules.of(row)
            if rules.workflow.tracker.kind != self._kind:
                return None
            secret = rules.resolved(self._environ).tracker_secret(SECRET)
        except ConfigError as error:
            log.warning("no webhooks for this workflow", workflow=row.name, reason=str(error))
            return None
        if secret is not None:
            remember_secrets([secret.get_secret_value()])
        return secret


def ring(
    transaction: Transaction, source: str, delivery: str, workflow_ids: Collection[UUID], spoken_to: SpokenTo | None
) -> bool:
    """Take in a delivery that these workflows' secret has signed; False when it came before."""
    if not webhooks.note_if_new(transaction, source, delivery):
        return False
    webhooks.ring(transaction, workflow_ids)
    if spoken_to is not None:
        is_new = sessions.open_unless_known(
            transaction, spoken_to.id, tracker_id=spoken_to.tracker_id, candidates=workflow_ids
        )
        if not is_new and spoken_to.by_person:
            sessions.reopen_if_unheard(transaction, spoken_to.id, candidates=workflow_ids)
    return True
