"""The kinds of values that front matter keys have, and what every section of it shares.

A section keeps unknown keys, takes `null` for "as if left out" wherever null has no meaning of its own, never shows
values of secret keys, and cannot be changed after it was read. docs/workflow.md is generated from what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Applies = Literal["next poll", "next attempt", "restart"]

_MOST = 2**31 - 1
_TEN_YEARS_MS = 10 * 365 * 86_400_000


def fault(message: str, *path: str | int, cure: str | None = None, category: str | None = None) -> PydanticCustomError:
    """Make the error of a validator; `path` leads from the validated value to the key at fault."""
    context = {"sentence": message, "path": path, "cure": cure, "category": category}
    return PydanticCustomError("fault", "{sentence}", context)


def key(
    meaning: str,
    default: Any = ...,
    *,
    applies: Applies = "next attempt",
    hidden: bool = False,
    shown: str | None = None,
) -> Any:
    """Declare a key: its meaning, when a change applies; `hidden` from reprs; `shown` as default in the reference."""
    extra: dict[str, Any] = {"applies": applies, "shown": shown}
    if isinstance(default, (dict, BaseModel)):
        return Field(default_factory=lambda: copy(default), description=meaning, json_schema_extra=extra, repr=not hidden)
    return Field(default, description=meaning, json_schema_extra=extra, repr=not hidden)


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise fault(f"must be a whole number, not {str(value).lower()}")
    return value


def _not_blank(text: str) -> str:
    if not text.strip():
        raise fault("must not be empty")
    return text


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _not_zero(size: int) -> int:
    if size <= 0:
        raise fault("must be more than nothing")
    return size


Whole = Annotated[int, BeforeValidator(_no_boolean), Field(ge=-_TEN_YEARS_MS, le=_TEN_YEARS_MS)]
Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=_MOST)]
Positive = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1, le=_MOST)]
Amount = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1, le=10**15)]
Milliseconds = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1, le=_TEN_YEARS_MS)]
Port = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, le=65_535)]
Money = Annotated[float, BeforeValidator(_no_boolean), Field(gt=0, le=10**9, allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(_not_blank)]
Script = Annotated[Text | None, BeforeValidator(_blank_is_none)]
Size = Annotated[ByteSize, BeforeValidator(_no_boolean), AfterValidator(_not_zero)]
Words = tuple[Text, ...]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def milliseconds(count: int) -> timedelta:
    """Give the duration that a `*_ms` key means."""
    return timedelta(milliseconds=count)


class Section(BaseModel):
    """A map of the front matter with known keys."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, value: Any) -> Any:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            return value
        return {name: item for name, item in value.items() if item is not None or cls._takes_null(name)}

    @classmethod
    def _takes_null(cls, name: str) -> bool:
        declared = cls.model_fields.get(name)
        return declared is None or type(None) in get_args(declared.annotation)

    def __repr_args__(self) -> Any:
        """Leave out unknown keys, whose values nobody can vouch for."""
        return [(name, value) for name, value in super().__repr_args__() if name in type(self).model_fields]
