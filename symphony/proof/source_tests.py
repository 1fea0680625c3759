"""Tests and skips as they stand in source files, read line by line in the ways of common languages.

Invariant: one pass over the lines with patterns that never look back over a line twice; nothing is imported or run. A line
that is a comment holds neither test nor skip, so a test that was commented out is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MOST_BYTES = 512 * 1024
_LONGEST_LINE = 1_000
_TEST_FILE = re.compile(
    r"(^|/)(tests?|specs?|__tests__|testing|e2e|cypress)/|(^|/)(test_|tests?\.|spec_|conftest\.)|[_.-](tests?|spec)\.[a-z]+$"
    r"|(Tests?|Spec|IT|TestCase)\.[a-z]+$",
)


@dataclass(frozen=True, slots=True)
class _Language:
    """How tests are named (a group is the name), and how they are skipped; `announced`: a line before says one comes."""

    suffixes: tuple[str, ...]
    tests: re.Pattern[str]
    skips: re.Pattern[str]
    comment: str = r"//|/\*|\*"
    announced: re.Pattern[str] | None = None


_STRING = r"""\(\s*(?:'([^'\n]{1,200})'|"([^"\n]{1,200})"|`([^`\n]{1,200})`)"""
_ANNOTATED = r"\b(?:void|fun|def|Task|func)\b[^(\n]{0,60}?(?:\b(\w+)|(`[^`\n]{1,200}`))\s*\("

_LANGUAGES = (
    _Language(
        (".py",),
        re.compile(r"\s*(?:async\s+)?def\s+(test\w*)\s*\("),
        re.compile(
            r"@(?:pytest\.)?mark\.(?:skip|skipif|xfail)\b|@(?:unittest\.)?(?:skip|skipIf|skipUnless|expectedFailure)\b"
            r"|\b(?:pytest\.(?:skip|xfail|importorskip)|self\.skipTest)\s*\(|\b(?:unittest\.)?SkipTest\b"
            r"|\bpytestmark\b.*\b(?:skip|skipif|xfail)\b|\bcollect_ignore|\b__test__\s*=\s*False"
        ),
        comment="#",
    ),
    _Language(
        (".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts", ".vue"),
        re.compile(r"\s*(?:await\s+)?[fx]?(?:it|test|specify)(?:\.\w+){0,3}" + _STRING),
        re.compile(
            r"\b(?:it|test|describe|context|suite|specify)(?:\.\w+)?\.(?:skip|todo|only|fails|fixme)\b"
            r"|\bx(?:it|test|describe|context|specify)\b\s*\(|\bf(?:it|test|describe|context)\b\s*\("
            r"|\bthis\.skip\s*\(|\b(?:it|test|describe)\.(?:skip|run)If\b|\b[tc]\.skip\s*\(|\{\s*skip\s*:|\bpending\s*\("
        ),
    ),
    _Language(
        ("_test.go",),
        re.compile(r"func\s+(?:\([^)\n]*\)\s*)?((?:Test|Benchmark|Fuzz|Example)\w*)\s*\("),
        re.compile(r"\b\w+\.(?:Skip|Skipf|SkipNow)\s*\("),
    ),
    _Language(
        (".java", ".kt", ".kts", ".scala", ".groovy"),
        re.compile(rf"\s*{_ANNOTATED}"),
        re.compile(r"@(?:[\w.]+\.)?(?:Disabled\w*|Ignore\w*)\b|\bassume(?:True|False|That|Not)\w*\s*\(|\bcancel\s*\("),
        announced=re.compile(r"@(?:[\w.]+\.)?(?:\w*Test|TestFactory|Property)\b"),
    ),
    _Language(
        (".cs", ".fs", ".vb"),
        re.compile(rf"\s*(?:public|private|internal)?\s*(?:async\s+|static\s+)*{_ANNOTATED}"),
        re.compile(r"\bSkip\s*=|\[\s*(?:Ignore|Explicit)\b|\bAssert\.(?:Ignore|Inconclusive)\s*\("),
        announced=re.compile(r"\[\s*(?:Fact|Theory|Test|TestCase|TestMethod|DataTestMethod)\b"),
    ),
    _Language(
        (".rs",),
        re.compile(r"\s*(?:pub(?:\([^)\n]*\))?\s+)?(?:async\s+)?fn\s+(\w+)\s*[(<]"),
        re.compile(r"#\[\s*(?:ignore\b|cfg_attr\([^\n]*\bignore\b)"),
        announced=re.compile(r"#\[\s*(?:[\w:]*\btest\b|rstest\b|test_case\b)"),
    ),
    _Language(
        (".rb",),
        re.compile(
            r"""\s*(?:x?(?:it|specify|example|test)\s*\(?\s*(?:'([^'\n]{1,200})'|"([^"\n]{1,200})")|def\s+(test_\w+))"""
        ),
        re.compile(r"^\s*(?:skip|pending)\b|\bx(?:it|describe|context|specify)\b|\b(?:skip|pending):"),
        comment="#",
    ),
    _Language(
        (".php",),
        re.compile(
            r"\s*(?:(?:final|public|private|protected|static)\s+)*function\s+(test\w*)\s*\(|\s*(?:it|test)" + _STRING
        ),
        re.compile(r"\bmarkTest(?:Skipped|Incomplete)\s*\(|->(?:skip|todo)\s*\("),
        comment=r"//|/\*|\*|#(?!\[)",
    ),
    _Language(
        (".swift",),
        re.compile(r"\s*(?:@\w+\s+)*(?:\w+\s+){0,6}func\s+(test\w*)\s*\("),
        re.compile(r"\bXCTSkip\w*\b|\.disabled\s*\("),
    ),
    _Language(
        (".ex", ".exs"),
        re.compile(r"""\s*(?:test|property)\s*"([^"\n]{1,200})\""""),
        re.compile(r"@(?:module|describe)?tag\s+:?skip\b|\bskip:"),
        comment="#",
    ),
    _Language(
        (".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".m", ".mm"),
        re.compile(r"\s*(?:TEST|TEST_F|TEST_P|TYPED_TEST|TEST_CASE|BOOST_AUTO_TEST_CASE)\s*\(([^)\n]{1,200})\)"),
        re.compile(r"\bGTEST_SKIP\b|\bDISABLED_\w+|\bSKIP\s*\("),
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A test or a skip: `key` tells it from others wherever it stands, `place` says to people where that is."""

    name: str
    key: str
    place: str


@dataclass(frozen=True, slots=True)
class Source:
    """The tests and skips of one file."""

    tests: tuple[Found, ...] = ()
    skips: tuple[Found, ...] = ()


def is_test_file(path: str) -> bool:
    """Tell whether a path is that of tests, in a language that is known here."""
    return _language(path) is not None and (_TEST_FILE.search(path) is not None or path.endswith((".rs", "_test.go")))


def read_source(path: str, content: bytes) -> Source:
    """Read the tests and skips of one file."""
    language = _language(path)
    if language is None or len(content) > _MOST_BYTES:
        return Source()
    tests: list[Found] = []
    skips: list[Found] = []
    waiting: list[tuple[int, str]] = []
    for number, line, name in _lines(language, content.decode(errors="replace")):
        is_skip = language.skips.search(line) is not None
        if name is not None:
            tests.append(Found(name, name, f"{path}: {name}"))
            skips += [_skip(path, at, text, name) for at, text in waiting]
            waiting = []
            if is_skip:
                skips.append(_skip(path, number, line, name))
        elif is_skip and line.lstrip().startswith(("@", "#[", "[")):
            waiting.append((number, line))
        elif is_skip:
            skips.append(_skip(path, number, line, tests[-1].name if tests and line[:1].isspace() else ""))
    skips += [_skip(path, at, text, "") for at, text in waiting]
    return Source(tuple(tests), tuple(skips))


def _language(path: str) -> _Language | None:
    return next((language for language in _LANGUAGES if path.endswith(language.suffixes)), None)


def _lines(language: _Language, text: str) -> Iterator[tuple[int, str, str | None]]:
    """Give number, text and, where a test begins, its name, for the lines that are no comments."""
    comment = re.compile(language.comment)
    is_announced = language.announced is None
    is_inside = False  # of a comment that fills lines of its own
    for number, whole in enumerate(text.splitlines(), 1):
        # One space where there are many, so that no pattern can go over a run of them again and again.
        line = " ".join(whole[:_LONGEST_LINE].split())
        begins = language.comment.startswith("//") and line.startswith("/*")
        is_inside = (is_inside or begins) and "*/" not in line
        if not line or is_inside or comment.match(line):
            continue
        if language.announced is not None and language.announced.search(line):
            is_announced = True
        indented = f" {line}" if whole[:1].isspace() else line
        found = (language.tests.search if language.announced else language.tests.match)(line)
        if not found or not is_announced:
            yield number, indented, None
            continue
        is_announced = language.announced is None
        yield number, indented, next((group for group in found.groups() if group), None)


def _skip(path: str, number: int, line: str, name: str) -> Found:
    text = line.strip()[:120]
    return Found(name, f"{name}\n{text}", f"{path}:{number}: {f'{name}: ' if name else ''}{text}")
