"""The server of Linear's API under Linear's own client, run by node: what the client asks must validate, execute and fit.

The client's version is the one whose documents belong to the schema that the server is held against.
"""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import FieldNode, OperationDefinitionNode, parse

from tests.fakes.linear_receiver import Receiver
from tests.fakes.linear_schema import real_schema
from tests.fakes.linear_server import LinearServer

pytestmark = pytest.mark.chaos

CLIENT = "@linear/sdk@87.0.0"
SCRIPT = Path(__file__).with_name("linear_sdk.mjs")


class Node:
    """The client's package in a folder of its own, and the script that uses it."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder = folder
        self._node = node

    def run(self, *arguments: str, given: str = "") -> Any:
        done = subprocess.run(
            [self._node, SCRIPT.name, *arguments],
            cwd=self._folder,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    program, installer = shutil.which("node"), shutil.which("npm")
    if program is None or installer is None:
        pytest.skip("node and npm are not there")
    if real_schema() is None:
        pytest.skip("Linear's schema is not there: set SYMPHONY_TEST_SCHEMAS to the folder of linear.graphql")
    folder = tmp_path_factory.mktemp("client")
    (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    asked = [installer, "install", CLIENT, "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.skip(f"{CLIENT} cannot be installed: {done.stderr[-300:]}")
    shutil.copy(SCRIPT, folder)
    return Node(folder, program)


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server


def test_the_client_does_what_an_integration_does(node: Node, server: LinearServer) -> None:
    others = server.create_issues(5)
    issue = server.create_issue("First", labels=["bug"])
    server.block(issue, by=others[0])
    seen = node.run("flow", server.url, server.key, server.token, issue.identifier)
    assert server.violations == []
    assert seen["viewer"] == server.viewer.name and seen["title"] == "First"
    assert seen["moved"] is True and seen["state"] == server.state_of(issue) == "In Progress"
    assert server.comments(issue)[0].body == seen["comment"]
    assert seen["again"]["type"] == "InvalidInput" and "already exists" in seen["again"]["message"]
    assert seen["missing"]["type"] == "InvalidInput" and seen["missing"]["message"].startswith("Entity not found: Issue")
    assert (seen["wrongKey"]["type"], seen["wrongKey"]["status"]) == ("AuthenticationError", 401)
    assert seen["pages"][-1] == 5 and len(seen["pages"]) == 3
    assert seen["blockers"] == [["blocks", others[0].identifier]]
    assert seen["attachment"] == "github" and sorted(seen["labels"]) == ["bug", "seen"]
    assert seen["upload"] == [200, "hello"]
    assert seen["sessions"] == ["pending", "active", "awaitingInput", "complete"]
    assert len(seen["activities"]) == 3


def test_the_clients_documents_validate_and_run(node: Node, server: LinearServer) -> None:
    documents: dict[str, str] = node.run("documents")
    issue = server.create_issue("First", labels=["bug"])
    server.block(issue, by=server.create_issue("Second"))
    comment = server.comment(issue, "hello")
    server.reply(comment, "and you")
    server.delegate(issue, server.app)
    session = server.sessions(issue)[0]
    activity = server.prompt(session, "go on")
    ids = {
        "issue": issue.id,
        "comment": comment.id,
        "team": server.team.id,
        "workflowState": issue.state_id,
        "project": server.project.id,
        "issueLabel": issue.label_ids[0],
        "user": server.viewer.id,
        "agentSession": session.id,
        "agentActivity": activity.id,
    }
    alone = {"viewer", "organization", "rateLimitStatus", "issues", "comments", "teams", "workflowStates", "projects"}
    alone |= {"issueLabels", "users", "attachments", "agentSessions", "agentActivities", "issueRelations"}
    run, failed = 0, []
    with httpx.Client(headers={"Authorization": server.key}, timeout=30.0) as client:
        for name, text in documents.items():
            operation = next(one for one in parse(text).definitions if isinstance(one, OperationDefinitionNode))
            root = operation.selection_set.selections[0]
            if operation.operation.value != "query" or not isinstance(root, FieldNode):
                continue
            if root.name.value not in {*ids, *alone}:
                continue
            variables = {"id": ids[root.name.value]} if root.name.value in ids else {}
            answer = client.post(server.url, json={"query": text, "variables": variables}).json()
            run += 1
            if "errors" in answer:
                failed.append((name, answer["errors"][0]["message"]))
    assert failed == [] and server.violations == []
    assert run > 60


def test_the_client_takes_the_webhooks_signatures_and_refuses_a_forged_one(node: Node, server: LinearServer) -> None:
    with Receiver() as receiver:
        webhook = server.webhook(receiver.url, "a secret")
        server.comment(server.create_issue("First"), "héllo ✓")
        webhook.settle()
    taken = [(one.body, one.headers["linear-signature"]) for one in receiver.taken]
    lines = [
        {"body": base64.b64encode(body).decode(), "signature": signature, "timestamp": json.loads(body)["webhookTimestamp"]}
        for body, signature in [*taken, (taken[0][0] + b" ", taken[0][1])]
    ]
    verdicts = node.run("verify", webhook.secret, given="\n".join(json.dumps(line) for line in lines))
    assert verdicts[:-1] == [True, True] and verdicts[-1] is not True
