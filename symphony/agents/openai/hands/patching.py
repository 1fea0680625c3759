"""Applying a patch to the workspace's files: all of it or nothing.

Invariant: nothing is written before every hunk fits and every new content lies complete beside its place; then each file
is replaced by renaming. What fails there is taken back. Nothing is written through a link, into `.git`, or outside of the
workspace: every name is opened below folders that are open already.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, suppress
from itertools import count

from symphony.agents.openai.hands.paths import Refused, entry, regular
from symphony.agents.openai.patch import Change, PatchError, parse, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_PATCH = 4 << 20
LARGEST_FILE = 16 << 20
_MODE = 0o777
_NEW_FILE, _NEW_FOLDER = 0o666, 0o777
_STAGED = ".symphony-patch-"


def patch(text: str) -> str:
    """Apply a patch and say what changed. Raises: Refused, with everything as it was."""
    if len(text) > LARGEST_PATCH:
        raise Refused(f"Nothing was changed: the patch has more than {LARGEST_PATCH} characters. Send it in parts.")
    modes: dict[str, int] = {}
    try:
        planned = plan(parse(text), lambda path: _content(path, modes))
    except PatchError as error:
        raise Refused(f"Nothing was changed.\n{error}") from None
    with ExitStack() as stack:
        _Commit(stack, modes).apply(planned.changes)
    return "\n".join(("Applied:", *planned.account))


def _content(path: str, modes: dict[str, int]) -> bytes | None:
    """Give what a file holds and note its mode; None where there is nothing. Raises: PatchError, Refused."""
    parts = path.split("/")
    try:
        if not _exists(parts):
            return None
        with regular(parts) as (opened, seen):
            if seen.st_size > LARGEST_FILE:
                raise PatchError(f"{path}: it is larger than {LARGEST_FILE >> 20} MiB; change it by the shell.")
            modes[path] = stat.S_IMODE(seen.st_mode) & _MODE
            with open(opened, "rb", closefd=False) as file:
                content = file.read(LARGEST_FILE)
    except Refused as error:
        raise PatchError(f"{path}: {error}") from None
    except OSError as error:
        raise PatchError(f"{path}: it cannot be read: {error.strerror}.") from None
    if b"\0" in content:
        raise PatchError(f"{path}: it is binary; a patch changes text only.")
    return content


def _exists(parts: list[str]) -> bool:
    """Tell whether something is at a path; a missing folder on the way means no. Raises: Refused."""
    for number in range(1, len(parts) + 1):
        with entry(parts[: number - 1]) as (folder, seen):
            if stat.S_ISDIR(seen.st_mode) and not _is_there(folder, parts[number - 1]):
                return False
    return True


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


class _Commit:
    """Writes the changes, and takes them back when one fails."""

    def __init__(self, stack: ExitStack, modes: dict[str, int]) -> None:
        self._stack = stack
        self._modes = modes
        self._staging = self._open_staging()
        self._names = (f"{_STAGED}{os.getpid()}-{number}" for number in count())

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes. Raises: Refused, with everything as it was."""
        path, undo, done = "", ExitStack(), ExitStack()
        try:
            staged: dict[str, str] = {}
            for change in changes:
                path = change.path
                if change.content is not None:
                    staged[path] = self._stage(change, change.content, undo)
            for change in changes:
                path = change.path
                folder = self._folder(path, undo)
                self._set_aside(folder, path, undo, done, keeps_name=path in staged)
                if path in staged:
                    os.rename(staged[path], _last(path), src_dir_fd=self._staging, dst_dir_fd=folder)
                    undo.callback(_unlink, _last(path), folder)
        except (Refused, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            try:
                undo.close()
            except OSError as second:
                why = f"{why}; taking back what was done failed, too: {second.strerror}. Look at what git status says"
                raise Refused(f"{path}: {why}.") from None
            raise Refused(f"Nothing was changed.\n{path}: {why}") from None
        undo.pop_all()
        done.close()

    def _open_staging(self) -> int:
        """Open where new contents wait: beside no file of the change, where an interrupted patch would leave them in it."""
        for parts in ([".git"], []):
            with suppress(Refused):
                folder, seen = self._stack.enter_context(entry(parts))
                if stat.S_ISDIR(seen.st_mode):
                    return folder
        raise Refused("Nothing was changed: the workspace cannot be written to.")

    def _stage(self, change: Change, content: bytes, undo: ExitStack) -> str:
        name = next(self._names)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.open(name, flags, _NEW_FILE, dir_fd=self._staging)
        undo.callback(_unlink, name, self._staging)
        with os.fdopen(opened, "wb") as file:
            mode = self._modes.get(change.like or "")
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
        return name

    def _folder(self, path: str, undo: ExitStack) -> int:
        """Open the folder of a path, and make it where it is missing."""
        parts = path.split("/")[:-1]
        for number, part in enumerate(parts):
            above = self._stack.enter_context(entry(parts[:number]))[0]
            with suppress(FileExistsError):
                os.mkdir(part, _NEW_FOLDER, dir_fd=above)
                undo.callback(os.rmdir, part, dir_fd=above)
        return self._stack.enter_context(entry(parts))[0]

    def _set_aside(self, folder: int, path: str, undo: ExitStack, done: ExitStack, *, keeps_name: bool) -> None:
        """Keep what stands at a path under another name, until everything is done."""
        name, kept = _last(path), next(self._names)
        try:
            if keeps_name:
                self._link(folder, name, kept)
            else:
                os.rename(name, kept, src_dir_fd=folder, dst_dir_fd=self._staging)
        except FileNotFoundError:
            return
        undo.callback(os.rename, kept, name, src_dir_fd=self._staging, dst_dir_fd=folder)
        done.callback(_unlink, kept, self._staging)

    def _link(self, folder: int, name: str, kept: str) -> None:
        try:
            os.link(name, kept, src_dir_fd=folder, dst_dir_fd=self._staging, follow_symlinks=False)
        except PermissionError:  # a folder, or a file system without hard links
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise
            os.rename(name, kept, src_dir_fd=folder, dst_dir_fd=self._staging)


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
