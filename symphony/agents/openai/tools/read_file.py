"""The tool `read_file`: a part of a text file with its line numbers, or an image."""

from __future__ import annotations

from pydantic import Field

from symphony.agents.openai.tools.desk import Arguments, Desk, Result, Said, Tool
from symphony.agents.openai.tools.hand import ask

_LINES, _MOST_LINES = 1000, 5000


class _Arguments(Arguments):
    path: Said = Field(description="Relative to the workspace.")
    offset: int | None = Field(default=None, description="The first line to show, from 1; 1 when null.")
    limit: int | None = Field(
        default=None, description=f"How many lines: {_LINES} when null, at most {_MOST_LINES}, and about 48 KiB."
    )


def _read(arguments: _Arguments, desk: Desk) -> Result:
    limit = _LINES if arguments.limit is None else min(max(arguments.limit, 1), _MOST_LINES)
    return ask(desk, "read", {"path": arguments.path, "offset": max(arguments.offset or 1, 1), "limit": limit})


TOOL = Tool(
    name="read_file",
    description="Read a text file of the workspace, with line numbers, or look at an image (PNG, JPEG, GIF, WebP).",
    arguments=_Arguments,
    work=_read,
    changes=False,
)
