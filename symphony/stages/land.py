"""The stage that moves the target: a merge queue's one lander.

Invariants: the claim lets one run a target in here, the oldest first. A commit becomes the target's tip through us only
with a passed proof for exactly its tree and a `landings` row written before the push; the push names the base that
must be there, and never forces. After a crash the row is resolved forward before anything else happens; it is settled as
landed in the very transaction that ends the run.
"""

from __future__ import annotations

from datetime import timedelta

from symphony.domain.errors import Cancelled, InvariantViolated, Rejected
from symphony.domain.outcome import Advance, Block, Outcome, Park
from symphony.forges.merge import Method, merge_commit
from symphony.ledger import landings
from symphony.ledger.database import FencedTransaction
from symphony.ledger.records import Landing, Proof
from symphony.stages.context import RunContext
from symphony.stages.proof import prove
from symphony.stages.source import Code, code_of, landing_message
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger

_ROUNDS = 5
_BUSY_WAIT = timedelta(seconds=2)

log = get_logger()


def land(context: RunContext) -> Outcome:
    """Land the run's head: prove it on the present target where that has moved, then push."""
    code = code_of(context)
    assert code is not None
    outstanding = context.fenced(lambda transaction: landings.intended(transaction, context.run.id))
    if outstanding is not None and (outcome := _resolve(context, code, outstanding)) is not None:
        return outcome
    for _ in range(_ROUNDS):
        target = code.fetch(context)
        proof = prove(context, code, target)
        if not isinstance(proof, Proof):
            return proof
        landing = _intend(context, proof)
        if landing is None:
            return Park(_BUSY_WAIT, "another landing on this branch is not settled yet")
        if (outcome := _finish(context, code, landing)) is not None:
            return outcome
    return Park(_BUSY_WAIT, f"`{code.forge.branch}` moves faster than the checks run")


def _intend(context: RunContext, proof: Proof) -> Landing | None:
    """Write the point of no return: from here on, exactly this commit may become the target's tip.

    Raises:
        Cancelled: somebody has asked something else of the run before.
    """
    if proof.head_sha != context.run.head_sha:
        raise InvariantViolated("the head changed after its proof")
    log.debug(Label.LANDING_INTENDING, run=str(context.run.id), commit=proof.merge_sha)

    def body(transaction: FencedTransaction) -> Landing | None:
        outstanding = landings.intended(transaction, context.run.id)
        if outstanding is None and (asked := transaction.run_row.request) is not None:
            raise Cancelled(transaction.run_row.request_reason or asked)
        return outstanding or landings.intend(transaction, proof)

    landing = context.fenced(body)
    log.info(Label.LANDING_INTENDED, run=str(context.run.id), commit=proof.merge_sha)
    return landing


def _push(context: RunContext, code: Code, landing: Landing) -> bool:
    """Push an intended landing; False when the target had moved on without it, and the row says so.

    Raises:
        Rejected: the repository refuses this commit for good; the row still says "intended".
        Transient: nothing is known; the next attempt resolves the row.
    """
    log.debug(Label.LANDING_PUSHING, run=str(context.run.id), commit=landing.merge_sha)
    context.lease.ensure_trusted()
    try:
        code.forge.move_target(code.mirror.git, landing.merge_sha, base=landing.base_sha)
    except Rejected as error:
        if code.mirror.update(lambda git: code.forge.has_landed(git, landing.merge_sha)):
            return True
        if error.category != "lease_stale":
            raise
        _abandon(context, landing)
        return False
    log.info(Label.LANDING_PUSHED, run=str(context.run.id), commit=landing.merge_sha)
    return True


def _finish(context: RunContext, code: Code, landing: Landing) -> Outcome | None:
    """Push an intended landing to its end; None when it must be proved again."""
    try:
        landed = _push(context, code, landing)
    except Rejected as error:
        _abandon(context, landing)
        return Block(f"The repository refuses the landing: {error.message}")
    return _done(context, code) if landed else None


def _resolve(context: RunContext, code: Code, landing: Landing) -> Outcome | None:
    """Resolve forward a landing whose attempt ended without a word; None when it was abandoned."""
    target = code.mirror.update(code.forge.fetch_target)
    # Before the head is asked for: with the landing its hidden refs went, and after a squash nothing else holds it.
    if code.mirror.update(lambda git: code.forge.has_landed(git, landing.merge_sha)):
        return _done(context, code)
    if target == landing.base_sha:
        code.ensure(context)
        if _can_rebuild(context, code, landing):
            return _finish(context, code, landing)
    _abandon(context, landing)
    return None


def _can_rebuild(context: RunContext, code: Code, landing: Landing) -> bool:
    """Make the intended commit again where this node's mirror lacks it; the same inputs give the same commit.

    They are not the same when the issue's title has changed meanwhile; that the workflow has changed does not matter.
    """
    git = code.mirror.git
    if git.has(landing.merge_sha):
        return True
    proof = context.fenced(lambda transaction: landings.proof_of(transaction, landing))
    message = landing_message(context, proof.key)
    methods: tuple[Method, ...] = ("merge", "squash")
    return any(
        merge_commit(
            git, base=landing.base_sha, head=landing.head_sha, message=message, when=context.run.created_at, method=method
        ).commit
        == landing.merge_sha
        for method in methods
    )  # fmt: skip


def _abandon(context: RunContext, landing: Landing) -> None:
    context.fenced(lambda transaction: landings.abandon_intended(transaction, landing.id))
    log.info("landing abandoned", run=str(context.run.id), commit=landing.merge_sha)


def _done(context: RunContext, code: Code) -> Outcome:
    """Drop the run's hidden refs, which nothing needs any more; what cannot be dropped now is swept later."""
    try:
        refs = code.forge.snapshots(code.mirror.git, str(context.run.id))
        code.forge.drop_snapshots(code.mirror.git, list(refs))
    except Exception as error:  # noqa: BLE001 - the run has landed, whatever becomes of its leftovers
        log.warning("snapshots not dropped", run=str(context.run.id), reason=str(error))
    return Advance()
