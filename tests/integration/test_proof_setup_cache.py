"""The cache of setups: an entry is whole or not there, made once by many, copied and never shared, and bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from symphony.domain.errors import Cancelled
from symphony.processes.guardian import Tree
from symphony.proof.setup_cache import CacheLimits, SetupCache, Wanted
from symphony.proof.setup_outputs import footprint, outputs_of, rewrite

pytest_plugins = ["tests.fakes.repository_fixtures"]

NAME = "01a21db5-af11-77b9-92b5-bfcad790c110@{:08x}"


def give_up() -> None:
    raise Cancelled("no wait")


def checkout(folder: Path, number: int) -> Path:
    """Make a checkout with one tracked file."""
    path = folder / NAME.format(number)
    (path / "src").mkdir(parents=True)
    (path / "src" / "a.py").write_text("a = 1\n")
    return path


def set_up(path: Path, size: int = 1) -> None:
    """Make what a setup makes: files that know where they lie, a link, and one beside what is tracked."""
    (path / "deps" / "bin").mkdir(parents=True)
    tool = path / "deps" / "bin" / "tool"
    tool.write_text(f"#!{path}/deps/bin/python\n")
    tool.chmod(0o555)
    (path / "deps" / "data").write_bytes(b"\0" * size + os.fsencode(path) + b"\0end")
    (path / "deps" / "link").symlink_to(path / "deps" / "data")
    (path / "src" / "a.egg").write_text("x")


def kept(cache: SetupCache, folder: Path, key: str, number: int, size: int = 1) -> Path:
    """Keep a setup."""
    path = checkout(folder, number)
    before = footprint(path)
    set_up(path, size)
    with cache.making(key, give_up):
        assert cache.keep(key, path, before)
    return path


def test_a_kept_setup_lies_elsewhere_as_if_it_were_made_there(tree: Tree, tmp_path: Path) -> None:
    cache = SetupCache(tree, tmp_path / "setups")
    kept(cache, tmp_path, "k", 1)
    other = checkout(tmp_path, 2)
    assert cache.give("k", other, give_up)
    assert (other / "deps" / "bin" / "tool").read_text() == f"#!{other}/deps/bin/python\n"
    assert (other / "deps" / "bin" / "tool").stat().st_mode & 0o777 == 0o555
    assert (other / "deps" / "data").read_bytes() == b"\0" + os.fsencode(other) + b"\0end"
    assert (other / "deps" / "link").readlink() == other / "deps" / "data"
    assert (other / "src" / "a.egg").read_text() == "x" and (other / "src" / "a.py").read_text() == "a = 1\n"
    inodes = {path.stat().st_ino for path in (tmp_path / "setups").rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in other.rglob("*") if path.is_file()}, "nothing is shared"


def test_what_lies_in_the_way_is_left_alone(tree: Tree, tmp_path: Path) -> None:
    cache = SetupCache(tree, tmp_path / "setups")
    kept(cache, tmp_path, "k", 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    for number, spoil in enumerate(
        (
            lambda path: (path / "deps").symlink_to(outside),
            lambda path: ((path / "src").rename(path / "old"), (path / "src").symlink_to(outside)),
            lambda path: (path / "src" / "a.egg").write_text("mine"),
        ),
        2,
    ):
        path = checkout(tmp_path, number)
        spoil(path)
        before = sorted(path.rglob("*"))
        assert not cache.give("k", path, give_up)
        assert sorted(path.rglob("*")) == before and not list(outside.iterdir())


def test_a_setup_that_changes_or_removes_what_is_tracked_is_none_to_keep(tree: Tree, tmp_path: Path) -> None:
    for number, spoil in enumerate(
        (lambda path: (path / "src" / "a.py").write_text("b = 22\n"), lambda path: (path / "src" / "a.py").unlink()), 1
    ):
        path = checkout(tmp_path, number)
        before = footprint(path)
        spoil(path)
        assert outputs_of(path, before) is None
        assert not SetupCache(tree, tmp_path / "setups").keep("k", path, before)


def test_a_damaged_entry_is_none(tree: Tree, tmp_path: Path) -> None:
    cache = SetupCache(tree, tmp_path / "setups")
    kept(cache, tmp_path, "k", 1)
    for number, content in enumerate(("", "{", "[]", "{}"), 2):
        (tmp_path / "setups" / "k" / "entry.json").write_text(content)
        assert not cache.has("k") and not cache.give("k", checkout(tmp_path, number), give_up)
    kept(cache, tmp_path, "k", 10)
    assert cache.give("k", checkout(tmp_path, 11), give_up), "it is made anew"


def test_an_entry_whose_files_are_gone_leaves_nothing_behind(tree: Tree, tmp_path: Path) -> None:
    cache = SetupCache(tree, tmp_path / "setups")
    kept(cache, tmp_path, "k", 1)
    (tmp_path / "setups" / "k" / "files" / "deps" / "bin" / "tool").unlink()
    path = checkout(tmp_path, 2)
    assert not cache.give("k", path, give_up)
    assert sorted(child.name for child in path.rglob("*")) == ["a.py", "src"]
    assert not cache.has("k"), "the next one makes it anew"


def test_the_least_recently_used_go_and_what_is_in_use_stays(tree: Tree, tmp_path: Path) -> None:
    limits = CacheLimits(total_bytes=10**9, entries=2)
    cache = SetupCache(tree, tmp_path / "setups", limits=limits)
    for number, key in enumerate("abc", 1):
        kept(cache, tmp_path, key, number)
        os.utime(tmp_path / "setups" / key, (number, number))
        if key == "b":
            assert cache.give("a", checkout(tmp_path, 10), give_up), "used now"
    assert [key for key in "abc" if cache.has(key)] == ["a", "c"]
    os.utime(tmp_path / "setups" / "a", (1, 1))
    with cache.making("a", give_up):
        kept(cache, tmp_path, "d", 4)
        assert cache.has("a")
    kept(cache, tmp_path, "e", 5)
    assert [key for key in "acde" if cache.has(key)] == ["d", "e"]


def test_too_large_a_setup_is_not_kept(tree: Tree, tmp_path: Path) -> None:
    cache = SetupCache(tree, tmp_path / "setups", limits=CacheLimits(total_bytes=100_000))
    path = checkout(tmp_path, 1)
    before = footprint(path)
    set_up(path, 200_000)
    with cache.making("k", give_up):
        assert not cache.keep("k", path, before)
    assert [child.name for child in (tmp_path / "setups").iterdir()] == ["k.lock"]


def test_whoever_waits_for_an_entry_finds_it_made(tree: Tree, tmp_path: Path) -> None:
    """Rule: the right to make is one process's; it goes with the process."""
    script = (
        "import sys, time; from pathlib import Path; from symphony.proof.setup_cache import SetupCache\n"
        "with SetupCache(None, Path(sys.argv[1])).making('k', lambda: time.sleep(0.01)):\n"
        " print('mine', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "setups")], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"mine\n"
        cache = SetupCache(tree, tmp_path / "setups")
        with pytest.raises(Cancelled), cache.making("k", give_up):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with cache.making("k", lambda: time.sleep(0.01)):
        pass


def test_the_key_is_that_of_what_decides(tmp_path: Path) -> None:
    wanted = Wanted("npm ci", "origin", {"a": "1"})
    key = wanted.key(tmp_path, {"PATH": "/usr/bin"})
    assert key == Wanted("npm ci", "origin", {"a": "1"}).key(tmp_path, {"PATH": "/usr/bin", "X": "y"})
    others = [
        Wanted("npm i", "origin", {"a": "1"}).key(tmp_path, {"PATH": "/usr/bin"}),
        Wanted("npm ci", "fork", {"a": "1"}).key(tmp_path, {"PATH": "/usr/bin"}),
        Wanted("npm ci", "origin", {"a": "2"}).key(tmp_path, {"PATH": "/usr/bin"}),
        Wanted("npm ci", "origin", {"b": "1"}).key(tmp_path, {"PATH": "/usr/bin"}),
        wanted.key(tmp_path / "moved", {"PATH": "/usr/bin"}),
        wanted.key(tmp_path, {"PATH": "/nowhere"}),
    ]
    assert len({key, *others}) == 7


def test_paths_of_two_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of its length"):
        rewrite(tmp_path, [], b"/a", b"/ab")
