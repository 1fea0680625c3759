"""The verbs that are a deployment's processes: worker, beat, flower, webhooks.

`up` starts several of them at once, so `main` imports nothing but this for them: a worker has no use for the rest of the
command, neither its time nor its memory. For the same reason worker and beat are started as objects: Celery's own command
line imports all of its verbs, and Flower.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from symphony import settings as settings_module
from symphony.cli.app import app
from symphony.domain.errors import ConfigError
from symphony.local.broker import ensure_broker_url

LOOPBACK = "127.0.0.1"


@app.command()
def worker(
    node: Annotated[str | None, typer.Option(help="Name of this node.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Stages at once.")] = 20,
    queues: Annotated[str | None, typer.Option(help="Comma-separated; default: all stages of this node.")] = None,
    name: Annotated[str, typer.Option(help="Name of this process on its node.")] = "worker",
) -> None:
    """Run one worker process."""
    if node is not None:
        os.environ["SYMPHONY_NODE"] = node
    _ensure_servers_named("a worker")
    from workers.app import app as celery
    from workers.app import settings
    from workers.life import default_queues

    import_module("workers.tasks")  # its import is what gives the application its tasks

    wanted = queues or ",".join(default_queues(settings.node))
    celery.Worker(
        hostname=f"{name}@{settings.node}", pool_cls="threads", concurrency=slots, queues=wanted,
        without_mingle=True, without_gossip=True, task_events=True, loglevel="INFO",
    ).start()  # fmt: skip


@app.command()
def beat() -> None:
    """Run one beat; several are harmless."""
    _ensure_servers_named("beat")
    from workers.app import app as celery

    celery.Beat(scheduler="beat.scheduler:TickScheduler", loglevel="INFO").run()


@app.command()
def flower(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 5555,
) -> None:
    """Run Flower, the window on the workers."""
    _ensure_servers_named("Flower")
    from workers.app import app as celery

    configuration = Path(__file__).parents[2] / "deploy" / "flower" / "flowerconfig.py"
    celery.start(["flower", f"--address={LOOPBACK}", f"--port={port}", f"--conf={configuration}"])
    sys.exit(0)


@app.command()
def webhooks(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address.")] = LOOPBACK,
) -> None:
    """Receive the trackers' webhooks, and nothing else: for an address that the internet reaches."""
    from symphony.cli.connection import ledger
    from symphony.cli.formatting import line
    from symphony.engine.ring import Bells
    from symphony.web.linear_webhooks import SOURCE
    from symphony.web.server import listen, run
    from symphony.web.webhooks import LINEAR_PATH, UNRUNG, create_webhook_app

    with ledger(settings_module.load(), pool_size=4) as database, listen(host, port, place="webhooks") as listening:
        line(f"webhooks: http://{host}:{listening.getsockname()[1]}{LINEAR_PATH}")
        if not database.transact(Bells(SOURCE, os.environ).of_served):
            typer.echo(f"symphony: {UNRUNG}; until then every webhook is refused", err=True)
        sys.stdout.flush()
        run(create_webhook_app(database), listening)


def _ensure_servers_named(who: str) -> None:
    settings = settings_module.load()
    for value, name in ((settings.database_url, "SYMPHONY_DATABASE_URL"), (settings.broker_url, "SYMPHONY_BROKER_URL")):
        if value is None:
            raise ConfigError(
                f"{who} needs {name}", place="environment", cure="set it, or use `symphony up`, which starts everything"
            )
    assert settings.broker_url is not None
    ensure_broker_url(settings.broker_url)
