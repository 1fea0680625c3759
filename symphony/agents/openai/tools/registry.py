"""The tools of a run: which there are, how the model is told of them, and how a call is answered.

Invariant: `call` answers whatever the model sends and whatever lies in the workspace; what it raises says that the run
is over. What it answers is fit for a row and a request: redacted, no NUL, no half characters. The loop relies on both.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from symphony.agents.openai.tools.apply_patch import TOOL as APPLY_PATCH
from symphony.agents.openai.tools.ask_human import TOOL as ASK_HUMAN
from symphony.agents.openai.tools.desk import Desk, Result, Tool
from symphony.agents.openai.tools.finish import TOOL as FINISH
from symphony.agents.openai.tools.list_files import TOOL as LIST_FILES
from symphony.agents.openai.tools.read_file import TOOL as READ_FILE
from symphony.agents.openai.tools.search import TOOL as SEARCH
from symphony.agents.openai.tools.shell import TOOL as SHELL
from symphony.agents.protocol import Asked, Finished
from symphony.domain.errors import InvariantViolated, Poisoned, Rejected
from symphony.processes.tree import refusal
from symphony.telemetry.redaction import MASK, redact

_BUILT_IN: tuple[Tool[Any], ...] = (
    APPLY_PATCH,
    ASK_HUMAN,
    FINISH,
    LIST_FILES,
    READ_FILE,
    SEARCH,
    SHELL,
)
_SHOWN_NAME = 80

log = logging.getLogger(__name__)


def for_run(extra: Iterable[Tool[Any]] = ()) -> dict[str, Tool[Any]]:
    """Give the tools of a run by name, in the order of their names; `extra` are those of its tracker.

    Raises: InvariantViolated when two have one name.
    """
    tools: dict[str, Tool[Any]] = {}
    for tool in sorted((*_BUILT_IN, *extra), key=lambda tool: tool.name):
        if tool.name in tools:
            raise InvariantViolated(f"two tools are called {tool.name}")
        tools[tool.name] = tool
    return tools


def schema(tools: Mapping[str, Tool[Any]]) -> list[dict[str, Any]]:
    """Give the `tools` of a request; the same tools give the same bytes, which is what a prompt cache lives on."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "strict": tool.described is None,
            "parameters": tool.parameters,
        }
        for _, tool in sorted(tools.items())
    ]


def call(tools: Mapping[str, Tool[Any]], name: str, arguments: str, desk: Desk) -> Result:
    """Answer one call of the model; `arguments` is the JSON that it sent.

    Raises: Fenced, Cancelled or Transient when the run is over.
    """
    if desk.tree.ended is not None:
        raise refusal(desk.tree.name, {"ended": desk.tree.ended})
    return _presentable(_answer(tools, name, arguments, desk))


def _answer(tools: Mapping[str, Tool[Any]], name: str, arguments: str, desk: Desk) -> Result:
    tool = tools.get(name)
    if tool is None:
        return Result(f"Nothing was done: there is no tool {name[:_SHOWN_NAME]!r}. There are: {', '.join(tools)}.")
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError) as error:
        return Result(f"Nothing was done: the arguments of {name} are no valid JSON: {error}.")
    if not isinstance(given, dict):
        return Result(f"Nothing was done: the arguments of {name} must be a JSON object, not {type(given).__name__}.")
    try:
        return tool.run(given, desk)
    except (Rejected, Poisoned) as error:
        return Result(f"{name} was refused: {error}")
    except (OSError, ValueError, RecursionError) as error:
        log.warning("a tool failed", exc_info=error, extra={"tool": name})
        return Result(f"{name} failed: {error}")


def _presentable(result: Result) -> Result:
    text = _clean(result.text)
    if MASK in text and MASK not in result.text:
        text += f"\n(What looks like a secret is shown as {MASK}; leave such lines out of patches.)"
    ending = result.ending
    if isinstance(ending, Asked):
        ending = Asked(_clean(ending.question))
    elif isinstance(ending, Finished):
        ending = replace(
            ending,
            account=_clean(ending.account),
            reason=None if ending.reason is None else _clean(ending.reason),
            walkthrough=None if ending.walkthrough is None else _clean_within(dict(ending.walkthrough)),
        )
    return replace(result, text=text, ending=ending)


def _clean(text: str) -> str:
    return redact(text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode())


def _clean_within(value: Any) -> Any:
    match value:
        case str():
            return _clean(value)
        case list():
            return [_clean_within(inner) for inner in value]
        case dict():
            return {key: _clean_within(inner) for key, inner in value.items()}
        case _:
            return value
