"""The tool `ask_human`: the run waits until a person has answered."""

from __future__ import annotations

from pydantic import Field

from symphony.agents.openai.tools.desk import Arguments, Desk, Result, Said, Tool
from symphony.agents.protocol import Asked


class _Arguments(Arguments):
    question: Said = Field(
        description="One question with what a person needs to know to answer it, and the choices you see."
    )


def _ask(arguments: _Arguments, _desk: Desk) -> Result:
    return Result("The question is put to a person.", ending=Asked(arguments.question.strip()))


TOOL = Tool(
    name="ask_human",
    description=(
        "Ask a person and stop working until the answer is there, which may take days. Only for what nobody but a person "
        "can decide or provide: a contradiction in the issue, a missing credential, a choice that cannot be taken back. "
        "Whatever the repository can tell you, find out yourself."
    ),
    arguments=_Arguments,
    work=_ask,
    changes=False,
)
