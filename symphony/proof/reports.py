"""What a check's reports say: tests from JUnit XML, coverage from Cobertura XML.

Invariant: reading never raises, whatever was written there: what is no report, bursts a limit or contradicts itself is a
finding, and where the workflow says that reports are written, it is a doubt that fails the check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from junitparser import Error, Failure, Skipped, TestCase

from symphony.domain.globs import matches
from symphony.domain.reported import Case, CaseOutcome, Coverage, Reported
from symphony.proof.report_files import LIMITS, ReportLimits, Signature, written
from symphony.telemetry.redaction import redact

_MOST_MARKS = 400_000  # of `<` and `=` in a file: what its elements and attributes cost in memory
_MOST_CASES = 50_000
_LONGEST_NAME = 500
_LONGEST_MESSAGE = 4_000
_ROOTS = frozenset({"testsuites", "testsuite"})
_OUTCOMES = ((Error, CaseOutcome.ERROR), (Failure, CaseOutcome.FAILED), (Skipped, CaseOutcome.SKIPPED))
_DECLARED = (("tests", None), ("failures", CaseOutcome.FAILED), ("errors", CaseOutcome.ERROR))


def read_reports(
    checkout: Path, globs: Sequence[str], before: Mapping[str, Signature], *, limits: ReportLimits = LIMITS
) -> Reported | None:
    """Read what a check wrote since `before` (`report_files.standing`); None when there is nothing to say.

    `globs` are those of the workflow; empty: the common places, where other XML may lie, so oddities are findings only.
    """
    contents, unread = written(checkout, globs, before, limits=limits)
    missing = [glob for glob in globs if not any(matches(path, [glob]) for path in contents)]
    unread += [f"no report that can be read was written at {glob}" for glob in missing]
    told = parse_reports(contents, unread, are_named=bool(globs))
    return told if told.files or told.findings or told.doubts else None


def parse_reports(contents: Mapping[str, bytes], unread: Iterable[str] = (), *, are_named: bool = False) -> Reported:
    """Read reports given by path; `unread` says what could not even be opened.

    Where the workflow names the reports, one that cannot be read is a doubt.
    """
    reading = _Reading(list(unread))
    for path, content in contents.items():
        root = reading.parsed(path, content)
        if root is None:
            continue
        if root.tag in _ROOTS:
            reading.tests(path, root)
        elif root.tag == "coverage":
            reading.coverage(path, root)
        else:
            reading.unread.append(f"{path} is neither a JUnit nor a Cobertura report")
    return reading.result(are_named=are_named)


class _Reading:
    def __init__(self, unread: list[str]) -> None:
        self.unread = unread
        self._findings: list[str] = []
        self._doubts: list[str] = []
        self._files: list[str] = []
        self._cases: list[Case] = []
        self._coverage: list[Coverage] = []

    def result(self, *, are_named: bool) -> Reported:
        doubts, findings = (self.unread, []) if are_named else ([], self.unread)
        return Reported(
            files=tuple(self._files),
            cases=tuple(self._cases),
            coverage=_summed(self._coverage),
            findings=(*findings, *self._findings),
            doubts=(*self._doubts, *doubts),
        )

    def parsed(self, path: str, content: bytes) -> Element | None:
        if content.count(b"<") + content.count(b"=") > _MOST_MARKS:
            self.unread.append(f"{path} has more elements than are read")
            return None
        try:
            root: Element = fromstring(content)
        except DefusedXmlException:
            self.unread.append(f"{path} declares entities: it is not read")
        except (ParseError, ValueError, LookupError, RecursionError):
            self.unread.append(f"{path} is not XML")
        else:
            for element in root.iter():  # some tools put everything into a namespace
                element.tag = str(element.tag).rpartition("}")[2]
            return root
        return None

    def tests(self, path: str, root: Element) -> None:
        self._files.append(path)
        found: list[Case] = []
        for element, suite in _cases(root):
            if len(self._cases) + len(found) >= _MOST_CASES:
                self.unread.append(f"{path} has more than {_MOST_CASES} tests: the rest is not read")
                break
            found.append(_case(element, suite))
        else:
            self._compare(path, root, found)
        self._cases += found

    def _compare(self, path: str, root: Element, found: Sequence[Case]) -> None:
        """Compare the counts that a report declares with its cases: honest tools count oddly, but invent no failures."""
        suites = [root] if root.get("tests") is not None else [suite for suite in root if suite.tag == "testsuite"]
        has_failed = any(case.is_bad for case in found)
        for attribute, outcome in _DECLARED:
            values = [suite.get(attribute) for suite in suites if suite.get(attribute) is not None]
            counted = sum(case.outcome is outcome or outcome is None for case in found)
            declared = _total(values)
            if not values or declared == counted:
                continue
            said = (
                f"{path} declares {'no number of' if declared is None else f'{declared:g}'} {attribute} and has {counted}"
            )
            is_hidden = declared and outcome is not None and not has_failed
            (self._doubts if is_hidden else self._findings).append(said)

    def coverage(self, path: str, root: Element) -> None:
        lines = root.findall(".//class/lines/line")
        rate = _number(root.get("line-rate"))
        if rate is None or not 0 <= rate <= 1:
            self.unread.append(f"{path} gives no line rate between 0 and 1")
            return
        self._files.append(path)
        if not lines:
            self._coverage.append(Coverage(round(rate * 100, 2)))
            return
        covered = sum(1 for line in lines if (_number(line.get("hits")) or 0) > 0)
        counted = covered / len(lines)
        if abs(counted - rate) > 0.02:
            self._findings.append(f"{path} claims {rate:.0%} coverage, its lines say {counted:.0%}")
        self._coverage.append(Coverage(round(counted * 100, 2), covered, len(lines)))


def _cases(root: Element) -> Iterator[tuple[Element, str]]:
    """Give every test with the name of its suite, in the order of the report, however deep the suites are nested."""
    stack = [(root, "")]
    while stack:
        element, suite = stack.pop()
        if element.tag == "testcase":
            yield element, suite
        elif element.tag in _ROOTS:
            name = element.get("name") or suite
            stack += [(child, name) for child in reversed(element)]


def _case(element: Element, suite: str) -> Case:
    case: TestCase = TestCase.fromelem(element)  # type: ignore[no-untyped-call]
    results = [child for child in case if isinstance(child, Error | Failure | Skipped)] if len(element) else []
    of = case.classname or element.get("file") or suite
    name = "::".join(part for part in (of, case.name or "unnamed") if part)[:_LONGEST_NAME]
    for kind, outcome in _OUTCOMES:
        for result in results:
            if isinstance(result, kind):
                return Case(name, outcome, redact(_message(result.message, result.text)))
    return Case(name, CaseOutcome.PASSED)


def _message(message: str | None, text: str | None) -> str:
    """Give the longer account of the two, with the shorter in front where it says something else."""
    short, long = (message or "").strip(), (text or "").strip()
    whole = long if short in long else f"{short}\n{long}".strip()
    return (
        whole
        if len(whole) <= _LONGEST_MESSAGE
        else f"{whole[: _LONGEST_MESSAGE // 2]}\n[…]\n{whole[-_LONGEST_MESSAGE // 2 :]}"
    )


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _total(texts: Sequence[str | None]) -> float | None:
    numbers = [_number(text) for text in texts]
    return None if None in numbers else sum(filter(None, numbers))


def _summed(found: Sequence[Coverage]) -> Coverage | None:
    """Sum several reports; where one gives no lines, the least of their rates."""
    if len(found) < 2:
        return found[0] if found else None
    if any(each.lines is None for each in found):
        return min(found, key=lambda each: each.percent)
    covered, lines = sum(each.covered or 0 for each in found), sum(each.lines or 0 for each in found)
    return Coverage(round(100 * covered / lines, 2), covered, lines)
