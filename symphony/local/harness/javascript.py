"""JavaScript and TypeScript repositories: npm, pnpm and Yarn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from symphony.local.harness.folder import Folder
from symphony.local.harness.kind import Kind

_LOCKS = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "package-lock.json": "npm", "npm-shrinkwrap.json": "npm"}
_NO_TEST = "no test specified"
_TEST_FILES = ("*.test.js", "*.test.mjs", "*.test.cjs", "test.js")
_WATCHES = re.compile(r"react-scripts test|--watch\b")


def detect(folder: Folder) -> Kind | None:
    """Describe a Node project."""
    if not folder.has("package.json"):
        return None
    package = folder.json("package.json")
    lock = folder.has(*_LOCKS)
    manager = _named_manager(package) or (_LOCKS[lock] if lock else "npm")
    has_dependencies = lock is not None or any(
        package.get(key) for key in ("dependencies", "devDependencies", "workspaces")
    )
    scripts = package.get("scripts") if isinstance(package.get("scripts"), Mapping) else {}
    assert scripts is not None
    is_typed = folder.has("tsconfig.json") is not None or "typescript" in (package.get("devDependencies") or {})
    return Kind(
        title=f"{'TypeScript' if is_typed else 'JavaScript'} with {manager}",
        language="TypeScript" if is_typed else "JavaScript",
        setup=_setup(manager, lock, folder, package) if has_dependencies else None,
        cache=tuple(name for name in (lock, "package.json") if name) if has_dependencies else (),
        tests=_tests(manager, scripts, folder),
        further=tuple(
            (label, f"{manager} run {name}")
            for label, name in (("lint", "lint"), ("types", "typecheck"), ("types", "type-check"), ("build", "build"))
            if name in scripts
        ),
    )


def _named_manager(package: Mapping[str, Any]) -> str | None:
    named = str(package.get("packageManager") or "").partition("@")[0]
    return named if named in ("npm", "pnpm", "yarn") else None


def _setup(manager: str, lock: str | None, folder: Folder, package: Mapping[str, Any]) -> str:
    if manager == "pnpm":
        return "pnpm install --frozen-lockfile" if lock else "pnpm install"
    if manager == "yarn":
        version = re.match(r"yarn@(\d+)", str(package.get("packageManager") or ""))
        is_modern = folder.has(".yarnrc.yml") is not None or (version is not None and int(version[1]) > 1)
        return ("yarn install --immutable" if is_modern else "yarn install --frozen-lockfile") if lock else "yarn install"
    return "npm ci" if lock else "npm install"


def _tests(manager: str, scripts: Mapping[str, Any], folder: Folder) -> tuple[str, ...]:
    script = str(scripts.get("test") or "")
    if script and _NO_TEST not in script:
        once = "CI=true " if _WATCHES.search(script) else ""
        return (f"{once}{manager} test",)
    return ("node --test",) if folder.named(*_TEST_FILES) else ()
