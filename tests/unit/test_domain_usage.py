"""Usage, prices and budgets: money is exact, nothing is free by accident, and a refusal is a sentence for people."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony import settings
from symphony.domain.errors import ConfigError
from symphony.domain.usage import BUILT_IN_PRICES, Budget, Price, Spent, Usage, cost_of, day_refusal, dollars, price_of

SOL = BUILT_IN_PRICES["gpt-6.2-sol"]
counts = st.integers(-10, 2_000_000)
usages = st.builds(Usage, counts, counts, counts, counts, counts)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), "0"),
        (Usage(input_tokens=1_000_000), "4"),  # a million input tokens are a long context
        (Usage(input_tokens=100_000), "0.2"),
        (Usage(input_tokens=100_000, cached_tokens=90_000, cache_write_tokens=6_000, output_tokens=1_000), "0.042"),
        (Usage(output_tokens=1_000, reasoning_tokens=900), "0.01"),
        (Usage(input_tokens=272_000, output_tokens=1_000), "0.554"),
        (Usage(input_tokens=272_001, output_tokens=1_000), "1.103004"),
        (Usage(input_tokens=300_000, cached_tokens=280_000, cache_write_tokens=10_000, output_tokens=2_000), "0.176"),
        (Usage(input_tokens=1), "0.000002"),
    ],
)
def test_costs_of_a_request(usage: Usage, cost: str) -> None:
    """Rule: cached, cache-writing and other input differ; above the limit the whole request costs more."""
    assert cost_of(usage, SOL) == Decimal(cost)


@given(usages)
def test_a_usage_never_contradicts_itself(usage: Usage) -> None:
    """Rule: parts are at most their wholes, so no request has a negative cost."""
    assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    assert usage.uncached == usage.input_tokens - usage.cached_tokens >= 0
    assert cost_of(usage, SOL) >= 0


@given(usages, usages)
def test_costs_add_up_below_the_long_context(one: Usage, other: Usage) -> None:
    """Rule: sums are exact, in tokens and in money."""
    flat = Price(SOL.input, SOL.cached, SOL.cache_write, SOL.output)
    assert cost_of(one + other, flat) == cost_of(one, flat) + cost_of(other, flat)


def test_reports_that_count_reasoning_apart_are_not_cheaper() -> None:
    """Rule: a report that contradicts itself does not cost less than what it says."""
    assert Usage(output_tokens=10, reasoning_tokens=50).output_tokens == 50
    assert Usage(input_tokens=10, cached_tokens=50).uncached == 0


def test_an_unknown_model_is_never_free() -> None:
    """Rule: an unknown price is an error with its place and cure."""
    assert price_of(BUILT_IN_PRICES, "gpt-6.2-sol") is SOL
    assert price_of(BUILT_IN_PRICES, "gpt-6.2-sol-2026-11-17") is SOL
    for name in ("gpt-9", "", "gpt-6.2-sol-mini", "gpt-6.2", "2026-11-17"):
        with pytest.raises(ConfigError) as caught:
            price_of(BUILT_IN_PRICES, name)
        assert caught.value.place == "SYMPHONY_PRICES"
        assert "gpt-6.2-sol" in str(caught.value.cure)


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (Budget(), None),
        (Budget(tokens=1_001, cost_usd=Decimal("1.51"), time=timedelta(seconds=61)), None),
        (Budget(tokens=1_000), "1,000 of its budget of 1,000 tokens"),
        (Budget(cost_usd=Decimal("1.50")), "$1.50 of its budget of $1.50"),
        (Budget(time=timedelta(minutes=1)), "1.0 of its budget of 1.0 minutes"),
        (Budget(tokens=0), "of its budget of 0 tokens"),
    ],
)
def test_a_budget_is_used_up_when_it_is_reached(budget: Budget, says: str | None) -> None:
    """Rule: budgets in tokens, money and time; the refusal is a sentence that says which."""
    refusal = budget.refusal(Spent(tokens=1_000, cost_usd=Decimal("1.5"), seconds=60))
    assert (says in refusal) if says and refusal else refusal is says


def test_a_day_is_used_up_when_its_limit_is_reached() -> None:
    """Rule: daily_usd for the whole deployment."""
    assert day_refusal(Decimal(10**9), None) is None
    assert day_refusal(Decimal("9.99"), Decimal(10)) is None
    assert "$10.00 today (UTC) of its daily $10.00" in str(day_refusal(Decimal(10), Decimal(10)))
    assert day_refusal(Decimal(0), Decimal(0)) is not None


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0.00"), ("0.844", "$0.84"), ("12345.6", "$12,345.60"), ("0.0042", "$0.0042"), ("0.00000213", "$0.0000021")],
)
def test_amounts_for_people(amount: str, text: str) -> None:
    """Rule: what is not nothing does not look like nothing."""
    assert dollars(Decimal(amount)) == text


def test_the_table_of_prices_can_be_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: SYMPHONY_PRICES is laid over the built-in table, key by key."""
    assert settings.load().prices == BUILT_IN_PRICES
    monkeypatch.setenv(
        "SYMPHONY_PRICES",
        '{"gpt-6.2-sol": {"cached": 0.05}, "own": {"input": 0.1, "output": 0}, "local": {"input": 0, "output": 0}}',
    )
    prices = settings.load().prices
    assert (prices["gpt-6.2-sol"].cached, prices["gpt-6.2-sol"].output) == (Decimal("0.05"), Decimal(10))
    assert prices["gpt-6.2-sol"].long_context_from == 272_000
    own = prices["own"]
    assert (own.input, own.cached, own.cache_write, own.output) == (*[Decimal("0.1")] * 3, Decimal(0))
    assert cost_of(Usage(input_tokens=500_000), prices["own"]) == Decimal("0.05")
    assert cost_of(Usage(1_000, 0, 0, 1_000), price_of(prices, "local")) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "JSON object"),
        ("[1]", "the whole"),
        ("null", "the whole"),
        ('{"x": 3}', "x: "),
        ('{"x": {"input": 1}}', "x: should have output"),
        ('{"x": {}}', "input and output"),
        ('{"x": {"input": -1, "output": 1}}', "x.input: "),
        ('{"x": {"input": NaN, "output": 1}}', "x.input: "),
        ('{"x": {"input": Infinity, "output": 1}}', "x.input: "),
        ('{"x": {"input": "much", "output": 1}}', "x.input: "),
        ('{"x": {"input": 1, "output": 1, "price": 1}}', "x.price: "),
        ('{"x": {"input": 1, "output": 1, "long_context_from": 0}}', "x.long_context_from: "),
        ('{"": {"input": 1, "output": 1}}', "SYMPHONY_PRICES"),
    ],
)
def test_wrong_prices_are_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str, says: str) -> None:
    """Rule: the operator's mistake has its place."""
    monkeypatch.setenv("SYMPHONY_PRICES", text)
    with pytest.raises(ConfigError) as caught:
        settings.load()
    assert caught.value.place == "SYMPHONY_PRICES"
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_daily_limit_is_money(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: SYMPHONY_DAILY_USD is a Decimal; unset it limits nothing."""
    assert settings.load().daily_usd is None
    monkeypatch.setenv("SYMPHONY_DAILY_USD", "12.10")
    assert settings.load().daily_usd == Decimal("12.10")
    for wrong in ("-1", "much", "NaN", "inf"):
        monkeypatch.setenv("SYMPHONY_DAILY_USD", wrong)
        with pytest.raises(ConfigError, match="SYMPHONY_DAILY_USD"):
            settings.load()
