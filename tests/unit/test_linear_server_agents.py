"""Agent sessions and files of the server of Linear's API."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.linear_client import Answered, ask
from tests.fakes.linear_records import Session
from tests.fakes.linear_schema import SMALL, real_schema
from tests.fakes.linear_server import LinearServer

SAY = "mutation S($input: AgentActivityCreateInput!) { agentActivityCreate(input: $input) { agentActivity { id ephemeral } } }"
SEE = """
query A($id: String!) {
  agentSession(id: $id) {
    status plan externalUrls startedAt endedAt
    activities { nodes { ephemeral signal user { app } content {
      __typename
      ... on AgentActivityThoughtContent { body }
      ... on AgentActivityActionContent { action parameter result }
      ... on AgentActivityPromptContent { body }
      ... on AgentActivityResponseContent { body }
    } } }
  }
}
"""
UPLOAD = """
mutation U($name: String!, $kind: String!, $size: Int!) {
  fileUpload(filename: $name, contentType: $kind, size: $size) { uploadFile { uploadUrl assetUrl headers { key value } } }
}
"""


@pytest.fixture(params=["real", "small"])
def server(request: pytest.FixtureRequest) -> Iterator[LinearServer]:
    schema = SMALL if request.param == "small" else real_schema()
    if schema is None:
        pytest.skip("Linear's schema is not there: set SYMPHONY_TEST_SCHEMAS to the folder of linear.graphql")
    with LinearServer(schema=schema) as server:
        yield server


@pytest.fixture
def session(server: LinearServer) -> Session:
    issue = server.create_issue()
    server.delegate(issue, server.app)
    return server.sessions(issue)[0]


def as_app(server: LinearServer, document: str, **variables: Any) -> Answered:
    return ask(server, document, key=f"Bearer {server.token}", **variables)


def say(server: LinearServer, session: Session, kind: str, **more: Any) -> Answered:
    content = {"type": kind, **({"action": "Ran", "parameter": "make"} if kind == "action" else {"body": kind})}
    return as_app(server, SAY, input={"agentSessionId": session.id, "content": content, **more})


def test_the_state_follows_from_what_was_said_last(server: LinearServer, session: Session) -> None:
    assert server.status(session) == "pending"
    states = []
    for kind in ("thought", "elicitation", "action", "error", "thought", "response"):
        assert say(server, session, kind).errors == []
        states.append(server.status(session))
    assert states == ["active", "awaitingInput", "active", "error", "active", "complete"]
    server.prompt(session, "once more")
    seen = as_app(server, SEE, id=session.id).data["agentSession"]
    assert seen["status"] == "active" and seen["startedAt"] is not None and seen["endedAt"] is None
    contents = [one["content"] for one in seen["activities"]["nodes"]]
    assert {"__typename": "AgentActivityActionContent", "action": "Ran", "parameter": "make", "result": None} in contents
    assert [one["user"]["app"] for one in seen["activities"]["nodes"]].count(False) == 1 and len(contents) == 7
    issue = server.issue("ENG-1")
    assert [one.body for one in server.comments(issue)] == ["elicitation", "error", "response"]
    assert server.violations == []


def test_silence_makes_a_session_stale_and_a_word_brings_it_back(server: LinearServer, session: Session) -> None:
    say(server, session, "thought")
    server.world.clock.skew_ms += 29 * 60_000
    assert server.status(session) == "active"
    server.world.clock.skew_ms += 2 * 60_000
    assert server.status(session) == "stale"
    assert as_app(server, SEE, id=session.id).data["agentSession"]["status"] == "stale"
    say(server, session, "thought")
    assert server.status(session) == "active"


def test_an_ephemeral_activity_is_gone_with_the_next(server: LinearServer, session: Session) -> None:
    say(server, session, "thought", ephemeral=True)
    assert [one.ephemeral for one in server.activities(session)] == [True]
    say(server, session, "action")
    assert [one.content["type"] for one in server.activities(session)] == ["action"]
    assert say(server, session, "response", ephemeral=True).code == "INVALID_INPUT"


def test_an_activity_of_the_same_id_is_taken_once(server: LinearServer, session: Session) -> None:
    activity_id = str(uuid.uuid4())
    assert say(server, session, "thought", id=activity_id).errors == []
    assert say(server, session, "thought", id=activity_id).errors[0]["message"] == "conflict on insert of AgentActivity"
    assert len(server.activities(session)) == len(server.written("AgentActivity.create")) == 1


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"type": "prompt", "body": "x"},
        {"type": "thought"},
        {"type": "action", "action": "x"},
        {"type": "thought", "body": "x", "more": 1},
    ],
)
def test_content_that_is_none_is_refused(server: LinearServer, session: Session, content: dict[str, Any]) -> None:
    answer = as_app(server, SAY, input={"agentSessionId": session.id, "content": content})
    assert answer.code == "INVALID_INPUT" and server.status(session) == "pending"


def test_only_the_application_speaks_in_its_session(server: LinearServer, session: Session) -> None:
    wish = {"agentSessionId": session.id, "content": {"type": "thought", "body": "x"}}
    assert ask(server, SAY, input=wish).code == "FORBIDDEN"
    create = "mutation C($id: String!) { agentSessionCreateOnIssue(input: {issueId: $id}) { agentSession { status } } }"
    assert ask(server, create, id="ENG-1").code == "FORBIDDEN"
    assert as_app(server, create, id="ENG-1").data["agentSessionCreateOnIssue"]["agentSession"]["status"] == "pending"
    update = (
        "mutation U($id: String!, $input: AgentSessionUpdateInput!) "
        "{ agentSessionUpdate(id: $id, input: $input) { agentSession { plan externalUrls } } }"
    )
    wish = {"plan": {"steps": ["a"]}, "addedExternalUrls": [{"label": "Run", "url": "https://run.test/1"}]}
    assert ask(server, update, id=session.id, input=wish).code == "FORBIDDEN"
    seen = as_app(server, update, id=session.id, input=wish).data["agentSessionUpdate"]["agentSession"]
    assert seen == {"plan": {"steps": ["a"]}, "externalUrls": [{"label": "Run", "url": "https://run.test/1"}]}


def test_a_file_is_taken_as_announced_and_shown_to_keys_alone(server: LinearServer) -> None:
    announced = ask(server, UPLOAD, name="log.txt", kind="text/plain", size=5).data["fileUpload"]["uploadFile"]
    headers = {"Content-Type": "text/plain", **{one["key"]: one["value"] for one in announced["headers"]}}
    asset, key = announced["assetUrl"], {"Authorization": server.key}
    assert httpx.get(asset, headers=key).status_code == 404
    wrong = [
        ({**headers, "Content-Type": "text/html"}, b"hello"),
        ({"Content-Type": "text/plain"}, b"hello"),
        ({**headers, **key}, b"hello"),
        (headers, b"hello!"),
    ]
    for sent, body in wrong:
        assert httpx.put(announced["uploadUrl"], headers=sent, content=body).status_code == 403
    assert len(server.violations) == len(wrong) and httpx.get(asset, headers=key).status_code == 404
    assert httpx.put(announced["uploadUrl"], headers=headers, content=b"hello").status_code == 200
    shown = httpx.get(asset, headers=key)
    assert (shown.content, shown.headers["content-type"]) == (b"hello", "text/plain")
    assert httpx.get(asset).status_code == 401
    assert httpx.put(f"{announced['uploadUrl']}x", headers=headers, content=b"hello").status_code == 403
