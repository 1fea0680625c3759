"""The tool `list_files`: what files there are, without what git ignores."""

from __future__ import annotations

from pydantic import Field

from symphony.agents.openai.tools.desk import Arguments, Desk, Result, Text, Tool
from symphony.agents.openai.tools.hand import ask

_DEPTH = 3
_ENTRIES, _MOST_ENTRIES = 400, 2000


class _Arguments(Arguments):
    path: Text | None = Field(default=None, description="The folder, relative to the workspace; all of it when null.")
    depth: int | None = Field(
        default=None,
        description=f"How many levels of folders are opened: {_DEPTH} when null. Of deeper ones the count is told.",
    )
    limit: int | None = Field(default=None, description=f"How many entries: {_ENTRIES} when null, at most {_MOST_ENTRIES}.")


def _list(arguments: _Arguments, desk: Desk) -> Result:
    limit = _ENTRIES if arguments.limit is None else min(max(arguments.limit, 1), _MOST_ENTRIES)
    depth = _DEPTH if arguments.depth is None else max(arguments.depth, 1)
    return ask(desk, "list", {"path": arguments.path or ".", "depth": depth, "limit": limit})


TOOL = Tool(
    name="list_files",
    description="List the files of the workspace or of one of its folders, without what .gitignore names.",
    arguments=_Arguments,
    work=_list,
    changes=False,
)
