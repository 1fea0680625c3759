"""How the commands write: one JSON document, or tables and lines for people.

What comes from an issue or an agent may hold control characters; they reach no terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import typer

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST_CELL = 60
_LONGEST_LINE = 500


def document(value: Any) -> None:
    """Write one JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def line(text: str = "") -> None:
    """Write a line for people."""
    typer.echo(harmless(text))


def harmless(text: str) -> str:
    """Take out what a terminal would obey."""
    return _CONTROL.sub("", text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows in columns as wide as what they hold."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(len(row[n]) for row in [list(head), *cells]) for n in range(len(head))]
    for row in [list(head), *cells]:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def cell(value: object) -> str:
    """Give a value on one short line; nothing is a dash."""
    return one_line(str(value), longest=_LONGEST_CELL) if value is not None and value != "" else "-"


def one_line(text: str, *, longest: int = _LONGEST_LINE) -> str:
    """Give a text on one line, cut where it is too long to be read."""
    text = " ".join(harmless(text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def seconds(value: float) -> str:
    """Give a duration in the unit that people would choose."""
    whole = round(value)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 6000 else f"{whole // 3600} h {whole % 3600 // 60} min"


def short(sha: str | None) -> str:
    """Give a commit the way people read it."""
    return (sha or "")[:7]
