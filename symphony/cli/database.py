"""`symphony db upgrade|check`: the ledger's schema."""

from __future__ import annotations

import typer

from symphony.cli.app import app
from symphony.cli.connection import database_url
from symphony.cli.formatting import line
from symphony.ledger.opening import ensure_answers, open_current
from symphony.ledger.schema import known_revisions, upgrade
from symphony.settings import load

db = typer.Typer(help="The ledger's schema.", no_args_is_help=False, rich_markup_mode=None)
app.add_typer(db, name="db")


@db.command("upgrade")
def upgrade_schema() -> None:
    """Bring the database to this build's schema; several at once do it once."""
    url = database_url(load())
    ensure_answers(url)
    upgrade(url)
    line(f"the database has schema {known_revisions()[0]}")


@db.command("check")
def check_schema() -> None:
    """Say whether the database answers and has this build's schema; exit 0 or 2."""
    open_current(database_url(load()), pool_size=1, application="symphony command").close()
    line(f"the database answers and has schema {known_revisions()[0]}")
