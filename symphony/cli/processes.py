"""The verbs that run or end what people look at: up, down, web, demo."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from symphony import settings as settings_module
from symphony.cli.app import app
from symphony.cli.connection import ledger
from symphony.cli.formatting import line
from symphony.cli.view import choose_view
from symphony.domain.errors import ConfigError, Transient
from symphony.local import up as up_module
from symphony.local.home import holder_of
from symphony.workflow.loader import workflow_path

_LOOK_EVERY_S = 0.1
_STOPPING_S = 60.0
LOOPBACK = "127.0.0.1"


@app.command()
def up(
    paths: Annotated[list[Path] | None, typer.Argument(help="WORKFLOW.md files; default ./WORKFLOW.md.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    slots: Annotated[int, typer.Option(min=1, max=1000, help="Threads of each.")] = 20,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the status API; 0: a free one.")] = None,
    *,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when nothing is left to do.")] = False,
    no_view: Annotated[bool, typer.Option("--no-view", help="Plain lines instead of the live view.")] = False,
) -> None:
    """Run everything on this machine until stopped: servers, beat, workers, Flower, view."""
    named = list(paths or [workflow_path(None, cwd=Path.cwd())])
    plan = up_module.Plan(paths=named, workers=workers, slots=slots, until_idle=until_idle, port=port)
    raise typer.Exit(up_module.run(plan, settings_module.load(), view=choose_view(is_plain=no_view)))


@app.command()
def down() -> None:
    """Stop the `up` that holds this home, and wait until it is gone."""
    settings = settings_module.load()
    holder = holder_of(settings.home)
    if holder is None:
        line(f"nothing runs on {settings.home}")
        return
    try:
        os.kill(holder.pid, signal.SIGTERM)
        os.kill(holder.pid, signal.SIGCONT)  # one that was stopped by Ctrl-Z hears nothing else
    except ProcessLookupError:
        pass
    except PermissionError:
        raise ConfigError(
            f"pid {holder.pid} belongs to another user", place=str(settings.home), cure="stop it as that user"
        ) from None
    patience_s = settings.drain.total_seconds() + _STOPPING_S
    until = time.monotonic() + patience_s
    while (now := holder_of(settings.home)) is not None and now.pid == holder.pid:
        if time.monotonic() > until:
            raise Transient(f"pid {holder.pid} was asked to stop and still runs after {patience_s:.0f} s")
        time.sleep(_LOOK_EVERY_S)
    line(f"stopped what ran on {settings.home} (pid {holder.pid})")


@app.command()
def web(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address.")] = LOOPBACK,
) -> None:
    """Serve the status API and its page."""
    from symphony.web.server import listen, serve

    settings = settings_module.load()
    with ledger(settings, pool_size=4) as database, listen(host, port) as listening:
        line(f"status API: http://{host}:{listening.getsockname()[1]}/")
        sys.stdout.flush()
        serve(database, settings, listening, host=host)


@app.command()
def demo(
    seed: Annotated[
        int | None, typer.Option(min=0, help="With --chaos: do it at random, and the same with the same seed.")
    ] = None,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the sample board and repository.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Play the recorded model even with OPENAI_API_KEY set.")
    ] = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill workers and PostgreSQL, empty the broker: by keys k, p, f.")
    ] = False,
) -> None:
    """Do the main job on a sample board and repository: offline, or with a real model where OPENAI_API_KEY is set."""
    from symphony.local.demo import run

    raise typer.Exit(run(keep=keep, offline=offline, chaos=chaos, seed=seed))
