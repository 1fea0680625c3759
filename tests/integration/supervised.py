"""A small `up` in a process of its own: servers and some children on one home, until SIGTERM.

    python supervised.py HOME [NAME=SHELL_COMMAND …]

On standard output: one JSON line for each change of a child, and one with the urls when the servers are ready. On
standard error: the children's lines. `GRACE` (seconds) is a child's time between SIGTERM and SIGKILL.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

from symphony import settings
from symphony.domain.errors import Cancelled, ConfigError
from symphony.local.child import Child, ChildStatus
from symphony.local.home import Home
from symphony.local.servers import serve
from symphony.local.supervisor import Supervisor

_saying = threading.Lock()


def say(said: dict[str, object]) -> None:
    """Write one line whole: several threads have something to say."""
    with _saying:
        print(json.dumps(said, default=str), flush=True)


def tell(change: ChildStatus) -> None:
    say(dataclasses.asdict(change))


def main() -> None:
    home = Home(Path(sys.argv[1]))
    grace = timedelta(seconds=float(os.environ.get("GRACE", "10")))
    stray_grace = timedelta(seconds=float(os.environ.get("STRAY_GRACE", "15")))
    with home.held(), Supervisor(home, stream=sys.stderr, on_change=tell, stray_grace=stray_grace) as supervisor:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.request_stop())
        endpoints = serve(supervisor, home, settings.load())
        environment = {**os.environ, **endpoints.environment()}
        for word in sys.argv[2:]:
            name, _, command = word.partition("=")
            supervisor.add(Child(name=name, command=["sh", "-c", command], env=environment, grace=grace))
        say({"database": endpoints.database_url, "broker": endpoints.broker_url})
        supervisor.wait()


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, Cancelled) as error:
        sys.exit(str(error))
