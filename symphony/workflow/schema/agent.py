"""The `agent` section: the specification's limits (5.3.5), and which agent works with which budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from symphony.domain import usage
from symphony.domain.admission import Slots
from symphony.domain.issue import normalized_labels, normalized_state
from symphony.workflow.schema.fields import (
    Amount,
    Count,
    Milliseconds,
    Money,
    Positive,
    Script,
    Section,
    Text,
    Whole,
    fault,
    key,
    milliseconds,
)

DEFAULT_MODEL = "gpt-6.2-sol"
AgentKind = Literal["openai", "codex", "command"]
ModelApi = Literal["responses", "chat"]


def state_limits(limits: Any) -> Any:
    """Normalise the states and drop what is no positive number, as the specification asks (5.3.5)."""
    if not isinstance(limits, Mapping):
        return limits
    numbers = {normalized_state(state): _positive(limit) for state, limit in limits.items()}
    return {state: number for state, number in numbers.items() if state and number is not None}


def _positive(limit: object) -> int | None:
    if isinstance(limit, bool) or not isinstance(limit, (int, str)):
        return None
    try:
        number = int(limit)
    except ValueError:
        return None
    return number if 0 < number < 2**31 else None


def _labels(choices: Any) -> Any:
    if not isinstance(choices, Mapping):
        return choices
    return {label.strip().lower(): choice for label, choice in choices.items()}


class Budget(Section):
    """What one run may use, across attempts and nodes; null is no limit."""

    tokens: Amount | None = key("Uncached input and output tokens.", None)
    cost_usd: Money | None = key("Cost in US dollars. Compatible mode: no limit.", 20.0)
    seconds: Amount | None = key("Time that agents work. Compatible mode: no limit.", 14_400)

    @property
    def limits(self) -> usage.Budget:
        """The budget as the domain checks it."""
        return usage.Budget(
            tokens=self.tokens,
            cost_usd=None if self.cost_usd is None else Decimal(str(self.cost_usd)),
            time=None if self.seconds is None else timedelta(seconds=self.seconds),
        )


class LabelChoice(Section):
    """What an issue with this label gets in place of the section's own."""

    kind: AgentKind | None = key("Kind of agent.", None)
    model: Text | None = key("Model.", None)
    effort: Text | None = key("Effort.", None)
    budget: Budget | None = key("Budget; a key left out keeps the section's own.", None)


class AgentChoice(Section):
    """The agent that one issue gets."""

    kind: AgentKind
    command: str | None
    api: ModelApi
    model: str
    effort: str
    budget: Budget


class Agent(Section):
    """How many agents work, which, and how long."""

    max_concurrent_agents: Positive = key("Most agents at once.", 10, applies="next poll")
    max_turns: Positive = key("Most turns of one session.", 20)
    max_retry_backoff_ms: Milliseconds = key("Longest wait between failed attempts.", 300_000)
    max_concurrent_agents_by_state: Annotated[dict[str, int], BeforeValidator(state_limits)] = key(
        "Most agents at once by the issue's state; entries that are no positive number are ignored.",
        {},
        applies="next poll",
    )
    kind: AgentKind = key("Kind of agent. Compatible mode: `codex`.", "openai")
    command: Script = key("For kind command: a shell command line; the prompt comes on its standard input.", None)
    model: Text = key("Model that an `openai` agent uses.", DEFAULT_MODEL)
    effort: Text = key("How hard the model thinks.", "high")
    api: ModelApi = key(
        "How an `openai` agent speaks to its model: `responses`, or `chat` for providers that have only Chat Completions.",
        "responses",
    )
    max_attempts: Count = key(
        "Failed attempts and crashes of a run; 0: no limit but five crashes in a row. Compatible mode: 0.", 5
    )
    max_rework: Count = key("Rounds from a failed proof back to the agent; a person's rounds do not count.", 3)
    turn_timeout_ms: Milliseconds | None = key(
        "Longest time of one turn; of an `openai` agent, whose turn its budget bounds, of one step: a request to the "
        "model, its retries excluded, with the calls that it asks for. Left out: codex.turn_timeout_ms.",
        None,
    )
    stall_timeout_ms: Whole | None = key("Longest silence; 0 or less: not watched. Left out: codex.stall_timeout_ms.", None)
    budget: Budget = key("What one run may use, across attempts and nodes.", Budget())
    by_label: Annotated[dict[str, LabelChoice], BeforeValidator(_labels)] = key(
        "Label -> any of kind, model, effort, budget; the first label in this order that names one decides it.", {}
    )

    @model_validator(mode="after")
    def _needs_command(self) -> Self:
        labelled = next((label for label, choice in self.by_label.items() if choice.kind == "command"), None)
        if self.command is None and (self.kind == "command" or labelled is not None):
            where = ("kind",) if self.kind == "command" else ("by_label", labelled or "", "kind")
            raise fault("kind command needs agent.command", *where, cure="write the shell command line there")
        return self

    @property
    def slots(self) -> Slots:
        """How many agents may work at once."""
        return Slots(self.max_concurrent_agents, self.max_concurrent_agents_by_state)

    @property
    def max_retry_backoff(self) -> timedelta:
        """The longest wait between failed attempts."""
        return milliseconds(self.max_retry_backoff_ms)

    def choice(self, labels: Iterable[str]) -> AgentChoice:
        """Say which agent an issue with these labels gets."""
        carried = set(normalized_labels(labels))
        values = {name: getattr(self, name) for name in ("kind", "command", "api", "model", "effort")}
        budget = self.budget.model_dump()
        for label, choice in reversed(self.by_label.items()):
            if label in carried:
                named = {name: getattr(choice, name) for name in ("kind", "model", "effort")}
                values |= {name: value for name, value in named.items() if value is not None}
                budget |= choice.budget.model_dump(exclude_unset=True) if choice.budget else {}
        return AgentChoice(**values, budget=Budget(**budget))
