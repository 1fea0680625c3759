"""The last moments before a command runs: a fresh fork of a warden turns itself into it.

Invariant: the command gets its three streams, the lock's descriptor and nothing else; its own session; the environment
and folder that were asked for; default signals. It dies with its warden, and what prevents it from running is
reported, never turned into an exit code. Standard library only.
"""

from __future__ import annotations

import json
import os
import resource
import signal

from symphony.processes import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# What guardian and wardens ignore; they leave all other signals at their defaults.
IGNORED_ABOVE = (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTTOU)


def become(payload: int, streams: list[int], report: int, files: tuple[int, int]) -> NoReturn:
    """Run the command that the file `payload` describes on `streams`; say on `report` why that failed.

    `files` is the limit of open files that the worker had.
    """
    place = ""
    try:
        warden = os.getppid()
        os.setsid()
        procfs.prctl(procfs.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:
            os._exit(127)
        signal.set_wakeup_fd(-1)
        for ignored in IGNORED_ABOVE:
            signal.signal(ignored, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        wanted = json.loads(os.pread(payload, os.fstat(payload).st_size, 0))
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        place = wanted["cwd"]
        os.chdir(place)
        place = wanted["argv"][0]
        os.execvpe(place, wanted["argv"], wanted["env"])  # noqa: S606
    except OSError as error:
        _report(report, {"errno": error.errno, "file": place})
    except BaseException as error:  # noqa: BLE001 -- nothing may escape into the warden's code
        _report(report, {"error": f"the command cannot be started: {error!r}"})
    os._exit(127)


def _report(descriptor: int, trouble: dict[str, object]) -> None:
    os.write(descriptor, json.dumps(trouble).encode())
