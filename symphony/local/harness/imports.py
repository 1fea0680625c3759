"""Who imports whom, in Python and in JavaScript or TypeScript, and where that runs in a circle.

Only what is imported when a module is loaded counts: imports in functions, and those for type checkers alone, are how
one gets out of a circle.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from posixpath import dirname, join, normpath

from symphony.local.harness.folder import Folder

Graph = Mapping[str, set[str]]
_SCRIPT = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts")
_COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.S)
_IMPORT = re.compile(
    r"""(?:^|[;\s])(?:import|export)\s+(?!type\b)[^;'"()]*?from\s*["']([^"']+)["']"""
    r"""|(?:^|[;\s])import\s*["']([^"']+)["']|\brequire\(\s*["']([^"']+)["']\s*\)"""
)
_MOST_FILES = 5_000


def graph_of(folder: Folder) -> dict[str, set[str]]:
    """Give for each file the files that it imports."""
    python = [path for path in folder.files if path.endswith(".py")][:_MOST_FILES]
    scripts = [path for path in folder.files if path.endswith(_SCRIPT) and ".min." not in path][:_MOST_FILES]
    return _python(folder, python) | _scripts(folder, scripts)


def _python(folder: Folder, files: list[str]) -> dict[str, set[str]]:
    modules: dict[str, str] = {}
    packages = {dirname(path) for path in files if path.endswith("__init__.py")}
    for path in files:
        for name in _names(path, packages):
            modules.setdefault(name, path)
    return {path: set(_imported(folder.text(path), path, modules, packages)) - {path} for path in files}


def _names(path: str, packages: set[str]) -> Iterator[str]:
    """Give the names under which a file can be imported: from the top, from `src`, and from its topmost package."""
    place = path.removesuffix(".py").removesuffix("/__init__")
    yield place.removeprefix("src/").replace("/", ".")
    top = dirname(path)
    while dirname(top) in packages:
        top = dirname(top)
    if dirname(top):
        yield place.removeprefix(f"{dirname(top)}/").replace("/", ".")


def _imported(text: str, path: str, modules: Mapping[str, str], packages: set[str]) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    here = next(iter(_names(path, packages)))
    package = here if path.endswith("__init__.py") else here.rpartition(".")[0]
    for node in _loaded(tree.body):
        if isinstance(node, ast.Import):
            found = (modules.get(alias.name) for alias in node.names)
            yield from (path for path in found if path is not None)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".") if package else []
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            for alias in node.names:
                target = modules.get(f"{base}.{alias.name}") or modules.get(base)
                if target is not None:
                    yield target


def _loaded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Walk the statements that run when a module is loaded."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _loaded(node.orelse)
            continue
        yield node
        for name in ("body", "orelse", "finalbody", "handlers"):
            inner = getattr(node, name, None)
            if isinstance(inner, list):
                yield from _loaded(inner)


def _scripts(folder: Folder, files: list[str]) -> dict[str, set[str]]:
    known = set(files)
    graph: dict[str, set[str]] = {}
    for path in files:
        text = _COMMENT.sub(" ", folder.text(path))
        named = (next(part for part in match.groups() if part) for match in _IMPORT.finditer(text))
        found = (_resolved(path, name, known) for name in named if name.startswith("."))
        graph[path] = {target for target in found if target is not None and target != path}
    return graph


def _resolved(path: str, name: str, known: set[str]) -> str | None:
    base = normpath(join(dirname(path), name))
    stem, _, ending = base.rpartition(".")
    bases = [base, stem] if ending in ("js", "jsx", "mjs", "cjs") else [base]
    candidates = [one + ending for one in bases for ending in ("", *_SCRIPT, *(f"/index{ending}" for ending in _SCRIPT))]
    return next((candidate for candidate in candidates if candidate in known), None)


def cycles(graph: Graph) -> list[list[str]]:
    """Give one shortest circle for each knot of files that import each other, the smallest knots first."""
    knots = sorted((knot for knot in _knots(graph) if len(knot) > 1), key=lambda knot: (len(knot), knot))
    return [_circle(graph, knot) for knot in knots]


def _knots(graph: Graph) -> Iterator[list[str]]:
    """Give the strongly connected components (Tarjan's way, without recursion)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    standing: set[str] = set()
    for root in sorted(graph):
        if root in order:
            continue
        work = [(root, iter(sorted(graph[root])))]
        order[root] = low[root] = len(order)
        stack.append(root)
        standing.add(root)
        while work:
            node, following = work[-1]
            step = next((one for one in following if one in graph and (one not in order or one in standing)), None)
            if step is not None and step not in order:
                order[step] = low[step] = len(order)
                stack.append(step)
                standing.add(step)
                work.append((step, iter(sorted(graph[step]))))
                continue
            if step is not None:
                low[node] = min(low[node], order[step])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == order[node]:
                knot = [stack.pop()]
                while knot[-1] != node:
                    knot.append(stack.pop())
                standing.difference_update(knot)
                yield sorted(knot)


def _circle(graph: Graph, knot: list[str]) -> list[str]:
    """Give a shortest way from the knot's first file back to it."""
    inside, start = set(knot), knot[0]
    before: dict[str, str] = {}
    front = [start]
    while front:
        reached = []
        for node in front:
            for step in sorted(graph[node] & inside):
                if step == start:
                    way = [node]
                    while way[-1] != start:
                        way.append(before[way[-1]])
                    return way[::-1]
                if step not in before:
                    before[step] = node
                    reached.append(step)
        front = reached
    return knot
