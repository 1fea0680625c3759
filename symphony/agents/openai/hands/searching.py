"""Finding lines: every text file below a folder, line by line.

Invariant: the answer is the same with and without ripgrep: where it is there it only says which files do not have a text
that every match has, and the lines are always found here. An expression that takes too long ends with what was found
so far.
"""

from __future__ import annotations

import os
import re
import signal

from symphony.agents.openai.hands.listing import files_below
from symphony.agents.openai.hands.paths import Refused, parts_of, regular, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST_FILE = 16 << 20
LONGEST_LINE = 300
CPU_S = 20.0
_RIPGREP_S = 20
_FEW_FILES = 500
_BATCH_BYTES = 256 * 1024
_PLAIN = re.compile(r"[^\\.^$*+?{}\[\]|()\n]+")
_MOST_CHARACTERS = 64 * 1024


class _TooLongError(Exception):
    """The expression has had its time."""


def search(pattern: str, path: str, glob: str | None, limit: int) -> str:
    """Give the lines that match. Raises: Refused."""
    expression = _compiled(pattern)
    base = parts_of(path)
    files, note = files_below(base)
    fits = _glob(glob, below=len("/".join(base)) + 1 if base and files != ["/".join(base)] else 0)
    wanted = [file for file in files if fits(file) and not file.endswith("/")]
    literal = pattern if _PLAIN.fullmatch(pattern) else ""
    hunt = _Hunt(expression, literal, limit)
    try:
        # Time that the program was stopped in must not count: the clock is that of its own work.
        signal.signal(signal.SIGPROF, _ring)
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        hunt.through(_narrowed(literal, wanted))
    except _TooLongError:
        note = f"\n(ended after {CPU_S:g} s of work: name a folder or a glob, or a simpler expression)" + note
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return hunt.told(len(wanted)) + note


def _ring(_number: int, _frame: object) -> None:
    raise _TooLongError


def _compiled(pattern: str) -> re.Pattern[str]:
    if "[[:" in pattern:
        raise Refused(r"Classes like [[:alpha:]] are not known here: write [a-zA-Z], \d, \s or \w.")
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Refused(
            f"This is no valid regular expression: {error}. Escape what is meant literally: \\( \\[ \\. \\*"
        ) from None


class _Hunt:
    """What was found so far."""

    def __init__(self, expression: re.Pattern[str], literal: str, limit: int) -> None:
        self._find = expression.search
        self._literal = literal.encode()
        self._limit = limit
        self._room = _MOST_CHARACTERS
        self._found: list[str] = []
        self._large: list[str] = []
        self._is_full = False

    def through(self, files: list[str]) -> None:
        """Look into the files, in order, until there is enough."""
        for file in files:
            if self._is_full:
                return
            self._look_into(file)

    def _look_into(self, file: str) -> None:
        try:
            with regular(file.split("/")) as (opened, seen):
                if seen.st_size > LARGEST_FILE:
                    self._large.append(file)
                    return
                with open(opened, "rb", closefd=False) as readable:
                    content = readable.read(LARGEST_FILE)
        except (Refused, OSError):
            return
        if b"\0" in content or self._literal not in content:
            return
        lines = content.decode("utf-8", "surrogateescape").split("\n")
        if not lines[-1]:
            del lines[-1]
        for number, line in enumerate(lines, 1):
            match = self._find(line.removesuffix("\r"))
            if match:
                self._add(f"{shown(file)}:{number}: {_around(line.rstrip(), match.start())}")
                if self._is_full:
                    return

    def _add(self, line: str) -> None:
        self._is_full = len(self._found) >= self._limit or len(line) > self._room
        if not self._is_full:
            self._found.append(line)
            self._room -= len(line)

    def told(self, files: int) -> str:
        """Say what was found."""
        text = "\n".join(self._found) or f"No match in {files} file{'' if files == 1 else 's'}."
        if self._is_full:
            text += f"\n(there are more than these {len(self._found)} matches: name a folder, a glob, or a larger limit)"
        if self._large:
            names = ", ".join(shown(file) for file in self._large[:5])
            text += f"\n(not searched, larger than {LARGEST_FILE >> 20} MiB: {names}{' …' if len(self._large) > 5 else ''})"
        return text


def _around(line: str, place: int) -> str:
    """Give the part of a line around a match."""
    if len(line) <= LONGEST_LINE:
        return line
    start = max(0, min(place - LONGEST_LINE // 3, len(line) - LONGEST_LINE))
    cut = line[start : start + LONGEST_LINE]
    return ("…" if start else "") + cut + ("…" if start + LONGEST_LINE < len(line) else "")


def _narrowed(literal: str, files: list[str]) -> list[str]:
    """Leave out files in which ripgrep, where it is there, does not find the text that every match has."""
    from shutil import which

    program = which("rg") if literal and len(files) > _FEW_FILES else None
    if program is None:
        return files
    import subprocess

    flags = [
        "--no-config",
        "--files-with-matches",
        "--null",
        "--text",
        "--no-messages",
        "--fixed-strings",
        "--encoding=none",
    ]
    found: set[str] = set()
    for batch in _batches(files):
        command = [program, *flags, f"--regexp={literal}", "--", *batch]
        try:
            done = subprocess.run(  # noqa: PLW1510
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_RIPGREP_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return files
        if done.returncode not in {0, 1}:
            return files
        found.update(os.fsdecode(name) for name in done.stdout.split(b"\0"))
    return [file for file in files if file in found]


def _batches(files: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for file in files:
        if size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += len(os.fsencode(file)) + 9
    yield batch


def _glob(glob: str | None, *, below: int) -> Callable[[str], bool]:
    """Give the test that a path must pass; `below` is where its part below the searched folder begins."""
    if not glob:
        return lambda _path: True
    wanted = not glob.startswith("!")
    plain = glob.removeprefix("!").removeprefix("./").lstrip("/")
    try:
        fits = re.compile(_translated(plain)).fullmatch
    except re.error as error:
        raise Refused(f"This is no valid glob: {error}.") from None
    if "/" not in plain:
        return lambda path: (fits(path.rsplit("/", 1)[-1]) is not None) is wanted
    return lambda path: (fits(path) is not None or fits(path[below:]) is not None) is wanted


def _translated(glob: str) -> str:
    """Say a glob as an expression: * and ? stay within a name, ** does not, {a,b} is a choice, [a-z] a class."""
    said, depth, place = "", 0, 0
    while place < len(glob):
        char = glob[place]
        place += 1
        if glob.startswith("**/", place - 1):
            said, place = said + "(?:.*/)?", place + 2
        elif glob.startswith("**", place - 1):
            said, place = said + ".*", place + 1
        elif char in "*?":
            said += "[^/]*" if char == "*" else "[^/]"
        elif char == "[" and (end := glob.find("]", place + 1)) > 0:
            inside = glob[place:end].replace("\\", "\\\\").replace("[", "\\[")
            said, place = said + "[" + ("^" + inside[1:] if inside[0] == "!" else inside) + "]", end + 1
        elif char == "{" and "}" in glob[place:]:
            said, depth = said + "(?:", depth + 1
        elif char == "}" and depth:
            said, depth = said + ")", depth - 1
        else:
            said += "|" if char == "," and depth else re.escape(char)
    return said + ")" * depth
