"""The files that checks stand on: which of them a candidate changes, and its tree with the target's versions of them.

Invariant: only objects of the store are read and made; nothing of a candidate decides what is protected, since patterns
come from the registered workflow. Protected without being named are the few files that the workflow's own commands are
known to obey, and those in which a candidate took tests away or skips them.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from symphony.domain.globs import matches
from symphony.processes.git import Git
from symphony.proof.lost_tests import LostTests

_GONE = "0" * 40
_NOTHING = "000000"
_WORD = re.compile(r"[\w.@/+-]+")
_SCRIPTS = (".sh", ".bash", ".mk")
_OBEYED = (
    ({"make", "gmake"}, ("GNUmakefile", "makefile", "Makefile", "*.mk")),
    ({"just"}, ("justfile", "Justfile", ".justfile")),
    ({"npm", "pnpm", "yarn"}, ("package.json",)),
    ({"pytest", "py.test"}, ("**/conftest.py", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml")),
    ({"tox"}, ("tox.ini", "setup.cfg", "pyproject.toml")),
    ({"nox"}, ("noxfile.py",)),
)
"""What can make a program of this name do nothing and call it a success."""
_CONFTEST = "conftest.py"
_CHOOSES = re.compile(rb"skip|ignore|deselect|xfail|collect|exit|modifyitems")
_WITHOUT: dict[str, tuple[tuple[str, ...], ...]] = {
    "package.json": (
        ("dependencies",), ("devDependencies",), ("optionalDependencies",), ("peerDependencies",), ("version",),
    ),
    "pyproject.toml": (
        ("project", "dependencies"), ("project", "optional-dependencies"), ("dependency-groups",), ("project", "version"),
    ),
}  # fmt: skip
"""What in such a file says nothing of how checks run: work that needs a further package must not need a person for that."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A protected file that a candidate changed: what it is at the target (`mode` 000000: nothing), what became of it."""

    path: str
    mode: str
    blob: str
    status: Literal["added", "deleted", "modified"]

    @property
    def shown(self) -> str:
        """The path as any text can hold it."""
        return os.fsencode(self.path).decode(errors="replace")


def touched(git: Git, target: str, candidate: str, patterns: Sequence[str], further: Collection[str] = ()) -> list[Touched]:
    """List the files that differ between two commits and are meant by a pattern, or stand in `further` as they are shown.

    Raises:
        SymphonyError: as git fails.
    """
    told = git.output("diff", "--raw", "-z", "--no-abbrev", "--no-renames", "--end-of-options", target, candidate)
    parts = told.split(b"\0")
    found: list[Touched] = []
    for described, name in zip(parts[::2], parts[1::2], strict=False):
        old_mode, new_mode, old, *_ = described.decode().removeprefix(":").split(" ")
        status: Literal["added", "deleted", "modified"] = "modified"
        if _NOTHING in {old_mode, new_mode}:
            status = "added" if old_mode == _NOTHING else "deleted"
        file = Touched(os.fsdecode(name), old_mode, old, status)
        if matches(file.shown, patterns) or file.shown in further:
            found.append(file)
    return found


def obeyed(commands: Iterable[str]) -> tuple[str, ...]:
    """Give patterns of the files that decide what these commands do: makefiles of `make`, scripts that are named."""
    words = [word for command in commands for word in _WORD.findall(command)]
    names = {word.rpartition("/")[2] for word in words}
    patterns = [pattern for programs, files in _OBEYED if programs & names for pattern in files]
    scripts = [word.removeprefix("./") for word in words if word.endswith(_SCRIPTS) and not word.startswith("/")]
    return tuple(dict.fromkeys([*patterns, *scripts]))


def decides(path: str, before: bytes | None, after: bytes | None) -> bool:
    """Tell whether a change of a file that commands obey may be one of what they do; None is a file that is not there."""
    name = path.rpartition("/")[2]
    if name == _CONFTEST and before is None:
        return after is None or _CHOOSES.search(after) is not None
    if name in _WITHOUT and before is not None and after is not None:
        return _remainder(name, before) != _remainder(name, after)
    return True


def _remainder(name: str, content: bytes) -> object:
    """Read a manifest without what is no matter of checks; what cannot be read is taken as it is."""
    try:
        read = json.loads(content) if name.endswith(".json") else tomllib.loads(content.decode())
    except (ValueError, RecursionError):
        return content
    for *tables, key in _WITHOUT[name]:
        table = read
        for part in tables:
            table = table.get(part) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table.pop(key, None)
    return read


def restored(git: Git, index: Path, candidate: str, files: Iterable[Touched]) -> str:
    """Make the tree of a candidate with these files as they are at the target; `index` is a path that is free.

    Raises:
        SymphonyError: as git fails.
    """
    own = Git(git.tree, git.git_dir, index=index)
    try:
        own.run("read-tree", candidate)
        _write(own, [file for file in files if file.mode == _NOTHING])
        _write(own, [file for file in files if file.mode != _NOTHING])
        return own.run("write-tree")
    finally:
        for left in (index, index.with_name(f"{index.name}.lock")):
            left.unlink(missing_ok=True)


def _write(git: Git, files: Sequence[Touched]) -> None:
    """Put files into the index, or take out what was added; what a candidate put in the place of a folder goes with it."""
    lines = b"".join(_line(file) for file in files)
    if lines:
        git.run("update-index", "--replace", "-z", "--index-info", stdin=lines)


def _line(file: Touched) -> bytes:
    mode, blob = ("0", _GONE) if file.mode == _NOTHING else (file.mode, file.blob)
    return f"{mode} {blob}\t".encode() + os.fsencode(file.path) + b"\0"


def files_of(lost: LostTests, paths: Iterable[str]) -> set[str]:
    """Name those of `paths` in which tests were removed or newly skipped."""
    places = [*lost.removed, *lost.skipped]
    return {path for path in paths if any(place.startswith(f"{path}:") for place in places)}
