"""The stage that proves a run's work: the checks, in a clean checkout of the candidate merged with the target.

Invariant: a proof is bound to exactly one tree, and its commands come from the registered workflow. Checks that are red
on the bare target are not the agent's fault: the run waits and says so. What is red once and then green on the same tree is
flaky and not red. A change of what the checks stand on lands by itself only where they are green without it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from symphony.domain.outcome import Advance, Block, Outcome, Park, Review, Rework
from symphony.domain.proof import FEEDBACK_BUDGET, Verdict, feedback, proof_key, verdict_of
from symphony.forges.merge import Conflict, Merge, merge_commit, replanted, unresolved
from symphony.ledger import landings
from symphony.ledger.landings import Evidence
from symphony.ledger.records import Proof
from symphony.proof.commands import SETUP
from symphony.proof.demands import demands_of
from symphony.proof.trial import Ran, again, fails_in, results_of
from symphony.stages.context import RunContext
from symphony.stages.evidence import candidate_of, complexity_of, decision_on, evidence_of, second_run
from symphony.stages.source import Code, code_of, landing_message, message_of, publish, push_head
from symphony.stages.trials import Trials
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger

RED_TARGET_WAIT = timedelta(minutes=5)

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
        return Rework(f"There are conflict markers left. Resolve them in these files:\n\n{_listed(left)}", keeps_work=True)
    merge, key = _merge(context, code, target)
    if merge.commit is None:
        return _conflict(context, code, target, merge)
    if not merge.changed:
        return Block(f"`{code.forge.branch}` holds all of this change already. What is left to do?")
    known = context.fenced(lambda transaction: landings.newest_proof(transaction, run.id))
    # The commit's message names what is demanded: a proof for another version of the workflow is one for another commit.
    if known is not None and known.merge_sha == merge.commit and known.verdict == Verdict.PASSED:
        return _decided(context, code, known)
    return _tried(context, code, target, merge, key)


def _tried(context: RunContext, code: Code, target: str, merge: Merge, key: str) -> Proof | Outcome:
    """Prove a candidate of which nothing is known yet."""
    assert merge.commit is not None
    trials = Trials(context, code, target)
    candidate = candidate_of(code, target, merge.commit)
    ran, red_there = _blamed(trials, trials.steady(merge.commit), merge.commit, target)
    red_before = context.fenced(lambda transaction: landings.failed_on_tree(transaction, merge.tree))
    ran = [replace(each, was_red=each.key in red_before) for each in ran]
    complexity, demanded = complexity_of(context, code, candidate)
    ran += demanded
    evidence = evidence_of(context, code, candidate, ran, key=key, complexity=complexity)
    if verdict_of(results_of(ran)) is Verdict.PASSED:
        evidence = replace(evidence, protected=second_run(context, code, candidate, trials))
        return _decided(context, code, _record(context, target, merge, ran, evidence))
    _record(context, target, merge, ran, evidence)
    failed = [each for each in ran if not each.passed]
    if all(each.key in red_there for each in failed):
        names = ", ".join(each.name for each in failed)
        log.error("checks fail on the target itself", run=str(context.run.id), checks=names, target=target)
        return Park(RED_TARGET_WAIT, f"{names} fails on `{code.forge.branch}` itself")
    return Rework(feedback(results_of([each for each in ran if each.key not in red_there])))


def _blamed(trials: Trials, ran: Sequence[Ran], commit: str, target: str) -> tuple[list[Ran], set[tuple[str, str]]]:
    """Tell what is red on the bare target, too, and run the rest of what is red once more; it may be flaky."""
    merged, red_there, looked_at = list(ran), set[tuple[str, str]](), set[tuple[str, str]]()
    while failed := [each for each in merged if not each.passed and each.key not in looked_at]:
        looked_at |= {each.key for each in failed}
        is_setup = failed[0].name == SETUP and len(merged) == 1
        on_target = trials.steady(target, "target", last=failed[-1].name, cached=not is_setup)
        red_there |= {each.key for each in failed if fails_in(on_target, each.name)}
        own = [each for each in failed if each.key not in red_there and not each.is_limited]
        if own:
            second = trials.steady(commit, "again", last=None if is_setup else own[-1].name)
            merged = again(merged, second, {each.key for each in own})
    return merged, red_there


def _decided(context: RunContext, code: Code, proof: Proof) -> Proof | Outcome:
    """Give a passed proof; where it is red with the target's protected files a person has to decide first."""
    if proof.protected is None or proof.protected["verdict"] == Verdict.PASSED:
        return proof
    if context.fenced(lambda transaction: landings.is_decided(transaction, proof)):
        return proof
    publish(context, code, code.mirror.git, proof.head_sha)
    return Review(decision_on(proof.protected))


def _unresolved(context: RunContext, code: Code) -> list[Conflict]:
    """Find what is left of a conflict that an agent was given: no check need notice it."""
    base, head = context.run.base_sha, context.run.head_sha
    if base is None or head is None:
        return []
    with code.mirror.reading() as git:
        return [Conflict(path) for path in unresolved(git, base=base, head=head)]


def _merge(context: RunContext, code: Code, target: str) -> tuple[Merge, str]:
    """Merge the run's head with the target and name the proof that it needs.

    Where the target was rewound behind the run's base, the run's own change alone is taken.
    """
    run, git, message = context.run, code.mirror.git, message_of(context)
    head = run.head_sha
    assert head is not None
    with code.mirror.reading():
        if run.base_sha is not None and not git.descends(target, ancestor=run.base_sha):
            taken = replanted(git, base=run.base_sha, head=head, onto=target, message=message, when=run.created_at)
            if taken.commit is None or not taken.changed:
                return taken, ""
            push_head(context, code, git, taken.commit, base=target)
            head = taken.commit
        key = proof_key(run.id, base=target, head=head, demands=demands_of(context.workflow.proof))
        merge = merge_commit(
            git, base=target, head=head, message=landing_message(context, key), when=run.created_at,
            method=context.workflow.land.method,
        )  # fmt: skip
        return merge, key


def _record(context: RunContext, target: str, merge: Merge, ran: Sequence[Ran], evidence: Evidence) -> Proof:
    run = context.run
    head, commit = run.head_sha, merge.commit
    assert head is not None and commit is not None
    log.debug(Label.PROOF_RECORDING, run=str(run.id), tree=merge.tree)
    context.fenced(
        lambda transaction: landings.add_proof(
            transaction,
            base_sha=target,
            head_sha=head,
            merge_sha=commit,
            tree_sha=merge.tree,
            verdict=str(verdict_of(results_of(ran))),
            checks=[each.as_json() for each in ran],
            evidence=evidence,
        )
    )
    recorded = context.fenced(lambda transaction: landings.newest_proof(transaction, run.id))
    assert recorded is not None
    log.info(Label.PROOF_RECORDED, run=str(run.id), tree=merge.tree, verdict=recorded.verdict)
    return recorded


def _conflict(context: RunContext, code: Code, target: str, merge: Merge) -> Outcome:
    """Give the agent a workspace that stands on the present target, with the conflicts marked in its files."""
    git = code.mirror.git
    marked = git.commit(merge.tree, [target], message=message_of(context), when=context.run.created_at)
    push_head(context, code, git, marked, base=target)
    return Rework(
        f"`{code.forge.branch}` has moved on, and this change conflicts with it. The workspace now holds the present "
        f"`{code.forge.branch}` with your change merged into it; resolve the conflict markers in these files:\n\n"
        + _listed(merge.conflicts),
        keeps_work=True,
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
