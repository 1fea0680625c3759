"""Documents that machines read: is AGENTS.md there, is it short, and do the commands that it names run?"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from symphony.local.harness import make
from symphony.local.harness.bench import Bench, Ran
from symphony.local.harness.folder import Folder
from symphony.local.harness.report import Fault, Part, Section

THERE, SHORT, RUNS = 10, 5, 10
NAME = "AGENTS.md"
_ALIKE = ("CLAUDE.md", "GEMINI.md", ".cursorrules", ".github/copilot-instructions.md", "CONTRIBUTING.md")
_SHORT_LINES, _LONG_LINES = 150, 400
_MOST_RUN = 5
_MOST_SECONDS = 300.0
_PROGRAMS = frozenset(
    {
        *("make", "just", "task", "cmake", "ctest", "bash", "sh", "npm", "npx", "pnpm", "yarn", "node", "deno", "bun"),
        *("python", "python3", "pytest", "tox", "nox", "uv", "poetry", "pip", "ruff", "mypy"),
        *("go", "cargo", "mvn", "gradle", "bundle", "rake", "rspec", "composer", "php", "dotnet"),
    }
)
_FENCE = re.compile(r"^(```+|~~~+)[ \t]*(\w*)")
_INLINE = re.compile(r"`([^`\n]+)`")
_EXAMPLE = re.compile(r"[<>…]|\.\.\.|\$\{?[A-Z]|path/to|\bNAME\b|\bFILE\b")
_VERIFIES = re.compile(r"\b(test|tests|check|lint|types?|typecheck|type-check|mypy|ruff|pytest|vet|clippy|verify)\b")
_CHANGES = re.compile(
    r"\b(deploy|publish|push|release|install|clean|rm|docker|sudo|migrate|upload|watch|serve|dev|start)\b"
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a document names."""

    line: int
    text: str


def commands_in(text: str) -> list[Command]:
    """Find what looks like a shell command, in fenced blocks and between back quotes."""
    found: dict[str, Command] = {}
    fence, is_shell = "", False
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line.strip())
        if mark and (not fence or line.strip().startswith(fence)):
            fence, is_shell = ("", False) if fence else (mark[1], mark[2].lower() in ("", "sh", "bash", "shell", "console"))
            continue
        said = [line.strip().removeprefix("$ ")] if fence and is_shell else [] if fence else _INLINE.findall(line)
        for words in said:
            plain = words.partition(" # ")[0].strip()
            if _looks_like_command(plain):
                found.setdefault(plain, Command(number, plain))
    return list(found.values())


def _looks_like_command(text: str) -> bool:
    words = text.split()
    if not words or _EXAMPLE.search(text) or text.startswith("#"):
        return False
    first = words[0]
    return len(words) > 1 and (first in _PROGRAMS or first.startswith(("./", ".venv/")))


def section(
    folder: Folder, bench: Bench | None, already: Mapping[str, Ran], *, offline: bool, tell: Callable[[str], None]
) -> Section:
    """Look at AGENTS.md; without a bench its commands are only looked up."""
    if not folder.has(NAME):
        alike = folder.has(*_ALIKE)
        cure = f"let it be {alike}, or a page like it" if alike else "write a page: the commands, the map, the rules"
        fault = Fault("no_agents_md", NAME, "is not there, so an agent must guess how to work here", cure)
        parts = (Part("AGENTS.md", 0, THERE, "it is not there"), Part("short", 0, SHORT, "it is not there"))
        return Section((*parts, Part("its commands run", 0, RUNS, "it is not there")), (fault,))
    text = folder.text(NAME)
    there = Part("AGENTS.md", THERE, THERE, "it is there")
    length, long = _length(text)
    commands, broken = _commands(folder, commands_in(text), bench, already, offline=offline, tell=tell)
    return Section((there, length, commands), (*long, *broken))


def _length(text: str) -> tuple[Part, tuple[Fault, ...]]:
    count = len(text.splitlines())
    if count <= _SHORT_LINES:
        return Part("short", SHORT, SHORT, f"it has {count} lines"), ()
    cure = f"keep the map and the commands in {_SHORT_LINES} lines, and move the rest into docs that it names"
    fault = Fault("long_agents_md", NAME, f"has {count} lines, which every run reads", cure)
    return Part("short", SHORT // 2 if count <= _LONG_LINES else 0, SHORT, f"it has {count} lines"), (fault,)


def _commands(
    folder: Folder, found: list[Command], bench: Bench | None, already: Mapping[str, Ran], *, offline: bool,
    tell: Callable[[str], None],
) -> tuple[Part, tuple[Fault, ...]]:  # fmt: skip
    if not found:
        fault = Fault("no_commands", NAME, "names no command", "name how to set up, test and lint, as commands to copy")
        return Part("its commands run", 0, RUNS, "it names no command"), (fault,)
    faults: list[Fault] = []
    count_run = 0
    for command in found:
        trouble = _missing(folder, command.text)
        if trouble is None and bench is not None and _may_run(folder, command.text):
            ran = already.get(command.text)
            if ran is None and count_run < _MOST_RUN:
                tell(f"running `{command.text}` of {NAME} ...")
                ran = bench.run(command.text, folder.root, timeout_s=_MOST_SECONDS, offline=offline)
                count_run += 1
            trouble = _failed(ran) if ran is not None and not ran.passed else None
        if trouble is not None:
            cure = "correct the command, or mend what it runs"
            faults.append(Fault("broken_command", f"{NAME}:{command.line}", f"`{command.text}` {trouble}", cure))
    good = len(found) - len(faults)
    return Part("its commands run", RUNS * good // len(found), RUNS, f"{good} of {len(found)} commands are good"), tuple(
        faults
    )


def _failed(ran: Ran) -> str:
    words = f": {ran.last_words[:160]}" if ran.last_words else ""
    return f"did not end within {_MOST_SECONDS:.0f} s" if ran.timed_out else f"fails with exit code {ran.code}{words}"


def _missing(folder: Folder, command: str) -> str | None:
    """Say what a command needs that is not there."""
    program, *rest = command.split()
    target = next((word for word in rest if not word.startswith("-") and "=" not in word), None)
    if program == "make" and target is not None:
        makefile = folder.has(*make.MAKEFILES)
        if makefile is None:
            return "needs a Makefile, and there is none"
        return (
            None if target in make.rules(folder.text(makefile)) else f"needs the target {target}, and {makefile} has none"
        )
    if program in ("npm", "pnpm", "yarn") and rest[:1] in (["run"], ["test"]):
        script = rest[1] if rest[0] == "run" and len(rest) > 1 else rest[0]
        scripts = folder.json("package.json").get("scripts") or {}
        return None if script in scripts else f"needs the script {script}, and package.json has none"
    if program.startswith("./"):
        return None if folder.has(program.removeprefix("./")) else f"needs the file {program}, and it is not there"
    if "/" in program or program in ("cd", "source"):
        return None
    return None if shutil.which(program) else f"needs the program {program}, which is not installed here"


def _may_run(folder: Folder, command: str) -> bool:
    """Tell whether a command only verifies, and names nothing that is a mere example."""
    if not _VERIFIES.search(command) or _CHANGES.search(command):
        return False
    paths = [word for word in command.split()[1:] if "/" in word and not word.startswith("-")]
    return all((folder.root / Path(word.partition("::")[0])).exists() or "*" in word for word in paths)
