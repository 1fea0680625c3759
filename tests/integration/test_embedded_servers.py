"""The embedded PostgreSQL and Valkey, each alone: what they let in, what they keep, what they refuse."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from symphony.domain.errors import ConfigError
from symphony.local import binaries, leftovers
from symphony.local.home import Home
from symphony.local.postgres import PostgresServer
from symphony.local.valkey import ValkeyServer
from tests.conftest import execute, running, with_database

pytest_plugins = ["tests.fakes.home_fixtures"]


@pytest.fixture
def home(made_home: Path) -> Home:
    return Home(made_home)


def postgres_of(home: Home) -> PostgresServer:
    return PostgresServer(home, durable=False)


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def port_of(url: str) -> int:
    return int(re.findall(r":(\d+)/", url)[0])


def test_postgres_answers_on_loopback_with_a_password_only(home: Home) -> None:
    server = postgres_of(home)
    with running(server, home) as process:
        listening = psutil.Process(process.pid).net_connections("inet")
        assert {connection.laddr.ip for connection in listening if connection.status == "LISTEN"} == {"127.0.0.1"}
        password = server.url.split(":")[2].split("@")[0]
        for wrong in (server.url.replace(password, "wrong"), server.url.replace(f":{password}", "")):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(wrong)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=str(home.run), port=port_of(server.url), user="symphony", dbname="symphony")
        assert not any(password in " ".join(p.cmdline()) for p in leftovers.serving(server.data))


def test_the_applications_role_owns_its_database_and_is_no_superuser(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreaterole, pg_get_userbyid(datdba), pg_encoding_to_char(encoding),"
            " current_setting('max_connections') FROM pg_roles, pg_database"
            " WHERE rolname = current_user AND datname = 'symphony'"
        ).fetchone()
    assert row == (False, False, "symphony", "UTF8", "300")


def test_postgres_is_on_a_unix_socket_too(home: Home) -> None:
    server = postgres_of(home)
    with running(server, home), psycopg.connect(server.url, host=str(home.run)) as connection:
        assert connection.info.host == str(home.run)
        connection.execute("SELECT 1")


def test_a_home_whose_path_is_too_long_for_sockets_has_loopback_only(home: Home, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    shutil.move(home.path, deep / "home")
    long_home = Home(deep / "home")
    for server in (postgres_of(long_home), ValkeyServer(long_home, durable=False)):
        with running(server, long_home):
            assert [path for path in long_home.run.iterdir() if path.is_socket()] == []
    with running(server := postgres_of(long_home), long_home):
        execute(server.url, "SELECT 1")


def test_nobody_else_may_read_the_home(home: Home) -> None:
    with running(ValkeyServer(home), home), running(postgres_of(home), home):
        open_to_others = [
            path
            for path in home.path.rglob("*")
            if not path.is_socket() and path.parent in (home.path, home.postgres, home.valkey, home.run)
            if stat.S_IMODE(path.stat().st_mode) & 0o077 and path not in (home.workspaces,)
        ]
        assert open_to_others == []
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(home.workspaces.stat().st_mode) == 0o711


def test_postgres_restarts_on_the_same_data_and_port(home: Home) -> None:
    with running(server := postgres_of(home), home):
        execute(server.url, "CREATE TABLE kept (n int)")
        first = server.url
    with running(server := postgres_of(home), home):
        assert server.url == first
        assert count(server.url) == 0


def test_a_taken_port_is_left_to_its_owner(home: Home) -> None:
    for make in (postgres_of, ValkeyServer):
        with running(server := make(home), home):
            first = server.url
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind(("127.0.0.1", port_of(first)))
            squatter.listen()
            with running(server := make(home), home):
                second = server.url
                assert port_of(second) != port_of(first)
        with running(server := make(home), home):
            assert server.url == second


@pytest.mark.parametrize("garbage", ["", "garbage\n\0", "{self}\n{data}\n1\n1\n\n127.0.0.1\n  1 1\nready   \n", "1\n"])
def test_a_pid_file_is_not_believed(home: Home, garbage: str) -> None:
    server = postgres_of(home)
    file = server.data / "postmaster.pid"
    file.write_text(garbage.format(self=os.getpid(), data=server.data))
    with running(server, home):
        execute(server.url, "SELECT 1")


def test_a_socket_whose_server_was_killed_and_not_reaped_is_no_obstacle(home: Home) -> None:
    """Rule: where nobody reaps orphans, a killed server's pid lives on, and its lock file must not keep the next one away."""
    server = postgres_of(home)
    with running(server, home):
        port = port_of(server.url)
    alive = subprocess.Popen([*binaries.disguise().prefix, "sleep", "600"])
    try:
        lock = home.run / f".s.PGSQL.{port}.lock"
        lock.write_text(f"{alive.pid}\n{server.data}\n1\n{port}\n{home.run}\n")
        with running(server, home):
            execute(server.url, "SELECT 1")
    finally:
        alive.kill()
        alive.wait()


def test_a_garbage_port_file_is_replaced(home: Home) -> None:
    (home.postgres / "port").write_text("many")
    with running(server := postgres_of(home), home):
        execute(server.url, "SELECT 1")
    (home.postgres / "port").write_text("80")
    with running(server := postgres_of(home), home):
        assert port_of(server.url) > 1024


def test_an_interrupted_making_begins_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    half = home.postgres / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with running(server := postgres_of(home), home):
        execute(server.url, "CREATE TABLE kept (n int)")


def test_the_data_of_another_major_version_is_refused_in_a_sentence(home: Home) -> None:
    (home.postgres / "data/PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigError) as caught:
        postgres_of(home).prepare()
    assert re.fullmatch(
        r".*/data: was written by PostgreSQL 15, and this Symphony brings \d+ \(dump it with PostgreSQL 15, .*\)",
        str(caught.value),
    )


@pytest.mark.parametrize("missing", ["data/PG_VERSION", "password"])
def test_incomplete_data_is_refused_and_kept(home: Home, missing: str) -> None:
    (home.postgres / missing).unlink()
    with pytest.raises(ConfigError, match="is not complete"):
        postgres_of(home).prepare()
    assert (home.postgres / "data/base").is_dir()


def test_a_server_that_a_killed_up_left_is_ended_before_the_next_starts(home: Home) -> None:
    with running(first := postgres_of(home), home) as process:
        execute(first.url, "CREATE TABLE kept (n int)")
        (first.data / "postmaster.pid").write_text("garbage")
        second = postgres_of(home)
        second.prepare()
        assert not psutil.pid_exists(process.pid) or process.poll() is not None
        with running(second, home):
            assert count(second.url) == 0


def test_a_shell_that_stands_in_the_data_directory_is_not_ended(home: Home) -> None:
    server = postgres_of(home)
    bystander = subprocess.Popen(["sleep", "60"], cwd=server.data)
    try:
        server.prepare()
        server.command()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_does_not_outlive_the_thread_that_started_it(home: Home, tmp_path: Path) -> None:
    code = f"""
import subprocess, time
from pathlib import Path
from symphony.local.home import Home
from symphony.local.postgres import PostgresServer
from symphony.local.valkey import ValkeyServer
home = Home(Path({str(home.path)!r}))
for server in (PostgresServer(home), ValkeyServer(home)):
    server.prepare()
    process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not server.ready(process.pid): time.sleep(0.02)
print("ready", flush=True)
time.sleep(60)
"""
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    with starter.stdout:
        assert starter.stdout.readline() == b"ready\n"
    starter.kill()
    starter.wait()
    until = time.monotonic() + 20
    while leftovers.serving(home.postgres / "data") or leftovers.serving(home.valkey / "data"):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def forget_disguise() -> Iterator[None]:
    binaries.disguise.cache_clear()
    yield
    binaries.disguise.cache_clear()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
@pytest.mark.usefixtures("forget_disguise")
def test_root_can_run_postgres_without_user_namespaces(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data was made in a user namespace; then `setpriv` serves it, below a directory closed to all others."""
    home.path.parent.chmod(0o700)
    with running(server := postgres_of(home), home):
        execute(server.url, "CREATE TABLE kept (n int)")
    everything = binaries._DISGUISES
    monkeypatch.setattr(binaries, "_DISGUISES", everything[1:])
    binaries.disguise.cache_clear()
    with running(server := postgres_of(home), home) as process:
        assert psutil.Process(process.pid).uids().real == binaries._NOBODY
        assert count(server.url) == 0
    fresh = Home(tmp_path / "fresh")
    with running(server := postgres_of(fresh), fresh):
        execute(server.url, "CREATE TABLE kept (n int)")
    monkeypatch.setattr(binaries, "_DISGUISES", everything)
    binaries.disguise.cache_clear()
    with running(server := postgres_of(fresh), fresh):
        assert count(server.url) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
@pytest.mark.usefixtures("forget_disguise")
def test_root_without_any_way_is_told_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_DISGUISES", (binaries.Disguise(("unshare", "--no-such-option"), owner=0),))
    with pytest.raises(ConfigError, match=r"refuses to run as root.*SYMPHONY_DATABASE_URL"):
        postgres_of(home).command()


def test_valkey_answers_on_loopback_with_a_password_only(home: Home) -> None:
    server = ValkeyServer(home)
    with running(server, home) as process:
        listening = psutil.Process(process.pid).net_connections("inet")
        assert {connection.laddr.ip for connection in listening if connection.status == "LISTEN"} == {"127.0.0.1"}
        for way in ({"port": port_of(server.url)}, {"unix_socket_path": str(home.run / "valkey.sock")}):
            with redis.Redis(**way, retry=None) as client, pytest.raises(redis.AuthenticationError):
                client.ping()
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        password = server.url.split(":")[2].split("@")[0]
        assert password not in " ".join(psutil.Process(process.pid).cmdline())
        assert stat.S_IMODE((home.run / "valkey.sock").stat().st_mode) == 0o700


def test_valkey_keeps_what_it_was_told(home: Home) -> None:
    with running(server := ValkeyServer(home), home) as process:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "1")
            client.config_set("appendfsync", "always")
            client.set("kept too", "1")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with running(server := ValkeyServer(home), home), redis.Redis.from_url(server.url) as client:
        assert client.exists("kept", "kept too") == 2


def test_another_servers_answer_is_not_readiness(home: Home, tmp_path: Path) -> None:
    with running(server := ValkeyServer(home), home) as process:
        assert server.ready(process.pid)
        assert not server.ready(process.pid + 1)


def test_two_homes_stand_side_by_side(home: Home, tmp_path: Path, pristine_home: Path) -> None:
    subprocess.run(["cp", "-a", str(pristine_home), str(tmp_path / "second")], check=True)
    second = Home(tmp_path / "second")
    one, two = postgres_of(home), postgres_of(second)
    with running(one, home), running(two, second):
        with running(ValkeyServer(home), home), running(ValkeyServer(second), second):
            execute(one.url, "CREATE TABLE kept (n int)")
            assert port_of(one.url) != port_of(two.url)
            with pytest.raises(psycopg.errors.UndefinedTable):
                count(two.url)
        leftovers.end(leftovers.serving(one.data), signal.SIGKILL, grace_s=5)
        execute(with_database(two.url, "symphony"), "SELECT 1")
