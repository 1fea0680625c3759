"""The demo's recorded model: how it goes about an issue, from what it sees and from nothing else.

Invariant: stateless. What it does next follows from the conversation alone, so it goes on after a crash, on another node,
or with calls that were interrupted, as a model does. What it writes for each issue stands in `recorded_issues`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symphony.local.demo.seen import Call, Seen

Files = Mapping[str, str | None]
Wanted = dict[str, str]

_TESTS = "python3 -m unittest discover -s tests -t ."
_TESTED = (_TESTS, None)
_LINE = re.compile(r"^ *\d+\t(.*)$", re.MULTILINE)
_SESSION = re.compile(r'session "(\w+)"')
_EXIT = re.compile(r"^Exit code (\d+)", re.MULTILINE)
_LOST = "This call was "
_NOT_FOUND_COMMAND = 127
_MOST_PATCHES, _MOST_CALLS = 12, 100
_TEST_WAIT_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer of the model; it takes `seconds`. Where it `fails`, the endpoint says so in its place, once."""

    thinks: str
    calls: tuple[tuple[str, dict[str, Any]], ...]
    says: str = ""
    seconds: float = 0.3
    fails: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One issue: what is read first, and what the files are to be, given what they are.

    `write` may give a turn instead, where nothing is to be written. `look_first` is what is called before anything else.
    """

    title: str
    module: str
    test: str
    write: Callable[[Seen, Files], Wanted | Turn]
    reads: tuple[str, ...] = ()
    look_first: tuple[tuple[str, dict[str, Any]], ...] = (("list_files", {"path": None, "depth": None, "limit": None}),)
    marks: str = ""
    is_careful: Callable[[Seen], bool] = lambda _: True
    seconds: float = 0.4
    fails_after_first_patch: bool = False


def next_turn(task: Task, seen: Seen) -> Turn:
    """Give what the model does next."""
    calls = seen.calls
    if len(calls) > _MOST_CALLS:
        return blocked("I was interrupted too often to get anywhere.")
    if (waiting := _open_session(calls)) is not None:
        again = {"command": None, "wait_ms": _TEST_WAIT_MS, "session": waiting, "input": None}
        return Turn(thinks="The command still runs; I wait for it.", calls=(("shell", again),))
    if missing := _not_begun(task.look_first, calls):
        return Turn(thinks=f"I look around before I begin: {task.title}.", says="I look around first.", calls=missing)
    patches = [index for index, call in enumerate(calls) if call.name == "apply_patch"]
    files = _files(calls[patches[-1] + 1 :] if patches else calls)
    if unread := [path for path in (task.module, task.test, *task.reads) if path not in files]:
        return _reading(task, unread, patches)
    wanted = task.write(seen, files)
    if isinstance(wanted, Turn):
        return wanted
    if changed := {path: text for path, text in wanted.items() if files[path] != text}:
        return _patching(task, files, changed, attempts=len(patches))
    return _ending(task, seen, wanted, calls[patches[-1] + 1 :] if patches else calls)


def blocked(summary: str) -> Turn:
    """Give up, and say what a person would have to do."""
    arguments = {"outcome": "blocked", "summary": summary, "walkthrough": None}
    return Turn(thinks="I cannot go on by myself.", calls=(("finish", arguments),))


def patch_text(files: Files, wanted: Wanted) -> str:
    """Give the patch that makes files what they are wanted to be."""
    lines = ["*** Begin Patch"]
    for path, text in wanted.items():
        before, after = files.get(path), text.splitlines()
        if before is None:
            lines += [f"*** Add File: {path}", *(f"+{line}" for line in after)]
        else:
            lines += [f"*** Update File: {path}", *_hunks(before.splitlines(), after)]
    return "\n".join([*lines, "*** End Patch"])


def _hunks(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Give the hunks between two texts: their lines as `difflib` orders them, without its line numbers."""
    told = list(difflib.unified_diff(before, after, lineterm="", n=3))[2:]
    return ["@@" if line.startswith("@@") else line for line in told]


def _reading(task: Task, unread: Sequence[str], patches: Sequence[int]) -> Turn:
    calls = tuple(("read_file", {"path": path, "offset": None, "limit": None}) for path in unread)
    if not patches:
        return Turn(thinks=f"Next I read what I may have to change: {', '.join(unread)}.", calls=calls)
    fails = task.fails_after_first_patch and len(patches) == 1
    return Turn(thinks="I read again what the patch has made of it, to be sure of every line.", calls=calls, fails=fails)


def _patching(task: Task, files: Files, changed: Wanted, *, attempts: int) -> Turn:
    if attempts >= _MOST_PATCHES:
        return blocked(f"My patches of {', '.join(changed)} do not take effect.")
    patch = patch_text(files, changed)
    return Turn(
        thinks=f"I know enough to write {' and '.join(changed)}.",
        calls=(("apply_patch", {"patch": patch}),),
        seconds=task.seconds,
    )


def _ending(task: Task, seen: Seen, wanted: Wanted, since_patch: Sequence[Call]) -> Turn:
    """Run the tests, where the model is careful, and finish."""
    not_done: list[str] = []
    if task.is_careful(seen):
        # A session's last answer stands for the command that it began with; an interrupted command says nothing.
        said = [
            call.output or "" for call in since_patch if call.name == "shell" and call.arguments.get("command") in _TESTED
        ]
        ran = next((code for text in reversed(said) if (code := _EXIT.search(text)) is not None), None)
        if ran is None:
            run = {"command": _TESTS, "wait_ms": _TEST_WAIT_MS, "session": None, "input": None}
            return Turn(thinks="Now the tests of the whole repository.", calls=(("shell", run),))
        if int(ran[1]) == _NOT_FOUND_COMMAND:
            not_done.append("The tests were not run here: there is no python3.")
        elif int(ran[1]):
            return blocked(f"The tests fail and I do not see why: {said[-1][-300:]}")
    walkthrough = {
        "purpose": f"{task.title}, with a test.",
        "groups": [
            {"title": "The function", "files": [task.module], "why": "It is what the issue asks for."},
            {"title": "Its test", "files": [task.test], "why": "It fails without the change."},
        ],
        "hunks": [{"file": task.module, **_marked(task, wanted[task.module]), "why": "This is the change itself."}],
        "tests_added": [task.test],
        "risks": [],
        "not_done": not_done,
    }
    arguments = {"outcome": "done", "summary": f"{task.title}: {task.module}, with a test.", "walkthrough": walkthrough}
    return Turn(thinks="Everything that was asked for is there.", says="It is done.", calls=(("finish", arguments),))


def _marked(task: Task, text: str) -> dict[str, int]:
    """Give the lines that matter: those that begin with the task's mark, else all."""
    lines = text.splitlines()
    found = [number for number, line in enumerate(lines, 1) if task.marks and line.startswith(task.marks)]
    return {"start_line": found[0], "end_line": found[-1]} if found else {"start_line": 1, "end_line": len(lines)}


def _files(calls: Sequence[Call]) -> dict[str, str | None]:
    """Give the files that were read, as they were at last; None for one that is not there."""
    files: dict[str, str | None] = {}
    for call in calls:
        if call.name == "read_file" and call.output is not None and not call.output.startswith(_LOST):
            lines = _LINE.findall(call.output)
            is_there = bool(lines) or "file is empty" in call.output
            files[str(call.arguments.get("path"))] = "".join(f"{line}\n" for line in lines) if is_there else None
    return files


def _not_begun(
    wanted: Sequence[tuple[str, dict[str, Any]]], calls: Sequence[Call]
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Give the calls of `wanted` that were never begun; one that was interrupted has been."""
    begun = [(call.name, dict(call.arguments)) for call in calls if not (call.output or "").startswith(f"{_LOST}not begun")]
    return tuple(one for one in wanted if one not in begun)


def _open_session(calls: Sequence[Call]) -> str | None:
    """Give the session of a command that has not ended, where the last call was about it."""
    output = (calls[-1].output or "") if calls and calls[-1].name == "shell" else ""
    found = _SESSION.search(output) if output.startswith("Still running") else None
    return found[1] if found else None
