"""Real servers for the tests: one PostgreSQL and one Valkey a test process, a database and broker of its own a test.

Invariant: no test sees another's rows or messages, and both servers are gone when the test process is, however it
ended.
"""

from __future__ import annotations

import gc
import itertools
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import psutil
import psycopg
import pytest
import redis
import structlog

from symphony.local import leftovers
from symphony.local.home import Home
from symphony.local.postgres import PostgresServer
from symphony.local.valkey import ValkeyServer
from tests.fakes.databases import Databases

_TEMPLATE = "migrated"
_START_S = 60
_numbers = itertools.count(1)


def wait_until(condition: Callable[[], object], *, timeout_s: float = 30, what: str = "the condition") -> None:
    """Return when `condition` holds; fail when it does not within `timeout_s`."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Tell whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(server: PostgresServer | ValkeyServer, home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server without a supervisor; its log lies in the home."""
    server.prepare()
    log = home.logs / f"{server.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(server.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or server.ready(process.pid), timeout_s=_START_S, what=server.name)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        leftovers.end(leftovers.serving(server.data), server.stop_signal, grace_s=20)
        process.wait()


def migrate(url: str) -> None:
    """Bring the template database to the newest schema."""
    if find_spec("symphony.ledger.schema") is not None:
        from symphony.ledger.schema import upgrade

        upgrade(url)


def execute(url: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def with_database(url: str, name: str) -> str:
    """Return the url of another database (or Valkey's numbered one) on the same server."""
    return f"{url.rpartition('/')[0]}/{name}"


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what stays to the end, which is some hundred thousand objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logging_unconfigured() -> Iterator[None]:
    """Take back what a test that ran the command in this process made of logging."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not type(handler).__module__.startswith("symphony")]
    root.setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """PostgreSQL without fsync; `.url` is its maintenance database."""
    home = Home(tmp_path_factory.mktemp("pg"))
    server = PostgresServer(home, durable=False)
    with running(server, home):
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer) -> str:
    """The name of a migrated database that nobody is connected to."""
    execute(postgres_server.url, f"CREATE DATABASE {_TEMPLATE}")
    migrate(with_database(postgres_server.url, _TEMPLATE))
    execute(postgres_server.url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_TEMPLATE}'")
    return _TEMPLATE


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer, template_database: str) -> Databases:
    """The databases that tests of this process use one after another."""
    return Databases(postgres_server.url, template_database)


@pytest.fixture
def database_url(postgres_server: PostgresServer, databases: Databases) -> Iterator[str]:
    """A migrated database without a row, and nobody else's."""
    name = databases.take()
    yield with_database(postgres_server.url, name)
    databases.give_back(name)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """Valkey that keeps nothing on disk."""
    home = Home(tmp_path_factory.mktemp("vk"))
    server = ValkeyServer(home, durable=False)
    with running(server, home):
        yield server


@pytest.fixture
def broker_url(valkey_server: ValkeyServer) -> str:
    """An empty numbered database of the session's Valkey."""
    url = with_database(valkey_server.url, str(next(_numbers) % 16))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
