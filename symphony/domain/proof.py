"""Proof of work: check results bound to exactly one tree, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

FEEDBACK_BUDGET = 12_000
_LEAST_SHARE = 600  # characters of the feedback below which a failure is named only
_GAP = "\n[…]\n"
_MOST_TICKS = 8
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
    """One check run once; `output` is capped, `dropped` bytes are missing from it."""

    name: str
    command: str
    verdict: Verdict
    exit_code: int
    seconds: float
    output: str
    dropped: int = 0

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return asdict(self)


def verdict_of(results: Sequence[CheckResult]) -> Verdict:
    """Give the verdict of a proof: passed when there are checks and each passed."""
    return Verdict.PASSED if results and all(r.verdict is Verdict.PASSED for r in results) else Verdict.FAILED


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
    how = {
        Verdict.TIMED_OUT: "ran longer than it may",
        Verdict.KILLED: "was killed for using more than it may",
    }.get(result.verdict, f"exited with {result.exit_code}")
    # What the check wrote must not end the quotation that it stands in.
    output = _LONG_TICKS.sub("`" * _MOST_TICKS, result.output.strip())
    fence = "`" * (max(map(len, _TICKS.findall(output)), default=2) + 1)
    opening = f"The check `{result.name}` (`{_shortened(result.command, budget // 4)}`) {how}:\n\n{fence}\n"
    closing = f"\n{fence}"
    return f"{opening}{_shortened(output, budget - len(opening) - len(closing))}{closing}"


def _shortened(text: str, most: int) -> str:
    """Keep the head and twice as much of the tail."""
    if len(text) <= most:
        return text
    kept = max(most - len(_GAP), 3)
    return f"{text[: kept // 3]}{_GAP}{text[kept // 3 - kept :]}"
