"""The kinds of repository that Symphony knows, and what each says about setup and tests.

A detector looks at one folder and gives a `Kind` or nothing; `kinds_of` asks all of them, at the top first and one
level below when the top says nothing. Every command is a shell line that runs in a clean checkout's top folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from shlex import quote

from symphony.local.harness import javascript, make, others, python
from symphony.local.harness.folder import Folder
from symphony.local.harness.kind import Kind

Detector = Callable[[Folder], Kind | None]

_DETECTORS: tuple[Detector, ...] = (
    python.detect, javascript.detect, others.go, others.rust, others.maven, others.gradle, others.ruby, others.php,
    others.dotnet,
)  # fmt: skip
_LANGUAGES = {
    "py": "Python", "js": "JavaScript", "mjs": "JavaScript", "jsx": "JavaScript", "ts": "TypeScript", "tsx": "TypeScript",
    "go": "Go", "rs": "Rust", "java": "Java", "kt": "Kotlin", "rb": "Ruby", "php": "PHP", "cs": "C#", "fs": "F#",
    "c": "C", "h": "C", "cpp": "C++", "cc": "C++", "hpp": "C++", "sh": "Shell", "swift": "Swift", "scala": "Scala",
    "ex": "Elixir", "exs": "Elixir", "hs": "Haskell", "zig": "Zig", "lua": "Lua", "sql": "SQL",
}  # fmt: skip
_MOST_LANGUAGES = 5
_MOST_FOLDERS = 12


@dataclass(frozen=True, slots=True)
class Check:
    """A check that a workflow would name."""

    name: str
    run: str


@dataclass(frozen=True, slots=True)
class Layout:
    """What a repository is made of: its languages, its kinds, and the commands that follow."""

    languages: tuple[str, ...]
    kinds: tuple[Kind, ...]
    setup: str | None
    cache: tuple[str, ...]
    checks: tuple[Check, ...]
    further: tuple[Check, ...]
    """Commands that look like checks, too, but are no tests."""

    @property
    def described(self) -> str:
        """Say in a few words what it is."""
        kinds = " and ".join(kind.title for kind in self.kinds)
        others = [name for name in self.languages if not any(kind.speaks(name) for kind in self.kinds)]
        return "; ".join(part for part in (kinds, ", ".join(others)) if part) or "no kind that Symphony knows"


def layout_of(folder: Folder) -> Layout:
    """Find out what a checked-out repository is made of."""
    kinds = kinds_of(folder)
    makefile = make.detect(folder)
    if makefile is not None and (makefile.tests or makefile.is_build or not kinds):
        kinds = (*kinds, makefile) if kinds else (makefile,)
    setups = [kind.setup for kind in kinds if kind.setup is not None and kind is not makefile]
    if makefile is not None and makefile.setup is not None:
        setups = [makefile.setup]
    cache = dict.fromkeys(path for kind in kinds for path in kind.cache)
    return Layout(
        languages=languages_of(folder),
        kinds=kinds,
        setup=" && ".join(setups) or None,
        cache=tuple(cache) if setups else (),
        checks=_checks(kinds, makefile),
        further=_further(kinds),
    )


def languages_of(folder: Folder) -> tuple[str, ...]:
    """Name the languages by their number of files, most first."""
    found = Counter(_LANGUAGES.get(path.rpartition(".")[2].lower()) for path in folder.files if "." in path)
    return tuple(name for name, _ in found.most_common(_MOST_LANGUAGES + 1) if name is not None)[:_MOST_LANGUAGES]


def kinds_of(folder: Folder) -> tuple[Kind, ...]:
    """Ask every detector, at the top and, when none knows it, in the folders below."""
    found = _detect(folder)
    if found:
        return found
    below = sorted({path.split("/", 1)[0] for path in folder.files if "/" in path and not path.startswith(".")})
    return tuple(_inside(name, kind) for name in below[:_MOST_FOLDERS] for kind in _detect(folder.below(name)))


def _detect(folder: Folder) -> tuple[Kind, ...]:
    return tuple(kind for detector in _DETECTORS if (kind := detector(folder)) is not None)


def _inside(name: str, kind: Kind) -> Kind:
    """Turn what was found in a folder into commands for the top."""

    def there(command: str) -> str:
        return f"(cd {quote(name)} && {command})"

    return replace(
        kind,
        title=f"{kind.title} in {name}/",
        folder=name,
        setup=there(kind.setup) if kind.setup else None,
        cache=tuple(f"{name}/{path}" for path in kind.cache),
        tests=tuple(there(command) for command in kind.tests),
        further=tuple((label, there(command)) for label, command in kind.further),
    )


def _checks(kinds: tuple[Kind, ...], makefile: Kind | None) -> tuple[Check, ...]:
    """One check for each kind; a Makefile that has tests speaks for all."""
    if makefile is not None and makefile.tests:
        paths = [kind.programs for kind in kinds if kind.programs]
        prefix = f'PATH="{":".join(f"$PWD/{path}" for path in paths)}:$PATH" ' if paths and not makefile.setup else ""
        return (Check("tests", prefix + makefile.tests[0]),)
    found = [kind for kind in kinds if kind.tests]
    names: dict[str, str] = {}
    for number, kind in enumerate(found):
        name = "tests" if number == 0 else f"tests-{kind.folder or kind.language.lower().replace('#', 'sharp')}"
        while name in names:
            name += "-2"
        names[name] = kind.tests[0]
    return tuple(Check(name, run) for name, run in names.items())


def _further(kinds: tuple[Kind, ...]) -> tuple[Check, ...]:
    found = dict(pair for kind in reversed(kinds) for pair in kind.further)
    return tuple(Check(name, run) for name, run in sorted(found.items()))
