"""Writes to issue files that lose no edit: exchange, look at what came out, and back at once if it was not expected.

Invariant: at every instant an issue's file is whole, old or new; whatever a person saved is in it or in `.symphony/`,
from where the next write (or poll) merges it in, also after a kill -9. One write a folder at a time, by an flock.
Used by the files adapter only.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from symphony.domain.errors import Rejected, SymphonyError, Transient
from symphony.telemetry.log import get_logger
from symphony.trackers.files.document import Malformed
from symphony.trackers.files.exchange import exchange, swap_at_once, sync_folder
from symphony.trackers.files.folder import (
    LARGEST,
    Content,
    Folder,
    Vanished,
    glance,
    is_fresh,
    pauses,
    read_file,
    unreadable,
    version,
)
from symphony.trackers.files.merge import merge
from symphony.trackers.files.pending import Edit, Pending

OWN_FOLDER = ".symphony"
_LOCK_TIMEOUT_S = 10.0
_LOCK_PAUSE_S = 0.005
_ROUNDS = 100

Change = Callable[[str], str]


class Writer:
    """The one way in which Symphony changes a folder of issues."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._own = folder.root / OWN_FOLDER
        self._everything = self._own / "pending"

    def rewrite(self, name: str, change: Change) -> None:
        """Replace a file's text by `change(text)`, which is asked again whenever a person saved another text meanwhile.

        Raises: Vanished, Transient (Malformed too), Rejected, and what `change` raises: then the file stays as it is.
        """
        with self._alone():
            self._apply(Pending.of(self._everything, name), name, change)

    def recover(self) -> None:
        """Merge what killed writes left behind, unless somebody is writing now or nothing may be written here."""
        if not os.access(self._own, os.W_OK):
            return
        for pending in Pending.all(self._everything):
            try:
                with self._alone(timeout_s=0):
                    self._recover(pending)
            except SymphonyError as fault:
                get_logger().debug("tracker_recovery_put_off", reason=fault.message)

    def swaps_at_once(self) -> bool:
        """Try whether this file system can exchange two names in one step. Raises: Transient."""
        with self._alone():
            one, other = self._own / "probe-1", self._own / "probe-2"
            one.touch()
            other.touch()
            try:
                return swap_at_once(one, other)
            finally:
                one.unlink()
                other.unlink()

    @contextmanager
    def _alone(self, timeout_s: float = _LOCK_TIMEOUT_S) -> Iterator[None]:
        try:
            self._folder.changed_lately()
            if not self._own.exists():
                self._own.mkdir(exist_ok=True)
                (self._own / ".gitignore").write_text("*\n")
            lock = self._lock(time.monotonic() + timeout_s)
            try:
                yield
            finally:
                os.close(lock)
        except OSError as fault:
            raise unreadable(Path(fault.filename or self._own), fault) from fault

    def _lock(self, deadline: float) -> int:
        path = self._own / "lock"
        while True:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
            except BlockingIOError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise Transient(f"{path} is held by another process of Symphony", category="tracker_request")
            time.sleep(_LOCK_PAUSE_S)

    def _recover(self, pending: Pending) -> None:
        if not pending.exists():
            return
        try:
            if pending.edits():
                self._apply(pending, pending.name(), lambda text: text)
                get_logger().info("tracker_edit_recovered", file=pending.name())
            else:
                pending.end()
        except Vanished:
            get_logger().info("tracker_edit_dropped", file=pending.name(), reason="the issue was deleted")
            pending.end()

    def _apply(self, pending: Pending, name: str, change: Change) -> None:
        """Put the changed text into the file's place, and with it every edit that was saved into an earlier write."""
        edits = pending.edits() if pending.exists() else []
        for _ in range(_ROUNDS):
            content, candidate, refusal = self._changed(name, change, edits)
            done = candidate == content.data
            if not done:
                pending.begin(name)
                done = _exchanged(pending, self._folder.locate(name), content, candidate, edits)
            elif edits:
                pending.end()
            if done and refusal is not None:
                raise refusal
            if done:
                return
        raise Transient(f"{self._folder.root / name} is being changed without a pause", category="tracker_request")

    def _changed(self, name: str, change: Change, edits: list[Edit]) -> tuple[Content, bytes, SymphonyError | None]:
        """Read a file that is neither missing nor torn only because somebody is saving it, and change its text.

        Where `change` refuses, the text is only merged with the edits. Raises: Vanished, Transient.
        """
        seen: tuple[Content, bytes, SymphonyError] | None = None
        for _ in pauses():
            try:
                content = self._folder.read(name, settled=True)
            except Vanished:
                if not self._folder.changed_lately():
                    raise
                continue
            merged = content.text
            for edit in edits:
                merged = merge(_text(edit.base), theirs=_text(edit.content), ours=merged)
            try:
                return content, _fitting(change(merged), content), None
            except SymphonyError as fault:
                seen = content, _bytes(merged), fault
            if not (isinstance(seen[2], Malformed) and is_fresh(content.status)):
                break
        if seen is None:
            raise Vanished(name)
        return seen


def _exchanged(pending: Pending, path: Path, content: Content, candidate: bytes, edits: list[Edit]) -> bool:
    """Exchange the file for the candidate; False, and the person's file in its place, if it is not as it was read.

    What somebody saved in the moment between is added to `edits`. Raises: OSError, Transient.
    """
    try:
        swap = pending.add(candidate, expected=content.data, like=path)
        if version(path.stat()) != version(content.status):
            return False
        exchange(swap, path)
        if glance(swap) == content.data:
            sync_folder(path.parent)
            pending.forget_all_but(swap)
            return True
        exchange(swap, path)
    except FileNotFoundError:
        if not (pending.exists() and path.parent.exists()):
            raise
        return False
    back = read_file(swap, settled=True).data
    if back != candidate:
        edits.append(Edit(content.data, back))
    return False


def _fitting(text: str, content: Content) -> bytes:
    changed = _bytes(text)
    if len(changed) > max(LARGEST, len(content.data)):
        raise Rejected(f"the issue's file would be larger than {LARGEST // 1024} KiB", category="tracker_response")
    return changed


def _text(content: bytes) -> str:
    return content.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
