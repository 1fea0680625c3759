"""A workbench: clean checkouts of a repository's last commit in a temporary folder, and commands run in them.

Invariant: the repository is only fetched from; what a command leaves running is killed when it ends, and everything is
removed when the bench is closed, also after Ctrl-C. Commands see the environment that an agent's checks would see.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import ConfigError, SymphonyError, Transient
from symphony.processes.environment import agent_environment
from symphony.processes.git import Git
from symphony.processes.guardian import Guardian, Tree
from symphony.telemetry.redaction import redact
from symphony.workspaces.clones import Source, clone
from symphony.workspaces.removal import remove_tree

_OFFLINE = Path(__file__).with_name("offline.py")
_KEPT = 32_768
_NOT_FOUND = 127
_ECHO = re.compile(r"g?make(\[\d+\])?: |npm (ERR!|error)|error Command failed|info Visit ")


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that is over."""

    command: str
    code: int
    seconds: float
    output: str
    timed_out: bool

    @property
    def passed(self) -> bool:
        """Whether it ended well."""
        return self.code == 0 and not self.timed_out

    @property
    def is_missing(self) -> bool:
        """Whether a shell did not find its program."""
        return self.code == _NOT_FOUND and not self.timed_out

    @property
    def last_words(self) -> str:
        """The last line that says something, and not merely that something called by it has failed."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if not _ECHO.match(line)), lines[-1] if lines else "")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a repository's commits go: a url, or nothing but the repository itself."""

    name: str | None
    url: str | None
    branch: str


class Bench:
    """Checkouts of one repository; made by `bench_for`."""

    def __init__(self, tree: Tree, top: Path, folder: Path, commit: str) -> None:
        self.top = top
        self.commit = commit
        self._tree = tree
        self._folder = folder
        self._count = 0

    @property
    def git(self) -> Git:
        """git on the repository itself, for reading."""
        return Git(self._tree, _git_dir(self.top))

    def checkout(self) -> Path:
        """Make one more clean checkout of the last commit.

        Raises:
            SymphonyError: git cannot read the repository.
        """
        self._count += 1
        path = self._folder / f"{self.top.name or 'repository'}-{self._count}"
        clone(self._tree, Source(self.top, self.commit), path)
        return path

    def changes_in(self, checkout: Path) -> list[str]:
        """List the tracked files that a command changed, and the new ones that no ignore rule names."""
        git = Git(self._tree, checkout / ".git", work_tree=checkout)
        said = git.run("status", "--porcelain", "--untracked-files=normal", "-z")
        return [entry[3:] for entry in said.split("\0") if len(entry) > 3]

    def run(self, command: str, checkout: Path, *, timeout_s: float, offline: bool = False) -> Ran:
        """Run a shell command in a checkout; `offline` gives it a network that reaches this machine alone.

        Raises:
            Transient: the tree was ended from outside.
        """
        began = time.monotonic()
        words = ["bash", "-c", command]
        if offline:
            words = [sys.executable, "-I", "-S", str(_OFFLINE), *words]
        done = self._tree.run(
            words, cwd=checkout, env=agent_environment([], os.environ), timeout_s=timeout_s, head=_KEPT, tail=_KEPT
        )
        seconds = time.monotonic() - began
        if self._tree.ended is not None:
            raise Transient(f"`{command}` was ended: {self._tree.ended}")
        self._tree.clear()
        output = redact(done.stdout.text() + done.stderr.text())
        return Ran(command, done.returncode, round(seconds, 3), output, done.timed_out)

    def can_cut_network(self) -> bool:
        """Tell whether this kernel lets us give a command a network of its own."""
        return self.run("true", self._folder, timeout_s=20, offline=True).passed

    def remote(self) -> Remote:
        """Say where the repository's commits go: `origin`, else its first remote, else nowhere."""
        names = self.git.run("remote").split()
        name = "origin" if "origin" in names else names[0] if names else None
        url = self._configured(f"remote.{name}.url") if name else None
        return Remote(name if url else None, url, self._branch(name))

    def _branch(self, remote: str | None) -> str:
        for ref in (f"refs/remotes/{remote}/HEAD", "HEAD"):
            known, said = self.git.answer("symbolic-ref", "--quiet", ref)
            if known and said:
                name = said.decode(errors="replace").strip()
                return name.removeprefix(f"refs/remotes/{remote}/").removeprefix("refs/heads/")
        return "main"

    def _configured(self, key: str) -> str | None:
        known, said = self.git.answer("config", "--get", key)
        return said.decode(errors="replace").strip() or None if known else None


@contextmanager
def bench_for(folder: Path) -> Iterator[Bench]:
    """Open a workbench for the repository whose top is `folder`.

    Raises:
        ConfigError: the folder is no repository's top, or has no commit.
    """
    top = folder.resolve()
    _require_top(top, folder)
    guardian = Guardian.start()
    try:
        with guardian.tree("harness") as tree:
            place = Path(tempfile.mkdtemp(prefix="symphony-"))
            try:
                yield Bench(tree, top, place, _last_commit(tree, top, folder))
            finally:
                if tree.ended is None:
                    tree.clear()
                    remove_tree(tree, place)
    finally:
        guardian.close()


def _require_top(top: Path, named: Path) -> None:
    if not top.is_dir():
        raise ConfigError("is no folder", place=str(named), cure="name the top folder of a git repository")
    if (top / ".git").exists():
        return
    above = next((parent for parent in top.parents if (parent / ".git").exists()), None)
    if above is not None:
        raise ConfigError("is not the top of its repository", place=str(named), cure=f"name {above}")
    raise ConfigError("is no git repository", place=str(named), cure="make one: `git init`, then a first commit")


def _git_dir(top: Path) -> Path:
    """Give the git directory, of a worktree or a submodule too, whose `.git` is a file that names it."""
    dot_git = top / ".git"
    if dot_git.is_file():
        named = dot_git.read_text(encoding="utf-8", errors="replace").partition("gitdir:")[2].strip()
        return (top / named).resolve()
    return dot_git


def _last_commit(tree: Tree, top: Path, named: Path) -> str:
    git = Git(tree, _git_dir(top))
    try:
        return git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except SymphonyError as error:
        raise ConfigError("has no commit yet", place=str(named), cure="make a first commit") from error
