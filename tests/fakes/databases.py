"""Migrated databases for the tests of one process: each test has one of its own, and most are used again.

Invariant: whoever gets a database finds it as the migrations left it, under a name that nobody has had before, so what
an earlier test forgot to end cannot reach it. One whose schema a test has changed is dropped. To make a database costs a
copy of three hundred files, and file systems are slow where many files were just deleted; to empty one costs an instant.
"""

from __future__ import annotations

import itertools
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

_CATALOGS = (
    *("pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_index", "pg_namespace", "pg_proc"),
    *("pg_trigger", "pg_type"),
)
_SHAPE = " UNION ALL ".join(f"SELECT '{name}', count(*), max(xmin::text::bigint) FROM {name}" for name in _CATALOGS)
_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
_FIRST_NUMBERS = "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence"


class Databases:
    """The databases of one server that are copies of `template`; one at a time is handed out to each that asks."""

    def __init__(self, server_url: str, template: str) -> None:
        self._server, self._template = server_url, template
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        with psycopg.connect(self._url(template)) as connection:
            self._shape = connection.execute(_SHAPE).fetchall()
            self._tables = [name for (name,) in connection.execute(_TABLES)]
            self._rows = {name: rows for name in self._tables if (rows := _rows(connection, name))}

    def take(self) -> str:
        """Give the name of a database that is as the template is."""
        name = f"test_{next(self._numbers)}"
        if self._free:
            self._order(f"ALTER DATABASE {self._free.pop()} RENAME TO {name}")
        else:
            self._order(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return name

    def give_back(self, name: str) -> None:
        """End every session on a database, and keep it for the next or drop it."""
        self._order(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'",
            f"ALTER DATABASE {name} RENAME TO spare_{name}",
            f"ALTER DATABASE spare_{name} ALLOW_CONNECTIONS true",
        )
        if self._emptied(f"spare_{name}"):
            self._free.append(f"spare_{name}")
        else:
            self._order(f"DROP DATABASE spare_{name}")

    def _emptied(self, name: str) -> bool:
        """Bring a database's rows to those of the template, and tell whether its schema is the template's."""
        with psycopg.connect(self._url(name)) as connection:
            if connection.execute(_SHAPE).fetchall() != self._shape:
                return False
            # One statement, since tables refer to each other; what refers to what is looked at when it ends.
            deletes = ", ".join(f"_{number} AS (DELETE FROM {table})" for number, table in enumerate(self._tables))
            connection.execute(f"WITH {deletes} SELECT".encode())
            for table, rows in self._rows.items():
                insert = f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, %s)"
                connection.execute(insert.encode(), [Jsonb(rows)])
            connection.execute(_FIRST_NUMBERS)
        return True

    def _order(self, *statements: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def _url(self, name: str) -> str:
        return f"{self._server.rpartition('/')[0]}/{name}"


def _rows(connection: psycopg.Connection[Any], table: str) -> Any:
    (found,) = connection.execute(f"SELECT jsonb_agg(t) FROM {table} t".encode()).fetchone() or (None,)
    return found
