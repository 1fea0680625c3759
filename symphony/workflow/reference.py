"""Writes docs/workflow.md, the reference of every front matter key, from the models themselves.

`python -m symphony.workflow.reference docs/workflow.md`; a test compares the file with what the models say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from symphony.workflow.profiles import PROFILES
from symphony.workflow.schema import Workflow

_HEAD = """\
# WORKFLOW.md

The front matter is YAML; the text below it is the prompt, a Liquid template. This page is generated from the models
that read it: `python -m symphony.workflow.reference docs/workflow.md`.

A key left out, or null, has its default. Unknown keys are kept and warned of. A change applies at the *next poll*, at
the *next attempt* of a run, or after a *restart* of `symphony up`. Relative paths start from the folder of
WORKFLOW.md; `~` and `$NAME` are resolved in paths, in `repository.url` and in `tracker.provider` by each process in
its own environment. A file with none of `repository`, `agent.kind` and `agent.model` is in *compatible mode*.
Plain words follow YAML 1.2: `off` and `no` are words, not booleans.

The prompt knows `issue` (every normalised field) and `attempt` (null on the first attempt, else a number). Unknown
variables and filters fail the attempt. An empty prompt is replaced by one of identifier, title and description.
"""

_ROW = "| {} |"
_KINDS: Mapping[object, str] = {int: "integer", float: "number", str: "text", ByteSize: "size", dict: "map"}


def document() -> str:
    """Give the whole page."""
    parts = [_HEAD, *_section(Workflow, "", set()), "## Trackers\n", *_trackers()]
    return "\n".join(parts).rstrip() + "\n"


def _section(model: type[BaseModel], prefix: str, told: set[type[BaseModel]]) -> Iterator[str]:
    told.add(model)
    below = {name: each for name, info in model.model_fields.items() if (each := _model_in(info.annotation))}
    keys = {name: info for name, info in model.model_fields.items() if below.get(name, model) in told}
    if keys:
        title = f"`{prefix}`" if prefix else "Top level"
        yield f"## {title}\n\n{_sentence(model)}\n"
        yield from ("| key | type | default | meaning | applies |", "|---|---|---|---|---|")
        for name, info in keys.items():
            yield _row(f"`{name}`", _type(info.annotation), _default(info), info.description or "", _applies(info))
        yield ""
    for name, each in below.items():
        if each not in told:
            suffix = _suffix(model.model_fields[name].annotation)
            yield from _section(each, f"{prefix}{'.' if prefix else ''}{name}{suffix}", told)


def _trackers() -> Iterator[str]:
    for kind, profile in PROFILES.items():
        absent = "" if profile.in_this_build else " (not in this build)"
        yield f"### `{kind}`{absent}\n"
        for what, states in (("Active", profile.active_states), ("Terminal", profile.terminal_states)):
            yield f"- {what} states: {', '.join(states) if states else 'must be written in the file'}."
        for name in profile.text_keys:
            notes = [
                "secret" if name in (*profile.secrets, *profile.optional_secrets) else "",
                "path" if name in profile.paths else "",
                "required" if name in profile.required or name in profile.secrets else "",
                f"default `{profile.defaults[name]}`" if name in profile.defaults else "",
                f"left out: `{profile.fallbacks[name]}` of the environment" if name in profile.fallbacks else "",
            ]
            yield f"- `tracker.provider.{name}`: {', '.join(filter(None, notes))}."
        yield ""


def _row(*cells: str) -> str:
    return _ROW.format(" | ".join(cell.replace("|", "\\|") for cell in cells))


def _sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


def _applies(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra.get("applies", "")) if isinstance(extra, dict) else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if isinstance(info.json_schema_extra, dict) and (shown := info.json_schema_extra.get("shown")):
        return str(shown)
    value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, ByteSize):
        return f"`{value.human_readable(separator='').replace('.0', '')}`"
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " \\| ".join(f"`{word}`" for word in arguments).replace("\\|", "|")
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "map" if arguments[1] is Any else f"map of {_type(arguments[1])}"
    if hasattr(annotation, "__metadata__"):
        return _type(annotation.__origin__)
    if arguments:
        return " or ".join("null" if part is type(None) else _type(part) for part in arguments)
    return "map" if _model_in(annotation) else _KINDS.get(annotation, "any")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _suffix(annotation: Any) -> str:
    origin = get_origin(annotation)
    return "[]" if origin is tuple else ".<label>" if origin is dict else ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
