"""Taking the tree of a workspace: its files as one git tree, by Symphony's own git directory and index.

Invariant: nothing that lies in the workspace is executed. git is told which paths to read, one by one; it is never let
into a nested repository, whose configuration is code, and no filter is defined in Symphony's git directory. What could not
be taken is reported and never silently lost. The caller keeps the workspace's processes frozen meanwhile.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import InvariantViolated, Rejected, SymphonyError, Transient
from symphony.processes.git import LOCAL_S, Git

_NESTED = "nested git repository"
_SUBMODULE = "submodule: its content is not looked at"
_UNREADABLE = "not readable"
_SPECIAL = "not a regular file"
_BAD_NAME = "git takes no file of this name"
_GITLINK = "160000"
# Of a very long path git says the beginning only.
_CLOSED_FOLDER = re.compile(r"could not open directory '(.+?)/?(?:': |$)", re.MULTILINE)
_READ_BY_GIT = frozenset({".git", ".gitignore", ".gitattributes", ".gitmodules", "HEAD"})
_MOST_REFUSALS = 200


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path of the workspace, fit for printing, that is not in the tree, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A workspace's tree, and what is missing in it."""

    tree: str
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """How much may change at once; a larger file is left out, more of the rest is refused."""

    file_bytes: int = 100 * 1024 * 1024
    total_bytes: int = 2 * 1024 * 1024 * 1024
    files: int = 200_000


_DEFAULT_LIMITS = SnapshotLimits()


def take_tree(git: Git, *, limits: SnapshotLimits = _DEFAULT_LIMITS, timeout_s: float = LOCAL_S) -> Taken:
    """Give the tree of `git`'s work tree: its index as it was, brought up to what lies there and is not ignored.

    Raises:
        Rejected: `change_too_large`; `workspace_unusable` when git cannot read the workspace.
        Transient: when git fails for a reason that may pass.
    """
    taking = _Taking(git, limits, timeout_s)
    try:
        return taking.take()
    except Transient as error:
        blocking = _blocking_files(taking.root) if error.category == "git_timeout" else ()
        if not blocking:
            raise
        raise Rejected(
            f"git cannot read the workspace: {', '.join(blocking)} is {_SPECIAL}", category="workspace_unusable"
        ) from error


class _Taking:
    def __init__(self, git: Git, limits: SnapshotLimits, timeout_s: float) -> None:
        if git.work_tree is None:
            raise InvariantViolated("a tree is taken of a work tree")
        self.root = git.work_tree
        self._git = git
        self._limits = limits
        self._timeout_s = timeout_s
        self._left_out: dict[str, str] = {}
        self._refusals = 0

    def take(self) -> Taken:
        # The workspace has one holder, and its git processes end before the next begins: an old lock is a dead one's.
        (self._git.git_dir / "index.lock").unlink(missing_ok=True)
        tracked = self._entries()
        self._report_nested(path for _, path in tracked)
        self._look_at_submodules(path for mode, path in tracked if mode == _GITLINK)
        self._git.answer("update-index", "-q", "--ignore-submodules", "--refresh", timeout_s=self._timeout_s)
        changed, gone = self._changed()
        self._remove(gone)
        wanted = self._fit([*changed, *self._untracked()])
        if wanted:
            self._add(wanted)
            for path in self._untracked():
                self._left_out.setdefault(path, _BAD_NAME)
        tree = self._git.run("write-tree")
        return Taken(tree, tuple(LeftOut(_printable(path), why) for path, why in sorted(self._left_out.items())))

    def _look_at_submodules(self, paths: Iterable[str]) -> None:
        """Forget submodules whose directory is gone; those that are there stay what they were, whatever is in them."""
        gone = []
        for path in paths:
            try:
                if any((self.root / path).iterdir()):
                    self._left_out[path] = _SUBMODULE
            except OSError:
                gone.append(path)
        self._remove(gone)

    def _changed(self) -> tuple[list[str], list[str]]:
        """Give the tracked paths that look changed and those that are gone."""
        told = _parts(
            self._git.output(
                *("diff-files", "-z", "--ignore-submodules=all", "--no-renames", "--name-status"),
                timeout_s=self._timeout_s,
            )
        )
        changed: list[str] = []
        gone: list[str] = []
        for status, path in zip(told[::2], told[1::2], strict=True):
            (gone if status == "D" else changed).append(path)
        return changed, gone

    def _untracked(self) -> list[str]:
        """Give the new paths that no ignore rule names; nested repositories are left out."""
        told, warnings = self._git.output_and_warnings(
            "ls-files", "-z", "--others", "--exclude-standard", timeout_s=self._timeout_s
        )
        for folder in _CLOSED_FOLDER.findall(warnings):
            self._left_out[folder] = _UNREADABLE
        paths = []
        for path in _parts(told):
            if path.endswith("/"):
                self._left_out[path.rstrip("/")] = _NESTED
            elif path not in self._left_out:
                paths.append(path)
        return paths

    def _fit(self, paths: Iterable[str]) -> list[str]:
        """Keep the paths that can be read within the limits."""
        fitting: list[str] = []
        special: list[str] = []
        total = 0
        for path in paths:
            size, reason = self._measured(self.root / path)
            if reason is None:
                fitting.append(path)
                total += size
                continue
            self._left_out[path] = reason
            if reason == _SPECIAL:
                special.append(path)
        self._remove(special)
        if total > self._limits.total_bytes or len(fitting) > self._limits.files:
            raise Rejected(
                f"the change is too large: {len(fitting)} files, {total} bytes"
                f" (at most {self._limits.files}, {self._limits.total_bytes});"
                " a line in .gitignore keeps generated files out",
                category="change_too_large",
            )
        return fitting

    def _measured(self, path: Path) -> tuple[int, str | None]:
        """Give a file's size, and the reason why it cannot be taken."""
        try:
            found = path.lstat()
        except OSError:
            return 0, _UNREADABLE
        if stat.S_ISLNK(found.st_mode):
            return found.st_size, None
        if not stat.S_ISREG(found.st_mode):
            return 0, _SPECIAL
        if found.st_size > self._limits.file_bytes:
            return found.st_size, f"larger than {self._limits.file_bytes} bytes"
        return found.st_size, None if os.access(path, os.R_OK) else _UNREADABLE

    def _add(self, paths: Sequence[str]) -> None:
        """Take the paths into the index; when git refuses the lot, halve it until the culprit stands alone."""
        try:
            told = b"\0".join(os.fsencode(path) for path in paths) + b"\0"
            self._git.run("update-index", "-z", "--add", "--stdin", stdin=told, timeout_s=self._timeout_s)
        except SymphonyError as error:
            if error.category in {"git_timeout", "git_killed", "disk_full", "git_lock"}:
                raise
            self._refusals += 1
            if self._refusals > _MOST_REFUSALS:
                raise
            if len(paths) == 1:
                self._left_out[paths[0]] = error.message
                return
            middle = len(paths) // 2
            self._add(paths[:middle])
            self._add(paths[middle:])

    def _remove(self, paths: Sequence[str]) -> None:
        """Take paths out of the index; done before adding, so that a file and a directory may swap."""
        if paths:
            told = b"".join(b"0 " + b"0" * 40 + b"\t" + os.fsencode(path) + b"\0" for path in paths)
            self._git.run("update-index", "-z", "--index-info", stdin=told, timeout_s=self._timeout_s)

    def _report_nested(self, paths: Iterable[str]) -> None:
        """Report repositories that were made in directories of tracked files; those files are taken as before."""
        folders: set[str] = set()
        for path in paths:
            folder = path.rpartition("/")[0]
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        for folder in folders:
            if os.path.lexists(self.root / folder / ".git"):
                self._left_out[f"{folder}/.git"] = _NESTED

    def _entries(self) -> list[tuple[str, str]]:
        """Give mode and path of everything in the index."""
        told = self._git.output("ls-files", "-z", "--stage", timeout_s=self._timeout_s)
        lines = (line.split("\t", 1) for line in _parts(told))
        return [(described.split(" ", 1)[0], path) for described, path in lines]


def _parts(told: bytes) -> list[str]:
    return [os.fsdecode(part) for part in told.split(b"\0") if part]


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")


def _blocking_files(root: Path) -> tuple[str, ...]:
    """Find the files that git waits on for ever when it reads them, such as a pipe in place of `.gitignore`."""
    found = []
    for folder, _, names in os.walk(root):
        for name in _READ_BY_GIT.intersection(names):
            path = Path(folder, name)
            if not stat.S_ISREG(path.lstat().st_mode):
                found.append(str(path.relative_to(root)))
    return tuple(found)
