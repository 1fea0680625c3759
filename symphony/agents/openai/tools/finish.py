"""The tool `finish`: the model says that its work has ended, how, and guides a reviewer through it.

The account is kept as it was given; whether it fits the change is for proof to find out.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from symphony.agents.openai.tools.desk import Arguments, Desk, Result, Said, Text, Tool
from symphony.agents.protocol import Asked, Finished


class Group(Arguments):
    """Files that serve one purpose."""

    title: Text
    files: list[Text] = Field(description="Paths relative to the workspace.")
    why: Text


class Hunk(Arguments):
    """A place that a reviewer should look at."""

    file: Text = Field(description="Path relative to the workspace.")
    start_line: int = Field(description="First line, in the file as it is now.")
    end_line: int = Field(description="Last line, in the file as it is now.")
    why: Text


class Walkthrough(Arguments):
    """Lets a reviewer understand the change in a minute."""

    purpose: Text = Field(description="What the change is for, in one or two sentences.")
    groups: list[Group] = Field(description="Every changed file, in exactly one group.")
    hunks: list[Hunk] = Field(description="The few places that matter most.")
    tests_added: list[Text] = Field(description="Paths or names of new tests.")
    risks: list[Text] = Field(description="What could go wrong, honestly.")
    not_done: list[Text] = Field(description="What the issue asks for, or suggests, and the change does not do.")


class _Arguments(Arguments):
    outcome: Literal["done", "no_change", "blocked"] = Field(
        description="done: the change is complete. no_change: nothing is to be changed. blocked: a person must act first."
    )
    summary: Said = Field(
        description="done: what was changed. no_change: why nothing is. blocked: what is needed, from whom, and why."
    )
    walkthrough: Walkthrough | None = Field(default=None, description="With done: a guide through the change; else null.")


def _finish(arguments: _Arguments, _desk: Desk) -> Result:
    summary = arguments.summary.strip()
    if arguments.outcome == "blocked":
        return Result("The run waits for a person.", ending=Asked(summary))
    return Result(
        "The work has ended.",
        ending=Finished(
            summary,
            outcome=arguments.outcome,
            reason=summary if arguments.outcome == "no_change" else None,
            walkthrough=arguments.walkthrough.model_dump() if arguments.walkthrough else None,
        ),
    )


TOOL = Tool(
    name="finish",
    description=(
        "End your work on the issue. Everything in the workspace that git does not ignore is taken as your change and is "
        "then checked and reviewed: run the tests before you call this, and remove what does not belong to the change. The "
        "walkthrough is compared with the change: name every changed file and no other."
    ),
    arguments=_Arguments,
    work=_finish,
    changes=False,
)
