"""Both servers under the supervisor, as `up` runs them: recovery from every kill, order, overrides, other users."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from symphony.domain.errors import ConfigError
from symphony.local import leftovers
from symphony.local.home import Home
from tests.conftest import execute, lives, wait_until
from tests.integration.up import NO_SERVERS, of_home, up

pytest_plugins = ["tests.fakes.home_fixtures"]

NOBODY = 65534


@pytest.fixture
def home(made_home: Path) -> Path:
    return made_home


@pytest.fixture
def new_home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def rows(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]


def answers(url: str) -> bool:
    try:
        execute(url, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def test_servers_come_back_with_all_committed_rows_after_kill_9(home: Path) -> None:
    with up(home) as running:
        database, broker = running.urls["database"], running.urls["broker"]
        execute(database, "CREATE TABLE kept (n int)")
        for number in range(3):
            execute(database, f"INSERT INTO kept VALUES ({number})")
            os.kill(running.pid("postgres"), signal.SIGKILL)
            wait_until(lambda n=number: running.states("postgres").count("ready") == n + 2, what="restart")
            assert rows(database) == list(range(number + 1))
        with redis.Redis.from_url(broker) as client:
            client.config_set("appendfsync", "always")
            client.set("kept", "1")
        os.kill(running.pid("valkey"), signal.SIGKILL)
        wait_until(lambda: running.states("valkey").count("ready") == 2, what="restart")
        with redis.Redis.from_url(broker) as client:
            assert client.get("kept") == b"1"
        assert running.stop() == 0
        assert of_home(home) == []


def test_a_backend_that_is_stuck_does_not_hinder_the_restart(home: Path) -> None:
    with up(home) as running:
        database = running.urls["database"]
        with psycopg.connect(database) as connection:
            backend = connection.info.backend_pid
            os.kill(backend, signal.SIGSTOP)
            os.kill(running.pid("postgres"), signal.SIGKILL)
            wait_until(lambda: running.states("postgres").count("ready") == 2, what="restart")
            assert answers(database)
            assert not lives(backend)
        assert running.stop() == 0


def test_a_killed_up_leaves_nothing_and_the_next_works_on_its_data(home: Path) -> None:
    with up(home, "worker-1=exec sleep 60") as running:
        urls = running.urls
        execute(urls["database"], "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        running.pid("worker-1")
        running.process.kill()
        with up(home) as following:  # at once: the servers may still be there
            assert following.urls == urls
            assert rows(urls["database"]) == [7]
            assert following.stop() == 0
        assert of_home(home) == []


def test_a_killed_up_leaves_nothing_even_when_no_other_follows(home: Path) -> None:
    with up(home, "worker-1=exec sleep 60") as running:
        assert running.urls
        running.pid("worker-1")
        running.process.kill()
        running.wait()
        wait_until(lambda: of_home(home) == [], timeout_s=20, what="the end of all")


def test_everything_killed_at_once_loses_no_committed_row(home: Path) -> None:
    with up(home) as running:
        execute(running.urls["database"], "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        for process in [psutil.Process(running.process.pid), *psutil.Process(running.process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # the kernel was quicker: the parent's end is theirs
                process.kill()
        running.wait()
    with up(home) as following:
        assert rows(following.urls["database"]) == [7]
        assert following.stop() == 0


def test_servers_stop_last_and_in_order(home: Path) -> None:
    farewell = (
        "import os, psycopg, redis; psycopg.connect(os.environ['SYMPHONY_DATABASE_URL'], autocommit=True)"
        ".execute('INSERT INTO kept VALUES (1)'); redis.Redis.from_url(os.environ['SYMPHONY_BROKER_URL']).ping()"
    )
    worker = f'trap "sleep 0.5; {sys.executable} -c \\"{farewell}\\"; exit 0" TERM; while :; do sleep 0.1; done'
    with up(home, f"worker-1={worker}") as running:
        execute(running.urls["database"], "CREATE TABLE kept (n int)")
        running.pid("worker-1")
        assert running.stop() == 0
    ends = [(name, state) for name in ("worker-1", "valkey", "postgres") for state in ("stopping", "stopped")]
    assert running.order(*ends)
    with up(home) as following:
        assert rows(following.urls["database"]) == [1]
        assert following.stop() == 0


def test_sigterm_while_the_database_is_made(new_home: Path) -> None:
    with up(new_home) as running:
        wait_until(lambda: (new_home / "postgres/data.new").exists(), what="the making of the database")
        running.process.send_signal(signal.SIGTERM)
        running.wait()
        assert of_home(new_home) == []
    with up(new_home) as following:
        assert following.urls
        assert following.stop() == 0


def test_a_database_whose_making_was_killed_is_made_again(new_home: Path) -> None:
    with up(new_home) as running:
        wait_until(lambda: (new_home / "postgres/data.new/base").exists(), what="the making of the database")
        running.process.kill()
        running.wait()
        with up(new_home) as following:
            execute(following.urls["database"], "CREATE TABLE kept (n int)")
            assert following.stop() == 0


def test_two_homes_side_by_side(tmp_path: Path) -> None:
    with up(tmp_path / "one") as one, up(tmp_path / "two") as two:
        execute(one.urls["database"], "CREATE TABLE kept (n int)")
        execute(two.urls["database"], "CREATE TABLE kept (n int)")
        assert one.stop() == 0
        assert answers(two.urls["database"])
        assert two.stop() == 0


@pytest.mark.parametrize("given", ["SYMPHONY_DATABASE_URL", "SYMPHONY_BROKER_URL", "both"])
def test_what_has_a_url_is_not_started(home: Path, given: str) -> None:
    env = NO_SERVERS if given == "both" else {given: NO_SERVERS[given]}
    with up(home, "worker-1=echo $SYMPHONY_DATABASE_URL $SYMPHONY_BROKER_URL $SYMPHONY_HOME; sleep 60", env=env) as running:
        urls = running.urls
        assert (urls["database"] == NO_SERVERS["SYMPHONY_DATABASE_URL"]) == ("SYMPHONY_DATABASE_URL" in env)
        assert (urls["broker"] == NO_SERVERS["SYMPHONY_BROKER_URL"]) == ("SYMPHONY_BROKER_URL" in env)
        assert bool(leftovers.serving(home / "postgres/data")) == ("SYMPHONY_DATABASE_URL" not in env)
        assert bool(leftovers.serving(home / "valkey/data")) == ("SYMPHONY_BROKER_URL" not in env)
        line = f"worker-1 | {urls['database']} {urls['broker']} {home}"
        wait_until(lambda: line in running.lines, what="the environment of a child")
        assert running.stop() == 0


def test_servers_see_no_secrets_and_know_the_home(home: Path) -> None:
    with up(home, env={"OPENAI_API_KEY": "sk-secret", "PGPORT": "1", "PGDATA": "/nowhere"}) as running:
        assert running.urls
        for name in ("postgres", "valkey"):
            environment = psutil.Process(running.pid(name)).environ()
            assert "sk-secret" not in environment.values()
            assert environment["SYMPHONY_HOME"] == str(home)
        assert running.stop() == 0


def test_data_that_cannot_be_served_ends_in_one_sentence(home: Path) -> None:
    with up(home) as running:
        assert running.urls
        assert running.stop() == 0
    shutil.rmtree(home / "postgres/data/global")
    with up(home) as broken:
        assert broken.wait(60) == 1
    last = broken.lines[-1]
    assert last.startswith("postgres: does not start: ")
    assert str(home / "logs/postgres.log") in last
    assert of_home(home) == []


def test_a_home_that_is_a_file_or_below_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/home"):
        with pytest.raises(ConfigError, match=r"file.* \(set SYMPHONY_HOME to a directory of your own\)"):
            Home(path)


def test_a_dead_holder_is_no_holder(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.holder() is None
    for garbage in ("", "garbage", '{"pid": 1}', "[]", '{"pid": "x", "started": 1, "since": "", "command": ""}'):
        (home.path / "lock").write_text(garbage)
        assert home.holder() is None
        with home.held():
            assert str(home.holder()).startswith(f"pid {os.getpid()}, since 20")
        assert home.holder() is None


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.held():
        bystander = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with home.held():
            pass
    finally:
        bystander.kill()
        bystander.wait()


def as_nobody() -> list[str]:
    """The prefix that runs a test's program as an ordinary user who may still read what Python needs."""
    if os.geteuid() != 0:
        return []
    can_read = "+dac_read_search"  # the interpreter may lie below root's closed directories
    prefix = [
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *(f"--inh-caps=-all,{can_read}", f"--ambient-caps=-all,{can_read}", f"--bounding-set=-all,{can_read}"),
    ]
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("root cannot become an ordinary user here: no working `setpriv`")
    return prefix


@pytest.fixture
def ordinary(tmp_path: Path) -> Path:
    """A directory that belongs to an ordinary user."""
    place = tmp_path / "ordinary"
    place.mkdir()
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    return place


def test_an_ordinary_user_has_both_servers_and_their_recovery(ordinary: Path) -> None:
    with up(ordinary / "home", env={"HOME": str(ordinary)}, prefix=as_nobody()) as running:
        database = running.urls["database"]
        execute(database, "CREATE TABLE kept (n int)")
        assert psutil.Process(running.pid("postgres")).uids().real == (NOBODY if os.geteuid() == 0 else os.geteuid())
        os.kill(running.pid("postgres"), signal.SIGKILL)
        os.kill(running.pid("valkey"), signal.SIGKILL)
        wait_until(lambda: running.states("postgres").count("ready") == 2, what="restart of PostgreSQL")
        wait_until(lambda: running.states("valkey").count("ready") == 2, what="restart of Valkey")
        assert rows(database) == []
        assert running.stop() == 0
        assert of_home(ordinary / "home") == []


def test_a_home_that_cannot_be_made_is_refused_in_a_sentence(ordinary: Path) -> None:
    closed = ordinary / "closed"
    closed.mkdir(mode=0o555)
    with up(closed / "home", prefix=as_nobody(), env=NO_SERVERS) as running:
        assert running.wait() == 1
    assert running.lines == [
        f"{closed}/home: cannot be used: Permission denied (set SYMPHONY_HOME to a directory of your own)"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_a_home_of_somebody_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    with up(theirs, prefix=as_nobody(), env=NO_SERVERS) as running:
        assert running.wait() == 1
    assert running.lines == [f"{theirs}: is not writable (set SYMPHONY_HOME to a directory of your own)"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_another_users_folder_in_the_home_is_refused(ordinary: Path) -> None:
    foreign = ordinary / "home/postgres"
    foreign.mkdir(parents=True)
    os.chown(foreign, NOBODY, NOBODY)
    with pytest.raises(ConfigError, match=f"home/postgres: belongs to uid {NOBODY}"):
        Home(ordinary / "home")
