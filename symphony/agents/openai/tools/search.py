"""The tool `search`: the lines that match an expression, without what git ignores."""

from __future__ import annotations

from pydantic import Field

from symphony.agents.openai.tools.desk import Arguments, Desk, Result, Said, Text, Tool
from symphony.agents.openai.tools.hand import ask

_MATCHES, _MOST_MATCHES = 100, 1000


class _Arguments(Arguments):
    pattern: Said = Field(description="A regular expression, matched line by line. (?i) at its start ignores case.")
    path: Text | None = Field(default=None, description="A file or folder, relative to the workspace; all of it when null.")
    glob: Text | None = Field(
        default=None,
        description="Only files whose name, or whose path where it has a slash, fits: *.py, src/**/*.{ts,tsx}, !*.lock",
    )
    limit: int | None = Field(default=None, description=f"How many lines: {_MATCHES} when null, at most {_MOST_MATCHES}.")


def _search(arguments: _Arguments, desk: Desk) -> Result:
    limit = _MATCHES if arguments.limit is None else min(max(arguments.limit, 1), _MOST_MATCHES)
    request = {"pattern": arguments.pattern, "path": arguments.path or ".", "glob": arguments.glob, "limit": limit}
    return ask(desk, "search", request)


TOOL = Tool(
    name="search",
    description="Search the text files of the workspace for a regular expression, without what .gitignore names.",
    arguments=_Arguments,
    work=_search,
    changes=False,
)
