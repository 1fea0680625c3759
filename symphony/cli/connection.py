"""The ledger that a command talks to: the one that the environment names, else that of the `up` that holds the home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import typer

from symphony.cli import completion
from symphony.domain.errors import ConfigError, Transient
from symphony.ledger.database import Database, Transaction
from symphony.ledger.opening import open_current
from symphony.local.home import Home, holder_of
from symphony.local.postgres import PostgresServer
from symphony.settings import Settings, load

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
InWorkflow = Annotated[
    str | None,
    typer.Option(
        "--workflow",
        "-w",
        help="The issue's workflow, where several have one of that name.",
        autocompletion=completion.workflows,
    ),
]


def database_url(settings: Settings) -> str:
    """Give the url of the ledger.

    Raises:
        ConfigError: the environment names none, and nothing runs on this home.
        Transient: the embedded server is only now being made.
    """
    if settings.database_url is not None:
        return settings.database_url
    if holder_of(settings.home) is None:
        raise ConfigError(
            "nothing runs on this home",
            place=str(settings.home),
            cure="start it with `symphony up`, or set SYMPHONY_HOME or SYMPHONY_DATABASE_URL to those of the one that runs",
        )
    try:
        return PostgresServer(Home(settings.home)).url
    except (OSError, ValueError) as error:
        raise Transient(f"the `up` on {settings.home} has no database of its own, or is only now making it") from error


@contextmanager
def ledger(settings: Settings | None = None, *, pool_size: int = 1) -> Iterator[Database]:
    """Open the ledger for a command.

    Raises:
        ConfigError: there is none, or its schema is not this build's.
        Transient: it does not answer.
    """
    database = open_current(database_url(settings or load()), pool_size=pool_size, application="symphony command")
    try:
        yield database
    finally:
        database.close()


def ask(body: Callable[[Transaction], T]) -> T:
    """Run one transaction on the ledger of this command's environment."""
    with ledger() as database:
        return database.transact(body)
