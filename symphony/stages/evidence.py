"""What a proof shows beside its checks: complexity, tests that were taken away, the walkthrough, and the second run.

Invariant: all of it is made from the store's objects and the results of checks by Symphony itself; the agent's account only
orders and explains what is there. Used by the proof stage.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from symphony.domain.globs import matches
from symphony.domain.proof import Verdict, verdict_of
from symphony.domain.reported import Case, CaseOutcome, Reported
from symphony.ledger import accounts, landings
from symphony.ledger.landings import Evidence
from symphony.proof.account import account_of
from symphony.proof.changes import Change, change_between, originals
from symphony.proof.complexity import as_check, can_measure, measured
from symphony.proof.demands import limits_of
from symphony.proof.functions import Complexity
from symphony.proof.lost_tests import LostTests, lost_in_sources, lost_tests
from symphony.proof.protected import Touched, decides, files_of, obeyed, restored, touched
from symphony.proof.trial import Ran, again, results_of
from symphony.proof.walkthrough import walkthrough
from symphony.stages.context import RunContext
from symphony.stages.source import Code, message_of
from symphony.stages.trials import Trials
from symphony.telemetry.log import get_logger

_MOST_CASES = 20_000
_MOST_NAMED = 5

log = get_logger()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A commit that may land on `target`, with what it changes there."""

    target: str
    commit: str
    change: Change


def candidate_of(code: Code, target: str, commit: str) -> Candidate:
    """Read what a candidate changes."""
    with code.mirror.reading() as git:
        return Candidate(target, commit, change_between(git, target, commit))


def complexity_of(context: RunContext, code: Code, candidate: Candidate) -> tuple[Complexity | None, list[Ran]]:
    """Measure what the candidate made or touched; also give the check that it is where the workflow demands that."""
    wanted = context.workflow.proof.complexity
    if wanted.mode == "off":
        return None, []
    change, limits, found = candidate.change, limits_of(wanted), Complexity()
    if can_measure(change.candidate):
        with code.mirror.reading() as git:
            same = originals(git, candidate.target, {*change.base, *change.candidate})
        found = measured(context.tree, {**same, **change.base}, {**same, **change.candidate}, limits)
    check = as_check(found, limits, mode=wanted.mode)
    return found, [Ran(check)] if check is not None else []


def evidence_of(
    context: RunContext, code: Code, candidate: Candidate, ran: Sequence[Ran], *, key: str, complexity: Complexity | None
) -> Evidence:
    """Gather what is shown of a candidate whose checks have run, the second run left out."""
    reports = [each.result.report for each in ran if each.result.report is not None]
    before = _cases_of_target(context, code, candidate) if any(told.cases for told in reports) else []
    lost = lost_tests(before, reports, candidate.change.base, candidate.change.candidate)
    said = context.fenced(lambda transaction: accounts.account_of(transaction, context.run.id)) or {}
    told = walkthrough(candidate.change.files, account_of(said.get("walkthrough")), tests_added=lost.added)
    has_passed = verdict_of(results_of(ran)) is Verdict.PASSED
    return Evidence(
        key=key,
        flaky=tuple(each.name for each in ran if each.is_flaky),
        lost_tests=lost.as_json(),
        complexity=complexity.as_json() if complexity is not None else None,
        walkthrough=told.as_json(),
        cases=_cases(reports) if has_passed else None,
    )


def second_run(context: RunContext, code: Code, candidate: Candidate, trials: Trials) -> dict[str, Any] | None:
    """Run the checks with the target's versions of the protected files that a candidate changed; None where there are none.

    Files in which tests were taken away, or newly skipped, count as protected, and those that decide what the checks do.
    """
    wanted, change = context.workflow.proof, candidate.change
    lost = lost_in_sources(change.base, change.candidate)
    further = files_of(lost, {*change.base, *change.candidate})
    implied = obeyed(check.run for check in wanted.checks)
    further |= {
        file.path
        for file in change.files
        if matches(file.path, implied) and decides(file.path, change.base.get(file.path), change.candidate.get(file.path))
    }
    if not any(matches(file.path, wanted.protect) or file.path in further for file in change.files):
        return None
    index = context.settings.home / "run" / f"index-{context.lease.attempt_id}-{secrets.token_hex(4)}"
    index.parent.mkdir(parents=True, exist_ok=True)
    with code.mirror.reading() as git:
        files = touched(git, candidate.target, candidate.commit, wanted.protect, further)
        tree = restored(git, index, candidate.commit, files)
        commit = git.commit(tree, [candidate.target], message=message_of(context), when=context.run.created_at)
    ran = trials.steady(commit, "protected")
    red = [each for each in ran if not each.passed]
    if red and not any(each.is_limited for each in red):
        more = trials.steady(commit, "protected-again", last=None if len(ran) <= 1 else red[-1].name)
        ran = again(ran, more, {each.key for each in red})
    verdict = verdict_of(results_of(ran))
    shown = {"verdict": str(verdict), "tree_sha": tree, "checks": [each.as_json() for each in ran]}
    log.info("checked with the target's protected files", run=str(context.run.id), files=len(files), verdict=str(verdict))
    return shown | {"files": [_shown(file, lost) for file in files]}


def decision_on(protected: dict[str, Any]) -> str:
    """Put it to a person that the checks are red with the target's protected files."""
    red = [str(check["name"]) for check in protected["checks"] if check["verdict"] != Verdict.PASSED]
    files = [f"`{file['path']}`{f' ({why})' if (why := file.get('why')) else ''}" for file in protected["files"]]
    named = ", ".join(files[:_MOST_NAMED]) + (f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else "")
    fail = f"{', '.join(red) or 'the checks'} {'fails' if len(red) == 1 else 'fail'}"
    return (
        f"the checks pass, but this change touches files that they stand on: {named}. With the target's versions of them, "
        f"{fail}. Whether it lands as it is, is for a person to decide"
    )


def _shown(file: Touched, lost: LostTests) -> dict[str, str]:
    """Describe a file that was restored, and why where no pattern names it."""
    shown = {"path": file.shown, "status": str(file.status)}
    for why, places in (("tests removed", lost.removed), ("tests skipped", lost.skipped)):
        if any(place.startswith(f"{file.shown}:") for place in places):
            return shown | {"why": why}
    return shown


def _cases(reports: Sequence[Reported]) -> dict[str, list[str]] | None:
    """Give the names of all tests by outcome, where there are any and not too many to be kept for ever."""
    cases = {str(outcome): [name for told in reports for name in told.names(outcome)] for outcome in CaseOutcome}
    return cases if 0 < sum(map(len, cases.values())) <= _MOST_CASES else None


def _cases_of_target(context: RunContext, code: Code, candidate: Candidate) -> list[Reported]:
    """Give the tests of the target as its own proof had them, where it was landed by one that had reports."""
    with code.mirror.reading() as git:
        tree = git.tree_of(candidate.target)
    cases = context.fenced(lambda transaction: landings.cases_of_tree(transaction, tree))
    if cases is None:
        return []
    return [Reported(cases=tuple(Case(name, CaseOutcome(outcome)) for outcome, names in cases.items() for name in names))]
