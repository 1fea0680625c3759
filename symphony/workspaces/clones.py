"""Clones out of a mirror: what an agent works in, and what proof looks at.

Invariant: a clone shares no file with the mirror, knows no remote and no credential, and at the moment it is handed over
holds exactly the named commit, checked out without hooks and without filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from symphony.domain.errors import Transient
from symphony.processes.git import IDENTITY, Git, create
from symphony.processes.git_failures import CORRUPT

if TYPE_CHECKING:
    from symphony.processes.guardian import Tree

_DETACHED = "refs/symphony/checkout"


@dataclass(frozen=True, slots=True)
class Source:
    """What a clone is filled from: `commit` of `mirror` on `branch`; `target` is one more local branch, to compare with."""

    mirror: Path
    commit: str
    branch: str | None = None
    target: tuple[str, str] | None = None


def clone(tree: Tree, source: Source, path: Path) -> None:
    """Make `path`, which must not exist, a clone with `source.commit` checked out.

    Raises:
        Rejected: category `ref_missing`, when the mirror does not hold the commit.
        Transient: category `repository_corrupt`, when the mirror is damaged.
    """
    if not source.mirror.is_dir():
        raise Transient(f"the mirror {source.mirror} is gone", category=CORRUPT)
    path.mkdir(mode=0o700)
    create(tree, path / ".git", bare=False)
    git = Git(tree, path / ".git", work_tree=path)
    wanted = {_DETACHED if source.branch is None else f"refs/heads/{source.branch}": source.commit}
    if source.target is not None:
        name, commit = source.target
        wanted.setdefault(f"refs/heads/{name}", commit)
    refspecs = [f"{commit}:{ref}" for ref, commit in wanted.items()]
    git.run("fetch", "--quiet", "--no-write-fetch-head", "--update-head-ok", "--", str(source.mirror), *refspecs)
    if source.branch is None:
        git.run("checkout", "--quiet", "--force", "--detach", source.commit)
    else:
        git.run("checkout", "--quiet", "--force", source.branch, "--")
    for key, value in zip(("user.name", "user.email"), IDENTITY, strict=True):
        git.run("config", key, value)


def clean_checkout(tree: Tree, mirror: Path, commit: str, path: Path) -> None:
    """Make `path` a throwaway clone of exactly `commit`, detached, its tags along; for checks that ask git questions."""
    clone(tree, Source(mirror, commit), path)
