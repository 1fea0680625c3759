"""A front matter to its typed view, every fault of it told at once with line and cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from symphony.workflow.findings import INVALID, Finding, KeyPath, Places, dotted
from symphony.workflow.profiles import PROFILES
from symphony.workflow.schema import Workflow
from symphony.workflow.schema.tracker import INVALID_TRACKER

UNSUPPORTED_KIND = "unsupported_tracker_kind"
_SHOWN = 40
_QUOTE = "put it in quotes"

_SENTENCES = {
    "missing": ("is required", None),
    "int_type": ("must be a whole number", None),
    "int_parsing": ("must be a whole number", None),
    "int_from_float": ("must be a whole number", None),
    "int_parsing_size": ("must be a whole number of ordinary size", None),
    "float_type": ("must be a number", None),
    "float_parsing": ("must be a number", None),
    "finite_number": ("must be a number", None),
    "string_type": ("must be text", _QUOTE),
    "string_pattern_mismatch": ("must be the name of an environment variable", None),
    "byte_size": ("must be a size such as 512MiB or 4GiB", None),
    "byte_size_unit": ("must be a size such as 512MiB or 4GiB", None),
    "dict_type": ("must be a map of keys", None),
    "model_type": ("must be a map of keys", None),
    "model_attributes_type": ("must be a map of keys", None),
    "tuple_type": ("must be a list", "begin each item with a dash"),
    "list_type": ("must be a list", "begin each item with a dash"),
}
_KEEPS_VALUE_TO_ITSELF = {"missing", "dict_type", "model_type", "model_attributes_type", "tuple_type", "list_type"}


def validate(config: Mapping[str, Any], places: Places) -> tuple[Workflow | None, list[Finding]]:
    """Give the typed view, or every fault that stands against it."""
    try:
        return Workflow.model_validate(config), []
    except ValidationError as error:
        found = [_finding(details, places) for details in error.errors(include_url=False)]
        return None, list(dict.fromkeys(found))


def _finding(details: ErrorDetails, places: Places) -> Finding:
    context = details.get("ctx", {})
    path: KeyPath = (*details["loc"], *(context.get("path", ()) if details["type"] == "fault" else ()))
    name = dotted(path) or "the front matter"
    if details["type"] == "fault":
        sentence, cure, category = context["sentence"], context["cure"], context["category"]
        message = f"{name} {sentence}" if sentence.startswith(("must ", "is ")) else sentence
        return places.finding(category or _category(path), path, message, cure=cure)
    if path == ("tracker", "kind"):
        return _about_kind(details, places)
    sentence, cure = _sentence(details, path)
    return places.finding(_category(path), path, f"{name} {sentence}", cure=cure)


def _about_kind(details: ErrorDetails, places: Places) -> Finding:
    path: KeyPath = ("tracker", "kind")
    known = f"use one of {', '.join(kind for kind, profile in PROFILES.items() if profile.in_this_build)}"
    if details["type"] == "missing":
        return places.finding(UNSUPPORTED_KIND, path, "tracker.kind is required", cure=known)
    return places.finding(UNSUPPORTED_KIND, path, f"tracker.kind{_shown(details)} is not supported", cure=known)


def _category(path: KeyPath) -> str:
    return INVALID_TRACKER if path[:2] == ("tracker", "provider") else INVALID


def _sentence(details: ErrorDetails, path: KeyPath) -> tuple[str, str | None]:
    context = details.get("ctx", {})
    kind = details["type"]
    if kind in ("greater_than_equal", "greater_than", "less_than_equal"):
        word = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}[kind]
        limit = context.get("ge", context.get("gt", context.get("le")))
        return f"must be {word} {limit}, not{_shown(details)}", None
    if kind == "literal_error":
        return f"must be one of {context['expected'].replace(' or ', ', ')}{_not(details)}", None
    if kind == "extra_forbidden":
        return "is not a key of this section", f"its keys are {', '.join(_keys_beside(path))}"
    sentence, cure = _SENTENCES.get(kind, (details["msg"], None))
    return sentence if kind in _KEEPS_VALUE_TO_ITSELF else sentence + _not(details), cure


def _keys_beside(path: KeyPath) -> list[str]:
    section: Any = Workflow
    for part in path[:-1]:
        section = section.model_fields[part].annotation
    return list(section.model_fields)


def _not(details: ErrorDetails) -> str:
    shown = _shown(details)
    return f", not{shown}" if shown else ""


def _shown(details: ErrorDetails) -> str:
    """Show a short plain value; adapters' keys and urls may be secret and are never shown."""
    value = details["input"]
    hidden = {"provider", "url", "env", "authors"} & set(details["loc"])
    if hidden or not isinstance(value, (str, int, float, bool)):
        return ""
    text = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)
    return f" {text}" if len(text) <= _SHOWN else f" {text[:_SHOWN]}…"
