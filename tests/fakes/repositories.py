"""Real repositories, and the people who push to them, for tests of workspaces and forges."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from symphony.forges.merge import merge_commit
from symphony.processes.git import Git
from symphony.workspaces.clones import Source
from symphony.workspaces.workspace import Claim, Workspaces

WHEN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_ALONE = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TEMPLATE_DIR": ""}
_AS = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgSign=false")


def git(cwd: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run git as some person would, with that person's identity and no other configuration."""
    completed = subprocess.run(
        ["git", *_AS, *arguments],
        cwd=cwd,
        env={**_ALONE, "PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, f"git {arguments}: {completed.stdout}{completed.stderr}"
    return completed.stdout.strip()


@dataclass(frozen=True)
class Person:
    """Somebody with a clone of the repository, who can push to it."""

    clone: Path

    def commit(self, files: Mapping[str, str | None], message: str = "change") -> str:
        """Commit files (`None` removes one) and return the commit."""
        for name, content in files.items():
            path = self.clone / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        git(self.clone, "add", "-A")
        git(self.clone, "commit", "-q", "-m", message)
        return git(self.clone, "rev-parse", "HEAD")

    def push(self, *options: str, branch: str = "main") -> None:
        """Push HEAD."""
        git(self.clone, "push", "-q", *options, "origin", f"HEAD:refs/heads/{branch}")

    def reset(self, commit: str) -> None:
        """Go to a commit."""
        git(self.clone, "fetch", "-q", "origin")
        git(self.clone, "reset", "-q", "--hard", commit)


@dataclass(frozen=True)
class Repository:
    """A bare repository with one commit on main."""

    path: Path
    person: Person
    first: str

    @property
    def url(self) -> str:
        """Its address."""
        return str(self.path)

    def tip(self, ref: str = "refs/heads/main") -> str:
        """Give the commit of a ref."""
        return git(self.path, "rev-parse", "--verify", ref)

    def refs(self) -> dict[str, str]:
        """Give all refs with their commits."""
        lines = git(self.path, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ") for line in lines)

    def hook(self, name: str, script: str) -> None:
        """Install a hook at the repository."""
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@dataclass(frozen=True)
class Desk:
    """An agent's workspace DEMO-1 on the repository's first commit, with what Symphony needs around it."""

    workspaces: Workspaces
    path: Path
    claim: Claim
    source: Source


def candidate(store: Git, base: str, content: str = "candidate\n", path: str = "new.txt") -> str:
    """Make a commit upon `base` that adds a file."""
    blob = store.run("hash-object", "-w", "--stdin", stdin=content.encode())
    listing = store.run("ls-tree", base) + f"\n100644 blob {blob}\t{path}\n"
    return store.commit(store.run("mktree", stdin=listing.encode()), [base], message="candidate", when=WHEN)


def merged(store: Git, base: str, head: str) -> str:
    """Merge `head` into `base` and return the commit."""
    made = merge_commit(store, base=base, head=head, message="DEMO-1", when=WHEN)
    assert made.commit is not None
    return made.commit
