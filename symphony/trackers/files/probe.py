"""What `symphony check` says of a folder of issues: can it be read and written, and will its issues be picked up?

Invariant: a folder that works gives no error; a warning names a file or a setting, and its cure. Nothing here changes
an issue.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from symphony.domain.errors import SymphonyError
from symphony.domain.issue import normalized_state
from symphony.trackers.files.document import Header
from symphony.trackers.files.writer import Writer
from symphony.trackers.protocol import Finding

_MOST = 20
_SETTING = "set tracker.provider.path to the folder of the issues"


class _Issues(Protocol):
    def all_issues(self) -> tuple[dict[str, Header], dict[str, str]]: ...


def findings(
    path: Path, writer: Writer, issues: _Issues, states: Collection[str], unknown_keys: Collection[str]
) -> list[Finding]:
    """Look at the folder, then at the issues in it."""
    found = [
        Finding("warning", f"the tracker `files` has no setting {key!r}", "remove it from tracker.provider")
        for key in unknown_keys
    ]
    if not path.is_dir():
        fault = "is not a folder" if path.exists() else "does not exist"
        return [*found, Finding("error", f"{path} {fault}", f"create it, or {_SETTING}")]
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return [*found, Finding("error", f"{path} cannot be read and written", "give Symphony's user the permission")]
    try:
        if not writer.swaps_at_once():
            cure = "keep the issues on a local disk, or save while no run is moving"
            found.append(Finding("warning", f"{path} is on a file system that cannot exchange two files at once", cure))
        headers, faults = issues.all_issues()
    except SymphonyError as fault:
        return [*found, Finding("error", fault.message)]
    found += _faulty(list(faults.values()))
    found += _blockers(headers)
    found += _misspelt(headers, states)
    if not headers:
        found.append(Finding("warning", f"{path} has no issue", "write one: a file DEMO-1.md with title and state"))
    return found


def _faulty(faults: list[str]) -> list[Finding]:
    shown = [Finding("warning", fault, "mend the file, or move it out of the folder") for fault in faults[:_MOST]]
    return [*shown, Finding("warning", f"{len(faults) - _MOST} more files are no issues")] if faults[_MOST:] else shown


def _blockers(headers: Mapping[str, Header]) -> list[Finding]:
    missing = [
        Finding("warning", f"{name} waits for {blocker}, which is no issue here", "correct its `blocked_by`")
        for name, header in headers.items()
        for blocker in header.blocked_by
        if blocker not in headers
    ]
    return missing[:_MOST]


def _misspelt(headers: Mapping[str, Header], states: Collection[str]) -> list[Finding]:
    known = {_squeezed(state): state for state in states}
    exact = set(map(normalized_state, states))
    seen: dict[str, str] = {}
    for name, header in headers.items():
        if normalized_state(header.state) not in exact:
            seen.setdefault(header.state, name)
    return [
        Finding("warning", f"{name} is in state {state!r}: nothing is done in it", f"did you mean {known[close[0]]!r}?")
        for state, name in seen.items()
        if (close := get_close_matches(_squeezed(state), known, n=1, cutoff=0.85))
    ][:_MOST]


def _squeezed(state: str) -> str:
    return "".join(character for character in state.casefold() if character.isalnum())
