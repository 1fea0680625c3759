"""Agent sessions: what we say in them, and what people say to us there.

Invariant: what is said for a key is said once, whatever was lost on the way, since Linear knows it by an id that we make;
what people say counts as their comments do. Every document of this folder that speaks of sessions is here, with its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from symphony.domain.errors import Rejected
from symphony.domain.issue import Comment
from symphony.telemetry.log import get_logger
from symphony.trackers.linear import failures
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.identity import comment_id, own_uuid
from symphony.trackers.linear.pages import Page, follow, page_of
from symphony.trackers.linear.records import Payload, Routing, instant, object_of, text_of, written
from symphony.trackers.protocol import SESSION_NOT_FOUND, Prompt

SAY = """
mutation SymphonySay($input: AgentActivityCreateInput!) { agentActivityCreate(input: $input) { success } }
"""  # 1.1 points
PROMPTS = """
query SymphonyPrompts($sessions: [String!]!, $since: DateTimeOrDuration!, $after: String) {
  agentActivities(
    filter: {agentSessionId: {in: $sessions}, type: {eq: "prompt"}, createdAt: {gte: $since}}, first: 100, after: $after
  ) {
    nodes {
      id createdAt signal
      agentSession { id }
      sourceComment { id }
      user { id email app displayName name }
      content { ... on AgentActivityPromptContent { body } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
"""  # 611 points
_SESSIONS_AT_ONCE = 100

log = get_logger()


def say(client: Client, session_id: str, *, key: str, content: Mapping[str, Any], ephemeral: bool) -> None:
    """Say something in a session, once for each key. Raises: Rejected("session_not_found"), and as `Client.ask`."""
    given = {"id": own_uuid(key), "agentSessionId": session_id, "content": dict(content), "ephemeral": ephemeral}
    try:
        data = client.ask(SAY, {"input": given}, operation="SymphonySay")
    except Rejected as error:
        if error.category == failures.NOT_FOUND:
            raise Rejected(f"Linear has no session {session_id}", category=SESSION_NOT_FOUND) from error
        if error.category == failures.EXISTS:  # said already: nobody else makes this id
            return
        raise
    if object_of(data, "agentActivityCreate").get("success") is not True:
        raise failures.malformed("no word on whether the activity was taken")


def prompts(
    client: Client, routing: Callable[[], Routing], session_ids: Collection[str], *, since: datetime
) -> dict[str, tuple[Prompt, ...]]:
    """Read what those who may steer a run said in these sessions since, oldest first. Raises: as `Client.ask`."""
    found: dict[str, list[Prompt]] = {}
    ids = sorted(session_ids)
    for start in range(0, len(ids), _SESSIONS_AT_ONCE):
        for node in _asked(client, ids[start : start + _SESSIONS_AT_ONCE], since):
            session_id = text_of(object_of(node, "agentSession"), "id")
            prompt = _prompt(node) if routing().may_steer(node.get("user")) else None
            if session_id is not None and prompt is not None:
                found.setdefault(session_id, []).append(prompt)
    return {session_id: tuple(sorted(said, key=_order)) for session_id, said in found.items()}


def _asked(client: Client, session_ids: Sequence[str], since: datetime) -> Iterator[Payload]:
    variables = {"sessions": session_ids, "since": written(since)}

    def ask(after: str | None) -> Page:
        data = client.ask(PROMPTS, {**variables, "after": after}, operation="SymphonyPrompts")
        return page_of(data, "agentActivities")

    for nodes in follow(ask(None), ask):
        yield from nodes


def _prompt(node: Payload) -> Prompt | None:
    """Read a prompt; one that is a comment, too, has that comment's id. What is malformed is told of and left out."""
    found, at, body = text_of(node, "id"), instant(node.get("createdAt")), object_of(node, "content").get("body")
    if found is None or at is None or not isinstance(body, str):
        log.warning("tracker_prompt_left_out", id=found)
        return None
    user = object_of(node, "user")
    author = text_of(user, "displayName") or text_of(user, "name")
    source = text_of(object_of(node, "sourceComment"), "id")
    comment = Comment(comment_id(source) if source else found, author, body, at)
    return Prompt(comment, is_stop=node.get("signal") == "stop")


def _order(prompt: Prompt) -> datetime:
    return prompt.comment.created_at or datetime.min.replace(tzinfo=UTC)
