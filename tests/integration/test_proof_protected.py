"""Protected files: which of them a candidate has touched, and its tree with the target's versions of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.git import Git
from symphony.processes.guardian import Guardian
from symphony.proof.protected import decides, obeyed, restored, touched
from tests.fakes.repositories import WHEN, Repository
from tests.integration.stage_bench import bench, files_at

pytest_plugins = ["tests.fakes.repository_fixtures"]


def commit(store: Git, files: Mapping[str, str]) -> str:
    """Make a commit of files; a content of `-> x` makes a link."""
    index = Git(store.tree, store.git_dir, index=store.git_dir / "made")
    index.run("read-tree", "--empty")
    lines = []
    for path, content in files.items():
        mode = "120000" if content.startswith("-> ") else "100755" if content.startswith("#!") else "100644"
        blob = store.run("hash-object", "-w", "--stdin", stdin=content.removeprefix("-> ").encode())
        lines.append(f"{mode} {blob}\t{path}\0")
    index.run("update-index", "-z", "--index-info", stdin="".join(lines).encode())
    return store.commit(index.run("write-tree"), [], message="m", when=WHEN)


def tree_of(store: Git, tree: str) -> dict[str, str]:
    """Give modes and contents of a tree."""
    entries = filter(None, store.output("ls-tree", "-r", "-z", tree).decode().split("\0"))
    return {
        path: described.split(" ")[0] + " " + store.run("cat-file", "blob", described.split(" ")[2])
        for described, path in (entry.split("\t") for entry in entries)
    }


TARGET = {"Makefile": "test: ; run\n", "ci/run.sh": "#!/bin/sh\nexit 1\n", "ci/deep/a": "a", "src/a.py": "a = 1\n"}


@pytest.mark.parametrize(
    ("candidate", "files", "expected"),
    [
        (TARGET | {"src/a.py": "b"}, {}, {"src/a.py": "b"}),
        (TARGET | {"Makefile": "x"}, {"Makefile": "modified"}, {}),
        ({k: v for k, v in TARGET.items() if k != "Makefile"}, {"Makefile": "deleted"}, {}),
        (TARGET | {"ci/new": "x", "n": "y"}, {"ci/new": "added"}, {"n": "y"}),
        (TARGET | {"ci/run.sh": "exit 1\n"}, {"ci/run.sh": "modified"}, {}),
        ({"Makefile/a": "x", "src/a.py": "a = 1\n", "ci": "-> src"},
         {"Makefile": "deleted", "ci/run.sh": "deleted", "ci/deep/a": "deleted"}, {}),
        (TARGET | {"Makefile": "-> src/a.py"}, {"Makefile": "modified"}, {}),
        ({k: v for k, v in TARGET.items() if k != "ci/deep/a"} | {"ci/deep": "x"},
         {"ci/deep/a": "deleted", "ci/deep": "added"}, {}),
    ],
)  # fmt: skip
def test_the_targets_versions_take_the_place_of_what_a_candidate_made_of_them(
    store: Git, tmp_path: Path, candidate: dict[str, str], files: dict[str, str], expected: dict[str, str]
) -> None:
    target, changed = commit(store, TARGET), commit(store, candidate)
    found = touched(store, target, changed, ["Makefile", "ci/**"])
    assert {file.path: file.status for file in found} == files
    whole = tree_of(store, commit(store, TARGET | expected))
    assert tree_of(store, restored(store, tmp_path / "index", changed, found)) == whole
    assert not list(tmp_path.glob("index*"))


def test_names_that_no_text_holds_are_restored_too(store: Git, tmp_path: Path) -> None:
    blob = store.run("hash-object", "-w", "--stdin", stdin=b"x")
    tree = store.run("mktree", "-z", stdin=b"100644 blob " + blob.encode() + b"\tci\xff\n\0")
    target, changed = (store.commit(made, [], message="m", when=WHEN) for made in (tree, store.run("mktree", stdin=b"")))
    found = touched(store, target, changed, ["ci*"])
    assert [(file.shown, file.status) for file in found] == [("ci\ufffd\n", "deleted")]
    assert restored(store, tmp_path / "index", changed, found) == tree


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("make -s test", {"Makefile", "GNUmakefile"}),
        ("cd x && ./ci/check.sh --fast", {"ci/check.sh"}),
        (". /outside/check.sh", set()),
        ("npm test", {"package.json"}),
        (".venv/bin/pytest -q", {"pytest.ini", "**/conftest.py"}),
        ("python3 -m pytest", {"tox.ini"}),
        ("cargo test", set()),
    ],
)
def test_the_files_that_a_command_obeys(command: str, expected: set[str]) -> None:
    found = set(obeyed([command]))
    assert expected <= found and bool(expected) == bool(found)


@pytest.mark.parametrize(
    ("path", "before", "after", "expected"),
    [
        ("package.json", '{"scripts": {"test": "a"}}', '{"scripts": {"test": "a"}, "dependencies": {"b": "1"}}', False),
        ("package.json", '{"scripts": {"test": "a"}}', '{"scripts": {"test": "true"}, "dependencies": {"b": "1"}}', True),
        ("package.json", '{"a": 1}', "{", True),
        ("package.json", "[]", '[{"dependencies": {}}]', True),
        ("package.json", None, "{}", True),
        ("pyproject.toml", "[project]\nname='a'", "[project]\nname='a'\ndependencies=['b']", False),
        ("pyproject.toml", "[project]\nname='a'", "[project]\nname='a'\n[tool.pytest.ini_options]\naddopts='-k x'", True),
        ("pyproject.toml", "project=1", "project=2", True),
        ("tests/conftest.py", None, "import pytest\n@pytest.fixture\ndef a(): ...", False),
        ("tests/conftest.py", None, "def pytest_collection_modifyitems(items): items.clear()", True),
        ("tests/conftest.py", "a", "b", True),
        ("Makefile", "a", None, True),
    ],
)
def test_what_a_change_of_them_may_be(path: str, before: str | None, after: str | None, expected: bool) -> None:
    sides = [side.encode() if side is not None else None for side in (before, after)]
    assert decides(path, sides[0], sides[1]) is expected


@given(st.binary(), st.binary())
def test_no_content_is_too_odd_to_be_compared(before: bytes, after: bytes) -> None:
    for name in ("package.json", "pyproject.toml"):
        assert decides(name, before, after) in {True, False}


def test_a_harmless_change_of_what_is_protected_lands_and_is_shown(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    checks = [{"name": "tests", "run": f"git rev-parse HEAD^{{tree}} >> {tmp_path}/trees; test -f README.md"}]
    with bench(
        database_url, tmp_path, guardian, sections={"proof": {"checks": checks, "protect": ["README.md", "docs/"]}}
    ) as work:  # fmt: skip
        work.agent("echo four >> README.md; mkdir docs; echo a > docs/a; echo x > new.txt")
        work.bring(Stage.LAND)
        assert work.step().state is RunState.LANDED
        (proof,) = work.proofs()
        assert proof.protected["verdict"] == "passed" and (tmp_path / "trees").read_text().split() == [
            proof.tree_sha, proof.protected["tree_sha"],
        ]  # fmt: skip
        assert proof.protected["files"] == [
            {"path": "README.md", "status": "modified"}, {"path": "docs/a", "status": "added"},
        ]  # fmt: skip
        (said,) = [payload["body"] for kind, _, payload in work.board.effects("DEMO-1") if kind == "comment"]
        assert "With the target's versions of 2 protected files: passed" in said
        assert files_at(repository, repository.tip())["docs/a"] == "a"
