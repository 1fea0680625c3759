"""Tests that a change removed or skipped are seen: by the reports of both sides, or in the files of common languages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain.reported import Case, CaseOutcome, Reported
from symphony.proof.lost_tests import LostTests, lost_in_reports, lost_in_sources, lost_tests
from symphony.proof.source_tests import is_test_file, read_source

SOURCES = {
    "tests/test_a.py": ("def test_one():\n    assert f()\n\n\ndef test_two():\n    assert g()\n", ["test_one", "test_two"]),
    "src/a.test.ts": ("describe('f', () => {\n  it('adds', () => {});\n  test(\"takes\", async () => {});\n});\n", ["adds", "takes"]),
    "a/a_test.go": ("func TestOne(t *testing.T) {\n\tf()\n}\n\nfunc TestTwo(t *testing.T) {}\n", ["TestOne", "TestTwo"]),
    "src/test/java/ATest.java": (
        "class ATest {\n  @Test\n  void one() {}\n\n  @ParameterizedTest\n  public void two(int a) {}\n  void helper() {}\n}\n",
        ["one", "two"],
    ),
    "ATests.cs": ("class A {\n  [Fact]\n  public void One() {}\n  [Test]\n  public async Task Two() {}\n}\n", ["One", "Two"]),
    "src/lib.rs": ("#[test]\nfn one() {}\n\nfn helper() {}\n#[tokio::test]\nasync fn two() {}\n", ["one", "two"]),
    "spec/a_spec.rb": ("describe A do\n  it 'adds' do\n  end\n  it \"takes\" do\n  end\nend\n", ["adds", "takes"]),
    "tests/ATest.php": ("<?php class A {\n  public function testOne() {}\n  public function testTwo(): void {}\n}\n", ["testOne", "testTwo"]),
    "Tests/ATests.swift": ("class A {\n  func testOne() {}\n  func testTwo() async {}\n}\n", ["testOne", "testTwo"]),
    "src/test/kotlin/ATest.kt": ("class A {\n  @Test\n  fun one() {}\n  @Test fun `two words`() {}\n}\n", ["one", "`two words`"]),
    "test/a_test.exs": ("test \"one\" do\nend\ntest \"two\" do\nend\n", ["one", "two"]),
    "tests/a_test.cpp": ("TEST(A, One) {\n}\nTEST_F(A, Two) {\n}\n", ["A, One", "A, Two"]),
}  # fmt: skip


@pytest.mark.parametrize("path", SOURCES)
def test_tests_are_known_by_name(path: str) -> None:
    text, names = SOURCES[path]
    assert is_test_file(path)
    found = read_source(path, text.encode())
    assert [test.name for test in found.tests] == names and found.skips == ()


@pytest.mark.parametrize("path", SOURCES)
def test_a_deleted_file_and_a_test_that_is_commented_out_are_removed_tests(path: str) -> None:
    text, names = SOURCES[path]
    assert lost_in_sources({path: text.encode()}, {}).removed == tuple(f"{path}: {name}" for name in names)
    mark = "#" if path.endswith((".py", ".rb", ".exs")) else "//"
    out = "\n".join(f"{mark} {line}" for line in text.splitlines())
    assert lost_in_sources({path: text.encode()}, {path: out.encode()}).removed_in_all == 2


SKIPPED = [
    ("tests/test_a.py", "def test_one", "@pytest.mark.skip(reason='later')\ndef test_one", "test_one"),
    ("tests/test_a.py", "def test_one", "@pytest.mark.xfail\ndef test_one", "test_one"),
    ("tests/test_a.py", "def test_one", "@unittest.skip('x')\ndef test_one", "test_one"),
    ("tests/test_a.py", "    assert g()", "    pytest.skip('no')\n    assert g()", "test_two"),
    ("tests/test_a.py", "def test_one", "pytestmark = pytest.mark.skip\ndef test_one", "pytestmark"),
    ("src/a.test.ts", "it('adds'", "it.skip('adds'", "adds"),
    ("src/a.test.ts", "it('adds'", "xit('adds'", "adds"),
    ("src/a.test.ts", "it('adds'", "it.only('adds'", "adds"),
    ("src/a.test.ts", "describe('f'", "describe.skip('f'", "describe.skip"),
    ("a/a_test.go", "\tf()", '\tt.Skip("later")\n\tf()', "TestOne"),
    ("src/test/java/ATest.java", "  @Test\n", '  @Disabled("later")\n  @Test\n', "one"),
    ("src/test/java/ATest.java", "  @Test\n", "  @Test\n  @Ignore\n", "one"),
    ("ATests.cs", "[Fact]", '[Fact(Skip = "later")]', "One"),
    ("src/lib.rs", "#[tokio::test]\n", "#[tokio::test]\n#[ignore]\n", "two"),
    ("spec/a_spec.rb", "it 'adds' do", "xit 'adds' do", "adds"),
    ("spec/a_spec.rb", "it 'adds' do", "it 'adds' do\n    skip 'later'", "adds"),
    ("tests/ATest.php", "testOne() {", "testOne() {\n    $this->markTestSkipped('x');", "testOne"),
    ("Tests/ATests.swift", "func testOne() {", 'func testOne() throws {\n    throw XCTSkip("x")', "testOne"),
    ("test/a_test.exs", 'test "one"', '@tag :skip\ntest "one"', "one"),
    ("tests/a_test.cpp", "TEST(A, One) {", "TEST(A, One) {\n  GTEST_SKIP();", "A, One"),
]


@pytest.mark.parametrize(("path", "there", "then", "words"), SKIPPED)
def test_a_test_that_is_skipped_now_is_seen(path: str, there: str, then: str, words: str) -> None:
    text = SOURCES[path][0]
    assert there in text
    found = lost_in_sources({path: text.encode()}, {path: text.replace(there, then).encode()})
    assert found.removed == () and len(found.skipped) == 1
    assert found.skipped[0].startswith(f"{path}:") and words in found.skipped[0]
    assert lost_in_sources({path: text.replace(there, then).encode()}, {path: text.encode()}).skipped == ()


def test_what_moved_is_not_lost_and_what_is_new_is_told() -> None:
    text = SOURCES["tests/test_a.py"][0]
    found = lost_in_sources(
        {"tests/test_a.py": text.encode()}, {"tests/b/test_b.py": f"{text}\ndef test_three(): ...\n".encode()}
    )
    assert found == LostTests(added=("tests/b/test_b.py: test_three",))


def test_skips_that_were_there_stay_unsaid_though_lines_move() -> None:
    text = "@pytest.mark.skip\ndef test_one(): ...\n"
    moved = "import pytest\n\n\n" + text + "\n\n@pytest.mark.skip\ndef test_two(): ...\n"
    found = lost_in_sources({"test_a.py": text.encode()}, {"test_a.py": moved.encode()})
    assert found.skipped == ("test_a.py:8: test_two: @pytest.mark.skip",)


def told(**outcomes: CaseOutcome) -> Reported:
    return Reported(cases=tuple(Case(name, outcome) for name, outcome in outcomes.items()))


def test_reports_of_both_sides_decide_by_their_names() -> None:
    before = told(a=CaseOutcome.PASSED, b=CaseOutcome.PASSED, c=CaseOutcome.SKIPPED, d=CaseOutcome.FAILED)
    after = told(b=CaseOutcome.SKIPPED, c=CaseOutcome.SKIPPED, d=CaseOutcome.PASSED, e=CaseOutcome.PASSED)
    found = lost_in_reports([before], [after])
    assert (found.removed, found.skipped, found.added) == (("a",), ("b",), ("e",))
    text = SOURCES["tests/test_a.py"][0]
    files = ({"tests/test_a.py": text.encode()}, {"tests/test_a.py": b"pytestmark = pytest.mark.skip\n" + text.encode()})
    both = lost_tests([before], [after], *files)
    assert both.told_by == "reports" and both.skipped[0] == "b" and "pytestmark" in both.skipped[1]
    alone = lost_tests([Reported()], [after], *files)
    assert alone.told_by == "sources" and len(alone.skipped) == 1


def test_long_lists_are_cut_and_counted() -> None:
    many = told(**{f"t{n}": CaseOutcome.PASSED for n in range(1000)})
    found = lost_in_reports([many], [told()])
    assert (len(found.removed), found.removed_in_all) == (200, 1000)


@given(st.sampled_from(sorted(SOURCES)), st.binary(max_size=500) | st.text(max_size=300).map(str.encode))
def test_nothing_that_a_file_holds_raises(path: str, content: bytes) -> None:
    read_source(path, content)


@pytest.mark.parametrize(
    "piece", [b" ", b"(", b"it.", b"void ", b"@", b"a_", b"'", b"func ", b"[", b"pytestmark ", b'test("x']
)
def test_no_file_takes_long(piece: bytes) -> None:
    content = (piece * 1000)[:900] + b"\n"
    began = time.process_time()
    for path in SOURCES:
        read_source(path, content * (40_000 // len(content)))
    assert time.process_time() - began < 1
