"""The sweeper: the only one that ends an expired lease.

Invariant: it blames nobody while holders could not have renewed, that is for one TTL after missed sweeps or a start of
PostgreSQL. What was asked of a run whose holder is gone is done here. Relied on for the promise that a dead worker's
stage restarts elsewhere.
"""

from __future__ import annotations

from symphony.domain.errors import ConfigError
from symphony.domain.outcome import Cancel, Release
from symphony.engine import announce
from symphony.engine.deployment import Deployment
from symphony.engine.settle import apply, lost
from symphony.engine.shown import Reach
from symphony.ledger import attempts, landings, leases, processes, runs, sessions, webhooks, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.leases import Expired
from symphony.ledger.records import Run
from symphony.telemetry.log import get_logger

log = get_logger()


def sweep(deployment: Deployment) -> list[Run]:
    """End every expired lease and give the runs as they stand then."""
    settings = deployment.settings

    def body(transaction: Transaction) -> list[Run] | None:
        if not leases.begin_sweep(transaction, settings.lease_ttl):
            return None
        expired = leases.lock_expired(transaction, silence=settings.node_silence)
        return [run for one in expired if (run := _end_if_readable(deployment, transaction, one)) is not None]

    swept = deployment.database.transact(body)
    if swept is None:
        return []
    for run in swept:
        log.warning("lease expired", run=str(run.id), stage=str(run.stage), state=str(run.state), crashes=run.crashes)
    moved = deployment.database.transact(
        lambda transaction: runs.restart_provision_of_lost_nodes(transaction, settings.node_silence)
    )
    for run_id in moved:
        log.warning("node lost", run=str(run_id))
    return swept


def prune(deployment: Deployment) -> int:
    """Delete what is kept no longer, one batch of each."""
    return sum(deployment.database.transact(one) for one in (processes.prune, webhooks.prune, sessions.prune))


def _end_if_readable(deployment: Deployment, transaction: Transaction, expired: Expired) -> Run | None:
    """End one; a workflow that this build cannot read must not stop the sweep of all others."""
    try:
        return _end(deployment, transaction, expired)
    except ConfigError as error:
        log.error("lease not ended", run=str(expired.run.id), reason=str(error))
        return None


def _end(deployment: Deployment, transaction: Transaction, expired: Expired) -> Run:
    run = expired.run
    workflow = workflows.get(transaction, run.workflow_id)
    assert workflow is not None
    rules = deployment.rules(workflow)
    reach = Reach(deployment.settings.public_url)
    is_landing = landings.intended(transaction, run.id) is not None
    if run.request in {"cancel", "release"} and not is_landing:
        reason = run.request_reason or str(run.request)
        kind = Cancel if run.request == "cancel" else Release
        return apply(transaction, run, kind(reason, clean=run.request_clean), rules, reach)
    change = lost(run, rules, process_died=expired.process_died, is_landing=is_landing)
    attempts.end(transaction, run.attempt_id, "lost", change.error)
    changed = runs.change(transaction, run, change.event, change.data, **change.columns)
    announce.announce(transaction, changed, change.event, rules, change.data, reach)
    return changed
