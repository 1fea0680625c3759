"""Agent sessions: who may speak in them, and how their state follows from what was said last.

Invariant: the state is Linear's, never the client's: pending until the first activity, then what the last one means; it goes
stale by itself after half an hour of silence, and the next activity brings it back. An ephemeral activity is gone with the
next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.fakes.linear_errors import forbidden, invalid
from tests.fakes.linear_records import Activity, Comment, Issue, Session, User
from tests.fakes.linear_world import Actor, World

STALE_MS = 30 * 60 * 1000
_AFTER = {
    "thought": "active",
    "action": "active",
    "prompt": "active",
    "elicitation": "awaitingInput",
    "response": "complete",
    "error": "error",
}
_NEEDED = {"action": ("action", "parameter")}
_OPTIONAL = {"action": {"result"}, "error": {"reasonCode"}, "prompt": {"title"}}
_SAID_ALOUD = ("elicitation", "response", "error")


def open_session(world: World, issue: Issue, app_id: str, *, by: Actor, values: Mapping[str, Any] | None = None) -> Session:
    """Open a session of an application on an issue; nobody has said anything yet."""
    given, fresh = dict(values or {}), world.fresh()
    session = Session(
        **fresh,
        issue_id=issue.id,
        app_user_id=app_id,
        creator_id=by.user_id,
        status="pending",
        slug_id=fresh["id"][:12],
        last_activity_at=fresh["created_at"],
        **given,
    )
    return world.save(session, by=by, values=values)


def status_of(session: Session, *, now: int) -> str:
    """Give a session's state at a time."""
    alive = session.status in ("pending", "active")
    return "stale" if alive and now - session.last_activity_at > STALE_MS else session.status


def act(world: World, values: Mapping[str, Any], *, by: Actor) -> Activity:
    """Say something in a session as its application.

    Raises: GraphQLError for another user than the session's application, and for content that is none.
    """
    session = world.need(Session, values["agent_session_id"])
    if by.user_id != session.app_user_id:
        raise forbidden("Only the session's app user can create agent activities.")
    content = values["content"]
    _check(content, ephemeral=bool(values.get("ephemeral")))
    activity = _say(world, session, values, by)
    if content["type"] in _SAID_ALOUD and not activity.ephemeral:
        _comment(world, session, content["body"], by)
    return activity


def prompt(
    world: World, session: Session, body: str, *, by: Actor, signal: str | None = None, aloud: bool = False
) -> Activity:
    """Say something to a session's application as a person; `aloud`: as a comment in the thread, which Linear links."""
    values = {"agent_session_id": session.id, "content": {"type": "prompt", "body": body}, "signal": signal}
    if aloud:
        values["source_comment_id"] = _comment(world, session, body, by).id
    return _say(world, session, values, by)


def change_session(world: World, session: Session, values: Mapping[str, Any], *, by: Actor) -> Session:
    """Change what a session shows: its plan, its links.

    Raises: GraphQLError for another user than the session's application.
    """
    if by.user_id != session.app_user_id:
        raise forbidden("Only the session's app user can update the agent session.")
    return world.save(replace(session, **values), by=by, values=values)


def _say(world: World, session: Session, values: Mapping[str, Any], by: Actor) -> Activity:
    user = world.need(User, by.user_id)
    for there in world.board.group(Activity, "agent_session_id", session.id):
        if there.ephemeral:
            world.remove(there, by=by)
    now = world.clock.now()
    status = _AFTER[values["content"]["type"]]
    spoken = replace(
        session,
        status=status,
        last_activity_at=now,
        started_at=session.started_at or (now if user.app else None),
        ended_at=now if status in ("complete", "error") else None,
    )
    world.save(spoken, by=by, values={"status": status})
    return world.save(Activity(**{**world.fresh(), "user_id": user.id, **values}), by=by, values=values)


def _comment(world: World, session: Session, body: str, by: Actor) -> Comment:
    """Write what is said in a session into the thread of its issue."""
    made = {**world.fresh(), "user_id": by.user_id, "issue_id": session.issue_id, "body": body}
    url = f"{world.need(Issue, session.issue_id).url}#comment-{made['id'][:8]}"
    return world.save(Comment(**made, url=url, parent_id=session.comment_id), by=by, values={"body": body})


def _check(content: Any, *, ephemeral: bool) -> None:
    kind = content.get("type")
    if kind not in _AFTER or kind == "prompt":
        raise invalid("content.type must be one of thought, action, elicitation, response, error.")
    needed = _NEEDED.get(kind, ("body",))
    for name in needed:
        if not isinstance(content.get(name), str) or not content[name]:
            raise invalid(f"content.{name} must be a text that is not empty.")
    if unknown := set(content) - {"type", *needed} - _OPTIONAL.get(kind, set()):
        raise invalid(f"content has unknown fields: {', '.join(sorted(unknown))}.")
    if ephemeral and kind not in ("thought", "action"):
        raise invalid("Only thoughts and actions can be ephemeral.")
