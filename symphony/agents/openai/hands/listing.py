"""Which files there are: as git sees the workspace where it is a repository, else by walking through it.

Invariant: symbolic links are named and never followed; `.git` is never entered. git runs here as the agent's own commands
do, with the agent's rights, and with what a repository's configuration could start switched off.
"""

from __future__ import annotations

import os
import stat
from collections import Counter

from symphony.agents.openai.hands.paths import Refused, entry, parts_of, scan, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FILES = 200_000
_DEEPEST = 100
_GIT_S = 15
_QUIET_GIT = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false")


def listing(path: str, depth: int, limit: int) -> str:
    """List the files below `path`, `depth` levels of folders open. Raises: Refused."""
    base = parts_of(path)
    files, note = files_below(base)
    if base and files == ["/".join(base)]:
        return f"{files[0]} is a file."
    prefix = len("/".join(base)) + 1 if base else 0
    lines: Counter[str] = Counter()
    for file in files:
        parts = file[prefix:].split("/")
        if parts[-1] == "":  # a nested repository, whose files git does not list
            parts = [*parts[:-2], parts[-2] + "/ (a git repository of its own)"]
        open_parts = parts[:depth]
        lines["/".join(open_parts) + ("/" if len(parts) > depth else "")] += 1
    told = [
        f"{shown(line)} ({count} file{'s' if count > 1 else ''})" if line.endswith("/") else shown(line)
        for line, count in sorted(lines.items())
    ]
    if len(told) > limit:
        note += f"\n(and {len(told) - limit} more entries: name a folder, a smaller depth, or a larger limit)"
    return ("\n".join(told[:limit]) or "No files.") + note


def files_below(base: list[str]) -> tuple[list[str], str]:
    """Give the paths of the files below a folder, sorted, or the file itself; and a note on how complete that is.

    Raises: Refused.
    """
    with entry(base) as (_, seen):
        if not stat.S_ISDIR(seen.st_mode):
            return ["/".join(base)], ""
    told = _by_git(base)
    if told:
        note = ""
    else:
        walked = list(_walk(base))
        note = "\n(listed without the rules of .gitignore)" if told is not None and walked else ""
        told = walked
    if len(told) >= MOST_FILES:
        note += f"\n(only the first {MOST_FILES} files were looked at: name a folder)"
    return sorted(told[:MOST_FILES]), note


def _by_git(base: list[str]) -> list[str] | None:
    """Give what is tracked or not ignored below a folder; None where git cannot tell."""
    if not os.path.lexists(".git"):
        return None
    import subprocess

    environment = {**os.environ, "GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_OPTIONAL_LOCKS": "0"}
    environment["GIT_LITERAL_PATHSPECS"] = "1"
    command = [
        "git",
        *_QUIET_GIT,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "/".join(base) or ".",
    ]
    try:
        done = subprocess.run(  # noqa: PLW1510
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=_GIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return [path for path in {os.fsdecode(path) for path in done.stdout.split(b"\0") if path} if os.path.lexists(path)]


def _walk(base: list[str]) -> Iterator[str]:
    """Walk through a folder; at most `MOST_FILES` files, no deeper than a hundred levels."""
    waiting, count = [base], 0
    while waiting:
        here = waiting.pop()
        try:
            with entry(here) as (folder, _), scan(folder) as entries:
                found = sorted((one.name, one.is_dir(follow_symlinks=False)) for one in entries)
        except (Refused, OSError):
            continue
        for name, is_folder in found:
            if is_folder and name != ".git" and len(here) < _DEEPEST:
                waiting.append([*here, name])
            elif not is_folder:
                yield "/".join([*here, name])
                count += 1
                if count >= MOST_FILES:
                    return
