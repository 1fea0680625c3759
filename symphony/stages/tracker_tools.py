"""What an agent on a model may do with the tracker: read its scope, comment on its issue, move it where that is its part.

Invariant: Symphony's credential does the work and the guard stands here, in front of it: with a repository an issue is
never moved by its agent into merging or a terminal state, no other issue is written to, and a comment is written once, with
the row of the call that made it. A tracker's own tools are guarded by the tracker. Used by agents of kind `openai`.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ConfigDict, Field

from symphony.agents.openai.tools import Arguments, Desk, Result, Tool
from symphony.agents.openai.tools.desk import Said, Text
from symphony.domain.errors import Rejected, SymphonyError, Transient
from symphony.domain.issue import Issue, normalized_state
from symphony.ledger import effects, issues
from symphony.ledger.database import FencedTransaction
from symphony.stages.context import RunContext
from symphony.trackers.protocol import Mandate, NativeTool, ServesAgents, is_ours

_MOST_LISTED = 100


class _Given(Arguments):
    """What a tracker's own tool is given, which checks it itself."""

    model_config = ConfigDict(extra="allow")


class _ReadIssue(Arguments):
    identifier: Text | None = Field(default=None, description="As people call it, such as DEMO-1; null: your own issue.")


class _ListIssues(Arguments):
    states: list[Text] | None = Field(default=None, description="Names of states; null: the active ones.")


class _Comment(Arguments):
    body: Said = Field(description="Markdown, for the people who follow the issue.")


class _Move(Arguments):
    state: Said = Field(description="Name of the state.")


def tracker_tools(context: RunContext) -> list[Tool[Any]]:
    """Give the tools that the workflow's `tracker.tools` grants this run."""
    if context.workflow.tracker.tools == "off":
        return []
    desk = _TrackerDesk(context)
    reading: list[Tool[Any]] = [
        Tool("read_issue", "Read an issue of this board with its comments.", _ReadIssue, desk.read, changes=False),
        Tool("list_issues", "List the issues of this board.", _ListIssues, desk.list, changes=False),
    ]
    writing: list[Tool[Any]] = [
        Tool("comment_issue", "Write a comment on your own issue.", _Comment, desk.comment, changes=True)
    ]
    if context.workflow.repository is None or context.workflow.tracker.tools == "raw":
        writing.append(Tool("move_issue", "Move your own issue to another state.", _Move, desk.move, changes=True))
    return reading + writing + _native_tools(context)


def _native_tools(context: RunContext) -> list[Tool[Any]]:
    if not isinstance(context.tracker, ServesAgents):
        return []
    return [_native(tool) for tool in context.tracker.native_tools(mandate_of(context))]


def mandate_of(context: RunContext) -> Mandate:
    """Say for whom an agent of this attempt acts with the tracker's own tools, guarded unless the workflow says `raw`."""
    tracker, by_label = context.workflow.tracker, context.workflow.agent.by_label
    named = (state for state in tracker.states.model_dump().values() if state is not None)
    return Mandate(
        issue=context.issue,
        run=str(context.run.id),
        is_guarded=tracker.tools == "guarded",
        reserved_states=frozenset(map(normalized_state, named)),
        reserved_labels=frozenset(label.strip().casefold() for label in (*tracker.required_labels, *by_label)),
    )


def _native(tool: NativeTool) -> Tool[Any]:
    def work(arguments: _Given, _: Desk) -> Result:
        return Result(tool.run(arguments.model_extra or {}).text)

    return Tool(tool.name, tool.description, _Given, work, changes=True, described=tool.parameters)


class _TrackerDesk:
    """The work of the tools; what the tracker refuses is told to the model, which can do something else."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def read(self, arguments: _ReadIssue, _desk: Desk) -> Result:
        """Read one issue of the workflow's scope."""
        context = self._context
        tracker_id = context.issue.id
        if arguments.identifier is not None and arguments.identifier != context.issue.identifier:
            workflow_id, name = context.run.workflow_id, arguments.identifier
            rows = [
                row for row in context.database.transact(lambda t: issues.find(t, name)) if row.workflow_id == workflow_id
            ]
            if len(rows) != 1:
                return Result(f"This board has no issue {arguments.identifier!r}.")
            tracker_id = rows[0].tracker_id
        try:
            found = context.tracker.fetch_issues_by_ids([tracker_id])
            if not found:
                return Result("The issue is no longer visible.")
            comments = context.tracker.fetch_comments(found[0])
        except (Transient, Rejected) as error:
            return Result(f"The tracker does not answer: {error}")
        told = _shown(found[0]) | {
            "description": found[0].description,
            "comments": [
                {"author": "Symphony" if is_ours(one) else one.author, "at": str(one.created_at or ""), "body": one.body}
                for one in comments
            ],
        }
        return Result(json.dumps(told, ensure_ascii=False, indent=1))

    def list(self, arguments: _ListIssues, _desk: Desk) -> Result:
        """List issues by their states."""
        states = arguments.states if arguments.states is not None else list(self._context.workflow.tracker.active_states)
        try:
            found = self._context.tracker.fetch_issues_by_states(states).issues
        except (Transient, Rejected) as error:
            return Result(f"The tracker does not answer: {error}")
        shown = [_shown(issue) for issue in found[:_MOST_LISTED]]
        more = f"\n{len(found) - _MOST_LISTED} more are left out." if len(found) > _MOST_LISTED else ""
        return Result(json.dumps(shown, ensure_ascii=False, indent=1) + more)

    def comment(self, arguments: _Comment, _desk: Desk) -> Result:
        """Want a comment on the run's own issue."""
        run = self._context.run

        def want(transaction: FencedTransaction) -> None:
            payload = {"body": arguments.body}
            effects.add(transaction, issue_id=run.issue_id, run_id=run.id, kind="comment", payload=payload)

        return Result("The comment is written.", also=want)

    def move(self, arguments: _Move, _desk: Desk) -> Result:
        """Move the run's own issue, from where it is active."""
        context = self._context
        tracker, wanted = context.workflow.tracker, normalized_state(arguments.state)
        if context.workflow.repository is not None:
            merging = tracker.states.merging
            if tracker.state_sets.is_terminal(wanted) or (merging and wanted == normalized_state(merging)):
                return Result("Not moved: landing and closing are decided by the proof and by people.")
        try:
            moved = context.tracker.move(
                context.issue.id, arguments.state, allowed_from=[normalized_state(s) for s in tracker.active_states]
            )
        except SymphonyError as error:
            if isinstance(error, Transient | Rejected):
                return Result(f"Not moved: {error}")
            raise
        if moved.outcome == "overruled":
            return Result(f"Not moved: somebody has put the issue into {moved.issue.state!r} meanwhile.")
        return Result(f"The issue is in {moved.issue.state!r} now.")


def _shown(issue: Issue) -> dict[str, Any]:
    shown = issue.as_json()
    names = ("identifier", "title", "state", "priority", "labels", "url", "blocked_by")
    return {name: shown[name] for name in names if shown.get(name)}
