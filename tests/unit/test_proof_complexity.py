"""What a change makes the code: measured for what it made or touched, in every language, whatever the files ask for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.domain.proof import Verdict
from symphony.processes.guardian import Tree
from symphony.proof.complexity import as_check, measured
from symphony.proof.functions import Complexity, Limits, compare

pytest_plugins = ["tests.fakes.repository_fixtures"]
LIMITS = Limits(ccn=3, length=12, duplication=6)


def tangle(name: str, branches: int) -> str:
    """Give a Python function of that many branches."""
    lines = [f"    if value == {n}:\n        return {n}\n" for n in range(branches)]
    return f"def {name}(value):\n" + "".join(lines) + "    return None\n"


BRANCHY = {
    "a.js": "function f(a) {\n" + "if (a) { b(); }\n" * 4 + "}\n",
    "a.ts": "function f(a: number): void {\n" + "if (a) { b(); }\n" * 4 + "}\n",
    "a.go": "package a\nfunc f(a int) {\n" + "if a > 1 { b() }\n" * 4 + "}\n",
    "A.java": "class A { void f(int a) {\n" + "if (a > 1) { b(); }\n" * 4 + "} }\n",
    "a.rs": "fn f(a: i32) {\n" + "if a > 1 { b(); }\n" * 4 + "}\n",
    "a.rb": "def f(a)\n" + "if a\n b\nend\n" * 4 + "end\n",
    "a.php": "<?php function f($a) {\n" + "if ($a) { b(); }\n" * 4 + "}\n",
    "a.c": "void f(int a) {\n" + "if (a) { b(); }\n" * 4 + "}\n",
    "A.kt": "fun f(a: Int) {\n" + "if (a > 1) { b() }\n" * 4 + "}\n",
    "A.swift": "func f(a: Int) {\n" + "if a > 1 { b() }\n" * 4 + "}\n",
    "a.py": tangle("f", 4),
}


@pytest.mark.parametrize("path", BRANCHY)
def test_common_languages_are_measured(path: str) -> None:
    found = compare({}, {path: BRANCHY[path]}, LIMITS)
    assert [change.ccn for change in found.functions] == [5], found
    assert f"{path}:" in found.exceeded[0] and "complexity of 5, more than 3" in found.exceeded[0]


def test_what_was_there_before_does_not_count() -> None:
    base = {"a.py": tangle("old", 9), "b.py": tangle("worse", 4), "c.py": tangle("better", 6)}
    candidate = {
        "a.py": "import os\n\n\n" + tangle("old", 9) + "\n\ndef new(value):\n    return value\n",
        "b.py": tangle("worse", 5),
        "c.py": tangle("better", 5),
    }
    found = compare(base, candidate, Limits(ccn=3, length=12, duplication=50))
    assert {(change.name.partition("(")[0], change.ccn_before, change.ccn) for change in found.functions} == {
        ("new", None, 1),
        ("worse", 5, 6),
        ("better", 7, 6),
    }
    assert [told for told in found.exceeded if "worse" not in told] == []
    assert any("complexity of 6 (was 5)" in told for told in found.exceeded)


def test_a_moved_function_is_not_new() -> None:
    found = compare({"a.py": tangle("old", 9)}, {"b.py": "\n" + tangle("old", 9)}, LIMITS)
    assert found == Complexity()


def test_code_that_is_nested_too_deeply_to_be_measured_is_told() -> None:
    found = compare({}, {"a.js": "function f() {" * 3000 + "}" * 3000}, LIMITS)
    assert found.unmeasured == ("a.js: cannot be measured (RecursionError)",)


@pytest.mark.parametrize("plea", ["# lizard forgives\n", "#lizard forgive global\n", "# GENERATED CODE\n"])
def test_code_cannot_ask_to_be_passed_over(plea: str) -> None:
    assert compare({}, {"a.py": plea + tangle("f", 5)}, LIMITS).exceeded
    inside = tangle("f", 5).replace("):\n", "):\n    " + plea, 1)
    assert compare({}, {"a.py": inside}, LIMITS).exceeded


LONG = "".join(f"    total += price_{n} * factor_{n}(value)\n" for n in range(8))


def test_a_copy_counts_where_it_was_made_and_moving_makes_none() -> None:
    original = {"a.py": f"import os\n\n\ndef first(value):\n{LONG}"}
    copied = original | {"b.py": f"GLOBAL = 1\n\n\ndef second(item):\n{LONG.replace('    ', '  ')}\n"}
    (copy,) = compare(original, copied, LIMITS).copies
    assert (copy.path, copy.line, copy.end_line, copy.of, copy.of_line) == ("b.py", 5, 12, "a.py", 5)
    assert any("b.py:5-12: a copy of what stands at a.py:5" in told for told in compare(original, copied, LIMITS).exceeded)
    assert compare(original, {"c.py": original["a.py"]}, LIMITS).copies == ()
    twice = {"a.py": original["a.py"] + f"\n\ndef second(value):\n{LONG}"}
    assert {copy.line for copy in compare(original, twice, LIMITS).copies} == {16}
    touched = {"a.py": copied["a.py"] + "# more\n", "b.py": copied["b.py"]}
    assert compare(copied, touched, LIMITS).copies == (), "it was a copy before"


def test_licences_imports_and_braces_are_no_copies() -> None:
    head = "# one\n# two\n" * 10 + "import os\nfrom a import b\n" * 10 + "}\n)\n\n" * 10
    assert compare({}, {"a.py": head + "x = 1\n", "b.py": head + "y = 1\n"}, LIMITS).copies == ()


def test_repetition_within_a_file_is_quick_and_counts_side_by_side() -> None:
    found = compare({}, {"a.py": "x = 1\n" * 20_000}, LIMITS)
    assert len(found.copies) == 1


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(BRANCHY)), st.text(max_size=400) | st.text(alphabet="(){}[]'\"`\\\n :#/*<>=abif", max_size=400)
)
def test_nothing_that_a_file_holds_raises(path: str, text: str) -> None:
    assert isinstance(compare({path: text}, {path: text + BRANCHY[path] + text}, LIMITS), Complexity)


def test_only_the_mode_fail_makes_a_check_of_it() -> None:
    found = compare({}, {"a.py": tangle("f", 5)}, LIMITS)
    assert as_check(found, LIMITS, mode="warn") is None
    check = as_check(found, LIMITS, mode="fail")
    assert check is not None and check.verdict is Verdict.FAILED and "complexity of 6" in check.output
    fine = as_check(Complexity(), LIMITS, mode="fail")
    assert fine is not None and fine.verdict is Verdict.PASSED


def test_files_are_measured_in_a_child(tree: Tree) -> None:
    found = measured(tree, {}, {"a.py": tangle("f", 5).encode() + b"# \xff\n", "notes.txt": b"x"}, LIMITS)
    assert found.exceeded and found.unmeasured == () and found.functions[0].ccn == 6


def test_what_is_too_large_or_takes_too_long_is_told(tree: Tree) -> None:
    huge = b"x = 1\n" * 100_000
    found = measured(tree, {}, {"a.py": huge, "b.py": tangle("f", 5).encode()}, LIMITS)
    assert found.unmeasured == ("a.py: too large to be measured",) and found.exceeded
    slow = measured(tree, {}, {"b.py": b"x = 1\n"}, LIMITS, timeout=timedelta(milliseconds=1))
    assert "not measured within 0.001 s" in slow.unmeasured[0] and slow.functions == ()
