"""How complex a change makes the code: of what it made or touched, never of what was there before.

Invariant: this is all that the child process of `proof.complexity` imports, which starts once a proof: nothing here needs
more than the standard library and lizard. Directives by which code asks to be passed over are ignored.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from symphony.proof.copies import Copy, copies

_MOST_FUNCTIONS = 500
_ASKS_TO_BE_PASSED_OVER = re.compile("(lizard) (?=forgive)|(GENERATED) (?=CODE)")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a function may be at most, and from how many lines on a copy counts."""

    ccn: int = 15
    length: int = 100
    duplication: int = 30


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """A function that the change made or touched: its paths and lines, and what they were before, if it was there."""

    path: str
    name: str
    line: int
    ccn: int
    length: int
    ccn_before: int | None = None
    length_before: int | None = None


@dataclass(frozen=True, slots=True)
class Complexity:
    """What was measured; `exceeded` says what is beyond the limits and got worse, `unmeasured` what is not known."""

    functions: tuple[FunctionChange, ...] = ()
    copies: tuple[Copy, ...] = ()
    exceeded: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return asdict(self)


def compare(base: Mapping[str, str], candidate: Mapping[str, str], limits: Limits) -> Complexity:
    """Compare two sets of texts by path in this process: for files that somebody vouches for, and for the child."""
    unmeasured: list[str] = []
    changed = sorted(path for path, text in candidate.items() if base.get(path) != text)
    before = {path: _functions(path, base[path], []) for path in base if path in changed or path not in candidate}
    known = {function.text for functions in before.values() for function in functions}
    changes: list[FunctionChange] = []
    for path in changed:
        touched = [function for function in _functions(path, candidate[path], unmeasured) if function.text not in known]
        changes += _matched(path, touched, before.get(path, []))
    found = copies(base, candidate, lines=limits.duplication)
    exceeded = [*_too_complex(changes, limits), *(_told(copy) for copy in found)]
    changes.sort(key=lambda change: (-change.ccn, change.path, change.line))
    return Complexity(
        tuple(changes[:_MOST_FUNCTIONS]),
        tuple(found[:_MOST_FUNCTIONS]),
        tuple(exceeded[:_MOST_FUNCTIONS]),
        tuple(unmeasured),
    )


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    line: int
    ccn: int
    length: int
    text: str


def _functions(path: str, text: str, unmeasured: list[str]) -> list[_Function]:
    from lizard import FileInfoBuilder, get_extensions
    from lizard_languages import get_reader_for

    plain = _ASKS_TO_BE_PASSED_OVER.sub(lambda found: f"{found[0].strip()}_", text)
    context = FileInfoBuilder(path)
    try:
        # What `lizard.FileAnalyzer` does, too, but it is silent where the nesting is too deep for it.
        reader = get_reader_for(path)(context)
        tokens = reader.generate_tokens(plain)
        for processor in get_extensions([]):
            tokens = processor(tokens, reader)
        for _ in reader(tokens, reader):
            continue
    except Exception as error:  # noqa: BLE001 - a parser that gives up on some file must not end the proof of a change
        unmeasured.append(f"{path}: cannot be measured ({type(error).__name__})")
        return []
    lines = text.splitlines()
    return [
        _Function(
            found.long_name[:300],
            found.start_line,
            found.cyclomatic_complexity,
            found.length,
            "\n".join(" ".join(line.split()) for line in lines[found.start_line - 1 : found.end_line]),
        )
        for found in context.fileinfo.function_list
    ]


def _matched(path: str, touched: Iterable[_Function], before: Iterable[_Function]) -> list[FunctionChange]:
    """Pair functions with what they were, by their names, and those of one name in their order."""
    was: dict[str, list[_Function]] = defaultdict(list)
    for function in before:
        was[_bare(function.name)].append(function)
    changes = []
    for function in touched:
        earlier = was[_bare(function.name)].pop(0) if was[_bare(function.name)] else None
        changes.append(
            FunctionChange(
                path,
                function.name,
                function.line,
                function.ccn,
                function.length,
                earlier.ccn if earlier else None,
                earlier.length if earlier else None,
            )
        )
    return changes


def _bare(name: str) -> str:
    """Take parameters off a name: a function that gets one more is still the same."""
    return name.partition("(")[0].strip() or "(anonymous)"


def _too_complex(changes: Iterable[FunctionChange], limits: Limits) -> Iterable[str]:
    for change in changes:
        place = f"{change.path}:{change.line}: `{_bare(change.name)}`"
        if change.ccn > limits.ccn and change.ccn > (change.ccn_before or 0):
            was = f" (was {change.ccn_before})" if change.ccn_before is not None else ""
            yield f"{place} has a cyclomatic complexity of {change.ccn}{was}, more than {limits.ccn}"
        if change.length > limits.length and change.length > (change.length_before or 0):
            was = f" (was {change.length_before})" if change.length_before is not None else ""
            yield f"{place} is {change.length} lines long{was}, more than {limits.length}"


def _told(copy: Copy) -> str:
    return f"{copy.path}:{copy.line}-{copy.end_line}: a copy of what stands at {copy.of}:{copy.of_line}"
