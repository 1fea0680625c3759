"""The agent's own account of its work, as its `finish` gave it: taken for what it is worth.

Invariant: whatever was handed in becomes an account or none; nothing of it is longer or more than people would read. What
it says of files and lines is checked by the walkthrough, not here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOST = 100
_MOST_FILES = 2_000
_LONG, _SHORT = 2_000, 400


@dataclass(frozen=True, slots=True)
class Group:
    """Files with one purpose."""

    title: str
    files: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Spot:
    """Lines of the new file that matter."""

    file: str
    start_line: int
    end_line: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """What the agent says that it did."""

    purpose: str = ""
    groups: tuple[Group, ...] = ()
    hunks: tuple[Spot, ...] = ()
    tests_added: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()


def account_of(value: Any) -> Account | None:
    """Read an account from what `finish` was given (a map, or its JSON); None where there is nothing in it."""
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, Mapping):
        return None
    account = Account(
        purpose=_text(value.get("purpose"), _LONG),
        groups=tuple(_group(item) for item in _maps(value.get("groups"))),
        hunks=tuple(spot for item in _maps(value.get("hunks")) if (spot := _spot(item)) is not None),
        tests_added=_texts(value.get("tests_added")),
        risks=_texts(value.get("risks")),
        not_done=_texts(value.get("not_done")),
    )
    return account if account != Account() else None


def _group(item: Mapping[Any, Any]) -> Group:
    files = item.get("files")
    paths = [_text(path, _LONG) for path in files[:_MOST_FILES]] if isinstance(files, list) else []
    return Group(_text(item.get("title"), _SHORT), tuple(filter(None, paths)), _text(item.get("why"), _LONG))


def _spot(item: Mapping[Any, Any]) -> Spot | None:
    lines = [item.get("start_line"), item.get("end_line", item.get("start_line"))]
    numbers = [line for line in lines if isinstance(line, int) and not isinstance(line, bool)]
    file = _text(item.get("file"), _LONG)
    if len(numbers) < 2 or not file:
        return None
    return Spot(file, min(numbers), max(numbers), _text(item.get("why"), _SHORT))


def _maps(value: Any) -> list[Mapping[Any, Any]]:
    return [item for item in value[:_MOST] if isinstance(item, Mapping)] if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    found = [_text(item, _LONG) for item in value[:_MOST]] if isinstance(value, list) else []
    return tuple(filter(None, found))


def _text(value: Any, most: int) -> str:
    """Give a text without what no row can hold, cut to `most`; anything else is nothing."""
    if not isinstance(value, str):
        return ""
    plain = value.replace("\0", "").encode(errors="replace").decode().strip()
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
