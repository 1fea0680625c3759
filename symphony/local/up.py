"""Everything on this machine: servers, schema, workflows, beat, workers, Flower, and the view on them.

Invariant: the home is held while anything runs, and everything started here is gone when `run` returns. The files that
were named are read again here and nowhere else; each valid version becomes a row, and the workflow is served while this
`up` lives.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from symphony.domain.errors import ConfigError, SymphonyError
from symphony.engine.preflight import refuse_unusable
from symphony.ledger import views, workflows
from symphony.ledger.database import Database
from symphony.ledger.schema import upgrade
from symphony.local.child import Child
from symphony.local.home import Home
from symphony.local.ports import LOOPBACK, any_free_port, free_port, refusal
from symphony.local.servers import Endpoints, ensure_given_answer, serve
from symphony.local.supervisor import Supervisor
from symphony.processes.git import check_git
from symphony.processes.guardian import Guardian
from symphony.settings import Settings
from symphony.telemetry.log import get_logger
from symphony.workflow.loader import LoadedWorkflow
from symphony.workflow.watch import Broken, Reloaded, WatchedFile

_SERVED_FOR = timedelta(seconds=30)
_LOOK_EVERY_S = 1.0
_SLACK = timedelta(seconds=30)
_FLOWER_PORT = 5555
_LAST_LOOK_S = 3.0

log = get_logger()


@dataclass(frozen=True)
class Plan:
    """What to bring up: `slots` are threads of each of `workers` processes; Flower takes its port or the next free one."""

    paths: Sequence[Path]
    workers: int = 1
    slots: int = 20
    until_idle: bool = False
    port: int | None = None
    flower: bool = True
    flower_port: int = _FLOWER_PORT


@dataclass
class Up:
    """A running `up`, as its view sees it."""

    plan: Plan
    settings: Settings
    supervisor: Supervisor
    endpoints: Endpoints
    database: Database
    started_at: str
    flower_url: str | None = None
    web_url: str | None = None
    is_idle: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """What each child finds in its environment."""
        return {**os.environ, **self.endpoints.environment(), "SYMPHONY_NODE": self.settings.node}


def run(plan: Plan, settings: Settings, *, view: Callable[[Up, threading.Event], None]) -> int:
    """Bring everything up, serve until told to stop or until idle, and give the exit code.

    Raises:
        ConfigError: something that the operator must mend.
    """
    watched = [WatchedFile(path) for path in plan.paths]
    loaded = [file.current for file in watched]
    for one in loaded:
        _refuse_unusable(one, settings)
    _refuse_unfit_git(loaded)
    ensure_given_answer(settings)
    home, stop = Home(settings.home), threading.Event()
    with home.held(), Supervisor(home, stream=None) as supervisor:
        address = _address(plan, loaded)  # a second `up` hears of the first one, not of its port
        _stop_on_signals(supervisor, stop)
        endpoints = serve(supervisor, home, settings)
        upgrade(endpoints.database_url)
        database = Database(endpoints.database_url, pool_size=3, application="symphony up")
        up = Up(plan, settings, supervisor, endpoints, database, _now(database))
        ids = [_register(database, file) for file in watched]
        _add_children(up, address)
        viewing = threading.Thread(target=view, args=(up, stop), name="view", daemon=True)
        viewing.start()
        try:
            return _serve(up, list(zip(watched, ids, strict=True)), stop)
        finally:
            stop.set()
            viewing.join(timeout=_LAST_LOOK_S)  # the ledger goes with the supervisor
            supervisor.request_stop()
            supervisor.wait()
            database.close()


def _serve(up: Up, files: list[tuple[WatchedFile, UUID]], stop: threading.Event) -> int:
    while not stop.wait(_LOOK_EVERY_S):
        if up.supervisor.wait(timedelta()):
            return 1
        try:
            for file, workflow_id in files:
                reload(up.database, file, workflow_id)
            if up.plan.until_idle:
                idle = up.database.transact(lambda t: views.idleness(t, up.started_at))
                if idle.is_idle:
                    up.is_idle = True
                    return 3 if idle.needs_people else 0
        except SymphonyError as error:
            log.warning("not served for a moment", reason=str(error))
    return 0


def _register(database: Database, file: WatchedFile) -> UUID:
    loaded = file.current
    path = loaded.path
    assert path is not None
    return database.transact(
        lambda transaction: workflows.register(
            transaction,
            name=loaded.workflow.name,
            source_kind="file",
            source=str(path.absolute()),
            content=loaded.text,
            digest=loaded.sha256,
            base_dir=str(path.absolute().parent),
            serve_for=_SERVED_FOR,
        )
    )


def reload(database: Database, file: WatchedFile, workflow_id: UUID) -> None:
    """Serve on what the file says now, or on its last good version and say what is wrong with the file."""
    match file.poll():
        case Reloaded():
            _register(database, file)
            log.info("workflow reloaded", path=str(file.current.path))
        case Broken(error):
            reason = str(error)
            log.error("workflow not reloaded, the last good version stays", reason=reason)
            database.transact(lambda t: workflows.note_load_error(t, workflow_id, reason))
        case None:
            database.transact(lambda t: workflows.keep_served(t, workflow_id, _SERVED_FOR))


def _refuse_unusable(loaded: LoadedWorkflow, settings: Settings) -> None:
    assert loaded.path is not None
    for warning in loaded.warnings:
        log.warning("workflow", finding=str(warning))
    refuse_unusable(loaded, environ=os.environ, base_dir=loaded.path.absolute().parent, home=settings.home)


def _refuse_unfit_git(loaded: Sequence[LoadedWorkflow]) -> None:
    """Refuse to start runs that would all fail for want of a git that can do what Symphony asks.

    Raises:
        ConfigError: a workflow has a repository, and there is no git or it is too old.
    """
    if all(one.workflow.repository is None for one in loaded):
        return
    guardian = Guardian.start()
    try:
        with guardian.tree("up") as tree, tempfile.TemporaryDirectory(prefix="symphony-up-") as folder:
            check_git(tree, Path(folder))
    finally:
        guardian.close()


def _address(plan: Plan, loaded: Sequence[LoadedWorkflow]) -> tuple[str, int] | None:
    """Choose where the status API listens: the option goes before the files (specification 13.7).

    Raises:
        ConfigError: the port is taken, or the address is not this machine's.
    """
    servers = [one.workflow.server for one in loaded]
    port = next((server.port for server in servers if server.port is not None), None)
    port = plan.port if plan.port is not None else port
    if port is None:
        return None
    host = next((server.host for server in servers if server.port is not None), LOOPBACK)
    if (reason := refusal(host, port)) is not None:
        at = "" if host == LOOPBACK else f" on {host}"
        raise ConfigError(
            f"port {port}{at} cannot be used: {reason}",
            place="status API",
            cure="choose another with --port, or 0 for a free one",
        )
    return host, port or any_free_port()


def _add_children(up: Up, address: tuple[str, int] | None) -> None:
    # -P: the folder that `up` stands in is a stranger's; its `workers` or `redis` must not be taken for ours.
    command = [sys.executable, "-P", "-m", "symphony"]
    grace = up.settings.drain + _SLACK

    def add(name: str, *arguments: str) -> None:
        up.supervisor.add(Child(name=name, command=[*command, *arguments], env=up.environment, grace=grace))

    add("beat", "beat")
    add("control", "worker", "--queues", "control", "--slots", "4", "--name", "control")
    for number in range(1, up.plan.workers + 1):
        add(f"worker-{number}", "worker", "--slots", str(up.plan.slots), "--name", f"worker-{number}")
    if up.plan.flower:
        port = free_port(up.plan.flower_port)
        up.flower_url = f"http://127.0.0.1:{port}"
        add("flower", "flower", "--port", str(port))
    if address is not None:
        host, port = address
        up.web_url = f"http://{host}:{port}"
        add("web", "web", "--host", host, "--port", str(port))


def _stop_on_signals(supervisor: Supervisor, stop: threading.Event) -> None:
    def asked(*_: object) -> None:
        if stop.is_set():
            supervisor.request_stop()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)


def _now(database: Database) -> str:
    return database.transact(lambda transaction: str(transaction.value("SELECT now()")))
