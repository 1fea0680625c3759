"""How complex a change makes the code, asked of a child process, and what a workflow demands of it.

Invariant: nothing of a checkout is executed, and files can neither hold up nor burst the process that asks: `measured`
compares in a child process with limits of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from symphony.domain.proof import CheckResult, Verdict
from symphony.processes.guardian import Tree
from symphony.proof.functions import Complexity, Limits

NAME = "complexity"
_FILE_BYTES = 512 * 1024
_TOTAL_BYTES = 16 * 1024 * 1024
_OUTPUT_BYTES = 8 * 1024 * 1024
_ADAPTER = TypeAdapter(Complexity)


def as_check(found: Complexity, limits: Limits, *, mode: Literal["warn", "fail", "off"]) -> CheckResult | None:
    """Give the check that a workflow demands with `mode: fail`; None in other modes."""
    if mode != "fail":
        return None
    verdict = Verdict.FAILED if found.exceeded else Verdict.PASSED
    output = "\n".join(found.exceeded)
    return CheckResult(NAME, demand_of(limits), verdict, int(verdict is Verdict.FAILED), 0.0, output)


def can_measure(paths: Iterable[str]) -> bool:
    """Tell whether a file of these is in a language that can be measured."""
    from lizard_languages import get_reader_for

    return any(get_reader_for(path) is not None for path in paths)


def demand_of(limits: Limits) -> str:
    """Say what is demanded, in the place of a command."""
    return f"proof.complexity ccn={limits.ccn} length={limits.length} duplication={limits.duplication}"


def measured(
    tree: Tree,
    base: Mapping[str, bytes],
    candidate: Mapping[str, bytes],
    limits: Limits,
    *,
    timeout: timedelta = timedelta(seconds=60),
) -> Complexity:
    """Compare two sets of files, given by path, in a child process; files that are equal in both are there for copies.

    Raises:
        SymphonyError: the tree has ended.
    """
    texts, unmeasured = _readable(base, candidate)
    if not texts[1]:
        return Complexity(unmeasured=tuple(unmeasured))
    request = json.dumps({"base": texts[0], "candidate": texts[1], "limits": asdict(limits)}).encode()
    command = [sys.executable, "-I", "-m", "symphony.proof.complexity_main"]
    done = tree.run(command, cwd=Path("/"), env={}, stdin=request, timeout_s=timeout.total_seconds(), head=_OUTPUT_BYTES)
    if done.timed_out:
        unmeasured.append(f"complexity: not measured within {timeout.total_seconds():g} s")
        return Complexity(unmeasured=tuple(unmeasured))
    try:
        found = _ADAPTER.validate_json(done.stdout.head)
    except ValidationError:
        unmeasured.append("complexity: not measured, the files cannot be analysed")
        return Complexity(unmeasured=tuple(unmeasured))
    return Complexity(found.functions, found.copies, found.exceeded, (*found.unmeasured, *unmeasured))


def _readable(
    base: Mapping[str, bytes], candidate: Mapping[str, bytes]
) -> tuple[tuple[dict[str, str], dict[str, str]], list[str]]:
    """Keep the files in languages that can be measured, within limits."""
    from lizard_languages import get_reader_for

    texts: tuple[dict[str, str], dict[str, str]] = ({}, {})
    unmeasured: list[str] = []
    left = _TOTAL_BYTES
    # Changed files come first: what there is no room for are files that only might hold the original of a copy.
    paths = sorted({*base, *candidate}, key=lambda path: (base.get(path) == candidate.get(path), path))
    for path in paths:
        if get_reader_for(path) is None:
            continue
        sides = [side.get(path) for side in (base, candidate)]
        size = sum(len(side) for side in sides if side is not None)
        if size > left or any(len(side) > _FILE_BYTES for side in sides if side is not None):
            if sides[0] != sides[1]:
                unmeasured.append(f"{path}: too large to be measured")
            continue
        left -= size
        for side, text in zip(sides, texts, strict=True):
            if side is not None:
                text[path] = side.decode(errors="replace")
    return texts, unmeasured
