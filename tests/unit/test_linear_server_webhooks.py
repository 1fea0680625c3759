"""What the server of Linear's API posts to webhooks, and what happens to it on the way."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
)

from tests.fakes.linear_client import COMMENT, MOVE, ask
from tests.fakes.linear_receiver import Receiver
from tests.fakes.linear_schema import SMALL, real_schema, schema_at
from tests.fakes.linear_server import LinearServer
from tests.fakes.linear_webhooks import Mishaps

SECRET = "a secret"
DATA = {
    "Issue": "IssueWebhookPayload",
    "Comment": "CommentWebhookPayload",
    "IssueLabel": "IssueLabelWebhookPayload",
    "Attachment": "AttachmentWebhookPayload",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer(schema=SMALL) as server:
        yield server


def payloads(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in receiver.taken]


def is_signed(headers: Any, body: bytes) -> bool:
    return hmac.compare_digest(hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(), headers["linear-signature"])


def test_each_change_is_posted_signed_and_stamped(server: LinearServer, receiver: Receiver) -> None:
    webhook = server.webhook(receiver.url, SECRET)
    issue = server.create_issue("Über ✓")
    ask(server, MOVE, id=issue.id, input={"stateId": server.state("Done").id})
    ask(server, COMMENT, input={"issueId": issue.id, "body": "Done."})
    webhook.settle()
    created, moved, said = payloads(receiver)
    assert all(is_signed(one.headers, one.body) for one in receiver.taken)
    assert not is_signed(receiver.taken[0].headers, receiver.taken[0].body + b" ")
    assert [one.headers["linear-event"] for one in receiver.taken] == ["Issue", "Issue", "Comment"]
    assert len({one.headers["linear-delivery"] for one in receiver.taken}) == 3
    assert (created["action"], created["actor"]["id"], created["data"]["title"]) == ("create", server.person.id, "Über ✓")
    assert moved["action"] == "update" and moved["actor"]["id"] == server.viewer.id
    assert moved["updatedFrom"]["stateId"] == server.state("Todo").id and moved["data"]["state"]["name"] == "Done"
    assert set(moved["updatedFrom"]) == {"stateId", "updatedAt", "startedAt", "completedAt"}
    assert said["type"] == "Comment" and said["data"]["issue"]["identifier"] == "ENG-1"
    for one in (created, moved, said):
        assert abs(one["webhookTimestamp"] - server.world.clock.now()) < 10_000
        assert one["organizationId"] == server.world.organization.id and one["webhookId"] == webhook.id


def test_a_wish_that_changes_nothing_is_no_event(server: LinearServer, receiver: Receiver) -> None:
    issue = server.create_issue()
    webhook = server.webhook(receiver.url, SECRET)
    ask(server, MOVE, id=issue.id, input={"title": issue.title})
    webhook.settle()
    assert receiver.taken == [] and len(server.written("Issue.update")) == 1


def test_automation_and_removal_are_told_too(server: LinearServer, receiver: Receiver) -> None:
    server.automate(merge="Done")
    issue = server.create_issue()
    comment = server.comment(issue, "x")
    webhook = server.webhook(receiver.url, SECRET)
    server.automation_moves(issue, "merge")
    server.delete_comment(comment)
    server.vanish(issue)
    webhook.settle()
    moved, *removed = payloads(receiver)
    assert moved["actor"] is None and moved["data"]["state"]["name"] == "Done"
    assert [(one["type"], one["action"]) for one in removed] == [("Comment", "remove"), ("Issue", "remove")]


def test_agent_sessions_are_told_when_created_and_prompted_by_others(server: LinearServer, receiver: Receiver) -> None:
    webhook = server.webhook(receiver.url, SECRET, types=("AgentSessionEvent",))
    issue = server.create_issue()
    server.delegate(issue, server.app)
    session = server.sessions(issue)[0]
    server.prompt(session, "stop", signal="stop")
    server.mention(issue, "please look")
    webhook.settle()
    created, prompted, mentioned = payloads(receiver)
    assert (created["action"], created["agentSession"]["id"]) == ("created", session.id)
    assert created["agentSession"]["status"] == "pending" and created["appUserId"] == server.app.id
    assert created["agentSession"]["issue"]["identifier"] == "ENG-1" and "ENG-1" in created["promptContext"]
    assert prompted["action"] == "prompted" and prompted["agentActivity"]["signal"] == "stop"
    assert prompted["agentActivity"]["content"] == {"type": "prompt", "body": "stop"}
    assert mentioned["agentSession"]["comment"]["body"] == "@symphony please look"


def test_events_can_be_lost_doubled_reordered_and_late(server: LinearServer) -> None:
    def told(mishaps: Mishaps) -> list[tuple[str, str]]:
        with Receiver() as receiver:
            webhook = server.webhook(receiver.url, SECRET, mishaps=mishaps)
            for title in ("a", "b", "c"):
                server.create_issue(title)
            webhook.settle()
            server.webhooks.remove(webhook)
            webhook.close()
            assert all(is_signed(one.headers, one.body) for one in receiver.taken)
            return [(json.loads(one.body)["data"]["title"], one.headers["linear-delivery"]) for one in receiver.taken]

    assert told(Mishaps(lost=1.0)) == []
    doubled = told(Mishaps(doubled=1.0))
    assert [title for title, _ in doubled] == list("aabbcc") and len({delivery for _, delivery in doubled}) == 3
    assert [title for title, _ in told(Mishaps(reordered=1.0))] == ["b", "a", "c"]
    assert [title for title, _ in told(Mishaps(delay_s=0.01))] == list("abc")


def test_a_forged_event_comes_with_a_signature_that_does_not_hold(server: LinearServer, receiver: Receiver) -> None:
    mishaps = Mishaps(forged=1.0, forgery={"title": "forged"})
    webhook = server.webhook(receiver.url, SECRET, mishaps=mishaps)
    server.create_issue("true")
    webhook.settle()
    assert [(one["data"]["title"]) for one in payloads(receiver)] == ["forged", "true"]
    assert [is_signed(one.headers, one.body) for one in receiver.taken] == [False, True]
    assert [one.forged for one in webhook.deliveries] == [True, False]


def test_an_old_event_is_signed_with_its_old_stamp(server: LinearServer, receiver: Receiver) -> None:
    webhook = server.webhook(receiver.url, SECRET, mishaps=Mishaps(skew_ms=-120_000))
    server.create_issue()
    webhook.settle()
    assert payloads(receiver)[0]["webhookTimestamp"] < server.world.clock.now() - 100_000
    assert is_signed(receiver.taken[0].headers, receiver.taken[0].body)


def test_a_refused_delivery_is_tried_again_under_its_id(server: LinearServer) -> None:
    answers = iter([500, 503, 200])
    with Receiver(lambda _: next(answers)) as receiver:
        webhook = server.webhook(receiver.url, SECRET, mishaps=Mishaps(retries=5, retry_s=0.01))
        server.create_issue()
        webhook.settle()
        assert len({one.headers["linear-delivery"] for one in receiver.taken}) == 1
    assert [one.status for one in webhook.deliveries] == [500, 503, 200]
    server.create_issue()
    webhook.settle()
    assert webhook.deliveries[-1].status is None


def test_payloads_are_what_the_schema_says(server: LinearServer, receiver: Receiver) -> None:
    path = real_schema()
    if path is None:
        pytest.skip("Linear's schema is not there: set SYMPHONY_TEST_SCHEMAS to the folder of linear.graphql")
    schema = schema_at(path)
    webhook = server.webhook(receiver.url, SECRET, types=(*DATA, "AgentSessionEvent"))
    issue = server.create_issue(labels=["bug"], assignee_id=server.viewer.id, priority=2)
    server.reply(server.comment(issue, "hello"), "and you")
    server.comment(issue, "outside", external_name="Eve Extern")
    server.comment(issue, "outside", bot_name="Sync")
    pull = 'mutation P($id: String!) { attachmentLinkURL(issueId: $id, url: "https://a.test") { success } }'
    ask(server, pull, id=issue.id)
    server.prompt(server.mention(issue, "look"), "go on")
    server.delete(issue)
    webhook.settle()
    seen = payloads(receiver)
    for one in seen:
        if one["type"] == "AgentSessionEvent":
            assert misfits(schema, "AgentSessionEventWebhookPayload", one) == []
        else:
            assert misfits(schema, "EntityWebhookPayload", {**one, "data": None, "actor": None}) == ["data is missing"]
            assert misfits(schema, DATA[one["type"]], one["data"]) == []
            assert misfits(schema, "UserActorWebhookPayload", one["actor"]) == []
    assert {one["type"] for one in seen} == {*DATA, "AgentSessionEvent"}


def misfits(schema: GraphQLSchema, name: str, value: dict[str, Any]) -> list[str]:
    """Say where an object is not of a type of the schema."""
    kind = schema.type_map[name]
    assert isinstance(kind, GraphQLObjectType)
    wrong = [f"{name}.{field} is unknown" for field in set(value) - set(kind.fields)]
    for field, declared in kind.fields.items():
        wrong += misfit(schema, field, declared.type, value.get(field))
    return wrong


def misfit(schema: GraphQLSchema, field: str, kind: Any, value: Any) -> list[str]:
    if isinstance(kind, GraphQLNonNull):
        return [f"{field} is missing"] if value is None else misfit(schema, field, kind.of_type, value)
    if value is None:
        return []
    if isinstance(kind, GraphQLList):
        return [wrong for one in value for wrong in misfit(schema, field, kind.of_type, one)]
    if isinstance(kind, GraphQLObjectType):
        return misfits(schema, kind.name, value)
    if isinstance(kind, GraphQLScalarType):
        types = {"String": str, "ID": str, "Boolean": bool, "Float": (int, float), "Int": int}.get(kind.name, object)
        return [] if isinstance(value, types) else [f"{field} is {value!r}, not {kind.name}"]
    return []
