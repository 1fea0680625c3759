"""What the setup makes of a clean checkout of the target, kept on this node for the checkouts that need the same.

Invariant: an entry is made of the target alone and is whole or not there; a checkout gets a copy that shares no file with
it, and only where nothing of its own stands in the way, so no candidate writes into what the next one gets. Entries are
made once, by whoever holds their lock; the least recently used go when there is too much.

What a setup makes knows where it lies (the interpreter of a virtual environment, for one). Checkouts have names of one
length, so the old path is replaced by the new one in place, in any file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.domain.errors import Transient
from symphony.domain.globs import matches
from symphony.processes.git import Git
from symphony.processes.guardian import Tree
from symphony.proof.setup_outputs import Footprint, outputs_of, paths_with, rewrite
from symphony.telemetry.log import get_logger

_FORMAT = 1
_COPY_S = 900.0
_TOOLS = ("python3", "python", "node", "ruby", "java", "go", "cargo", "php", "cc")
_MANIFEST = "entry.json"
_FILES = "files"

log = get_logger()


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is kept on a node."""

    total_bytes: int = 20 * 1024**3
    entries: int = 50


LIMITS = CacheLimits()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A setup whose result can be kept: its command, the repository, and the target's files that decide about it."""

    command: str
    repository: str
    files: Mapping[str, str]
    """Their blobs by path."""

    def key(self, checkouts: Path, environment: Mapping[str, str]) -> str:
        """Name the entry: the same for whatever would come to the same on this node."""
        said = [
            *(_FORMAT, self.command, self.repository, sorted(self.files.items()), str(checkouts)),
            *(platform.platform(), platform.machine(), os.getuid(), _tools(environment.get("PATH", os.defpath))),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def deciding(git: Git, commit: str, patterns: Sequence[str]) -> dict[str, str]:
    """Give the blobs of the files that decide about a setup, by path.

    Raises:
        SymphonyError: as git fails.
    """
    found: dict[str, str] = {}
    for entry in git.output("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        described, _, name = entry.partition(b"\t")
        path = os.fsdecode(name)
        if path and matches(path, patterns):
            found[path] = described.decode()
    return found


def _tools(path: str) -> list[tuple[str, str, int, int]]:
    """Tell the tools that setups are made with: what an older one made does not fit a newer one."""
    found = []
    for name in _TOOLS:
        place = shutil.which(name, path=path)
        if place is not None:
            real = os.path.realpath(place)
            with suppress(OSError):
                seen = Path(real).stat()
                found.append((name, real, seen.st_size, seen.st_mtime_ns))
    return found


class SetupCache:
    """The kept results of setups under one folder, used by one process tree."""

    def __init__(self, tree: Tree, folder: Path, *, limits: CacheLimits = LIMITS) -> None:
        self._tree = tree
        self._folder = folder
        self._limits = limits

    @contextmanager
    def making(self, key: str, wait: Callable[[], None]) -> Iterator[None]:
        """Hold the right to make an entry; `wait` is called between looks and raises to give up."""
        with self._locked(key, fcntl.LOCK_EX, wait):
            yield

    def has(self, key: str) -> bool:
        """Tell whether there is an entry."""
        return self._read(key) is not None

    def keep(self, key: str, checkout: Path, before: Footprint) -> bool:
        """Move what the setup made in a target's checkout into the cache; the caller is `making` it.

        False where it cannot be kept: the setup changed files of the repository, or it is too large.
        """
        outputs = outputs_of(checkout, before)
        if outputs is None:
            log.info("setup not kept: it changes files of the repository", checkout=checkout.name)
            return False
        self._remove(*self._folder.glob(f".{key}-*"))
        fresh = self._folder / f".{key}-{secrets.token_hex(4)}"
        try:
            files = fresh / _FILES
            files.mkdir(parents=True, mode=0o700)
            for path in outputs:
                (files / path).parent.mkdir(parents=True, exist_ok=True)
                (checkout / path).rename(files / path)
            found = paths_with(files, os.fsencode(checkout))
            manifest = {"root": str(checkout), "outputs": outputs, "rewrite": found.paths, "bytes": found.bytes}
            if found.bytes > self._limits.total_bytes:
                log.info("setup not kept: it is too large", bytes=found.bytes)
                return False
            (fresh / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            self._remove(self._folder / key)
            fresh.rename(self._folder / key)
        except OSError as error:
            log.warning("setup not kept", reason=str(error))
            return False
        finally:
            self._remove(fresh)
        self._make_room(key)
        return True

    def give(self, key: str, checkout: Path, wait: Callable[[], None]) -> bool:
        """Put a copy of an entry into a checkout; False, and nothing left behind, where there is none or it does not fit.

        Raises:
            Transient: what was begun cannot be taken back.
        """
        with self._locked(key, fcntl.LOCK_SH, wait):
            entry = self._read(key)
            if entry is None or not _fits(checkout, entry["outputs"]):
                return False
            os.utime(self._folder / key)
            source = self._folder / key / _FILES
            command = ["cp", "-a", "--reflink=auto", "--", f"{source}/.", str(checkout)]
            copied = self._tree.run(command, cwd=self._folder, env=_environment(), timeout_s=_COPY_S)
            if copied.returncode == 0:
                try:
                    rewrite(checkout, entry["rewrite"], os.fsencode(entry["root"]), os.fsencode(checkout))
                except OSError as error:
                    log.warning("kept setup not usable", reason=str(error))
                else:
                    return True
            log.warning("kept setup not copied", reason=copied.stderr.text()[:300])
            (self._folder / key / _MANIFEST).unlink(missing_ok=True)  # whoever needs it next makes it anew
        self._remove(*(checkout / path for path in entry["outputs"]))
        return False

    def _read(self, key: str) -> dict[str, Any] | None:
        try:
            entry = json.loads((self._folder / key / _MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return entry if isinstance(entry, dict) and {"root", "outputs", "rewrite", "bytes"} <= entry.keys() else None

    def _make_room(self, newest: str) -> None:
        """Remove the least recently used entries that nobody copies from now."""
        entries = [
            (path, self._read(path.name)) for path in self._folder.iterdir() if path.is_dir() and path.name[0] != "."
        ]
        ages = sorted(entries, key=lambda each: (each[0].name == newest, each[0].stat().st_mtime), reverse=True)
        total = 0
        for number, (path, entry) in enumerate(ages):
            total += entry["bytes"] if entry is not None else 0
            if path.name != newest and (
                entry is None or number >= self._limits.entries or total > self._limits.total_bytes
            ):
                with suppress(Transient), self._locked(path.name, fcntl.LOCK_EX, _no_wait):
                    self._remove(path)

    def _remove(self, *paths: Path) -> None:
        there = [str(path) for path in paths if os.path.lexists(path)]
        if there and self._tree.ended is None:
            command = ["rm", "-rf", "--", *there]
            removed = self._tree.run(command, cwd=self._folder, env=_environment(), timeout_s=_COPY_S)
            if removed.returncode:
                raise Transient(f"cannot remove {there[0]}: {removed.stderr.text()[:200].strip()}", category="not_removed")

    @contextmanager
    def _locked(self, key: str, kind: int, wait: Callable[[], None]) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    wait()
            yield
        finally:
            os.close(descriptor)


def _no_wait() -> None:
    raise Transient("in use", category="in_use")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _fits(checkout: Path, outputs: Iterable[str]) -> bool:
    """Tell whether nothing of the checkout's own lies where the outputs go, and no link leads out of it on the way."""
    for path in outputs:
        if os.path.lexists(checkout / path):
            return False
        for folder in (checkout / path).relative_to(checkout).parents:
            with suppress(FileNotFoundError):
                if not stat.S_ISDIR((checkout / folder).lstat().st_mode):
                    return False
    return True
