"""How many proofs run on a node at once: a few lock files that all worker processes of the node share.

Invariant: whoever is alone holds every place, and nobody waits for it while holding one. A lock goes with the process that
holds it, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_GATE = "alone.lock"


@contextmanager
def place(folder: Path, places: int, wait: Callable[[], None]) -> Iterator[None]:
    """Hold one of `places` places; `wait` is called between looks and raises to give up.

    While somebody is alone, or waits to be, there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        with ExitStack() as held:
            if _taken(folder, places, held):
                yield
                return
        wait()


@contextmanager
def alone(folder: Path, places: int, wait: Callable[[], None]) -> Iterator[None]:
    """Hold all places of the node, also those that other workflows have beyond `places`; `wait` as for `place`.

    The caller holds no place, or would wait for itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        _lock(folder / _GATE, fcntl.LOCK_EX, wait, held)
        there = {path for path in folder.glob("*.lock") if path.stem.isdigit()}
        for path in sorted(there | {_file(folder, number) for number in range(places)}):
            _lock(path, fcntl.LOCK_EX, wait, held)
        yield


def _taken(folder: Path, places: int, held: ExitStack) -> bool:
    """Take a free place, unless the gate is shut."""
    with ExitStack() as passing:
        if not _try_lock(folder / _GATE, fcntl.LOCK_SH, passing):
            return False
        return any(_try_lock(_file(folder, number), fcntl.LOCK_EX, held) for number in range(places))


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number}.lock"


def _lock(path: Path, kind: int, wait: Callable[[], None], held: ExitStack) -> None:
    while not _try_lock(path, kind, held):
        wait()


def _try_lock(path: Path, kind: int, held: ExitStack) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True
