"""What model requests use, what that costs, and whether a run or a day may spend more.

Invariant: money is exact (`Decimal`), a model without a price is an error and never free, and a report that contradicts
itself is read so that it does not cost less than what it says. The ledger stores these values, the settings hold the
table of prices, and an agent asks `Budget` before each request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from symphony.domain.errors import ConfigError

PRICES_PLACE = "SYMPHONY_PRICES"
_MILLION = 6  # prices are for ten to this many tokens
_DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request or of many; cached and cache-writing ones are part of the input, reasoning of the output."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        """Correct counts that contradict each other: a part is at most its whole, and nothing is negative."""
        given = max(self.input_tokens, 0)
        cached = min(max(self.cached_tokens, 0), given)
        object.__setattr__(self, "input_tokens", given)
        object.__setattr__(self, "cached_tokens", cached)
        object.__setattr__(self, "cache_write_tokens", min(max(self.cache_write_tokens, 0), given - cached))
        object.__setattr__(self, "output_tokens", max(self.output_tokens, self.reasoning_tokens, 0))
        object.__setattr__(self, "reasoning_tokens", max(self.reasoning_tokens, 0))

    def __add__(self, other: Usage) -> Usage:
        """Sum two usages."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def uncached(self) -> int:
        """The input tokens that did not come from a cache."""
        return self.input_tokens - self.cached_tokens


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens of a model.

    A request with more input tokens than `long_context_from` costs `long_input_factor` times as much for its input, cached
    or not, and `long_output_factor` times as much for its output, from its first token on.
    """

    input: Decimal
    cached: Decimal
    cache_write: Decimal
    output: Decimal
    long_context_from: int | None = None
    long_input_factor: Decimal = Decimal(2)
    long_output_factor: Decimal = Decimal("1.5")


BUILT_IN_PRICES: Mapping[str, Price] = {
    "gpt-6.2-sol": Price(
        input=Decimal(2),
        cached=Decimal("0.10"),
        cache_write=Decimal("2.50"),
        output=Decimal(10),
        long_context_from=272_000,
    ),
}


def cost_of(usage: Usage, price: Price) -> Decimal:
    """Give what a single request costs, in US dollars, exactly."""
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    given = plain * price.input + usage.cached_tokens * price.cached + usage.cache_write_tokens * price.cache_write
    made = usage.output_tokens * price.output
    if price.long_context_from is not None and usage.input_tokens > price.long_context_from:
        given, made = given * price.long_input_factor, made * price.long_output_factor
    return (given + made).scaleb(-_MILLION)


def price_of(prices: Mapping[str, Price], model: str) -> Price:
    """Look up a model's price; a dated snapshot of a model costs what the model does.

    Raises:
        ConfigError: the table does not have the model.
    """
    price = prices.get(model) or prices.get(_DATED.sub("", model))
    if price is None:
        raise ConfigError(
            f"the price of the model {model!r} is not known, so nothing can be said of what it costs",
            place=PRICES_PLACE,
            cure=f'set {PRICES_PLACE}=\'{{"{model}": {{"input": 2, "output": 10}}}}\' with US dollars for a million tokens,'
            f" or use one of: {', '.join(sorted(prices))}",
        )
    return price


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used so far: uncached input and output tokens, money, and seconds of its agent stage."""

    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may use, over all of its attempts; None: no limit."""

    tokens: int | None = None
    cost_usd: Decimal | None = None
    time: timedelta | None = None

    def refusal(self, spent: Spent) -> str | None:
        """Say in a sentence why the next request must not be made, or None where it may."""
        if self.cost_usd is not None and spent.cost_usd >= self.cost_usd:
            return f"the run has spent {dollars(spent.cost_usd)} of its budget of {dollars(self.cost_usd)}"
        if self.tokens is not None and spent.tokens >= self.tokens:
            return f"the run has used {spent.tokens:,} of its budget of {self.tokens:,} tokens"
        if self.time is not None and spent.seconds >= self.time.total_seconds():
            used, allowed = spent.seconds / 60, self.time.total_seconds() / 60
            return f"the run's agent has worked {used:.1f} of its budget of {allowed:.1f} minutes"
        return None


def day_refusal(spent_today: Decimal, daily_usd: Decimal | None) -> str | None:
    """Say in a sentence why nothing more is spent in this deployment today (UTC), or None where it may be."""
    if daily_usd is None or spent_today < daily_usd:
        return None
    return (
        f"this deployment has spent {dollars(spent_today)} today (UTC) of its daily {dollars(daily_usd)}"
        " (SYMPHONY_DAILY_USD)"
    )


def dollars(amount: Decimal) -> str:
    """Write an amount of US dollars for people: cents, or two digits of what is less than a cent."""
    if not amount or abs(amount) >= Decimal("0.01"):
        return f"${amount:,.2f}"
    places = 1 - amount.adjusted()
    return f"${amount:.{places}f}"
