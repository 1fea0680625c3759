"""An agent with a guarded `linear_graphql`, in a workspace where what is none of its business says SECRET."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from symphony.domain.issue import Issue
from symphony.trackers.protocol import Mandate, NativeTool
from tests.fakes.linear_records import Comment
from tests.fakes.linear_records import Issue as Record
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_board import linear


def put(text: str, *values: object) -> str:
    """Put values in the places of a document."""
    for value in values:
        text = text.replace("%s", str(value), 1)
    return text


def names_of(issue: Record) -> list[str]:
    return [issue.id, issue.id.upper(), issue.identifier, issue.identifier.lower()]


@dataclass
class Field:
    """A workspace with an agent's own issue, others of its project, and much that is none of its business."""

    server: LinearServer
    own: Record
    other: Record
    foreign: Record
    foreign_comment: Comment
    said: list[str] = field(default_factory=list)
    tool: NativeTool = field(init=False)

    def __post_init__(self) -> None:
        self.tool = self.open()

    def open(self, *, run: str = "run-1", **labels: str) -> NativeTool:
        """Give the tool of an attempt, as another process would have it."""
        issue = Issue(self.own.id, self.own.identifier, self.own.title, "In Progress", dispatchable=True)
        mandate = Mandate(
            issue,
            run,
            is_guarded=True,
            reserved_states=frozenset({"merging", "in review"}),
            reserved_labels=frozenset({"symphony-ready", "big-model"}),
        )
        (tool,) = linear(self.server, labels=labels).native_tools(mandate)
        return tool

    def ask(self, query: object, variables: object = None) -> dict[str, Any]:
        """Call the tool as an agent does."""
        answer = self.tool.run({"query": query, "variables": variables})
        self.said.append(answer.text)
        told: dict[str, Any] = json.loads(answer.text)
        assert answer.success == ("data" in told and not told.get("errors")), answer.text
        return told

    def refused(self, query: object, variables: object = None) -> str:
        """Call the tool with what must not be sent; give the words of the refusal."""
        before = len(self.server.requests)
        told = self.ask(query, variables)
        assert "error" in told, told
        mutations = [one.document for one in self.server.requests[before:] if one.document.lstrip().startswith("mutation")]
        assert mutations == []
        return str(told["error"]["message"])


@contextmanager
def scene() -> Iterator[Field]:
    """Set the scene, and see at its end that nothing came out and nothing went astray."""
    with LinearServer() as server:
        elsewhere = server.add_project("SECRET project")
        foreign = server.create_issue(
            "SECRET title", description="SECRET words", project_id=elsewhere.id, labels=["SECRET label"]
        )
        own = server.create_issue("Fix the parser", state="In Progress", description="It fails.", labels=["bug"])
        other = server.create_issue("Write the docs", state="Backlog")
        foreign_comment = server.comment(foreign, "SECRET comment")
        server.comment(own, "A person's comment")
        field = Field(server, own, other, foreign, foreign_comment)
        yield field
        assert "SECRET" not in "".join(field.said)
        assert server.key not in "".join(field.said)
        assert server.violations == [], "what passes the guard is always a document that Linear takes"
        assert all(write.entity_id != foreign.id for write in server.writes if write.key)
        assert server.issue(foreign) == foreign
        assert server.state_of(own) == "In Progress"
