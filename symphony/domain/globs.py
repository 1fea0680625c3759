"""Patterns of paths as people write them in WORKFLOW.md: `*` and `?` within a name, `**` across folders.

Invariant: a pattern means the same on every machine and is matched against the whole path, whose parts are separated
by slashes. What is protected, and where reports lie, is said in these patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_PIECES = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|[^*?]+")
_MEANINGS = {"**/": "(?:[^/]+/)*", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether one of the patterns means this path; `docs/` and `docs/**` mean all that is below."""
    return any(_compiled(pattern).fullmatch(path) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    wanted = pattern.removeprefix("./")
    if wanted.endswith("/"):
        wanted += "**"
    pieces = _PIECES.findall(wanted)
    return re.compile("".join(_MEANINGS.get(piece) or re.escape(piece) for piece in pieces), re.DOTALL)
