"""Building the commit that is to land, without a work tree.

Invariant: the same base, head, method, message and time give the same commit on every machine, so that a landing begun by a
lander that died is finished by the next one. No merge driver, attribute or hook takes part. Proof and landing rely on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from symphony.domain.errors import Rejected
from symphony.processes.git import Git
from symphony.processes.git_failures import REF_MISSING

Method = Literal["merge", "squash"]
_EXCERPT_BYTES = 4000
_MOST_EXCERPTS = 10
_MARKER = "^<<<<<<< [0-9a-f]{40,64}"
"""How a conflict in a merge of ours begins: with the commit, where people's own merges have a name."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A file that could not be merged; `excerpt` is the start of what git made of it, markers included."""

    path: str
    explanation: str = ""
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge of head into base: its commit, or the conflicts that it has instead."""

    tree: str
    commit: str | None
    changed: bool
    conflicts: tuple[Conflict, ...] = ()


def merge_commit(git: Git, *, base: str, head: str, message: str, when: datetime, method: Method = "merge") -> Merge:
    """Merge `head` into `base` in the store of `git`; `changed` is false when base has all of it already.

    Raises:
        Rejected: category `unrelated_histories`, or `ref_missing` when the store lacks one of the commits.
    """
    for commit in (base, head):
        if not git.has(commit):
            raise Rejected(f"the store has no commit {commit}", category=REF_MISSING)
    clean, told = git.answer("merge-tree", "--write-tree", "-z", "--messages", base, head)
    sections = told.split(b"\0")
    tree = sections[0].decode().strip()
    if not clean:
        return Merge(tree, None, changed=True, conflicts=tuple(_conflicts(git, tree, sections[1:])))
    parents = [base, head] if method == "merge" else [base]
    changed = tree != git.tree_of(base)
    return Merge(tree, git.commit(tree, parents, message=message, when=when), changed=changed)


def replanted(git: Git, *, base: str, head: str, onto: str, message: str, when: datetime) -> Merge:
    """Make the change from `base` to `head` again upon `onto`, without the history that `head` stands on.

    For a target that was rewound behind `base`: a plain merge would bring back what was taken out of it.
    """
    stand_in = git.commit(git.tree_of(base), [], message=message, when=when)
    ours, theirs = (git.commit(git.tree_of(end), [stand_in], message=message, when=when) for end in (onto, head))
    merge = merge_commit(git, base=ours, head=theirs, message=message, when=when)
    if merge.commit is None:
        return merge
    return replace(merge, commit=git.commit(merge.tree, [onto], message=message, when=when))


def unresolved(git: Git, *, base: str, head: str) -> list[str]:
    """Name the files, fit for printing, in which `head` has conflict markers of ours that `base` has not."""
    told = git.output("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=d", "-G", _MARKER, base, head)
    marker = re.compile(_MARKER.encode(), re.MULTILINE)
    paths = [os.fsdecode(path) for path in told.split(b"\0") if path]
    return [_printable(path) for path in paths if marker.search(git.output("cat-file", "blob", f"{head}:{path}"))]


def _conflicts(git: Git, tree: str, told: Sequence[bytes]) -> Iterator[Conflict]:
    """Read git's list of files and, after an empty field, its list of messages."""
    end = told.index(b"")
    paths = dict.fromkeys(os.fsdecode(entry.partition(b"\t")[2]) for entry in told[:end])
    explanations: dict[str, list[str]] = {path: [] for path in paths}
    for about, kind, text in _messages(told[end + 1 :]):
        if kind.startswith("CONFLICT"):
            for path in about:
                explanations.setdefault(path, []).append(text)
    for number, (path, texts) in enumerate(explanations.items()):
        excerpt = _excerpt(git, tree, path) if number < _MOST_EXCERPTS else ""
        yield Conflict(_printable(path), "; ".join(texts) or "conflict", excerpt)


def _messages(fields: Sequence[bytes]) -> Iterator[tuple[list[str], str, str]]:
    """Give paths, kind and text of each message; a message is a count, that many paths, a kind and a text."""
    rest = list(fields)
    while rest and rest[0]:
        count = int(rest[0])
        about = [os.fsdecode(path) for path in rest[1 : count + 1]]
        yield about, rest[count + 1].decode(errors="replace"), rest[count + 2].decode(errors="replace").strip()
        rest = rest[count + 3 :]


def _excerpt(git: Git, tree: str, path: str) -> str:
    found = git.output("ls-tree", "-z", "--full-tree", tree, "--", path)
    if b" blob " not in found:
        return ""
    blob = found.split(b"\t", 1)[0].split(b" ")[2].decode()
    content = git.output("cat-file", "blob", blob)
    start = content.find(b"<<<<<<<")
    if start < 0 or b"\0" in content[:_EXCERPT_BYTES]:
        return ""
    return content[start : start + _EXCERPT_BYTES].decode(errors="replace")


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")
