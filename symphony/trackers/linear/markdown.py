"""What Symphony writes to people, in the Markdown of Linear's: folded sections are its own there, HTML is not shown.

Invariant: what stands in a block of code stays as it is, so nothing that an agent or a check wrote folds anything.
"""

from __future__ import annotations

import re

_OPENED = re.compile(r"<details><summary>(.*)</summary>")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def in_linears(text: str) -> str:
    """Give a text with the folded sections that Linear knows."""
    lines, fence = [], ""
    for line in text.split("\n"):
        lines.append(line if fence else _folded(line))
        found = _FENCE.match(line)
        if found is None:
            continue
        if not fence:
            fence = found[1]
        elif found[1].startswith(fence) and not line[found.end() :].strip():
            fence = ""
    return "\n".join(lines)


def _folded(line: str) -> str:
    opened = _OPENED.fullmatch(line)
    return f"+++ {opened[1]}" if opened is not None else "+++" if line == "</details>" else line
