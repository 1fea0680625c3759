"""Python repositories: pip, uv and Poetry; pytest, unittest, Django and tox."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from symphony.local.harness.folder import Folder
from symphony.local.harness.kind import Kind

_MARKS = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile", "tox.ini", "manage.py")
_TESTS = ("test_*.py", "*_test.py", "tests.py")
_FOR_TESTS = ("dev", "test", "tests", "testing")
_PLAIN_TEST = re.compile(r"^(?:async )?def test_|^import pytest|^from pytest", re.M)
_VENV = ".venv/bin/"
_READ = 40


def detect(folder: Folder) -> Kind | None:
    """Describe a Python project."""
    tests = folder.named(*_TESTS)
    here = [path for path in tests if path.rpartition("/")[0] in ("", "tests", "test")]
    if not folder.has(*_MARKS) and not here:
        return None
    project = folder.toml("pyproject.toml")
    tools = project.get("tool", {}) if isinstance(project.get("tool"), Mapping) else {}
    if folder.has("uv.lock") or "uv" in tools:
        return _with_runner(folder, "uv", _uv_setup(folder, project), ("uv.lock", "pyproject.toml"), "uv run", tests)
    if folder.has("poetry.lock") or "poetry" in tools:
        setup = "poetry install --no-interaction"
        return _with_runner(folder, "poetry", setup, ("poetry.lock", "pyproject.toml"), "poetry run", tests)
    return _pip(folder, project, tests)


def _uv_setup(folder: Folder, project: Mapping[str, Any]) -> str:
    frozen = " --frozen" if folder.has("uv.lock") else ""
    extras = " --all-extras" if _table(project, "project", "optional-dependencies") else ""
    return f"uv sync{frozen}{extras}"


def _with_runner(folder: Folder, manager: str, setup: str, cache: tuple[str, ...], runner: str, tests: list[str]) -> Kind:
    return Kind(
        title=f"Python with {manager}",
        language="Python",
        setup=setup,
        cache=tuple(path for path in cache if folder.has(path)),
        tests=_commands(folder, f"{runner} ", f"{runner} python ", tests),
        further=_further(folder, f"{runner} "),
        programs=".venv/bin" if manager == "uv" else "",
    )


def _pip(folder: Folder, project: Mapping[str, Any], tests: list[str]) -> Kind:
    wanted = [f"-r {path}" for path in _requirements(folder)]
    package = folder.has("setup.py") or "build-system" in project or "project" in project
    if package:
        extras = [name for name in _FOR_TESTS if name in _table(project, "project", "optional-dependencies")]
        wanted.append(f"-e '.[{','.join(extras)}]'" if extras else "-e .")
    if uses_pytest(folder, tests) and not _asks_for(folder, "pytest"):
        wanted.append("pytest")
    elif not tests and folder.has("tox.ini") and not _asks_for(folder, "tox"):
        wanted.append("tox")
    setup = f"python3 -m venv .venv && {_VENV}pip install --quiet {' '.join(wanted)}" if wanted else None
    cache = [*_requirements(folder), *(name for name in ("pyproject.toml", "setup.py", "setup.cfg") if folder.has(name))]
    prefix, interpreter = (_VENV, f"{_VENV}python ") if setup else ("", "python3 ")
    return Kind(
        title="Python with pip",
        language="Python",
        setup=setup,
        cache=tuple(cache) if setup else (),
        tests=_commands(folder, prefix, interpreter, tests),
        further=_further(folder, prefix),
        programs=".venv/bin" if setup else "",
    )


def _requirements(folder: Folder) -> list[str]:
    """Give the requirement files: what runs it, then what tests it."""
    found = [path for path in folder.files if re.fullmatch(r"(requirements/)?[\w.-]*\.txt", path) and "require" in path]
    plain = [path for path in found if path in ("requirements.txt", "requirements/base.txt")]
    return plain + [path for path in found if path not in plain and re.search(r"dev|test", path)]


def uses_pytest(folder: Folder, tests: list[str]) -> bool:
    """Tell whether the tests are pytest's."""
    if folder.has("pytest.ini") or folder.named("conftest.py") or _asks_for(folder, "pytest"):
        return True
    return any(_PLAIN_TEST.search(folder.text(path)) for path in tests[:_READ])


def _asks_for(folder: Folder, package: str) -> bool:
    places = [*_requirements(folder), "pyproject.toml", "setup.cfg", "setup.py", "Pipfile"]
    return any(re.search(rf"\b{package}\b", folder.text(path)) for path in places)


def _commands(folder: Folder, prefix: str, interpreter: str, tests: list[str]) -> tuple[str, ...]:
    if not tests:
        return (f"{prefix}tox",) if folder.has("tox.ini") else ()
    if uses_pytest(folder, tests):
        return (f"{interpreter}-m pytest",)
    if folder.has("manage.py"):
        return (f"{interpreter}manage.py test",)
    start = next((name for name in ("tests", "test") if any(path.startswith(f"{name}/") for path in tests)), None)
    where = f" -s {start}" if start and not folder.has(f"{start}/__init__.py") else ""
    return (f"{interpreter}-m unittest discover{where}",)


def _further(folder: Folder, prefix: str) -> tuple[tuple[str, str], ...]:
    known = {"lint": ("ruff", "ruff check ."), "types": ("mypy", "mypy .")}
    return tuple((name, f"{prefix}{command}") for name, (tool, command) in known.items() if _asks_for(folder, tool))


def _table(project: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = project
    for name in path:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
