"""Write docs/conformance.md: which test covers which bullet of the specification's test matrix.

python -m tests.conformance docs/conformance.md
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
HEADER = """# Conformance

Every bullet of the Symphony specification's test matrix (section 17) that this build covers, in our words, with the test
that covers it. Written by `make docs` from the tests' own marks. Section 17.3 runs over every adapter that a board can be
made for here. Section 17.5 (the Codex app-server client) comes with that part; section 17.8 needs credentials.
"""


def marks() -> Iterator[tuple[str, str, str]]:
    """Give section, bullet and test of every `conformance` mark."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.conformance":
                        section, bullet = (ast.literal_eval(argument) for argument in decorator.args)
                        yield section, bullet, f"{file.relative_to(TESTS.parent)}::{node.name}"


def page() -> str:
    """Give the whole page."""
    sections: dict[str, list[str]] = defaultdict(list)
    for section, bullet, test in marks():
        sections[section].append(f"| {bullet.replace('|', '/')} | `{test}` |")
    parts = [HEADER]
    for section in sorted(sections):
        parts.append(f"## {section}\n\n| what holds | test |\n|---|---|\n" + "\n".join(sections[section]) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
