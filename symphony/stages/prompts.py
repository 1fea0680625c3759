"""What an agent is told: the workflow's template, what a proof or a person demands, and how to go on.

What comes from the tracker or from a check is quoted as data.
"""

from __future__ import annotations

from symphony.stages.context import RunContext
from symphony.workflow.prompt import render


def opening(context: RunContext) -> str:
    """Render the workflow's prompt."""
    return render(
        context.prompt_template,
        issue=context.issue.as_json(),
        attempt=context.number - 1 or None,
        place="WORKFLOW.md",
        first_line=context.prompt_line,
    )


def news(context: RunContext) -> str | None:
    """Say what a proof or a person demands of the next turn; None where nothing is demanded."""
    question, feedback = context.run.question, context.run.feedback
    if feedback is None:
        return None
    if question is not None:
        return f"## You had asked\n\n{_quote(question)}\n\n## The answer\n\n{_quote(feedback)}\n"
    return f"## What must be better than last time\n\n{_quote(feedback)}\n"


def continuation(number: int, most: int) -> str:
    """Say to an agent that knows the issue already that there is another turn."""
    return (
        f"The issue is still active: this is turn {number} of at most {most} in this session. Go on from the present state "
        "of the workspace and of what you know; do not begin anew. End your turn when nothing is left that you can do.\n"
    )


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
