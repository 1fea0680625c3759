"""Building the commit that lands: the same everywhere, both sides kept, conflicts described."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.errors import Rejected
from symphony.forges import snapshot_ref
from symphony.forges.git import GitForge
from symphony.forges.merge import Merge, merge_commit
from symphony.processes.git import Git
from symphony.processes.guardian import Tree
from symphony.workspaces.mirrors import Mirror
from tests.fakes.repositories import WHEN, Repository, candidate, git, merged

pytest_plugins = ["tests.fakes.repository_fixtures"]


def test_the_same_merge_is_the_same_commit_on_two_machines(
    forge: GitForge, store: Git, repository: Repository, tree: Tree, tmp_path: Path
) -> None:
    head = candidate(store, repository.first)
    forge.push_snapshot(store, snapshot_ref("run-1", 1), head)
    other = Mirror(tree, tmp_path / "other node", repository.url)
    other.update(lambda there: forge.fetch(there, ["refs/heads/main", snapshot_ref("run-1", 1)]))
    assert merged(store, repository.first, head) == merged(other.git, repository.first, head)
    later = merge_commit(store, base=repository.first, head=head, message="DEMO-1", when=WHEN + timedelta(1))
    assert later.commit != merged(store, repository.first, head)


def test_a_merge_keeps_both_sides_and_names_both_parents(
    mirror: Mirror, forge: GitForge, store: Git, repository: Repository
) -> None:
    head = candidate(store, repository.first)
    base = repository.person.commit({"README.md": "zero\none\ntwo\nthree\n"})
    repository.person.push()
    mirror.update(forge.fetch_target)
    made = merge_commit(store, base=base, head=head, message="DEMO-1: add\n\nbody\n", when=WHEN)
    assert made.commit is not None
    assert made.changed
    assert (
        store.run("show", "-s", "--format=%P|%an|%B", made.commit).strip() == f"{base} {head}|Symphony|DEMO-1: add\n\nbody"
    )
    assert set(store.run("ls-tree", "--name-only", made.tree).split()) == {".gitignore", "README.md", "new.txt", "src"}
    squashed = merge_commit(store, base=base, head=head, message="DEMO-1", when=WHEN, method="squash")
    assert squashed.tree == made.tree
    assert store.run("show", "-s", "--format=%P", str(squashed.commit)) == base


def test_a_conflict_is_described_for_whoever_has_to_solve_it(
    mirror: Mirror, forge: GitForge, store: Git, repository: Repository
) -> None:
    theirs = repository.person.commit({"README.md": "one\nTHEIRS\nthree\n", "src/app.py": None, "ü x": "1\n"})
    repository.person.push("--force", branch="side")
    repository.person.reset(repository.first)
    base = repository.person.commit({"README.md": "one\nOURS\nthree\n", "src/app.py": "print(2)\n", "ü x": "2\n"})
    repository.person.push()
    mirror.update(lambda there: forge.fetch(there, ["refs/heads/main", "refs/heads/side"]))
    made = merge_commit(store, base=base, head=theirs, message="DEMO-1", when=WHEN)
    assert isinstance(made, Merge)
    assert made.commit is None
    found = {conflict.path: conflict for conflict in made.conflicts}
    assert set(found) == {"README.md", "src/app.py", "ü x"}
    assert "OURS" in found["README.md"].excerpt
    assert "THEIRS" in found["README.md"].excerpt
    assert "Merge conflict in README.md" in found["README.md"].explanation
    assert "modify/delete" in found["src/app.py"].explanation


def test_nothing_new_is_no_change(store: Git, repository: Repository) -> None:
    made = merge_commit(store, base=repository.first, head=repository.first, message="DEMO-1", when=WHEN)
    assert not made.changed
    assert made.tree == store.tree_of(repository.first)


def test_what_cannot_be_merged_is_refused_by_name(store: Git, repository: Repository) -> None:
    orphan = store.commit(store.tree_of(repository.first), [], message="orphan", when=WHEN)
    for head, category in ((orphan, "unrelated_histories"), ("1" * 40, "ref_missing")):
        with pytest.raises(Rejected) as caught:
            merge_commit(store, base=repository.first, head=head, message="x", when=WHEN)
        assert caught.value.category == category


def test_attributes_of_the_repository_take_no_part_in_a_merge(
    mirror: Mirror, forge: GitForge, store: Git, repository: Repository, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    git(mirror.path, "config", "merge.evil.driver", f"touch {canary}")
    base = repository.person.commit({".gitattributes": "* merge=evil\n"})
    theirs = repository.person.commit({"README.md": "one\nTHEIRS\nthree\n"})
    repository.person.push(branch="side")
    repository.person.reset(base)
    ours = repository.person.commit({"README.md": "one\nOURS\nthree\n"})
    repository.person.push()
    mirror.update(lambda there: forge.fetch(there, ["refs/heads/main", "refs/heads/side"]))
    assert merge_commit(store, base=ours, head=theirs, message="x", when=WHEN).conflicts
    assert not canary.exists()
