"""A checked-out folder as the detectors see it: which files there are, and what a small one says.

Invariant: nothing outside the folder is read (symbolic links are no files here), and nothing large.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

_LARGEST = 1 << 20
_MOST_FILES = 50_000
NOT_OURS = frozenset({".git", "node_modules", "vendor", "third_party", ".venv", "venv", "dist", "build", "target"})


@dataclass(frozen=True)
class Folder:
    """The files below `root`; paths are relative, with slashes."""

    root: Path

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Every regular file but those of dependencies and build results, sorted."""
        return tuple(sorted(self._walk()))

    def _walk(self) -> Iterator[str]:
        count = 0
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in NOT_OURS]
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and _is_text(name):
                    yield path.relative_to(self.root).as_posix()
                    count += 1
            if count > _MOST_FILES:
                return

    @cached_property
    def top(self) -> frozenset[str]:
        """The files that lie directly in the folder."""
        return frozenset(name for name in self.files if "/" not in name)

    def has(self, *names: str) -> str | None:
        """Give the first of these paths that is a file."""
        return next((name for name in names if name in self._known), None)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.files)

    def named(self, *patterns: str) -> list[str]:
        """List the files, at any depth, whose own name matches a pattern."""
        return [path for path in self.files if any(fnmatchcase(path.rpartition("/")[2], one) for one in patterns)]

    def text(self, path: str) -> str:
        """Read a file; one that is missing, large or no text is empty."""
        try:
            file = self.root / path
            if file.stat().st_size > _LARGEST or file.is_symlink():
                return ""
            return file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def json(self, path: str) -> dict[str, Any]:
        """Read a JSON object; what is none is empty."""
        try:
            found = json.loads(self.text(path))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def toml(self, path: str) -> dict[str, Any]:
        """Read a TOML file; what is none is empty."""
        try:
            return tomllib.loads(self.text(path))
        except tomllib.TOMLDecodeError:
            return {}

    def below(self, name: str) -> Folder:
        """Look at a folder in this one."""
        return Folder(self.root / name)


def _is_text(name: str) -> bool:
    """Tell whether a file's name can be written into a document."""
    return name.isprintable() and not any(0xD800 <= ord(character) <= 0xDFFF for character in name)
