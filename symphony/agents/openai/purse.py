"""Whether the next request may be paid: budgets of the run and of the deployment, looked at before each.

Invariant: a request begins only when what was spent, in every attempt and on every node, and its own estimate stay
within each limit. Over a limit the run is blocked with what it has, and a person is told which limit and how to raise it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from symphony.domain.usage import Budget, Price, Spent, Usage, cost_of, day_refusal

_CURE = (
    "Raise `agent.budget` in WORKFLOW.md, or give the issue a label with a larger budget, then answer here to go on; what "
    "the agent has done so far is kept."
)
_DAY_CURE = "Raise it or wait for tomorrow, then answer here to go on; what the agent has done so far is kept."


@dataclass(frozen=True, slots=True)
class Purse:
    """The limits of one run; `spent` and `spent_today` read the ledger."""

    budget: Budget
    daily_usd: Decimal | None
    price: Price
    spent: Callable[[], Spent]
    spent_today: Callable[[], Decimal]

    def cost(self, used: Usage) -> Decimal:
        """Give what a request costs, in US dollars."""
        return cost_of(used, self.price)

    def refusal(self, estimate: Usage) -> str | None:
        """Say why the next request may not be made; None when it may."""
        spent, cost = self.spent(), self.cost(estimate)
        then = replace(spent, tokens=spent.tokens + estimate.uncached, cost_usd=spent.cost_usd + cost)
        if (over := self.budget.refusal(spent)) is not None:
            return f"{_sentence(over)} {_CURE}"
        if (over := self.budget.refusal(then)) is not None:
            return f"With its next request {over}. {_CURE}"
        if self.daily_usd is not None and (over := day_refusal(self.spent_today() + cost, self.daily_usd)) is not None:
            return f"{_sentence(over)} {_DAY_CURE}"
        return None


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
