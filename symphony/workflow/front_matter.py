"""Text to (map, line of every key, prompt): the outer shape of WORKFLOW.md (specification 5.2).

YAML 1.2's core rules decide what a plain word is, so that `off` is a word, `010` is ten and a date is text, as in
the reference; every value is JSON-safe. Whatever a file contains, the answer is a value or an `InvalidWorkflow`:
size, depth and the expansion of aliases are bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from symphony.workflow.findings import Finding, InvalidWorkflow, KeyPath, Places, dotted

MAX_FILE_BYTES = 1 << 20
MAX_FRONT_MATTER_CHARACTERS = 1 << 17
MAX_EXPANDED = 1 << 20
"""Characters and nodes that a front matter may have once its aliases are followed."""

PARSE_ERROR = "workflow_parse_error"
NOT_A_MAP = "workflow_front_matter_not_a_map"
_FENCE = "---"
_FIRST_LINE = 2
_LONGEST_INTEGER = 64
_TAG = "tag:yaml.org,2002:"
_TABS = "indent with spaces, not tabs"


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes whose tags follow YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (pyyaml's own shape)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    _CoreLoader.add_implicit_resolver(
        _TAG + _tag, re.compile(f"(?:{_pattern})\\Z"), ["" if c == "\0" else c for c in _first]
    )


@dataclass(frozen=True, slots=True)
class Document:
    """A WORKFLOW.md taken apart; `prompt_line` is where the prompt begins."""

    config: dict[str, Any] = field(repr=False)
    prompt: str = field(repr=False)
    prompt_line: int
    places: Places = field(repr=False)
    faults: tuple[Finding, ...]
    closed: bool


def decode(data: bytes, *, place: str) -> str:
    """Turn a file's bytes into text.

    Raises:
        InvalidWorkflow: too large, not UTF-8, or with NUL bytes.
    """
    if len(data) > MAX_FILE_BYTES:
        _refuse(place, None, f"the file is larger than {MAX_FILE_BYTES >> 20} MiB", "is this the right file?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse(place, data.count(b"\n", 0, error.start) + 1, "the file is not UTF-8 text", "save it as UTF-8")
    return text


def take_apart(text: str, *, place: str) -> Document:
    """Split front matter from prompt and read the front matter.

    Raises:
        InvalidWorkflow: no YAML, no map, or beyond the bounds.
    """
    if (nul := text.find("\0")) >= 0:
        _refuse(place, text.count("\n", 0, nul) + 1, "the file contains a NUL byte", "save it as plain text")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[0].rstrip() != _FENCE:
        return _document({}, lines, 1, Places(place, {}))
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    cure = None if end else "close it with a line of three dashes"
    config, places, faults = _read_yaml("\n".join([*lines[1:end], ""]), place, cure)
    body = lines[end + 1 :] if end else []
    return _document(config, body, (end or len(lines)) + 2, places, faults, closed=end is not None)


def _document(
    config: dict[str, Any],
    body: list[str],
    line: int,
    places: Places,
    faults: Iterable[Finding] = (),
    *,
    closed: bool = True,
) -> Document:
    blank = next((n for n, text in enumerate(body) if text.strip()), 0)
    return Document(config, "\n".join(body).strip(), line + blank, places, tuple(faults), closed)


def _read_yaml(text: str, place: str, cure: str | None) -> tuple[dict[str, Any], Places, list[Finding]]:
    if len(text) > MAX_FRONT_MATTER_CHARACTERS:
        limit = MAX_FRONT_MATTER_CHARACTERS >> 10
        _refuse(place, 1, f"the front matter is longer than {limit} KiB", cure or "move long text into the prompt")
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
        if node is None:
            return {}, Places(place, {}), []
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
            message = f"the front matter must be a map of keys, not {kind}"
            raise InvalidWorkflow([Finding(NOT_A_MAP, message, None, node.start_mark.line + _FIRST_LINE, place, cure)])
        reader = _Reader(place)
        return reader.map(node, ()), Places(place, reader.lines), list(dict.fromkeys(reader.faults))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + _FIRST_LINE
        _refuse(place, line, f"the front matter contains the control character {error.character:#04x}", "remove it")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "it cannot be read"
        line, column = (mark.line + _FIRST_LINE, f", column {mark.column + 1}") if mark else (1, "")
        _refuse(place, line, f"the front matter is not valid YAML: {what}{column}", _TABS if "'\\t'" in what else cure)
    except RecursionError:
        _refuse(place, 1, "the front matter is nested too deeply", cure)


def _refuse(place: str, line: int | None, message: str, cure: str | None) -> NoReturn:
    raise InvalidWorkflow([Finding(PARSE_ERROR, message, None, line, place, cure)]) from None


class _Reader:
    """Turns nodes into plain values, remembering lines and collecting faults."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.lines: dict[KeyPath, int] = {}
        self.faults: list[Finding] = []
        self._expanded = 0

    def map(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                merged = self._merged(value, path) | merged
        own: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, path, "a key must be a single word")
            elif key.value in own:
                first = self.lines[*path, key.value]
                self._fault(key, (*path, key.value), f"{{}} stands here twice, first on line {first}", "keep one")
            elif key.tag != _TAG + "merge":
                self.lines[*path, key.value] = key.start_mark.line + _FIRST_LINE
                self._text(key, path)
                own[key.value] = self.value(value, (*path, key.value))
        return merged | own

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count(node, 1)
        self.lines.setdefault(path, node.start_mark.line + _FIRST_LINE)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self.map(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, n)) for n, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            self._count(node, len(node.value))
            return self._scalar(node, path)
        return self._fault(node, path, f"{{}} has a tag that is not supported here: {node.tag}", "remove the tag")

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for each in nodes:
            self._count(each, 1)
            if isinstance(each, yaml.MappingNode):
                found = self.map(each, path) | found
            else:
                self._fault(each, path, "only a map can be merged with <<")
        return found

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = self._text(node, path)
        match node.tag.removeprefix(_TAG):
            case "str" | "merge":
                return text
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if len(text) <= _LONGEST_INTEGER:
                return _number(text, lambda word: int(word, 0 if word[:2] in ("0o", "0x") else 10))
            case "float":
                return _number(text, float)
            case "int":
                return text
            case _:
                return self._fault(node, path, f"{{}} has a tag that is not supported here: {node.tag}", "remove it")

    def _text(self, node: yaml.ScalarNode, path: KeyPath) -> str:
        text: str = node.value
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self._fault(node, path, "{} contains a character that no file or program can take")
        return text

    def _count(self, node: yaml.Node, size: int) -> None:
        self._expanded += size
        if self._expanded > MAX_EXPANDED:
            line = node.start_mark.line + _FIRST_LINE
            _refuse(self.place, line, "the front matter grows without measure when its aliases are followed", None)

    def _fault(self, node: yaml.Node, path: KeyPath, message: str, cure: str | None = None) -> None:
        line = node.start_mark.line + _FIRST_LINE
        name = dotted(path) or "the front matter"
        self.faults.append(Finding(PARSE_ERROR, message.format(name), dotted(path), line, self.place, cure))


def _number(text: str, convert: Any) -> Any:
    """Give a number that JSON can carry, else the text as it stands."""
    try:
        number = convert(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
