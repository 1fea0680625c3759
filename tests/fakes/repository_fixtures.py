"""Fixtures: a process tree, a repository, and what Symphony builds upon them. Named in `pytest_plugins`, never imported."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.forges.git import GitForge
from symphony.processes.git import Git
from symphony.processes.guardian import Guardian, Tree
from symphony.workspaces.clones import Source
from symphony.workspaces.mirrors import Mirror
from symphony.workspaces.workspace import Claim, Workspaces
from tests.fakes.repositories import Desk, Person, Repository, git


@pytest.fixture(scope="session")
def guardian() -> Iterator[Guardian]:
    """One guardian for the tests of this process."""
    with Guardian.start() as started:
        yield started


@pytest.fixture
def tree(guardian: Guardian, request: pytest.FixtureRequest) -> Iterator[Tree]:
    """A process tree of the test's own."""
    with guardian.tree(request.node.nodeid) as opened:
        yield opened


@pytest.fixture(scope="session")
def pristine_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """What each test gets a copy of: a bare repository, and beside it a clone that refers to it by where they lie."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(folder, "clone", "-q", "origin.git", "person")
    person = Person(folder / "person")
    git(person.clone, "remote", "set-url", "origin", "../origin.git")
    git(person.clone, "checkout", "-q", "-B", "main")
    first = person.commit({"README.md": "one\ntwo\nthree\n", "src/app.py": "print(1)\n", ".gitignore": "*.log\n"})
    person.push()
    return Repository(folder / "origin.git", person, first)


@pytest.fixture
def repository(tmp_path: Path, pristine_repository: Repository) -> Repository:
    """A repository with `README.md`, `src/app.py` and `.gitignore` on main, and a person's clone of it."""
    for folder in (pristine_repository.path, pristine_repository.person.clone):
        shutil.copytree(folder, tmp_path / folder.name)
    return Repository(tmp_path / "origin.git", Person(tmp_path / "person"), pristine_repository.first)


@pytest.fixture
def forge(repository: Repository) -> GitForge:
    """The plain forge of the repository."""
    return GitForge(repository.url, "main")


@pytest.fixture
def mirror(tree: Tree, tmp_path: Path, repository: Repository, forge: GitForge) -> Mirror:
    """A mirror that holds main."""
    made = Mirror(tree, tmp_path / "home" / "mirrors", repository.url)
    made.update(forge.fetch_target)
    return made


@pytest.fixture
def workspaces(tree: Tree, tmp_path: Path) -> Workspaces:
    """A workspace root."""
    return Workspaces(tree, tmp_path / "root")


@pytest.fixture
def desk(workspaces: Workspaces, mirror: Mirror, repository: Repository) -> Desk:
    """An opened workspace."""
    claim = Claim("payments", "run-1", repository.url)
    source = Source(mirror.path, repository.first, "symphony/DEMO-1", ("main", repository.first))
    opened = workspaces.open("DEMO-1", claim, source=source)
    return Desk(workspaces, opened.path, claim, source)


@pytest.fixture
def store(mirror: Mirror) -> Git:
    """git on the mirror."""
    return mirror.git
