"""The embedded PostgreSQL: made once in the home, started on what is there.

Invariant: the data directory appears complete or not at all (made aside, then renamed); one server at most works on
it; only this machine reaches it, with a password that lies in the home. The application's role owns its database and
is no superuser. `up` and the tests' fixtures rely on it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

from symphony.domain.errors import ConfigError
from symphony.local import leftovers
from symphony.local.binaries import disguise, postgres_bin, server_environment
from symphony.local.home import Home, write_private
from symphony.local.ports import LOOPBACK, remembered_port
from symphony.local.tether import tethered

_ROLE = "symphony"
_SUPERUSER = "postgres"
_SOCKET_PATH_LIMIT = 107
_SETTINGS = {"max_connections": "300", "unix_socket_permissions": "0700", "cluster_name": "symphony"}
_FAST_AND_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresServer:
    """One server on one home; `durable=False` is for tests."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: ends sessions, writes a checkpoint
    grace = timedelta(seconds=30)

    def __init__(self, home: Home, *, durable: bool = True) -> None:
        self._folder = home.postgres
        self.data = home.postgres / "data"
        self._password_file = home.postgres / "password"
        self._port_file = home.postgres / "port"
        self._sockets = home.run
        self._durable = durable
        self._port = 0
        self._was_ready = False

    @property
    def url(self) -> str:
        """The application's database; valid once the server, of this process or of another, is ready."""
        password = self._password_file.read_text().strip()
        port = self._port or int(self._port_file.read_text())
        return f"postgresql://{_ROLE}:{password}@{LOOPBACK}:{port}/{_ROLE}"

    def prepare(self) -> None:
        """Make the data directory when there is none; end a server that a killed `up` left.

        Raises: ConfigError when the data is another major version's, is damaged, or cannot be made.
        """
        leftovers.end(leftovers.serving(self.data), self.stop_signal, grace_s=self.grace.total_seconds())
        for draft in self._folder.glob("data.*"):
            shutil.rmtree(draft)
        if not self.data.exists():
            self._make_data()
        self._refuse_foreign_data()
        _give(self.data, disguise().owner)

    def command(self) -> list[str]:
        """Return the command line of the next start, after clearing away what the last one left.

        Raises: ConfigError when no port is free.
        """
        leftovers.end(leftovers.serving(self.data), signal.SIGKILL, grace_s=5)
        # Nothing serves these data any more; a pid in a lock file is somebody else's by now, or nobody has reaped it.
        for lock in (self.data / "postmaster.pid", *self._sockets.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)
        if not self._was_ready:  # later its port stands in the environment of every child
            self._port = remembered_port(self._port_file)
        settings = _SETTINGS | ({} if self._durable else _FAST_AND_FORGETFUL)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        place = ["-D", str(self.data), "-h", LOOPBACK, "-p", str(self._port), "-k", self._socket_folder()]
        return [*disguise().prefix, *tethered([self._program("postgres"), *place, *options], self.stop_signal)]

    def ready(self, pid: int) -> bool:
        """Tell whether the process `pid` accepts connections, by its own word."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        is_ready = len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"
        self._was_ready |= is_ready
        return is_ready

    def _program(self, name: str) -> str:
        return str(postgres_bin() / name)

    def _socket_folder(self) -> str:
        socket = self._sockets / f".s.PGSQL.{self._port}"
        return str(self._sockets) if len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT else ""

    def _make_data(self) -> None:
        draft = self._folder / "data.new"
        password = secrets.token_urlsafe(24)
        sync = [] if self._durable else ["--no-sync"]
        way = [
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=scram-sha-256",
            f"--username={_SUPERUSER}",
            "--pwfile=/dev/stdin",
        ]
        draft.mkdir(mode=0o700)
        _give(draft, disguise().owner)
        initdb = [self._program("initdb"), "-D", str(draft), "--no-instructions", *way, *sync]
        self._run(initdb, secrets.token_urlsafe(24))  # not kept: nobody logs in as the superuser
        role = f"CREATE ROLE {_ROLE} LOGIN CREATEDB PASSWORD '{password}';"
        database = f"CREATE DATABASE {_ROLE} OWNER {_ROLE};"
        alone = [self._program("postgres"), "--single", "-j", "-D", str(draft), "template1"]
        self._run(alone, f"{role}\n\n{database}\n\n")
        write_private(self._password_file, f"{password}\n")
        draft.rename(self.data)

    def _run(self, argv: list[str], text: str = "") -> None:
        command = [*disguise().prefix, *tethered(argv, signal.SIGKILL)]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, cwd=self._folder, env=server_environment(),
            start_new_session=True,  # Ctrl-C in the terminal is for us alone
        )  # fmt: skip
        if done.returncode != 0 or re.search(r"^.*(ERROR|FATAL|PANIC):", done.stderr, re.MULTILINE):
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ConfigError(
                f"the database could not be made: {lines[-1]}",
                place=str(self._folder),
                cure="make room or set SYMPHONY_HOME or SYMPHONY_DATABASE_URL",
            )

    def _refuse_foreign_data(self) -> None:
        try:
            data_version = (self.data / "PG_VERSION").read_text().strip()
            self._password_file.read_text()
        except OSError as error:
            raise ConfigError(
                f"is not complete: {Path(error.filename).name} cannot be read ({error.strerror})",
                place=str(self._folder),
                cure="restore it from a copy, or remove the folder to begin with an empty database",
            ) from error
        shown = subprocess.run([self._program("postgres"), "-V"], capture_output=True, text=True, check=True).stdout
        own_version = re.findall(r"\d+", shown)[0]
        if data_version != own_version:
            raise ConfigError(
                f"was written by PostgreSQL {data_version}, and this Symphony brings {own_version}",
                place=str(self.data),
                cure=f"dump it with PostgreSQL {data_version}, or set SYMPHONY_HOME to a new directory",
            )


def _give(folder: Path, owner: int) -> None:
    if folder.stat().st_uid == owner:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, owner, follow_symlinks=False)
