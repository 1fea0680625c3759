"""What the environment decides: where Symphony lives, which servers it uses, and the engine's clockwork.

Invariant: every duration is positive and the lease outlives two missed renewals, so a slow renewal never costs a run.
Read from `SYMPHONY_*` only; durations are seconds there and timedeltas here. Every process of Symphony relies on it;
tests scale the clockwork through the same names.
"""

from __future__ import annotations

import math
import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from symphony.domain.errors import ConfigError

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

    lease_ttl: Seconds = timedelta(seconds=30)
    lease_renewal: Seconds = timedelta(seconds=10)
    tick: Seconds = timedelta(seconds=1)
    drain: Seconds = timedelta(seconds=30)
    node_silence: Seconds = timedelta(seconds=30)

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
