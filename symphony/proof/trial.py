"""What a check came to over all its runs on one tree: red and then green is flaky, red twice is red.

Invariant: a run that was red is never forgotten: it stays beside the green one and is shown. Only further runs of the very
same tree count.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from symphony.domain.proof import CheckResult, Verdict
from symphony.proof.commands import SETUP

LIMITED = frozenset({Verdict.TIMED_OUT, Verdict.KILLED})
_EARLIER_OUTPUT = 8_000


@dataclass(frozen=True, slots=True)
class Ran:
    """A check's last run, those before it on the same tree, and where the full logs lie on the node."""

    result: CheckResult
    earlier: tuple[CheckResult, ...] = ()
    log: str | None = None
    was_red: bool = False
    """Whether an earlier proof of the same tree was red here."""
    is_cached: bool = False
    """Whether the result of a setup was taken from the node's cache."""

    @property
    def name(self) -> str:
        """The check's name."""
        return self.result.name

    @property
    def key(self) -> tuple[str, str]:
        """What it is told from other checks by: a check may be named like the setup."""
        return self.result.name, self.result.command

    @property
    def passed(self) -> bool:
        """Whether the last run was green."""
        return self.result.verdict is Verdict.PASSED

    @property
    def is_limited(self) -> bool:
        """Whether it ran too long or used too much, which a busy node can be the cause of."""
        return self.result.verdict in LIMITED

    @property
    def is_flaky(self) -> bool:
        """Whether it was red and then green on the same tree."""
        return self.passed and (self.was_red or any(run.verdict is not Verdict.PASSED for run in self.earlier))

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored: the last run, with what was before."""
        shown = self.result.as_json() | {"flaky": self.is_flaky, "log": self.log}
        if self.is_cached:
            shown["cached"] = True
        if self.earlier:
            shown["earlier"] = [
                {
                    "verdict": str(run.verdict),
                    "exit_code": run.exit_code,
                    "seconds": run.seconds,
                    "output": run.output[-_EARLIER_OUTPUT:],
                }
                for run in self.earlier
            ]
        return shown


def results_of(ran: Sequence[Ran]) -> list[CheckResult]:
    """Give the last runs."""
    return [each.result for each in ran]


def again(first: Sequence[Ran], second: Sequence[Ran], keys: Collection[tuple[str, str]]) -> list[Ran]:
    """Put the second runs of some checks upon their first ones, and add the checks that had no first one."""
    later = {ran.key: ran for ran in second}
    merged = []
    for ran in first:
        new = later.get(ran.key)
        if ran.key in keys and new is not None:
            merged.append(replace(new, earlier=(*ran.earlier, ran.result), was_red=ran.was_red))
        else:
            merged.append(ran)
    known = {ran.key for ran in first}
    return [*merged, *(ran for ran in second if ran.key not in known)]


def fails_in(ran: Sequence[Ran], name: str) -> bool:
    """Tell whether a check of this name ran and failed; where the setup failed, every check did."""
    return any(not each.passed for each in ran if each.name in (SETUP, name))
