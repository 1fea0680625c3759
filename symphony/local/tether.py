"""Tie a process to the process that started it, then become the wanted program.

Invariant: what is started through `tethered` receives its signal from the kernel when the starting *thread* ends,
however that ended, so a killed `up` leaves nothing running. The supervisor and the servers' own tools rely on it;
they start children only from a thread that lives as long as they do. Run as a script because code between fork and
exec of a threaded parent may deadlock.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def tethered(argv: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """Return the command line that runs `argv` and sends it `death_signal` when the calling thread ends."""
    if not sys.platform.startswith("linux"):
        return list(argv)
    return [sys.executable, "-I", "-S", __file__, str(int(death_signal)), str(os.getpid()), *argv]


def _main() -> None:
    death_signal, parent, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the tie was made: nobody would send the signal
        sys.exit(1)
    try:
        os.execvp(argv[0], argv)  # noqa: S606
    except OSError as error:
        sys.exit(f"cannot start {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    _main()
