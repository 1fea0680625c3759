"""The walkthrough: what lets a reviewer understand a change in a minute, checked against the change itself.

Invariant: every file that it names is in the change, every file of the change is in it, and what it quotes stands there.
The agent's account orders and explains; where it says what is not so, that is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from symphony.proof.account import Account, Spot
from symphony.proof.diff import FileDiff, Hunk, changed_lines
from symphony.proof.source_tests import is_test_file
from symphony.telemetry.redaction import redact

NOT_MENTIONED = "Not mentioned by the agent"
BUDGET = 12_000
_QUOTE = 3_000
_MOST_QUOTES = 12
_DERIVED_QUOTES = 4
_MOST_NOTES = 50
_DOCUMENTS = (".md", ".rst", ".txt", ".adoc")
_MANIFESTS = frozenset(
    {
        "pyproject.toml",
        "requirements.txt",
        "setup.py",
        "package.json",
        "package-lock.json",
        "go.mod",
        "go.sum",
        "Cargo.toml",
    }
    | {"Cargo.lock", "pom.xml", "build.gradle", "Gemfile", "Gemfile.lock", "composer.json", "yarn.lock", "pnpm-lock.yaml"}
)


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file of the change in one line."""

    path: str
    status: str
    added: int
    deleted: int
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files with one purpose."""

    title: str
    files: tuple[FileLine, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Quote:
    """Lines that matter, with their marks; `line` to `end_line` are of the new file, of the old one where it is deleted."""

    path: str
    line: int
    end_line: int
    why: str
    text: str


@dataclass(frozen=True, slots=True)
class Walkthrough:
    """A change explained; `notes` says what the account has wrong, `by` whether an agent or only the change told it."""

    purpose: str = ""
    groups: tuple[FileGroup, ...] = ()
    quotes: tuple[Quote, ...] = ()
    tests_added: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    by: str = "change"

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return asdict(self)


def walkthrough(
    files: Sequence[FileDiff], account: Account | None, *, tests_added: Sequence[str] = (), budget: int = BUDGET
) -> Walkthrough:
    """Explain a change by the agent's account, or by itself; `tests_added` are those that were found in it.

    Quotes take up to `budget` characters.
    """
    if account is None:
        return _derived(files, tests_added, budget)
    known = {file.path: file for file in files}
    notes: list[str] = []
    groups = tuple(_grouped(account, known, notes))
    spots = account.hunks or tuple(_largest(files))
    quotes = _within(_quotes(spots, known, notes), budget)
    tests = [*_confirmed(account.tests_added, files, tests_added, notes)]
    named = {_bare(test) for test in tests} | {_cleaned(test) for test in tests}
    tests += [test for test in tests_added if _bare(test) not in named and test.partition(": ")[0] not in named]
    return Walkthrough(
        purpose=redact(account.purpose),
        groups=groups,
        quotes=quotes,
        tests_added=tuple(map(redact, tests)),
        risks=tuple(map(redact, account.risks)),
        not_done=tuple(map(redact, account.not_done)),
        notes=tuple(map(redact, notes[:_MOST_NOTES])),
        by="agent",
    )


def _grouped(account: Account, known: Mapping[str, FileDiff], notes: list[str]) -> Iterator[FileGroup]:
    """Put each file of the change into the first group that names it, and the rest into one of their own."""
    left = dict(known)
    for group in account.groups:
        named = [_cleaned(path) for path in dict.fromkeys(group.files)]
        notes += [f"{path} is named, but not in the change" for path in named if path not in known]
        lines = tuple(_line(left.pop(path)) for path in named if path in left)
        if lines:
            yield FileGroup(redact(group.title) or "Changes", lines, redact(group.why))
    if left:
        yield FileGroup(NOT_MENTIONED, tuple(map(_line, left.values())))


def _cleaned(path: str) -> str:
    return path.strip().removeprefix("./")


def _line(file: FileDiff) -> FileLine:
    return FileLine(file.path, file.status, file.added, file.deleted, file.is_binary)


def _confirmed(named: Iterable[str], files: Sequence[FileDiff], found: Sequence[str], notes: list[str]) -> Iterator[str]:
    """Keep the tests that the change has indeed added: a file of it, or a name in its new lines."""
    paths = {file.path for file in files}
    added = "\n".join([*found, *changed_lines(files)])
    for test in named:
        if _cleaned(test) in paths or (_bare(test) and _bare(test) in added):
            yield test
        else:
            notes.append(f"{test} is named as a new test, but not in the change")


def _bare(test: str) -> str:
    """Take off a test's name what says where it stands."""
    return test.rpartition("::")[2].rpartition(": ")[2].strip("`'\"() ")


def _quotes(spots: Iterable[Spot], known: Mapping[str, FileDiff], notes: list[str]) -> Iterator[Quote]:
    for spot in spots:
        file = known.get(_cleaned(spot.file))
        quoted = [quote for hunk in file.hunks if (quote := _clipped(file, hunk, spot))] if file else []
        if not quoted and not (file is not None and file.is_binary):
            notes.append(f"lines {spot.start_line} to {spot.end_line} of {spot.file} are named, but not in the change")
        yield from quoted


def _clipped(file: FileDiff, hunk: Hunk, spot: Spot) -> Quote | None:
    """Quote the lines of a hunk that a spot means, those that were taken out between them included."""
    is_gone = file.status == "deleted"
    number = hunk.old_start if is_gone else hunk.start
    unmoved = "+" if is_gone else "-"
    kept: list[tuple[int, str]] = []
    for line in hunk.lines:
        if spot.start_line <= number <= spot.end_line:
            kept.append((number, line))
        number += line[:1] != unmoved
    if not any(line[:1] in "+-" for _, line in kept):
        return None
    text = "\n".join(line for _, line in kept)
    cut = text if len(text) <= _QUOTE else f"{text[:_QUOTE].rpartition(chr(10))[0] or text[:_QUOTE]}\n…"
    return Quote(file.path, kept[0][0], kept[-1][0], redact(spot.why), redact(cut))


def _within(quotes: Iterable[Quote], budget: int) -> tuple[Quote, ...]:
    kept: list[Quote] = []
    for quote in dict.fromkeys(quotes):
        size = len(quote.text) + len(quote.why) + len(quote.path)
        if len(kept) < _MOST_QUOTES and size <= budget:
            kept.append(quote)
            budget -= size
    return tuple(kept)


def _derived(files: Sequence[FileDiff], tests_added: Sequence[str], budget: int) -> Walkthrough:
    kinds: dict[str, list[FileLine]] = defaultdict(list)
    for file in files:
        kinds[_kind(file.path)].append(_line(file))
    quotes = _within(_quotes(_largest(files), {file.path: file for file in files}, []), budget)
    groups = tuple(FileGroup(title, tuple(lines)) for title, lines in kinds.items())
    return Walkthrough(groups=groups, quotes=quotes, tests_added=tuple(tests_added), risks=tuple(_risks(files)))


def _kind(path: str) -> str:
    if is_test_file(path):
        return "Tests"
    if path.endswith(_DOCUMENTS) or path.startswith("docs/"):
        return "Documents"
    if path.rpartition("/")[2] in _MANIFESTS:
        return "Dependencies"
    folder = path.partition("/")[0] if "/" in path else ""
    return f"Files in {folder}" if folder else "Files at the top"


def _largest(files: Sequence[FileDiff]) -> Iterator[Spot]:
    """Choose the hunks that change most, of sources before all others."""
    hunks = [
        (
            _kind(file.path) in {"Tests", "Documents", "Dependencies"},
            -sum(line[:1] in "+-" for line in hunk.lines),
            file,
            hunk,
        )
        for file in files
        for hunk in file.hunks
        if hunk.lines
    ]
    hunks.sort(key=lambda each: each[:2])
    for _, _, file, hunk in hunks[:_DERIVED_QUOTES]:
        start = hunk.old_start if file.status == "deleted" else hunk.start
        yield Spot(file.path, start, start + len(hunk.lines))


def _risks(files: Sequence[FileDiff]) -> Iterator[str]:
    told = {
        "deleted": [file.path for file in files if file.status == "deleted"],
        "binary, not to be read here": [file.path for file in files if file.is_binary],
        "dependencies": [file.path for file in files if _kind(file.path) == "Dependencies"],
    }
    for what, paths in told.items():
        if paths:
            more = f" and {len(paths) - 10} more" if len(paths) > 10 else ""
            yield f"{what}: {', '.join(paths[:10])}{more}"
