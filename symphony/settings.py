"""What the environment decides: where Symphony lives, which servers it uses, and the engine's clockwork.

Invariant: every duration is positive and the lease outlives two missed renewals, so a slow renewal never costs a run.
What models cost stands here, too, so that it can be corrected without a new build. Read from `SYMPHONY_*` only;
durations are seconds there and timedeltas here. Every process of Symphony relies on it; tests scale the clockwork
through the same names.
"""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from symphony.domain.errors import ConfigError
from symphony.domain.usage import BUILT_IN_PRICES, Price

_PREFIX = "SYMPHONY_"


def _seconds(value: object) -> object:
    if not isinstance(value, str | int | float):
        return value
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError("should be a number of seconds") from None
    if not 0 < seconds <= timedelta(days=365).total_seconds() or math.isnan(seconds):
        raise ValueError("should be more than 0 and at most a year of seconds")
    return timedelta(seconds=seconds)


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]


_Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000)]
_Factor = Annotated[Decimal, Field(gt=0, le=100)]


class _Entry(BaseModel):
    """What may be said of a model in SYMPHONY_PRICES."""

    model_config = ConfigDict(extra="forbid")
    input: _Dollars | None = None
    cached: _Dollars | None = None
    cache_write: _Dollars | None = None
    output: _Dollars | None = None
    long_context_from: Annotated[int, Field(gt=0)] | None = None
    long_input_factor: _Factor | None = None
    long_output_factor: _Factor | None = None


_URL = TypeAdapter(HttpUrl)
_ENTRIES = TypeAdapter(dict[Annotated[str, Field(min_length=1)], _Entry])


def _prices(value: object) -> object:
    """Lay the entries of SYMPHONY_PRICES over the built-in table; caching gives no discount unless its price is said."""
    if not isinstance(value, str):
        return value
    try:
        entries = _ENTRIES.validate_python(json.loads(value, parse_float=Decimal))
    except json.JSONDecodeError as error:
        raise ValueError(f"should be a JSON object of prices by model: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ValueError(f"should be a JSON object of prices by model: {place}: {first['msg']}") from None
    return {**BUILT_IN_PRICES, **{model: _price(model, entry) for model, entry in entries.items()}}


def _price(model: str, entry: _Entry) -> Price:
    known = BUILT_IN_PRICES.get(model)
    merged: dict[str, Any] = (asdict(known) if known is not None else {}) | entry.model_dump(exclude_none=True)
    missing = {"input", "output"} - merged.keys()
    if missing:
        raise ValueError(f"{model}: should have {' and '.join(sorted(missing))}, US dollars for a million tokens")
    return Price(**({"cached": merged["input"], "cache_write": merged["input"]} | merged))


def _public_url(value: object) -> object:
    """Give an address in the form that can stand in a text of ours; what is joined to it begins with a slash."""
    if not isinstance(value, str):
        return value
    try:
        url = _URL.validate_python(value)
    except ValidationError:
        raise ValueError("should be an http or https URL, such as https://symphony.example.org") from None
    if url.query is not None or url.fragment is not None or url.username is not None or url.password is not None:
        raise ValueError("should be a URL without a user, a query and a fragment")
    return str(url).rstrip("/")


def _default_home() -> Path:
    """Return the XDG state directory's place for Symphony."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if Path(state).is_absolute():  # a relative one is invalid by the XDG specification
        return Path(state) / "symphony"
    return Path("~/.local/state/symphony")


class Settings(BaseSettings):
    """The settings of one process; make them with `load`, which words mistakes for people."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, validate_default=True
    )

    home: Path = Field(default_factory=_default_home)
    database_url: str | None = Field(default=None, repr=False)
    broker_url: str | None = Field(default=None, repr=False)
    node: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    public_url: Annotated[str | None, BeforeValidator(_public_url)] = None

    lease_ttl: Seconds = timedelta(seconds=30)
    lease_renewal: Seconds = timedelta(seconds=10)
    tick: Seconds = timedelta(seconds=1)
    drain: Seconds = timedelta(seconds=30)
    node_silence: Seconds = timedelta(seconds=30)

    prices: Annotated[Mapping[str, Price], NoDecode, BeforeValidator(_prices)] = Field(default=BUILT_IN_PRICES, repr=False)
    daily_usd: Decimal | None = Field(default=None, ge=0)

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except (RuntimeError, OSError):
            raise ValueError("names no directory here: this user has no home directory") from None

    @model_validator(mode="after")
    def _lease_outlives_renewals(self) -> Settings:
        if self.lease_renewal * 3 > self.lease_ttl:
            raise ValueError(f"{_PREFIX}LEASE_RENEWAL should be at most a third of {_PREFIX}LEASE_TTL")
        return self


def load() -> Settings:
    """Read the settings from the environment.

    Raises: ConfigError that names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        names = [f"{_PREFIX}{part}".upper() for part in first["loc"][:1]]
        raise ConfigError(
            first["msg"].removeprefix("Value error, "), place=names[0] if names else "environment", cure="correct it"
        ) from None
