"""What a tool is, what it is given and what it gives back.

Invariant: the schema that the model is shown and the check of what it sends come from one class, so neither can say
something else than the other. Relied on by every tool, here and in other rooms, and by the loop that calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from symphony.agents.openai.step import Step
from symphony.agents.openai.tools.sessions import Sessions
from symphony.agents.protocol import Asked, Finished
from symphony.ledger.database import FencedTransaction
from symphony.processes.guardian import Tree

_MOST_FAULTS = 5
_SHOWN_VALUE = 80


def _whole(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the character NUL")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Raw = Annotated[str, AfterValidator(_whole)]
Text = Annotated[Raw, AfterValidator(_without_nul)]
Said = Annotated[Text, AfterValidator(_not_blank)]


class Arguments(BaseModel):
    """What a tool takes: nothing is converted, nothing unknown passes; what may be null may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What the model is told: a text, images as data URLs, and whether its work ends with this.

    `also` is what is to be written in the transaction that records the result.
    """

    text: str
    images: tuple[str, ...] = ()
    ending: Finished | Asked | None = None
    also: Callable[[FencedTransaction], None] | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the tools of one turn work.

    `stop_reason` says why the turn must end now, or None; `heard` takes signs of life; `artifacts` is the folder for what
    the agent wants to show; `step` says how long calls may still take. Whoever makes a desk closes its `sessions`.
    """

    workspace: Path
    tree: Tree
    environment: Mapping[str, str]
    artifacts: Path
    stop_reason: Callable[[], str | None]
    heard: Callable[[str], None]
    sessions: Sessions = field(default_factory=Sessions)
    step: Step = field(default_factory=Step)


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    """Something that the model can call; `changes` says that a call may change the workspace or the world.

    `described` is the JSON schema of arguments that others describe and check; then the model is not held to it strictly.
    """

    name: str
    description: str
    arguments: type[A]
    work: Callable[[A, Desk], Result]
    changes: bool
    described: Mapping[str, Any] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments, as strict as strict mode wants it where it is ours."""
        return dict(_shown(self.arguments) if self.described is None else self.described)

    def run(self, arguments: dict[str, Any], desk: Desk) -> Result:
        """Check the arguments and work; arguments that do not fit are answered, not raised.

        Raises: Fenced, Cancelled or Transient when the run is over.
        """
        try:
            checked = self.arguments.model_validate(arguments)
        except ValidationError as error:
            return Result(self._faults(error))
        return self.work(checked, desk)

    def _faults(self, error: ValidationError) -> str:
        told = error.errors(include_url=False, include_context=False)
        faults = []
        for fault in told[:_MOST_FAULTS]:
            place = ".".join(str(part) for part in fault["loc"]) or "arguments"
            shown = "" if fault["type"] == "missing" else f" (given: {_short(fault['input'])})"
            faults.append(f"- {place}: {fault['msg']}{shown}")
        if len(told) > _MOST_FAULTS:
            faults.append(f"- and {len(told) - _MOST_FAULTS} more")
        names = ", ".join(self.arguments.model_fields)
        return f"Nothing was done: these arguments do not fit {self.name}, which takes {names}.\n" + "\n".join(faults)


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_VALUE else f"{shown[:_SHOWN_VALUE]}…"


@cache
def _shown(arguments: type[BaseModel]) -> dict[str, Any]:
    """Give the schema of a class; every request shows it, and to make it takes longer than all else of a request."""
    shown = _strict(arguments.model_json_schema())
    shown.pop("description", None)
    return shown


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Give the schema as strict mode wants it: every property required, no defaults; titles are left out."""
    strict: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"title", "default"}:
            continue
        if key in {"properties", "$defs"}:
            strict[key] = {name: _strict(inner) for name, inner in value.items()}
        elif isinstance(value, dict):
            strict[key] = _strict(value)
        elif key == "anyOf":
            strict[key] = [_strict(inner) for inner in value]
        else:
            strict[key] = value
    if strict.get("type") == "object":
        strict["required"] = list(strict.get("properties", {}))
        strict["additionalProperties"] = False
    return strict
