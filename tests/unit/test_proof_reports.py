"""Reports that a check wrote: what they tell, and that no report, however made, is believed more than it deserves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain.proof import CheckResult, Verdict, judged
from symphony.domain.reported import CaseOutcome, Reported
from symphony.proof.report_files import ReportLimits, standing
from symphony.proof.reports import parse_reports, read_reports

GREEN = b'<testsuites><testsuite name="s" tests="2"><testcase classname="a" name="x"/><testcase name="y"/></testsuite></testsuites>'
RED = b"""<testsuite tests="4" failures="1" errors="1" skipped="1">
<testcase classname="tests.test_a" name="test_one"><failure message="assert 1 == 2">def test_one():
    assert 1 == 2</failure></testcase>
<testcase classname="tests.test_a" name="test_two"><error message="no fixture"/></testcase>
<testcase classname="tests.test_a" name="test_three"><skipped message="later"/></testcase>
<testcase classname="tests.test_a" name="test_four"/></testsuite>"""
COBERTURA = b"""<?xml version="1.0" ?><!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.75"><packages><package><classes><class><methods/><lines>
<line number="1" hits="1"/><line number="2" hits="3"/><line number="3" hits="0"/><line number="4" hits="1"/>
</lines></class></classes></package></packages></coverage>"""
BOMB = b'<!DOCTYPE z [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><testsuite><testcase name="&c;"/></testsuite>'
FILE_ENTITY = (
    b'<!DOCTYPE z [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite><testcase name="t">&a;</testcase></testsuite>'
)


def passed(exit_code: int = 0) -> CheckResult:
    verdict = Verdict.PASSED if exit_code == 0 else Verdict.FAILED
    return CheckResult("tests", "make test", verdict, exit_code, 1.0, "")


def test_tests_are_told_by_name_with_their_messages() -> None:
    told = parse_reports({"r.xml": RED})
    assert [(case.name, case.outcome) for case in told.cases] == [
        ("tests.test_a::test_one", CaseOutcome.FAILED),
        ("tests.test_a::test_two", CaseOutcome.ERROR),
        ("tests.test_a::test_three", CaseOutcome.SKIPPED),
        ("tests.test_a::test_four", CaseOutcome.PASSED),
    ]
    assert told.cases[0].message == "def test_one():\n    assert 1 == 2" and told.cases[1].message == "no fixture"
    assert told.findings == () and told.doubts == ()
    stored = told.as_json()
    assert stored["tests"] == {"passed": 1, "failed": 1, "error": 1, "skipped": 1}
    assert [failure["name"] for failure in stored["failures"]] == ["tests.test_a::test_one", "tests.test_a::test_two"]


def test_coverage_is_counted_from_the_lines_though_the_report_names_a_dtd() -> None:
    told = parse_reports({"coverage.xml": COBERTURA})
    assert told.coverage is not None
    assert (told.coverage.percent, told.coverage.covered, told.coverage.lines) == (75.0, 3, 4)
    lied = parse_reports({"coverage.xml": COBERTURA.replace(b"0.75", b"0.99")})
    assert lied.coverage is not None and lied.coverage.percent == 75.0 and "claims 99%" in lied.findings[0]


@pytest.mark.parametrize("rate", [b"1.5", b"-1", b"nan", b"many", b""])
def test_an_impossible_coverage_is_a_finding(rate: bytes) -> None:
    told = parse_reports({"c.xml": b'<coverage line-rate="' + rate + b'"/>'})
    assert told.coverage is None and "line rate" in told.findings[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, "entities"),
        (FILE_ENTITY, "entities"),
        (b"not xml", "not XML"),
        (b"", "not XML"),
        (b"\xff\xfe\x00", "not XML"),
        (b'<?xml version="1.0" encoding="klingon"?><testsuite/>', "not XML"),
        (b"<html/>", "neither"),
        (b"<a>" * 400_001, "more elements"),
        (b"<testsuite>" + b"<testsuite>" * 100_000, "not XML"),
    ],
)
def test_hostile_xml_is_a_finding_and_a_doubt_where_reports_are_named(content: bytes, words: str) -> None:
    told = parse_reports({"r.xml": content})
    assert words in told.findings[0] and told.cases == () and told.doubts == ()
    named = parse_reports({"r.xml": content}, are_named=True)
    assert words in named.doubts[0]
    assert judged(passed(), named).verdict is Verdict.FAILED


def test_suites_may_be_nested_deeply_and_have_a_namespace() -> None:
    deep = b'<testsuite xmlns="urn:x">' * 3000 + b'<testcase name="t"/>' + b"</testsuite>" * 3000
    assert parse_reports({"r.xml": deep}).names(CaseOutcome.PASSED) == ("t",)


def test_failures_that_are_declared_and_not_shown_are_a_doubt() -> None:
    hidden = GREEN.replace(b'tests="2"', b'tests="2" failures="1"')
    told = parse_reports({"r.xml": hidden})
    assert told.doubts == ("r.xml declares 1 failures and has 0",)
    assert judged(passed(), told).verdict is Verdict.FAILED


@pytest.mark.parametrize("declared", [b'tests="3"', b'tests="x"', b'tests="2" errors="1e999"'])
def test_counts_that_contradict_the_cases_are_told(declared: bytes) -> None:
    told = parse_reports({"r.xml": GREEN.replace(b'tests="2"', declared)})
    assert len(told.findings) + len(told.doubts) == 1


def test_a_green_report_saves_no_failed_check_and_a_red_one_fails_a_green_check() -> None:
    assert judged(passed(1), parse_reports({"r.xml": GREEN})).verdict is Verdict.FAILED
    assert judged(passed(), parse_reports({"r.xml": RED})).verdict is Verdict.FAILED
    assert judged(passed(), parse_reports({"r.xml": GREEN})).verdict is Verdict.PASSED
    assert judged(passed(), None).verdict is Verdict.PASSED


def test_only_what_the_check_wrote_is_read(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    committed = tmp_path / "reports" / "committed.xml"
    committed.write_bytes(GREEN)
    old = tmp_path / "reports" / "rewritten.xml"
    old.write_bytes(GREEN)
    before = standing(tmp_path)
    old.write_bytes(RED)
    os.utime(old, ns=(0, 0))
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "junit-1.xml").write_bytes(GREEN)
    told = read_reports(tmp_path, (), before)
    assert told is not None
    assert told.files == ("deep/er/junit-1.xml", "reports/rewritten.xml")
    assert len(told.bad) == 2


def test_named_reports_that_are_not_written_are_a_doubt(tmp_path: Path) -> None:
    (tmp_path / "out.xml").write_bytes(GREEN)
    told = read_reports(tmp_path, ["out.xml"], standing(tmp_path, ["out.xml"]))
    assert told is not None and told.doubts == ("no report that can be read was written at out.xml",)
    assert read_reports(tmp_path, (), standing(tmp_path)) is None


def test_no_link_device_or_pipe_is_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "junit.xml").write_bytes(RED)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "linked").symlink_to(outside)
    (checkout / "junit.xml").symlink_to(outside / "junit.xml")
    (checkout / "junit-dev.xml").symlink_to("/dev/zero")
    os.mkfifo(checkout / "junit-pipe.xml")
    (checkout / "junit-dir.xml").mkdir()
    told = read_reports(checkout, (), {})
    assert told is not None and told.files == () and len(told.findings) == 3


def test_what_is_too_large_or_too_much_is_said_and_not_read(tmp_path: Path) -> None:
    with (tmp_path / "junit.xml").open("wb") as file:
        file.truncate(1 << 30)
    told = read_reports(tmp_path, (), {})
    assert told is not None and "too large" in told.findings[0]
    for number in range(5):
        (tmp_path / f"TEST-{number}.xml").write_bytes(GREEN)
    few = read_reports(tmp_path, (), {}, limits=ReportLimits(files=2))
    assert few is not None and len(few.files) == 2 and "more than 2 reports" in few.findings[0]
    none = read_reports(tmp_path, (), {}, limits=ReportLimits(entries=1))
    assert none is not None and "not all are looked at" in " ".join(none.findings)
    deep = tmp_path
    for _ in range(60):
        deep = deep / "d"
        deep.mkdir()
    (deep / "junit-deep.xml").write_bytes(RED)
    assert (found := read_reports(tmp_path, (), {})) is not None and not found.bad


def test_odd_names_of_files_and_tests_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"junit\xff.xml")).write_bytes(b'<testsuite><testcase name="&#x1b;[2J"/></testsuite>')
    (tmp_path / os.fsdecode(b"TEST-\xff.xml")).write_bytes(GREEN)
    told = read_reports(tmp_path, (), {})
    assert told is not None
    str(told.as_json()).encode()


@given(st.binary(max_size=300) | st.text(alphabet='<>/testcasuifrl ="&;!-[]x', max_size=300).map(str.encode))
def test_nothing_that_was_written_raises(content: bytes) -> None:
    assert isinstance(parse_reports({"r.xml": content, "s.xml": b"<testsuite>" + content + b"</testsuite>"}), Reported)
