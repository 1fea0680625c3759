"""Markdown that says what others wrote without letting them write it.

Invariant: a text of others that went through here begins no heading, list, link, image, mention, reference to an issue or
HTML, and ends no quotation that it stands in; control characters are gone. What people get on issues and pull requests is
made of these pieces.
"""

from __future__ import annotations

import re

from symphony.telemetry.redaction import redact

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_SPECIAL = re.compile(r"[\\`*_\[\]#!|~$]|^[-+=:]")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_SPEAKS = re.compile(r"@(?=\w)|(?<=://)|(?i:\bwww)(?=\.)|#(?=\d)|(?i:\bgh)(?=-\d)")
_BREAK = "\u200b"  # no width: people see nothing, a forge sees no mention, link or reference
_TICKS = re.compile("`+")


def inline(text: str, most: int = 500) -> str:
    """Give a text for within a line, cut to `most` characters of it."""
    plain = " ".join(_CONTROL.sub("", redact(text).replace("\r", "\n")).split())
    plain = plain if len(plain) <= most else f"{plain[: most - 1]}…"
    spoken = _SPEAKS.sub(lambda found: f"{found[0]}{_BREAK}", plain)
    escaped = _SPECIAL.sub(lambda found: f"\\{found[0]}", spoken.translate(_ENTITIES))
    return _NUMBERED.sub(r"\1\\\2", escaped)


def code(text: str, most: int = 300) -> str:
    """Give a text as code within a line: a path, a name, a command."""
    plain = " ".join(_CONTROL.sub("", redact(text).replace("\r", "\n")).split()) or " "
    plain = plain if len(plain) <= most else f"{plain[: most - 1]}…"
    fence = "`" * (_longest(plain) + 1)
    space = " " if plain.startswith(("`", " ")) or plain.endswith(("`", " ")) else ""
    return f"{fence}{space}{plain}{space}{fence}"


def block(text: str, most: int, kind: str = "") -> str:
    """Give a text as a block of code, its head and tail where it is longer than `most`."""
    plain = _CONTROL.sub("", redact(text).replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
    if len(plain) > most:
        kept = max(most - 20, 3)
        plain = f"{plain[: kept // 3]}\n[…]\n{plain[kept // 3 - kept :]}"
    fence = "`" * max(_longest(plain) + 1, 3)
    return f"{fence}{kind}\n{plain}\n{fence}"


def folded(title: str, body: str) -> str:
    """Fold `body` (Markdown that is safe already) below a title (plain text)."""
    summary = " ".join(_CONTROL.sub("", redact(title)).split()).translate(_ENTITIES)
    summary = _SPEAKS.sub(lambda found: f"{found[0]}{_BREAK}", summary)
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _longest(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)
