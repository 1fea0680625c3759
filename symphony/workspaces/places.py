"""Where workspaces and what Symphony keeps beside them lie, and the guard in front of every such path.

Invariant: a path that leaves here is `<root>/<workspace_key>` itself (no symbolic link, no other directory's child) and
belongs to us; whatever Symphony writes down about a workspace lies outside it, where its agent cannot write.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import Breach, ConfigError, Poisoned

SIDE = ".symphony"
_KEY = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_KEY = 200
_ROOT_MODE = 0o711
_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Places:
    """The paths under one workspace root; `root` is absolute and free of symbolic links."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> Places:
        """Make the root and its side folder where they are missing, and check whose they are.

        Raises:
            ConfigError: when the root is no directory, or it or the side folder belongs to somebody else.
        """
        if not root.is_absolute():
            raise ConfigError(f"{root} is not an absolute path", place="workspace.root", cure="write it in full")
        _make_directory(root, _ROOT_MODE)
        places = cls(root.resolve())
        # A volume's top directory is root's in containers; root could do anything to us in any case.
        _require_directory(places.root, owners={os.geteuid(), 0})
        _tighten(places.root)
        for folder in (places.side, places.markers, places.git_dirs, places.locks, places.new, places.aside):
            _make_directory(folder, _PRIVATE)
            _require_directory(folder, owners={os.geteuid()})
        return places

    @property
    def side(self) -> Path:
        """Everything that Symphony keeps beside the workspaces."""
        return self.root / SIDE

    @property
    def markers(self) -> Path:
        """Whose workspace each one is."""
        return self.side / "markers"

    @property
    def git_dirs(self) -> Path:
        """Symphony's own git directories, one a workspace."""
        return self.side / "git"

    @property
    def locks(self) -> Path:
        """The files that a workspace's processes hold locked."""
        return self.side / "locks"

    @property
    def new(self) -> Path:
        """Workspaces that are being made."""
        return self.side / "new"

    @property
    def aside(self) -> Path:
        """Workspaces that were moved out of the way."""
        return self.side / "aside"

    def workspace(self, key: str) -> Path:
        """Give the workspace's path, whether it exists or not.

        Raises:
            Breach: when `key` is no workspace key.
            Poisoned: when it is one, but no directory can have that name here.
        """
        if not _KEY.fullmatch(key) or key in {".", ".."}:
            raise Breach(f"{key!r} is no workspace key", category="workspace_key")
        if len(key) > _LONGEST_KEY:
            raise Poisoned(f"the issue's identifier is longer than {_LONGEST_KEY} characters", category="workspace_key")
        if key.casefold() == SIDE:
            raise Poisoned(f"no issue can be called {key}: Symphony's own folder has that name", category="workspace_key")
        return self.root / key

    def marker(self, key: str) -> Path:
        """Give the path of the workspace's marker."""
        return self.markers / self.workspace(key).name

    def git_dir(self, key: str) -> Path:
        """Give the path of Symphony's git directory for the workspace."""
        return self.git_dirs / self.workspace(key).name

    def lock(self, key: str) -> Path:
        """Give the file that a process tree working in the workspace holds locked."""
        return self.locks / self.workspace(key).name

    def existing(self, key: str) -> Path | None:
        """Give the workspace's path when it is there and ours, `None` when nothing is there.

        Raises:
            ConfigError: when something else stands at that path.
        """
        path = self.workspace(key)
        if not os.path.lexists(path):
            return None
        _require_directory(path, owners={os.geteuid()})
        return path

    def verify_cwd(self, key: str, cwd: Path) -> None:
        """Check, right before something runs in a workspace or reads it, that this is what lies there (specification 9.5).

        Raises:
            Breach: when it is not.
        """
        path = self.workspace(key)
        try:
            found = self.existing(key)
        except ConfigError as error:
            raise Breach(str(error), category="invalid_workspace_cwd") from error
        if found is None or cwd != path or cwd.resolve() != path or self.root.resolve() != self.root:
            raise Breach(f"{cwd} is not the workspace {path}", category="invalid_workspace_cwd")


def _make_directory(path: Path, mode: int) -> None:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return
    except OSError as error:
        raise ConfigError(
            f"cannot make {path}: {error.strerror}", place="workspace.root", cure="choose a place that you may write to"
        ) from error
    path.chmod(mode)


def _require_directory(path: Path, *, owners: set[int]) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a directory"
        raise ConfigError(f"this path is {kind}", place=str(path), cure="move it away", category="workspace_path_occupied")
    if found.st_uid not in owners:
        raise ConfigError(
            f"this directory belongs to the user with id {found.st_uid}, Symphony runs as {os.geteuid()}",
            place=str(path),
            cure="choose another workspace.root, or move it away",
            category="foreign_owner",
        )


def _tighten(root: Path) -> None:
    """Take write access from others: they could swap a workspace for a symbolic link."""
    found = root.lstat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        root.chmod(_ROOT_MODE)
