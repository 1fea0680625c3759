"""One issue's Markdown file as text: the front matter read, and its `state` changed without touching another byte.

Invariant: `with_state` changes the value of `state` and nothing else, or raises. Bytes that are not UTF-8 travel as
surrogates, so a file comes back as it was. YAML is read as a flat stream of events: nothing in a file can recurse.
Used by the files adapter only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import yaml

from symphony.domain.errors import Transient
from symphony.domain.issue import normalized_labels

_FRONT_MATTER = re.compile(
    r"\A(?P<opening>\ufeff?---[ \t]*\r?\n)(?P<yaml>.*?)(?P<closing>^(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z))",
    re.DOTALL | re.MULTILINE,
)
_LARGEST_FRONT_MATTER = 64 * 1024
_DEEPEST = 20
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t]+)*")
_PLAIN = re.compile(r"[^\W\d_][\w .()/+-]*")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Malformed(Transient):
    """A file that is no issue until a person mends it; what we want of it is worth asking again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, category="tracker_response")


@dataclass(frozen=True, slots=True)
class Header:
    """What the front matter says, normalised."""

    title: str
    state: str
    priority: int | None = None
    labels: tuple[str, ...] = ()
    blocked_by: tuple[str, ...] = ()
    assignee: str | None = None
    url: str | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Field:
    """A top-level value, where it stands in the front matter, and whether nothing but one scalar stands there."""

    values: tuple[str, ...]
    start: int
    end: int
    scalar: bool

    @property
    def text(self) -> str | None:
        return self.values[0] if self.scalar and self.values else None


@dataclass(frozen=True, slots=True)
class Document:
    """A file in parts; joined they are the file."""

    opening: str
    front: str
    closing: str
    body: str
    header: Header

    @classmethod
    def parse(cls, text: str) -> Document:
        """Take a file apart. Raises: Malformed."""
        opening, front, closing, body = split(text)
        return cls(opening, front, closing, body, _header(front))

    def with_body(self, body: str) -> str:
        """Give the file's text with another body."""
        return self.opening + self.front + self.closing + body

    def with_state(self, to: str) -> str:
        """Give the file's text with another state. Raises: Malformed where it cannot be changed alone."""
        place = _fields(self.front)["state"]
        old = self.front[place.start : place.end]
        prefix = match.group() if (match := _PROPERTIES.match(old)) else ""
        ending = old[len(old.rstrip()) :]
        front = self.front[: place.start] + prefix + _scalar(to, like=old[len(prefix) :]) + ending + self.front[place.end :]
        if _header(front) != replace(self.header, state=to.strip()):
            raise Malformed("its `state` is written in a way that cannot be changed alone: write it as `state: Todo`")
        return self.opening + front + self.closing + self.body


def split(text: str) -> tuple[str, str, str, str]:
    """Split a file into opening fence, front matter, closing fence and body. Raises: Malformed."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        fault = "its front matter has no closing `---`" if text.lstrip("\ufeff").startswith("---") else "no front matter"
        raise Malformed(f"{fault}: it must begin with a block of YAML between two lines `---`")
    if len(match["yaml"]) > _LARGEST_FRONT_MATTER:
        raise Malformed(f"its front matter is larger than {_LARGEST_FRONT_MATTER // 1024} KiB")
    return match["opening"], match["yaml"], match["closing"], text[match.end() :]


def clean(text: str) -> str:
    """Make a text safe to store and show: no NUL, no byte that is not UTF-8."""
    return text.replace("\0", "\ufffd").encode(errors="surrogatepass").decode(errors="replace")


def instant(text: str) -> datetime | None:
    """Read an RFC 3339 instant or a date, UTC where it names no zone; None where it is neither."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _header(front: str) -> Header:
    fields = _fields(front)
    priority = fields["priority"].text if "priority" in fields else None
    created = _optional(fields, "created") or _optional(fields, "created_at")
    return Header(
        title=" ".join(_required(fields, "title").split()),
        state=_required(fields, "state"),
        priority=int(priority) if priority and re.fullmatch(r"[+-]?[0-9]{1,9}", priority) else None,
        labels=normalized_labels(_list(fields, "labels")),
        blocked_by=tuple(dict.fromkeys(_list(fields, "blocked_by"))),
        assignee=_optional(fields, "assignee"),
        url=_optional(fields, "url"),
        created_at=instant(created) if created else None,
    )


def _required(fields: dict[str, _Field], name: str) -> str:
    text = fields[name].text if name in fields else None
    if not text or not text.strip():
        raise Malformed(f"its front matter has no `{name}`")
    if any(ord(character) < 32 and character not in "\t\n" for character in text):
        raise Malformed(f"its `{name}` has control characters")
    return text.strip()


def _optional(fields: dict[str, _Field], name: str) -> str | None:
    text = fields[name].text if name in fields else None
    return clean(text).strip() or None if text else None


def _list(fields: dict[str, _Field], name: str) -> list[str]:
    field = fields.get(name)
    if field is None:
        return []
    values = field.text.split(",") if field.scalar and field.text else field.values
    return [stripped for value in values if (stripped := clean(value).strip())]


def _fields(front: str) -> dict[str, _Field]:
    """Read the top-level keys. Raises: Malformed."""
    try:
        front.encode()
        return _top_level(iter(yaml.parse(front, Loader=_LOADER)))
    except UnicodeEncodeError:
        raise Malformed("its front matter is not UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 2}: " if mark is not None else ""
        raise Malformed(f"its front matter is not YAML: {place}{getattr(error, 'problem', None) or 'unreadable'}") from None


def _top_level(events: Iterator[yaml.Event]) -> dict[str, _Field]:
    fields: dict[str, _Field] = {}
    anchors: dict[str, str] = {}
    while isinstance(event := next(events), (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
        pass
    if not isinstance(event, yaml.MappingStartEvent):
        raise Malformed("its front matter is no mapping of keys to values")
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        name = event.value if isinstance(event, yaml.ScalarEvent) else None
        _read(event, events, anchors)
        field = _read(next(events), events, anchors)
        if name in fields and name in Header.__dataclass_fields__:
            raise Malformed(f"its front matter says `{name}` twice")
        if name is not None:
            fields[name] = field
    for _ in events:
        pass
    return fields


def _read(first: yaml.Event, events: Iterator[yaml.Event], anchors: dict[str, str]) -> _Field:
    """Take one value, with everything inside it, from the events."""
    values: list[str] = []
    depth = 0
    event = first
    while True:
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
            if depth > _DEEPEST:
                raise Malformed("its front matter is nested too deeply")
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            values += [anchors[event.anchor]] if depth < 2 and event.anchor in anchors else []
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                anchors[event.anchor] = event.value
            if depth < 2 and not (event.implicit[0] and event.value in _NULLS):
                values.append(event.value)
        if depth == 0:
            break
        event = next(events)
    scalar = isinstance(first, (yaml.ScalarEvent, yaml.AliasEvent))
    if isinstance(first, yaml.MappingStartEvent):
        values.clear()
    assert first.start_mark is not None and event.end_mark is not None
    return _Field(tuple(values), first.start_mark.index, event.end_mark.index, scalar)


def _scalar(value: str, *, like: str) -> str:
    """Write a YAML scalar, in the person's way of quoting where that is safe."""
    if like.startswith("'") and "\n" not in value:
        return "'" + value.replace("'", "''") + "'"
    plain = _PLAIN.fullmatch(value) and value == value.strip() and yaml.safe_load(value) == value
    return value if plain and not like.startswith('"') else json.dumps(value, ensure_ascii=False)
