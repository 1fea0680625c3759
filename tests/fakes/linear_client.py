"""The least client of Linear's API, for tests of the server that plays it.

Invariant: it hides nothing: status, headers, data and errors as they came; it raises only when nothing came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.fakes.linear_server import LinearServer

POLL = """
query Poll($filter: IssueFilter, $first: Int, $after: String, $nested: Int) {
  issues(filter: $filter, first: $first, after: $after, orderBy: updatedAt) {
    nodes {
      id identifier title description priority state { name } branchName url assignee { id }
      labels(first: $nested) { nodes { name } }
      inverseRelations(first: $nested) { nodes { type issue { id identifier state { name } } } }
      createdAt updatedAt
    }
    pageInfo { hasNextPage endCursor }
  }
}
"""
MOVE = """
mutation Move($id: String!, $input: IssueUpdateInput!) {
  issueUpdate(id: $id, input: $input) { success issue { identifier state { name } labels { nodes { name } } } }
}
"""
COMMENT = """
mutation Say($input: CommentCreateInput!) { commentCreate(input: $input) { success comment { id body user { name } } } }
"""


_CLIENT = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
"""One for all, since making one takes longer than asking; no connection outlives its server."""


@dataclass(frozen=True)
class Answered:
    """What came back; `code` is that of the first error."""

    status: int
    headers: httpx.Headers
    data: Any
    errors: list[dict[str, Any]]

    @property
    def code(self) -> str | None:
        return self.errors[0]["extensions"]["code"] if self.errors else None


def ask(
    server: LinearServer, document: str, *, key: str | None = None, timeout: float = 30.0, **variables: Any
) -> Answered:
    """Ask a server, as the owner of its API key unless another key is given.

    Raises: httpx.HTTPError, ValueError if no answer came or what came is no JSON.
    """
    response = _CLIENT.post(
        server.url,
        json={"query": document, "variables": variables},
        headers={"Authorization": server.key if key is None else key},
        timeout=timeout,
    )
    body = response.json()
    return Answered(response.status_code, response.headers, body.get("data"), body.get("errors", []))
