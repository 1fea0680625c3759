"""Tests that a change took away: removed, or newly skipped.

Invariant: a change that makes a check pass by asking less is seen. Where both sides have reports their names decide; where
they have none, the text of the test files does, language by language, without running anything. A list for people: names
found in text are a reading of it, and no verdict hangs on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from symphony.domain.reported import CaseOutcome, Reported
from symphony.proof.source_tests import is_test_file, read_source

_LISTED = 200
_MOST_FILES = 1_000


@dataclass(frozen=True, slots=True)
class LostTests:
    """What is no longer tested; `removed_in_all` and `skipped_in_all` count what the lists are too short for.

    `added` are new tests, for the reviewer; `told_by` says whether reports or sources were compared.
    """

    removed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed_in_all: int = 0
    skipped_in_all: int = 0
    told_by: str = "sources"

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return asdict(self)


def lost_tests(
    target: Sequence[Reported],
    candidate: Sequence[Reported],
    base_files: Mapping[str, bytes],
    candidate_files: Mapping[str, bytes],
) -> LostTests:
    """Compare by reports where both sides have tests in them, and by the changed files otherwise.

    Skips are looked for in the files, too: a test that a report no longer names may be skipped as a whole file.
    """
    by_sources = lost_in_sources(base_files, candidate_files)
    if not any(told.cases for told in target) or not any(told.cases for told in candidate):
        return by_sources
    by_reports = lost_in_reports(target, candidate)
    skipped = list(dict.fromkeys([*by_reports.skipped, *by_sources.skipped]))
    return LostTests(
        by_reports.removed,
        tuple(skipped[:_LISTED]),
        by_reports.added,
        by_reports.removed_in_all,
        max(by_reports.skipped_in_all, len(skipped)),
        "reports",
    )


def lost_in_reports(target: Iterable[Reported], candidate: Iterable[Reported]) -> LostTests:
    """Compare the names in the reports of both sides."""
    before, after = _by_outcome(target), _by_outcome(candidate)
    removed = _minus(_names(before), _names(after))
    skipped = _minus(after[CaseOutcome.SKIPPED], before[CaseOutcome.SKIPPED])
    return _listed(removed, skipped, _minus(_names(after), _names(before)), "reports")


def lost_in_sources(base: Mapping[str, bytes], candidate: Mapping[str, bytes]) -> LostTests:
    """Compare the test files that differ, given by path with their contents; a test that has moved is not lost."""
    changed = sorted(path for path in {*base, *candidate} if base.get(path) != candidate.get(path))
    paths = [path for path in changed if is_test_file(path)][:_MOST_FILES]
    before = [read_source(path, base[path]) for path in paths if path in base]
    after = [read_source(path, candidate[path]) for path in paths if path in candidate]
    known, left = [Counter(test.name for side in each for test in side.tests) for each in (before, after)]
    marked = Counter(mark.key for side in before for mark in side.skips)
    removed: list[str] = []
    added: list[str] = []
    skipped: list[str] = []
    gone, new = known - left, left - known
    for lost, sides, listed in ((gone, before, removed), (new, after, added)):
        for test in (test for side in sides for test in side.tests):
            if lost[test.name] > 0:
                lost[test.name] -= 1
                listed.append(test.place)
    for mark in (mark for side in after for mark in side.skips):
        if marked[mark.key] > 0:
            marked[mark.key] -= 1
        else:
            skipped.append(mark.place)
    return _listed(removed, skipped, added, "sources")


def _by_outcome(reports: Iterable[Reported]) -> dict[CaseOutcome, Counter[str]]:
    found: dict[CaseOutcome, Counter[str]] = {outcome: Counter() for outcome in CaseOutcome}
    for told in reports:
        for case in told.cases:
            found[case.outcome][case.name] += 1
    return found


def _names(found: Mapping[CaseOutcome, Counter[str]]) -> Counter[str]:
    return sum(found.values(), Counter())


def _minus(one: Counter[str], other: Counter[str]) -> list[str]:
    return list((one - other).elements())


def _listed(removed: Sequence[str], skipped: Sequence[str], added: Sequence[str], told_by: str) -> LostTests:
    return LostTests(
        tuple(removed[:_LISTED]),
        tuple(skipped[:_LISTED]),
        tuple(added[:_LISTED]),
        len(removed),
        len(skipped),
        told_by,
    )
