"""The path guard and the markers, without git."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain.errors import Breach, ConfigError, Poisoned
from symphony.domain.issue import workspace_key
from symphony.workspaces.markers import Marker, read_marker, write_marker
from symphony.workspaces.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.open(tmp_path / "deep" / "root")


@given(st.text(min_size=1, max_size=150))
def test_every_issues_workspace_is_a_child_of_the_root(identifier: str) -> None:
    root = Path("/srv/root")
    try:
        path = Places(root).workspace(workspace_key(identifier))
    except Poisoned:
        return
    assert path.parent == root
    assert os.path.normpath(path) == str(path)


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../a", "a\x00b", "a b", "ä", "a\n"])
def test_what_is_no_key_is_a_breach(places: Places, key: str) -> None:
    with pytest.raises(Breach):
        places.workspace(key)


@pytest.mark.parametrize("key", [".symphony", ".Symphony", "x" * 201])
def test_a_key_that_cannot_be_a_directory_here_says_so(places: Places, key: str) -> None:
    with pytest.raises(Poisoned):
        places.workspace(key)


def test_nothing_of_symphonys_lies_where_a_workspace_can(places: Places) -> None:
    for key in ("markers", "git", "locks", "new", "aside", "DEMO-1"):
        beside = (places.marker(key), places.git_dir(key), places.lock(key))
        assert len({*beside, places.workspace(key)}) == 4
        assert all(path.parent.parent == places.side for path in beside)


def test_a_missing_root_is_made_narrow(places: Places) -> None:
    assert stat.S_IMODE(places.root.stat().st_mode) == 0o711


def test_a_root_that_others_may_write_to_is_narrowed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o777)
    assert stat.S_IMODE(Places.open(tmp_path / "root").root.stat().st_mode) == 0o711


def test_an_operators_root_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o755)
    assert stat.S_IMODE(Places.open(tmp_path / "root").root.stat().st_mode) == 0o755


def test_a_root_that_is_a_file_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("")
    with pytest.raises(ConfigError, match="not a directory"):
        Places.open(tmp_path / "root")


def test_a_root_below_a_file_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make"):
        Places.open(tmp_path / "file" / "root")


def test_a_relative_root_is_refused() -> None:
    with pytest.raises(ConfigError, match="absolute"):
        Places.open(Path("root"))


def test_a_side_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root/.symphony").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        Places.open(tmp_path / "root")


def test_a_root_behind_a_link_is_used_by_its_real_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "name").symlink_to(tmp_path / "real")
    assert Places.open(tmp_path / "name").workspace("A") == (tmp_path / "real" / "A").resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_workspace_of_another_user_is_refused(places: Places) -> None:
    places.workspace("A").mkdir()
    os.chown(places.workspace("A"), 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to the user with id 12345"):
        places.existing("A")


def test_the_launch_guard_accepts_the_workspace_only(places: Places, tmp_path: Path) -> None:
    path = places.workspace("A")
    with pytest.raises(Breach):
        places.verify_cwd("A", path)
    path.mkdir()
    (path / "inner").mkdir()
    places.workspace("B").mkdir()
    places.verify_cwd("A", path)
    for wrong in (places.root, path / "inner", places.workspace("B"), tmp_path, path / ".." / "A"):
        with pytest.raises(Breach):
            places.verify_cwd("A", wrong)


def test_the_launch_guard_refuses_a_workspace_that_became_a_link(places: Places, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    places.workspace("A").symlink_to(tmp_path / "outside")
    with pytest.raises(Breach):
        places.verify_cwd("A", places.workspace("A"))


def test_a_marker_comes_back_as_written(tmp_path: Path) -> None:
    assert read_marker(tmp_path / "m") is None
    marker = Marker("payments", "run", "git@example.org:x", "abc", ready=True)
    write_marker(tmp_path / "m", marker)
    assert read_marker(tmp_path / "m") == marker
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"workflow": 1, "x": 2}', b"\xff\xfe", b"null"])
def test_a_marker_that_nobody_can_read_is_said_and_not_guessed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_marker(tmp_path / "m")
