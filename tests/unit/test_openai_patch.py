"""The apply_patch format: what fits, where it fits, and why the rest does not."""

from __future__ import annotations

import difflib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.openai.patch import PatchError, parse, plan

SHOP = """class Cart:
    def close(self):
        return None

    def total(self):
        return 1


class Shop:
    def close(self):
        return None

    def open(self):
        return 2
"""


def patched(files: dict[str, bytes], body: str) -> dict[str, bytes]:
    """Give the files after the patch with this body."""
    after = dict(files)
    for change in plan(parse(f"*** Begin Patch\n{body}\n*** End Patch"), files.get).changes:
        if change.content is None:
            del after[change.path]
        else:
            after[change.path] = change.content
    return after


def updated(content: str, hunks: str) -> str:
    """Give one file after its hunks."""
    after = patched({"a.py": content.encode("utf-8", "surrogateescape")}, f"*** Update File: a.py\n{hunks}")
    return after["a.py"].decode("utf-8", "surrogateescape")


def refusal(files: dict[str, bytes], body: str) -> str:
    """Give what is said of a patch that does not fit."""
    with pytest.raises(PatchError) as raised:
        patched(files, body)
    return str(raised.value)


def misfit(content: str, hunks: str) -> str:
    """Give what is said of hunks that do not fit."""
    return refusal({"a.py": content.encode()}, f"*** Update File: a.py\n{hunks}")


def test_files_are_added_changed_moved_and_deleted() -> None:
    body = """*** Add File: new/one.txt
+first
+
+third
*** Update File: old.txt
*** Move to: deep/moved.txt
@@
 a
-b
+B
*** Delete File: gone.txt
*** Update File: same.txt
*** Move to: other.txt"""
    files = {"old.txt": b"a\nb\nc\n", "gone.txt": b"", "same.txt": b"x"}
    expected = {"new/one.txt": b"first\n\nthird\n", "deep/moved.txt": b"a\nB\nc\n", "other.txt": b"x"}
    assert patched(files, body) == expected


def test_operations_take_effect_in_order() -> None:
    body = """*** Update File: a
@@
-1
+2
*** Update File: a
*** Move to: b
@@
-2
+3
*** Add File: a
+new"""
    assert patched({"a": b"1\n"}, body) == {"a": b"new\n", "b": b"3\n"}
    assert "gone by an earlier part" in refusal({"a": b"1\n"}, "*** Delete File: a\n*** Delete File: a")
    assert patched({}, "*** Add File: a\n+1\n*** Delete File: a") == {}


def test_the_account_says_where_each_hunk_went() -> None:
    patch = "*** Begin Patch\n*** Update File: a.py\n@@\n-b  \n+B\n@@\n d\n+e\n*** End Patch"
    assert plan(parse(patch), {"a.py": b"a\nb\nc\nd\n"}.get).account == [
        "updated a.py (hunk 1 at line 2 apart from whitespace at line ends, hunk 2 at line 4)"
    ]


@pytest.mark.parametrize(
    ("content", "hunks", "expected"),
    [
        ("a\nb\nc\n", "@@\n-b\n+B", "a\nB\nc\n"),
        ("a\nb\nc\n", "-b\n+B", "a\nB\nc\n"),
        ("a\nb\nc\n", "@@ -2,1 +2,1 @@\n-b\n+B", "a\nB\nc\n"),
        ("a\n\nc\n", "@@\n a\n\n-c\n+C\n", "a\n\nC\n"),
        ("a\nb\n", "@@\n-a\n+A\n\n@@\n-b\n+B\n\n", "A\nB\n"),
        ("a\nb", "@@\n-b\n+B\n\\ No newline at end of file", "a\nB\n"),
        ("a", "@@\n a\n+b", "a\nb\n"),
        ("a\nb", "@@\n-a\n+A", "A\nb"),
        ("", "@@\n+a", "a\n"),
        ("a\n", "@@\n+b\n*** End of File", "a\nb\n"),
        ("x\na\nx\n", "@@\n-x\n+y\n*** End of File", "x\na\ny\n"),
        ("a\n", "@@\n-a", ""),
        ("\n\n\n", "@@\n \n \n+x\n \n*** End of File", "\n\nx\n\n"),
    ],
)
def test_hunks_that_fit(content: str, hunks: str, expected: str) -> None:
    assert updated(content, hunks) == expected


@pytest.mark.parametrize(
    ("content", "hunks", "expected"),
    [
        ("a  \nb\t\nc\n", "@@\n a\n-b\n+B", "a  \nB\nc\n"),
        ("a\nb\n", "@@\n a \n-b\t\n+B", "a\nB\n"),
        ("a\r\nb\r\nc\r\n", "@@\n a\n-b\n+B\n+D", "a\r\nB\r\nD\r\nc\r\n"),
        ("a\nb\r\nc\n", "@@\n-b\n+B", "a\nB\r\nc\n"),
        ("a\nb\n", "@@\r\n a\r\n-b\r\n+B\r", "a\nB\n"),
        ("\ufeffa\nb\n", "@@\n-a\n+A", "\ufeffA\nb\n"),
        ("say \u201cyes\u201d \u2013 now\nb\n", '@@\n say "yes" - now\n-b\n+B', "say \u201cyes\u201d \u2013 now\nB\n"),
        ("a\udcff\nb\n", "@@\n-b\n+B", "a\udcff\nB\n"),
        ("a\x0c\u2028b\nc\n", "@@\n a\x0c\u2028b\n-c\n+C", "a\x0c\u2028b\nC\n"),
        ("\tif x:\n", "@@\n \tif x:\n+\t\ty", "\tif x:\n\t\ty\n"),
    ],
)
def test_almost_fits_and_the_file_keeps_its_own_ways(content: str, hunks: str, expected: str) -> None:
    assert updated(content, hunks) == expected


def test_an_exact_place_comes_before_a_similar_one() -> None:
    assert updated("a \na\n", "@@\n-a\n+b") == "a \nb\n"


def test_a_place_is_named_by_what_it_is_in() -> None:
    close = "     def close(self):\n-        return None\n+        return 3"
    assert updated(SHOP, f"@@ class Shop:\n{close}") == SHOP[::-1].replace("enoN", "3", 1)[::-1]
    assert updated(SHOP, f"@@ class Cart\n{close}") == SHOP.replace("None", "3", 1)
    below = "@@ class Shop:\n@@     def close(self):\n-        return None\n+        return 3"
    assert updated(SHOP, below) == SHOP[::-1].replace("enoN", "3", 1)[::-1]


def test_what_fits_twice_is_refused_with_the_places() -> None:
    said = misfit(SHOP, "@@\n     def close(self):\n-        return None\n+        return 3")
    assert said == (
        "a.py: hunk 1 fits at several places (lines 2, 10): give more lines of context, or name what the place is in behind @@."
    )
    twice = "def f():\n    x\n    y\n    x\n\n\ndef g():\n    x\n"
    assert "several places (lines 2, 4)" in misfit(twice, "@@ def f():\n-    x\n+    z")
    assert "several places (lines 2, 4, 8)" in misfit(twice, "@@ def missing():\n-    x\n+    z")
    assert updated(twice, "@@ def g():\n-    x\n+    z") == twice[: twice.rindex("x")] + "z\n"


def test_the_order_of_hunks_decides_between_places() -> None:
    assert updated("x\na\nx\n", "@@\n-a\n+b\n@@\n-x\n+y") == "x\nb\ny\n"
    said = misfit("x\na\nb\n", "@@\n-b\n+c\n@@\n-x\n+y")
    assert said == "a.py: hunk 2 fits at line 1 only, which is above the hunk before it: order them from top to bottom."


def test_a_unique_place_that_is_not_below_its_header_is_refused_or_told() -> None:
    text = "def f():\n    pass\n\n\ndef g():\n    return 1\n"
    assert "fits at line 2 only, which is above 'def g():'" in misfit(text, "@@ def g():\n-    pass\n+    go()")
    patch = "*** Begin Patch\n*** Update File: a\n@@ def f():\n-    return 1\n+    return 2\n*** End Patch"
    told = plan(parse(patch), {"a": text.encode()}.get).account
    assert told == ["updated a (hunk 1 at line 6 (which is not within 'def f():': check it))"]


@pytest.mark.parametrize(
    ("content", "hunks", "expected"),
    [
        (
            "a\n  b\nc\n",
            "@@\n a\n-b\n+B",
            "The nearest place is line 1; line 2 differs in its indentation.\n  file:    b\n  patch: b",
        ),
        ("a\nx\nc\n", "@@\n a\n-b\n c\n+d", "The nearest place is line 1; line 2 differs.\n  file:  x\n  patch: b"),
        ("a\n", "@@\n a\n b\n+c", "line 2 is not in the file, which has 1 lines. The patch has: b"),
        ("a\n", "@@\n-zzz\n+y", "hunk 1 does not fit: none of its lines is in the file. Read the file again."),
        ("a\nB\nc\n", "@@\n a\n-b\n+B\n c", "what it leads to is there already, at line 1."),
        ("a\n", "@@ def f():\n+b", "adds lines without saying where"),
        ("a\nb\n", "@@\n-a\n+A\n@@\n+b", "hunk 2 adds lines without saying where"),
    ],
)
def test_what_does_not_fit_is_explained(content: str, hunks: str, expected: str) -> None:
    assert expected in misfit(content, hunks)


def test_every_file_that_does_not_fit_is_named() -> None:
    body = "*** Update File: a\n@@\n-1\n+2\n*** Delete File: b\n*** Add File: c\n+x\n*** Update File: d\n@@\n-1\n+2"
    said = refusal({"a": b"0\n", "c": b"", "d": b"1\n"}, body)
    assert "a: hunk 1 does not fit" in said and "b: it does not exist." in said and "c: it exists already" in said
    assert "d:" not in said


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ("", "line 1: a patch begins with the line '*** Begin Patch'."),
        ("*** Begin Patch\n*** End Patch", "The patch is empty"),
        ("*** Begin Patch\n*** Add File: a\n+x", "line 3: a patch ends with the line '*** End Patch', this one with '+x': is it cut off?"),
        ("*** Begin Patch\nx\n*** End Patch", "line 2: 'x' is not expected here"),
        ("*** Begin Patch\n*** Add File: a\nx\n*** End Patch", "each line of the new file a begins with +, not 'x'."),
        ("*** Begin Patch\n*** Update File: a\n*** End Patch", "line 3: the update of a has no hunk."),
        ("*** Begin Patch\n*** Update File: a\n@@\nx\n*** End Patch", "a line of hunk 1 of a begins with a space, - or +, not 'x'"),
        ("*** Begin Patch\n*** Update File: a\n@@\n x\n*** End Patch", "line 3: hunk 1 of a neither adds nor removes a line."),
        ("*** Begin Patch\n*** Delete File: a\n-x\n*** End Patch", "nothing follows the deletion of a, but here is '-x'."),
        ("*** Begin Patch\n*** Frobnicate File: a\n*** End Patch", "'*** Frobnicate File: a' is not expected here"),
    ],
)  # fmt: skip
def test_what_is_no_patch_is_refused_with_its_line(patch: str, expected: str) -> None:
    with pytest.raises(PatchError) as raised:
        parse(patch)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "", "a//b", "a/", ".", "a/./b", ".git/config", "sub/.GIT/hooks/x", ".git"]
)
def test_paths_that_lead_out_or_into_git(path: str) -> None:
    for head in ("*** Add File: {}\n+x", "*** Delete File: {}", "*** Update File: ok\n*** Move to: {}\n@@\n-1\n+2"):
        assert "line " in refusal({"ok": b"1\n"}, head.format(path))


LINES = st.lists(st.sampled_from(["", "a", "b", "    a", "\tb", "c ", "}", "*** x", "@@", "-", "+", "é"]), max_size=12)


@given(LINES, LINES, st.sampled_from(["\n", "\r\n"]))
def test_a_patch_of_whole_files_gives_the_new_file(old: list[str], new: list[str], end: str) -> None:
    """One hunk over the whole file fits in one place, whatever is in it."""
    if old == new or not any(line.strip() for line in old):
        return
    hunk = [line for line in difflib.ndiff(old, new) if not line.startswith("?")]
    body = "\n".join(["@@", *(line[0] + line[2:] for line in hunk)])
    before = "".join(line + end for line in old)
    after = "".join(line + end for line in new)
    assert updated(before, body) == after


@given(
    st.lists(st.sampled_from(["a", "b", ""]), max_size=9),
    st.lists(st.sampled_from([" a", "-b", "+c", " ", "-a", ""]), max_size=6),
)
def test_any_hunk_is_applied_at_one_place_or_refused(content: list[str], hunk: list[str]) -> None:
    before = "".join(f"{line}\n" for line in content)
    try:
        after = updated(before, "\n".join(["@@", *hunk]))
    except PatchError:
        return
    added, removed = (sum(line.startswith(sign) for line in hunk) for sign in "+-")
    assert after.count("\n") == len(content) + added - removed


def test_hostile_files_and_hunks_take_no_time() -> None:
    began = time.process_time()
    blank = b"\n" * 100_000
    assert "several places" in refusal({"a": blank}, "*** Update File: a\n@@\n" + " \n" * 2000 + "+x")
    assert "does not fit" in refusal({"a": b"a\n" * 100_000}, "*** Update File: a\n@@\n" + " a\n" * 2000 + "-b")
    assert time.process_time() - began < 5
