"""How a tool works on files: by a small program in the run's tree, never in the worker's own process.

Invariant: whatever a tool reads or writes, it does with the rights, the limits and the life of the agent's tree: no path
leads to what only the worker may read, no expression or file costs the worker's time, and a worker that lost its run
writes nothing, because its tree is dead. Relied on by the tools for files.
"""

from __future__ import annotations

import marshal
import re
import sys
from pathlib import Path
from typing import Any

from symphony.agents.openai import hands
from symphony.agents.openai.tools.desk import Desk, Result
from symphony.processes.tree import refusal

TIMEOUT_S = 60.0
_LEAST_S = 1.0  # also for one that comes late in its step
_MOST_BYTES = 8 << 20
_IMAGE = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
_PROGRAM = Path(hands.__file__).with_name("main.py")


def ask(desk: Desk, operation: str, request: dict[str, Any]) -> Result:
    """Let the program do one operation and give what it answers.

    Raises: Fenced, Cancelled or Transient when the tree has ended.
    """
    timeout_s = max(min(TIMEOUT_S, desk.step.left_s), _LEAST_S)
    try:
        done = desk.tree.run(
            [sys.executable, "-I", "-S", "-X", "utf8", str(_PROGRAM), operation],
            cwd=desk.workspace,
            env=desk.environment,
            stdin=marshal.dumps(request),
            timeout_s=timeout_s,
            head=_MOST_BYTES,
            tail=0,
        )
    except OSError as error:
        return Result(f"This could not be done: {error}.")
    if done.limit is not None:
        raise refusal(desk.tree.name, {"ended": done.limit})
    if done.timed_out:
        return Result(f"This took longer than {timeout_s:.0f} s and was ended. Ask for less, or use the shell.")
    if done.returncode != 0 or done.stdout.dropped:
        words = done.stderr.text().strip().splitlines()
        return Result(f"This could not be done (exit code {done.returncode}): {words[-1] if words else 'no reason given'}")
    # Others in the tree could have written this in its name: a first line is an image only when it looks like one.
    image, _, text = done.stdout.head.decode("utf-8", "backslashreplace").partition("\n")
    return Result(text, images=(image,) if _IMAGE.fullmatch(image) else ())
