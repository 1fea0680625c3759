"""The redactor: known secrets and things that look like secrets do not leave the house in a log, row or comment.

Best effort by nature: what it has been told and what has a well-known form. The structural rule, that no agent's
process ever holds Symphony's credentials, does not rest on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from threading import Lock

MASK = "[redacted]"
_SHORTEST = 8
_SHAPES = re.compile(
    r"(?P<url>(?<=://)[^/\s:@]+:[^/\s@]+(?=@))"
    r"|\b(?:sk|ghp|gho|ghs|ghu|glpat|xoxb|xoxp|lin_api|lin_oauth)[-_][A-Za-z0-9_-]{12,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    # Never beyond the next beginning: an output full of beginnings would hold this process up for a minute.
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----BEGIN )[\s\S])*?-----END [A-Z ]*PRIVATE KEY-----"
)
_known: set[str] = set()
_lock = Lock()


def remember_secrets(values: Iterable[str]) -> None:
    """Add values that must never be shown; very short ones are ignored, they would blacken everything."""
    with _lock:
        _known.update(value for value in values if len(value) >= _SHORTEST)


def redact(text: str) -> str:
    """Give the text with every known or recognisable secret masked."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _SHAPES.sub(MASK, text)
