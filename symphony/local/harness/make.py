"""Makefiles and CMake: a repository's own words for building and testing, or the kind that it is."""

from __future__ import annotations

import re

from symphony.local.harness.folder import Folder
from symphony.local.harness.kind import Kind

MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_TARGET = re.compile(r"^([A-Za-z0-9_][\w.-]*(?:[ \t]+[A-Za-z0-9_][\w.-]*)*)[ \t]*::?(?!=)([^=#\n]*)", re.M)
_TESTS = ("test", "tests", "check")
_SETUPS = ("setup", "deps", "bootstrap", "install-dev", "install")
_GETS_DEPENDENCIES = re.compile(r"\b(pip|uv|poetry|npm|pnpm|yarn|bundle|composer|go mod|cargo fetch|venv)\b")


def detect(folder: Folder) -> Kind | None:
    """Describe what a Makefile or a CMakeLists.txt offers."""
    makefile = folder.has(*MAKEFILES)
    if makefile is not None:
        return _make(makefile, folder)
    return _cmake(folder) if folder.has("CMakeLists.txt") else None


def rules(text: str) -> dict[str, tuple[list[str], str]]:
    """Give each target with its prerequisites and its recipe."""
    found: dict[str, tuple[list[str], str]] = {}
    for match in _TARGET.finditer(text):
        recipe = re.match(r"(?:[ \t]*(?:#.*)?\n)*((?:\t.*\n?)*)", text[match.end() :].lstrip(" ").removeprefix("\n"))
        for name in match[1].split():
            before, so_far = found.get(name, ([], ""))
            found[name] = ([*before, *match[2].split()], so_far + (recipe[1] if recipe else ""))
    return found


def recipe_of(text: str, target: str) -> str:
    """Give the recipe of a target with those of everything that it needs."""
    known = rules(text)
    wanted, seen, said = [target], set[str](), ""
    while wanted:
        name = wanted.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        needs, recipe = known[name]
        said += recipe
        wanted += needs
        wanted += re.findall(r"\$\((?:MAKE)\)[ \t]+([\w.-]+)", recipe)
    return said


def _make(makefile: str, folder: Folder) -> Kind:
    text = folder.text(makefile)
    known = rules(text)
    test = next((name for name in _TESTS if name in known), None)
    setup = next((n for n in _SETUPS if n in known and _GETS_DEPENDENCIES.search(recipe_of(text, n))), None)
    is_c = bool(folder.named("*.c", "*.cc", "*.cpp"))
    return Kind(
        title="Make",
        language="C++" if folder.named("*.cpp", "*.cc") else "C" if is_c else "Make",
        setup=f"make {setup}" if setup else None,
        cache=(makefile,) if setup else (),
        tests=(f"make {test}",) if test else (),
        further=tuple((name, f"make {name}") for name in ("lint", "check") if name in known and name != test),
        is_build=is_c,
    )


def _cmake(folder: Folder) -> Kind:
    has_tests = any(re.search(r"\b(enable_testing|add_test|include\s*\(\s*CTest)", folder.text(path))
                    for path in folder.named("CMakeLists.txt"))  # fmt: skip
    return Kind(
        title="CMake",
        language="C++" if folder.named("*.cpp", "*.cc") else "C",
        tests=("cmake -S . -B build && cmake --build build && ctest --test-dir build --output-on-failure",)
        if has_tests
        else (),
        is_build=True,
    )
