"""The prompt: a Liquid template rendered strictly (specification 5.4, 12).

Unknown variables, fields and filters fail; nothing outside the template is read; loops and output are bounded. What
an issue contains is data: it is never parsed as a template. Attempts render with `render`; `symphony check` looks at
every branch with `validate_template`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from liquid import BoundTemplate, Environment, StrictUndefined
from liquid.exceptions import LiquidError, ResourceLimitError

from symphony.domain.issue import Issue
from symphony.workflow.findings import Finding

PARSE_ERROR = "template_parse_error"
RENDER_ERROR = "template_render_error"
MOST_LOOPS = 100_000
MOST_OUTPUT_BYTES = 4 << 20

DEFAULT_PROMPT = """\
You are working on an issue from the configured tracker.

{{ issue.identifier }}: {{ issue.title }}
{% if issue.description %}
{{ issue.description }}
{% endif %}"""

_ISSUE_FIELDS = frozenset(field.name for field in fields(Issue))
# What a filter may raise besides the engine's own errors, given odd but possible arguments.
_FAILURES = (LiquidError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class _StrictEnvironment(Environment):
    loop_iteration_limit = MOST_LOOPS
    output_stream_limit = MOST_OUTPUT_BYTES
    local_namespace_limit = MOST_OUTPUT_BYTES


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a range that a filter would spell out in full: the engine bounds those of loops only."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if any(isinstance(argument, range) and len(argument) > MOST_LOOPS for argument in arguments):
            raise ResourceLimitError("the range is too long", token=None)
        return function(*arguments, **options)

    return call


def _environment() -> Environment:
    environment = _StrictEnvironment(undefined=StrictUndefined)
    for tag in ("include", "render"):
        del environment.tags[tag]
    for name, function in environment.filters.items():
        environment.filters[name] = _bounded(function)
    return environment


_ENVIRONMENT = _environment()


def render(
    template: str,
    *,
    issue: Mapping[str, Any],
    attempt: int | None,
    extra: Mapping[str, Any] | None = None,
    place: str = "WORKFLOW.md",
    first_line: int = 1,
) -> str:
    """Render the prompt of an attempt; `first_line` is where the template begins in `place`.

    Raises:
        ConfigError: `template_parse_error` or `template_render_error`, with the line.
    """
    try:
        bound = _parse(template)
    except _FAILURES as error:
        raise _finding(error, PARSE_ERROR, place, first_line).as_error() from None
    try:
        return str(bound.render(**_plain({**(extra or {}), "issue": issue, "attempt": attempt})))
    except _FAILURES as error:
        raise _finding(error, RENDER_ERROR, place, first_line).as_error() from None


def validate_template(
    template: str, *, extra: Collection[str] = (), place: str = "WORKFLOW.md", first_line: int = 1
) -> list[Finding]:
    """Tell what would fail in any branch of the template; `extra` names further variables."""
    try:
        analysis = _parse(template).analyze(include_partials=False)
    except _FAILURES as error:
        return [_finding(error, PARSE_ERROR, place, first_line)]
    unknown = []
    for name, spans in analysis.filters.items():
        if name not in _ENVIRONMENT.filters:
            unknown += [(span.index, f"the filter {name} is unknown") for span in spans]
    for name, uses in analysis.globals.items():
        if name not in {"issue", "attempt", *extra}:
            unknown += [(use.span.index, f"the variable {name} is unknown") for use in uses]
    for use in analysis.globals.get("issue", ()):
        if len(use.segments) > 1 and isinstance(use.segments[1], str) and use.segments[1] not in _ISSUE_FIELDS:
            unknown.append((use.span.index, f"an issue has no field {use.segments[1]}"))
    return [
        Finding(RENDER_ERROR, f"the prompt cannot be rendered: {what}", None, _line(template, at, first_line), place)
        for at, what in sorted(unknown)
    ]


def _parse(template: str) -> BoundTemplate:
    return _ENVIRONMENT.from_string(template if template.strip() else DEFAULT_PROMPT)


def _finding(error: Exception, category: str, place: str, first_line: int) -> Finding:
    context = error.context() if isinstance(error, LiquidError) else None
    what = "is not a valid template" if category == PARSE_ERROR else "cannot be rendered"
    reason = getattr(error, "message", None) or str(error) or type(error).__name__
    line = first_line + context[0] - 1 if context else None
    return Finding(category, f"the prompt {what}: {reason}", None, line, place)


def _line(template: str, index: int, first_line: int) -> int:
    return first_line + template.count("\n", 0, index)


def _plain(value: Any) -> Any:
    """Give maps with string keys, lists and plain values, so that a template reaches nothing else."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)
