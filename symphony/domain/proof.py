"""Proof of work: check results bound to exactly one tree, and what is said of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from symphony.domain.reported import Case, CaseOutcome, Reported

RUN_TRAILER = "Symphony-Run"
PROOF_TRAILER = "Symphony-Proof"
FEEDBACK_BUDGET = 12_000
_LEAST_SHARE = 600  # characters of the feedback below which a failure is named only
_LEAST_MESSAGE = 120  # characters below which a failed test is named only
_LONGEST_NAME = 300
_GAP = "\n[…]\n"
_WROTE = "\n\nThe check wrote:\n\n"
_MOST_TICKS = 8
_KEY_LENGTH = 32
_LONG_TICKS = re.compile("`{9,}")
_TICKS = re.compile("`{3,}")


class Verdict(StrEnum):
    """What a check, or a whole proof, came to."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    KILLED = "killed"
    """Ended by a limit on memory or processes."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check run once; `output` is capped, `dropped` bytes are missing from it; `report` is what its reports tell."""

    name: str
    command: str
    verdict: Verdict
    exit_code: int
    seconds: float
    output: str
    dropped: int = 0
    report: Reported | None = None

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return asdict(replace(self, report=None)) | {"report": self.report.as_json() if self.report else None}


def judged(result: CheckResult, report: Reported | None) -> CheckResult:
    """Bind a check's result to its reports: what exited with 0 has failed where they tell of failures or are doubtful."""
    has_failed = report is not None and (report.bad or report.doubts)
    verdict = Verdict.FAILED if result.verdict is Verdict.PASSED and has_failed else result.verdict
    return replace(result, verdict=verdict, report=report)


def verdict_of(results: Sequence[CheckResult]) -> Verdict:
    """Give the verdict of a proof: passed when there are checks and each passed."""
    return Verdict.PASSED if results and all(r.verdict is Verdict.PASSED for r in results) else Verdict.FAILED


def proof_key(run_id: object, *, base: str, head: str, demands: Iterable[tuple[str, str]]) -> str:
    """Name the proof that a landing rests on before there is one: the run, its base and head, and what is demanded.

    `demands` are the names and commands in their order, the setup first. Whoever has the stored proof can give the name
    again, so a landing's trailer and its proof stand or fall together.
    """
    said = json.dumps([str(run_id), base, head, [list(demand) for demand in demands]], separators=(",", ":"))
    return hashlib.sha256(said.encode(errors="surrogatepass")).hexdigest()[:_KEY_LENGTH]


def feedback(results: Sequence[CheckResult], budget: int = FEEDBACK_BUDGET) -> str:
    """Say exactly what failed, the first failure first, within `budget` characters (at least 1,000)."""
    failed = [result for result in results if result.verdict is not Verdict.PASSED]
    passed = [result.name for result in results if result.verdict is Verdict.PASSED]
    quoted = failed[: max(budget // _LEAST_SHARE, 1)]
    lists = []
    if unquoted := [result.name for result in failed[len(quoted) :]]:
        lists.append(_shortened(f"These checks failed, too: {', '.join(unquoted)}.", budget // 10))
    if passed:
        lists.append(_shortened(f"These checks passed: {', '.join(passed)}.", budget // 10))
    share = (budget - sum(len(part) + 2 for part in lists)) // max(len(quoted), 1) - 2
    return "\n\n".join([*(_quoted(result, share) for result in quoted), *lists])


def _quoted(result: CheckResult, budget: int) -> str:
    """Quote a failed check: its failed tests, then what it wrote."""
    # What the check wrote must not end the quotation that it stands in.
    output = _tamed(result.output.strip())
    tests = [f"{case.name[:_LONGEST_NAME]} {_manner(case)}" for case in result.report.bad] if result.report else []
    messages = [_tamed(case.message.strip()) for case in result.report.bad] if result.report else []
    tests = [_tamed(" ".join(test.split())) for test in tests]
    fence = "`" * (max(map(len, _TICKS.findall("\n".join([output, *tests, *messages]))), default=2) + 1)
    opening = (
        f"The check `{result.name}` (`{_shortened(result.command, budget // 4)}`) {_how(result, budget // 4)}:\n\n{fence}\n"
    )
    closing = f"\n{fence}"
    room = budget - len(opening) - len(closing)
    if not tests:
        return f"{opening}{_shortened(output, room)}{closing}"
    listed = _listed(tests, messages, room if not output else max(room * 2 // 3, room - len(_WROTE) - len(output)))
    if output and (left := room - len(listed) - len(_WROTE)) > len(_GAP):
        listed += _WROTE + _shortened(output, left)
    return f"{opening}{_shortened(listed, room)}{closing}"


def _how(result: CheckResult, budget: int) -> str:
    if result.verdict is Verdict.TIMED_OUT:
        return "ran longer than it may"
    if result.verdict is Verdict.KILLED:
        return "was killed for using more than it may"
    told = f"exited with {result.exit_code}"
    if result.report is None:
        return told
    bad = len(result.report.bad)
    parts = [f"{bad} of its {len(result.report.cases)} tests failed"] if bad else []
    parts += result.report.doubts
    if not parts:
        return told
    return told + _shortened((", but " if result.exit_code == 0 else "; ") + "; ".join(parts).replace("`", "'"), budget)


def _manner(case: Case) -> str:
    return "could not run" if case.outcome is CaseOutcome.ERROR else "failed"


def _listed(tests: Sequence[str], messages: Sequence[str], budget: int) -> str:
    """List failed tests with as much of each message as all of them have room for; what has no room is counted."""
    quoted = max(min(len(tests), budget // (_LEAST_MESSAGE * 2)), 1)
    share = budget // quoted
    parts = []
    for test, message in zip(tests[:quoted], messages, strict=False):
        left = share - len(test) - 3
        parts.append(f"{test}:\n{_shortened(message, left)}" if message and left >= _LEAST_MESSAGE // 2 else test)
    listed = "\n\n".join(parts)
    for number, test in enumerate(tests[quoted:], quoted):
        if len(listed) + len(test) + 40 > budget:
            return f"{listed}\n… and {len(tests) - number} more tests"
        listed += f"\n{test}"
    return listed


def _tamed(text: str) -> str:
    return _LONG_TICKS.sub("`" * _MOST_TICKS, text)


def _shortened(text: str, most: int) -> str:
    """Keep the head and twice as much of the tail."""
    if len(text) <= most:
        return text
    kept = max(most - len(_GAP), 3)
    return f"{text[: kept // 3]}{_GAP}{text[kept // 3 - kept :]}"
