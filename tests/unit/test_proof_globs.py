"""Patterns of paths mean what people expect of them, and take no time to say so."""

from __future__ import annotations

import time

import pytest

from symphony.domain.globs import matches


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("*.xml", ["a.xml", ".xml"], ["a/b.xml", "a.xmlx"]),
        ("**/*.xml", ["a.xml", "a/b.xml", "a/b/c.xml"], ["a.txt"]),
        ("**/junit*.xml", ["junit.xml", "x/junit-1.xml"], ["x/ajunit.xml", "junit/x.xml"]),
        ("reports/*.xml", ["reports/a.xml"], ["a/reports/a.xml", "reports/a/b.xml"]),
        (".github/**", [".github/a", ".github/a/b"], [".github", "a/.github/b"]),
        ("docs/", ["docs/a", "docs/a/b"], ["docs", "mydocs/a"]),
        ("./a?.py", ["ab.py"], ["a/.py", "a.py"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb"]),
        ("a+(b)[c]", ["a+(b)[c]"], ["aab", "a+(b)c"]),
        ("Makefile", ["Makefile"], ["a/Makefile", "Makefile\n"]),
    ],
)
def test_a_pattern_means_whole_paths(pattern: str, inside: list[str], outside: list[str]) -> None:
    assert [path for path in inside if not matches(path, [pattern])] == []
    assert [path for path in outside if matches(path, [pattern])] == []


def test_one_of_several_is_enough_and_none_is_none() -> None:
    assert matches("b", ["a", "b"]) and not matches("b", [])


def test_a_long_path_takes_no_time() -> None:
    began = time.process_time()
    assert not matches("a/" * 2000 + "b", ["**/junit*.xml", "**/a/**/a/c", "*a*a*a"])
    assert time.process_time() - began < 2
