"""The parts of the harness audit that only look: counts of tests, commands in documents, circles, pairs, score."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.local.harness.documents import commands_in, section
from symphony.local.harness.folder import Folder
from symphony.local.harness.imports import cycles, graph_of
from symphony.local.harness.modularity import pairs
from symphony.local.harness.report import Part, score_of
from symphony.local.harness.trials import counts


def made(folder: Path, files: dict[str, str]) -> Folder:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return Folder(folder)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("==== 3 failed, 10 passed, 1 skipped in 1.2s ====", {"failed": 3, "passed": 10, "skipped": 1}),
        ("Tests:       1 failed, 2 passed, 3 total", {"failed": 1, "passed": 2}),
        ("# pass 4\n# fail 1\n", {"pass": 4, "fail": 1}),
        ("Ran 12 tests in 0.1s\nOK", {"ran": 12}),
        ("test result: ok. 5 passed; 0 failed;\ntest result: ok. 2 passed; 1 failed;", {"passed": 7, "failed": 1}),
        ("Tests run: 9, Failures: 1, Errors: 0", {"tests run": 9, "failures": 1, "errors": 0}),
        ("ok  \ta/b\t0.1s\nFAIL\ta/c\n", {"ok": 1, "fail": 1}),
        ("nothing", {}),
    ],
)
def test_results_of_common_runners_are_counted(output: str, expected: dict[str, int]) -> None:
    assert dict(counts(output)) == expected


def test_commands_are_found_in_fences_and_quotes_and_examples_are_not() -> None:
    text = (
        "Use `make test` and `pytest -k NAME`, read `README.md`, call `f(x)`.\n"
        "```sh\n$ npm run lint  # style\ncat x\n./scripts/check a\n```\n"
        "```python\nmake(1)\n```\n`make test` again, `make`\n~~~\ngo test ./...\n~~~\n"
    )
    found = [(command.line, command.text) for command in commands_in(text)]
    assert found == [(1, "make test"), (3, "npm run lint"), (5, "./scripts/check a")]


def test_agents_md_is_looked_up_without_running_anything(tmp_path: Path) -> None:
    folder = made(
        tmp_path,
        {"AGENTS.md": "`make test`\n`make fmt`\n`npm run x`\n`./no.sh a`\n" + "x\n" * 200, "Makefile": "test:\n\ttrue\n"},
    )
    found = section(folder, None, {}, offline=False, tell=print)
    assert [part.points for part in found.parts] == [10, 2, 2]
    assert [(fault.category, fault.place) for fault in found.faults] == [
        ("long_agents_md", "AGENTS.md"), ("broken_command", "AGENTS.md:2"), ("broken_command", "AGENTS.md:3"),
        ("broken_command", "AGENTS.md:4"),
    ]  # fmt: skip
    missing = section(made(tmp_path / "empty", {"CLAUDE.md": ""}), None, {}, offline=False, tell=print)
    assert [part.points for part in missing.parts] == [0, 0, 0] and "CLAUDE.md" in missing.faults[0].cure


def test_circles_of_python(tmp_path: Path) -> None:
    folder = made(
        tmp_path,
        {
            "src/app/__init__.py": "",
            "src/app/a.py": "from app import b\nimport os\n",
            "src/app/b.py": "from . import c\n",
            "src/app/c.py": "try:\n    import app.a\nexcept ImportError:\n    pass\n",
            "src/app/lazy.py": "def f():\n    from app import late\n",
            "src/app/late.py": "from app.lazy import f\n",
            "src/app/typed.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from app import used\n",
            "src/app/used.py": "import app.typed\n",
            "src/app/broken.py": "def (",
        },
    )
    assert cycles(graph_of(folder)) == [["src/app/a.py", "src/app/b.py", "src/app/c.py"]]


def test_circles_of_javascript_and_typescript(tmp_path: Path) -> None:
    folder = made(
        tmp_path,
        {
            "a.ts": 'import { b } from "./lib";\nimport type { T } from "./t";\n',
            "lib/index.ts": "export * from '../c.js'\n",
            "c.ts": 'const a = require("./a") // import "./t"\n',
            "t.ts": "import './a';\n",
            "node_modules/x/index.js": 'require("../../a")',
            "web/one.jsx": "import React, {\n  useState\n} from 'react';\nimport two from './two';\n",
            "web/two.jsx": "export { one } from './one';\n",
        },
    )
    assert cycles(graph_of(folder)) == [["web/one.jsx", "web/two.jsx"], ["a.ts", "lib/index.ts", "c.ts"]]


def test_a_long_chain_is_no_circle_and_no_recursion(tmp_path: Path) -> None:
    graph = {str(n): {str(n + 1)} for n in range(20_000)} | {"20000": set()}
    assert cycles(graph) == []
    graph["20000"] = {"0"}
    assert len(cycles(graph)) == 1


def test_pairs_that_change_together_without_importing_each_other() -> None:
    history = [frozenset({"a/x.py", "b/y.py"})] * 6 + [frozenset({"a/x.py", "c/z.py"})] * 6 + [frozenset({"a/x.py"})]
    history += [frozenset({"a/x.py", "a/w.py"})] * 6
    there = {"a/x.py", "a/w.py", "b/y.py", "c/z.py"}
    assert pairs(history, there, {"c/z.py": {"a/x.py"}}) == [("a/x.py", "b/y.py", 6, 6)]
    assert pairs(history, there - {"b/y.py"}, {"c/z.py": {"a/x.py"}}) == []


def test_what_was_not_measured_counts_neither_way() -> None:
    assert score_of([Part("a", 5, 10, ""), Part("b", None, 90, "")]) == 50
    assert score_of([Part("b", None, 90, "")]) is None
