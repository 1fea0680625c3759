"""The stage that proves a run's work: the checks, in a clean checkout of the candidate merged with the target.

Invariant: a proof is bound to exactly one tree, and its commands come from the registered workflow. Checks that are red
on the bare target are not the agent's fault: the run waits and says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from os import cpu_count
from pathlib import Path
from uuid import UUID

from symphony.domain.errors import Cancelled
from symphony.domain.outcome import Advance, Block, Outcome, Park, Review, Rework
from symphony.domain.proof import FEEDBACK_BUDGET, CheckResult, Verdict, feedback, verdict_of
from symphony.forges.merge import Conflict, Merge, merge_commit, replanted, unresolved
from symphony.ledger import attempts, landings
from symphony.ledger.records import Proof
from symphony.proof.commands import SETUP, Command, run_checks
from symphony.proof.concurrency import place
from symphony.stages.context import RunContext
from symphony.stages.lease import DRAINING
from symphony.stages.source import Code, code_of, environment, message_of, publish, push_head
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger
from symphony.workspaces.clones import clean_checkout
from symphony.workspaces.removal import remove_tree

RED_TARGET_WAIT = timedelta(minutes=5)
_AFTER_ID = "@"
_OURS = f"{'[0-9a-f]' * 8}-*-*-*-{'[0-9a-f]' * 12}{_AFTER_ID}*"

log = get_logger()


def proof(context: RunContext) -> Outcome:
    """Prove the run's head merged with the target as it is now."""
    code = code_of(context)
    assert code is not None
    target = code.fetch(context)
    found = prove(context, code, target)
    if not isinstance(found, Proof):
        return found
    if context.workflow.land.mode != "auto":
        assert context.run.head_sha is not None
        publish(context, code, code.mirror.git, context.run.head_sha)
    return Advance()


def prove(context: RunContext, code: Code, target: str) -> Proof | Outcome:
    """Give a passed proof of the run's head merged with `target`, or what follows from there being none."""
    run = context.run
    assert run.head_sha is not None
    if not context.workflow.proof.checks:
        publish(context, code, code.mirror.git, run.head_sha)
        return Review("the workflow names no checks, so nothing can be proved")
    if left := _unresolved(context, code):
        return Rework(f"There are conflict markers left. Resolve them in these files:\n\n{_listed(left)}")
    merge = _merge(context, code, target)
    if merge.commit is None:
        return _conflict(context, code, target, merge)
    if not merge.changed:
        return Block(f"`{code.forge.branch}` holds all of this change already. What is left to do?")
    known = context.fenced(lambda transaction: landings.newest_proof(transaction, run.id))
    if known is not None and known.merge_sha == merge.commit and _is_what_is_demanded(context, known):
        return known
    results = _checked(context, code, merge.commit)
    recorded = _record(context, target, merge, merge.commit, results)
    if verdict_of(results) is Verdict.PASSED:
        return recorded
    return _blame(context, code, target, results)


def _unresolved(context: RunContext, code: Code) -> list[Conflict]:
    """Find what is left of a conflict that an agent was given: no check need notice it."""
    base, head = context.run.base_sha, context.run.head_sha
    if base is None or head is None:
        return []
    with code.mirror.reading() as git:
        return [Conflict(path) for path in unresolved(git, base=base, head=head)]


def _merge(context: RunContext, code: Code, target: str) -> Merge:
    """Merge the run's head with the target; where that was rewound behind the run's base, the run's own change alone."""
    run, git, message = context.run, code.mirror.git, message_of(context)
    head = run.head_sha
    assert head is not None
    with code.mirror.reading():
        if run.base_sha is not None and not git.descends(target, ancestor=run.base_sha):
            taken = replanted(git, base=run.base_sha, head=head, onto=target, message=message, when=run.created_at)
            if taken.commit is None or not taken.changed:
                return taken
            push_head(context, code, git, taken.commit, base=target)
            head = taken.commit
        return merge_commit(
            git, base=target, head=head, message=message, when=run.created_at, method=context.workflow.land.method
        )


def _record(context: RunContext, target: str, merge: Merge, commit: str, results: list[CheckResult]) -> Proof:
    run = context.run
    head = run.head_sha
    assert head is not None
    log.debug(Label.PROOF_RECORDING, run=str(run.id), tree=merge.tree)
    context.fenced(
        lambda transaction: landings.add_proof(
            transaction,
            base_sha=target,
            head_sha=head,
            merge_sha=commit,
            tree_sha=merge.tree,
            verdict=str(verdict_of(results)),
            checks=[result.as_json() for result in results],
        )
    )
    recorded = context.fenced(lambda transaction: landings.newest_proof(transaction, run.id))
    assert recorded is not None
    log.info(Label.PROOF_RECORDED, run=str(run.id), tree=merge.tree, verdict=recorded.verdict)
    return recorded


def _demanded(context: RunContext) -> tuple[Command | None, list[Command]]:
    """Give the setup and the checks that the workflow demands now."""
    wanted = context.workflow.proof
    setup = Command(SETUP, wanted.setup.run, wanted.setup.timeout) if wanted.setup is not None else None
    return setup, [Command(check.name, check.run, check.timeout) for check in wanted.checks]


def _is_what_is_demanded(context: RunContext, known: Proof) -> bool:
    """Tell whether a proof passed and was by the very commands that the workflow names now: it may have changed since."""
    setup, checks = _demanded(context)
    demanded = [(command.name, command.run) for command in (setup, *checks) if command is not None]
    return known.verdict == Verdict.PASSED and [(c["name"], c["command"]) for c in known.checks] == demanded


def _checked(context: RunContext, code: Code, commit: str) -> list[CheckResult]:
    """Run the workflow's checks on one commit, in a place of this node's few."""
    setup, checks = _demanded(context)
    places = context.workflow.proof.concurrency or cpu_count() or 1
    folder = context.settings.home / "run" / "proofs"

    def wait() -> None:
        context.lease.wait(0.2)
        context.lease.ensure_trusted()
        if context.lease.drain_until is not None:
            raise Cancelled("the worker is shutting down", category=DRAINING)

    with place(folder, places, wait), _checkout(context, code, commit) as checkout:
        context.lease.heard("checks started")
        return run_checks(context.tree, checkout, environment(context), setup, checks)


@contextmanager
def _checkout(context: RunContext, code: Code, commit: str) -> Iterator[Path]:
    folder = context.settings.home / "checkouts"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(context, folder)
    path = folder / f"{context.lease.attempt_id}{_AFTER_ID}{secrets.token_hex(4)}"
    try:
        with code.mirror.reading():
            clean_checkout(context.tree, code.mirror.path, commit, path)
        yield path
    finally:
        if context.tree.ended is None:
            remove_tree(context.tree, path)


def _remove_leftovers(context: RunContext, folder: Path) -> None:
    """Remove the checkouts of attempts that were killed before they could."""
    there = {path: UUID(path.name.partition(_AFTER_ID)[0]) for path in folder.glob(_OURS)}
    if not there:
        return
    still_open = context.fenced(lambda transaction: attempts.still_open(transaction, there.values()))
    for path, attempt_id in there.items():
        if attempt_id not in still_open:
            remove_tree(context.tree, path)


def _blame(context: RunContext, code: Code, target: str, results: list[CheckResult]) -> Outcome:
    """Tell the agent's fault from the target's: what fails on the bare target, too, is not the agent's."""
    if context.tree.ended is not None:
        return Rework(feedback(results))
    on_target = {result.name: result for result in _checked(context, code, target)}
    failed = [result for result in results if result.verdict is not Verdict.PASSED]
    if all(name_fails(on_target, result.name) for result in failed):
        names = ", ".join(result.name for result in failed)
        log.error("checks fail on the target itself", run=str(context.run.id), checks=names, target=target)
        return Park(RED_TARGET_WAIT, f"{names} fails on `{code.forge.branch}` itself")
    return Rework(feedback([result for result in results if not name_fails(on_target, result.name)]))


def name_fails(results: dict[str, CheckResult], name: str) -> bool:
    """Tell whether a check of this name ran and failed; where the setup failed, every check did."""
    return any(named in results and results[named].verdict is not Verdict.PASSED for named in (SETUP, name))


def _conflict(context: RunContext, code: Code, target: str, merge: Merge) -> Outcome:
    """Give the agent a workspace that stands on the present target, with the conflicts marked in its files."""
    git = code.mirror.git
    marked = git.commit(merge.tree, [target], message=message_of(context), when=context.run.created_at)
    push_head(context, code, git, marked, base=target)
    return Rework(
        f"`{code.forge.branch}` has moved on, and this change conflicts with it. The workspace now holds the present "
        f"`{code.forge.branch}` with your change merged into it; resolve the conflict markers in these files:\n\n"
        + _listed(merge.conflicts)
    )


def _listed(conflicts: Sequence[Conflict]) -> str:
    """List files within what the agent can be told: excerpts of the first, then names, then how many more there are."""
    listed: list[str] = []
    left = FEEDBACK_BUDGET
    for number, conflict in enumerate(conflicts):
        name = f"- `{conflict.path}`" + (f": {conflict.explanation}" if conflict.explanation else "")
        full = f"{name}\n\n```\n{conflict.excerpt}\n```" if conflict.excerpt else name
        entry = full if len(full) <= left // 2 else name
        if len(entry) > left:
            return "\n\n".join([*listed, f"- and {len(conflicts) - number} more"])
        listed.append(entry)
        left -= len(entry) + 2
    return "\n\n".join(listed)
