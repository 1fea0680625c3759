"""The server of Linear's API: what it answers, what it applies, what it refuses."""

import json
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.fakes.linear_client import COMMENT, MOVE, POLL, ask
from tests.fakes.linear_schema import SMALL, real_schema
from tests.fakes.linear_server import LinearServer

WITHOUT_SCHEMA = "Linear's schema is not there: set SYMPHONY_TEST_SCHEMAS to the folder of linear.graphql"


@pytest.fixture(params=["real", "small"])
def server(request: pytest.FixtureRequest) -> Iterator[LinearServer]:
    """A server that holds documents against Linear's own schema, and one with ours."""
    schema = SMALL if request.param == "small" else real_schema()
    if schema is None:
        pytest.skip(WITHOUT_SCHEMA)
    with LinearServer(schema=schema) as server:
        yield server


def test_a_poll_sees_the_board(server: LinearServer) -> None:
    blocker = server.create_issue("Blocker", state="In Progress")
    issue = server.create_issue("Fix the parser", labels=["bug", "web"], priority=2, description="It breaks.")
    server.block(issue, by=blocker)
    server.create_issue("Elsewhere", project_id=None)
    wanted = {"project": {"slugId": {"eq": server.project.slug_id}}, "state": {"name": {"in": ["Todo"]}}}
    answer = ask(server, POLL, filter=wanted, first=50, nested=20)
    assert answer.status == 200 and server.violations == []
    (seen,) = answer.data["issues"]["nodes"]
    assert (seen["id"], seen["identifier"], seen["title"]) == (issue.id, "ENG-2", "Fix the parser")
    assert (seen["priority"], seen["state"], seen["assignee"]) == (2, {"name": "Todo"}, None)
    assert isinstance(seen["priority"], int), "whole numbers have no point in JavaScript"
    assert sorted(one["name"] for one in seen["labels"]["nodes"]) == ["bug", "web"]
    assert seen["branchName"] == "pat/eng-2-fix-the-parser" and seen["url"].endswith("/issue/ENG-2/fix-the-parser")
    assert seen["inverseRelations"]["nodes"] == [
        {"type": "blocks", "issue": {"id": blocker.id, "identifier": "ENG-1", "state": {"name": "In Progress"}}}
    ]
    assert seen["createdAt"].endswith("Z") and len(seen["createdAt"]) == len("2026-01-01T00:00:00.000Z")


def test_a_move_is_applied_and_journaled_once(server: LinearServer) -> None:
    issue = server.create_issue(labels=["bug"])
    server.add_label("seen")
    wish = {"stateId": server.state("In Progress").id, "addedLabelIds": [server.add_label("seen").id]}
    answer = ask(server, MOVE, id=issue.identifier, input=wish)
    assert answer.data["issueUpdate"]["issue"]["state"] == {"name": "In Progress"}
    assert sorted(one["name"] for one in answer.data["issueUpdate"]["issue"]["labels"]["nodes"]) == ["bug", "seen"]
    (write,) = server.written("Issue.update", issue.id)
    assert write.key == server.key and write.values["state_id"] == wish["stateId"]
    moved = server.issue(issue)
    assert moved.started_at is not None and moved.updated_at > issue.updated_at
    server.move(issue, "Todo")
    assert len(server.written("Issue.update")) == 1 and server.issue(issue).started_at is None


def test_a_state_of_another_team_is_refused_and_changes_nothing(server: LinearServer) -> None:
    issue = server.create_issue()
    other = server.add_team("OPS")
    answer = ask(server, MOVE, id=issue.id, input={"title": "New", "stateId": server.state("Done", other).id})
    assert (answer.status, answer.code, answer.data) == (200, "INVALID_INPUT", None)
    assert server.issue(issue) == issue and server.written("Issue.update") == []


def test_the_same_client_made_id_is_taken_once(server: LinearServer) -> None:
    issue = server.create_issue()
    comment_id = str(uuid.uuid4())
    asked = {"id": comment_id, "issueId": issue.id, "body": "Begun."}
    assert ask(server, COMMENT, input=asked).data["commentCreate"]["comment"]["id"] == comment_id
    again = ask(server, COMMENT, input=asked)
    assert (again.status, again.data, again.code) == (200, None, "INPUT_ERROR")
    assert again.errors[0]["message"] == "conflict on insert of Comment"
    assert comment_id in again.errors[0]["extensions"]["userPresentableMessage"]
    assert len(server.comments(issue)) == 1
    for other in ("comment-1", str(uuid.uuid5(uuid.NAMESPACE_URL, "x"))):
        assert ask(server, COMMENT, input={**asked, "id": other}).code == "INVALID_INPUT"
    assert len(server.comments(issue)) == 1
    create = "mutation C($input: IssueCreateInput!) { issueCreate(input: $input) { success } }"
    taken = ask(server, create, input={"id": issue.id, "teamId": server.team.id, "title": "x"})
    assert (taken.status, taken.code, taken.data) == (400, "INPUT_ERROR", None)


def test_what_is_not_there_is_not_found(server: LinearServer) -> None:
    issue = server.create_issue()
    server.vanish(issue)
    for document in (f'{{ issue(id: "{issue.id}") {{ id }} }}', '{ team(id: "NOPE") { id } }'):
        answer = ask(server, document)
        assert (answer.status, answer.code, answer.data) == (200, "INPUT_ERROR", None)
        assert answer.errors[0]["message"].startswith("Entity not found: ")
    with LinearServer(schema=SMALL, refusal_status=400) as strict:
        assert ask(strict, '{ issue(id: "ENG-1") { id } }').status == 400


@pytest.mark.parametrize(
    ("document", "variables", "code"),
    [
        ("{ viewer { id", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ viewer { nonsense } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query Q($id: Int!) { issue(id: $id) { id } }", {"id": 1}, "GRAPHQL_VALIDATION_FAILED"),
        ("query Q($first: Int) { issues(first: $first) { nodes { id } } }", {"first": "many"}, "INPUT_ERROR"),
        (
            "query Q($at: DateTimeOrDuration) { issues(filter: {updatedAt: {gte: $at}}) { nodes { id } } }",
            {"at": "x"},
            "INPUT_ERROR",
        ),
    ],
)
def test_an_invalid_document_is_refused_and_noticed(
    server: LinearServer, document: str, variables: dict[str, object], code: str
) -> None:
    answer = ask(server, document, **variables)
    assert (answer.status, answer.code) == (400, code) and not answer.data
    assert len(server.violations) == 1


def test_the_states_in_which_an_issue_was_are_told(server: LinearServer) -> None:
    issue = server.create_issue()
    server.move(issue, "In Progress")
    server.move(issue, "Done")
    document = (
        "query H($id: String!, $last: Int) { issue(id: $id) { stateHistory(last: $last) "
        "{ nodes { state { name } endedAt } pageInfo { hasPreviousPage endCursor } } } }"
    )
    seen = ask(server, document, id=issue.id).data["issue"]["stateHistory"]["nodes"]
    assert [one["state"]["name"] for one in seen] == ["Todo", "In Progress", "Done"]
    assert [one["endedAt"] is None for one in seen] == [False, False, True]
    last = ask(server, document, id=issue.id, last=1).data["issue"]["stateHistory"]
    assert last["nodes"] == seen[-1:] and last["pageInfo"]["hasPreviousPage"] is True


def test_what_is_not_played_is_an_error_and_noticed(server: LinearServer) -> None:
    issue = server.create_issue()
    answer = ask(server, MOVE, id=issue.id, input={"subscriberIds": [], "labelIds": [], "addedLabelIds": ["x"]})
    assert answer.code == "INVALID_INPUT"
    if real_schema() is not None and server._schema == real_schema():
        assert ask(server, "{ issues(filter: {slaStatus: {eq: Breached}}) { nodes { id } } }").code == "INVALID_INPUT"
        assert ask(server, "{ webhooks { nodes { id } } }").errors
        assert len(server.violations) == 2


@pytest.mark.parametrize("credential", ["", "lin_api_unknown", "Bearer lin_api_viewer", "Bearer nobody", "lin_oauth_app"])
def test_a_wrong_credential_is_refused(server: LinearServer, credential: str) -> None:
    answer = ask(server, "{ viewer { id } }", key=credential)
    assert (answer.status, answer.code) == (401, "AUTHENTICATION_ERROR")
    assert [one.status for one in server.requests] == [401]
    assert bool(server.violations) == (credential == f"Bearer {server.key}")


def test_keys_and_tokens_say_who_asks(server: LinearServer) -> None:
    who = "{ viewer { id name app isMe } }"
    assert ask(server, who).data["viewer"] == {"id": server.viewer.id, "name": "Vera Viewer", "app": False, "isMe": True}
    assert ask(server, who, key=f"Bearer {server.token}").data["viewer"]["app"] is True


def test_other_bodies_and_addresses_are_refused(server: LinearServer) -> None:
    headers = {"Authorization": server.key}
    assert httpx.post(server.url, content=b"{}", headers=headers).status_code == 400
    assert httpx.post(server.url, json={"nothing": 1}, headers=headers).status_code == 400
    assert httpx.post(server.url, json=[1], headers=headers).status_code == 400
    assert httpx.get(server.url, headers=headers).status_code == 404
    assert len(server.violations) == 3


def test_garbage_is_answered(server: LinearServer) -> None:
    deep = "{viewer" * 20_000
    bodies = [
        b"\xff\x00",
        b"[" * 100_000,
        b'{"query": 1}',
        json.dumps({"query": deep}).encode(),
        b'{"query": "{viewer{id}}", "variables": 1}',
    ]
    for body in bodies:
        headers = {"Authorization": server.key, "Content-Type": "application/json"}
        assert httpx.post(server.url, content=body, headers=headers).status_code == 400
    assert ask(server, "{ viewer { id } }").status == 200 and len(server.violations) == len(bodies)


def test_archived_and_deleted_issues_leave_the_lists_and_take_nothing_more(server: LinearServer) -> None:
    archived, deleted, kept = (server.create_issue(name) for name in ("a", "b", "c"))
    server.archive(archived)
    server.delete(deleted)
    listed = "query L($with: Boolean) { issues(includeArchived: $with) { nodes { id trashed archivedAt } } }"
    assert [one["id"] for one in ask(server, listed).data["issues"]["nodes"]] == [kept.id]
    assert len(ask(server, listed, **{"with": True}).data["issues"]["nodes"]) == 3
    seen = ask(server, f'{{ issue(id: "{deleted.id}") {{ trashed archivedAt }} }}').data["issue"]
    assert seen["trashed"] is True and seen["archivedAt"] is not None
    link = 'mutation L($id: String!) { attachmentLinkURL(issueId: $id, url: "https://a.test") { success } }'
    for issue in (archived, deleted):
        assert ask(server, link, id=issue.id).errors[0]["message"] == "Entity not found: Issue"
        assert (
            ask(server, COMMENT, input={"issueId": issue.id, "body": "x"}).errors[0]["message"] == "Entity not found: Issue"
        )
    server.restore(archived)
    assert ask(server, link, id=archived.id).data["attachmentLinkURL"]["success"] is True


def test_comments_belong_to_their_authors(server: LinearServer) -> None:
    issue = server.create_issue()
    foreign = server.comment(issue, "mine")
    edit = 'mutation E($id: String!) { commentUpdate(id: $id, input: {body: "new"}) { comment { body editedAt } } }'
    delete = "mutation D($id: String!) { commentDelete(id: $id) { success entityId } }"
    assert ask(server, edit, id=foreign.id).code == "FORBIDDEN"
    assert ask(server, delete, id=foreign.id).code == "FORBIDDEN"
    own = ask(server, COMMENT, input={"issueId": issue.id, "body": "own"}).data["commentCreate"]["comment"]["id"]
    assert ask(server, edit, id=own).data["commentUpdate"]["comment"]["body"] == "new"
    assert ask(server, delete, id=own).data["commentDelete"] == {"success": True, "entityId": own}
    assert [one.id for one in server.comments(issue)] == [foreign.id]
    reply = server.reply(foreign, "yes")
    assert ask(server, COMMENT, input={"parentId": reply.id, "body": "deeper"}).code == "INVALID_INPUT"


def test_a_comment_may_come_from_outside(server: LinearServer) -> None:
    issue = server.create_issue()
    server.comment(issue, "from a chat", external_name="Eve Extern")
    server.comment(issue, "from a machine", bot_name="Sync")
    seen = ask(server, "{ comments { nodes { body user { id } externalUser { displayName } botActor { name } } } }")
    assert sorted(seen.data["comments"]["nodes"], key=lambda one: one["body"]) == [
        {"body": "from a chat", "user": None, "externalUser": {"displayName": "Eve Extern"}, "botActor": None},
        {"body": "from a machine", "user": None, "externalUser": None, "botActor": {"name": "Sync"}},
    ]


def test_a_link_is_made_once_and_updated_after_that(server: LinearServer) -> None:
    issue = server.create_issue()
    create = "mutation A($input: AttachmentCreateInput!) { attachmentCreate(input: $input) { attachment { id title } } }"
    first = ask(server, create, input={"issueId": issue.id, "url": "https://a.test/1", "title": "One"})
    other_id = str(uuid.uuid4())
    again = ask(server, create, input={"id": other_id, "issueId": issue.id, "url": "https://a.test/1", "title": "Two"})
    assert again.data["attachmentCreate"]["attachment"] == {**first.data["attachmentCreate"]["attachment"], "title": "Two"}
    pull = (
        "mutation P($id: String!, $url: String!) { attachmentLinkGitHubPR(issueId: $id, url: $url) "
        "{ attachment { id sourceType } } }"
    )
    linked = ask(server, pull, id=issue.id, url="https://github.com/acme/app/pull/7")
    assert linked.data["attachmentLinkGitHubPR"]["attachment"]["sourceType"] == "github"
    assert ask(server, pull, id=issue.id, url="https://github.com/acme/app").code == "INVALID_INPUT"
    assert [one.title for one in server.attachments(issue)] == ["Two", "https://github.com/acme/app/pull/7"]


def test_labels_states_relations_and_issues_can_be_made(server: LinearServer) -> None:
    team = server.team.id
    label = (
        "mutation L($input: IssueLabelCreateInput!) { issueLabelCreate(input: $input) { issueLabel { id team { key } } } }"
    )
    assert ask(server, label, input={"name": "new", "teamId": team}).data["issueLabelCreate"]["issueLabel"]["team"] == {
        "key": "ENG"
    }
    assert ask(server, label, input={"name": "NEW", "teamId": team}).code == "INVALID_INPUT"
    state = (
        "mutation S($input: WorkflowStateCreateInput!) { workflowStateCreate(input: $input) { workflowState { name } } }"
    )
    wish = {"name": "Rework", "type": "started", "color": "#fff", "teamId": team}
    assert ask(server, state, input=wish).data["workflowStateCreate"]["workflowState"] == {"name": "Rework"}
    create = "mutation C($input: IssueCreateInput!) { issueCreate(input: $input) { issue { id number state { type } } } }"
    made = ask(server, create, input={"teamId": team, "title": "New"}).data["issueCreate"]["issue"]
    assert (made["number"], made["state"]["type"]) == (1, "backlog")
    blocked = server.create_issue()
    relate = "mutation R($input: IssueRelationCreateInput!) { issueRelationCreate(input: $input) { success } }"
    wish = {"issueId": made["id"], "relatedIssueId": blocked.id, "type": "blocks"}
    assert ask(server, relate, input=wish).data["issueRelationCreate"]["success"] is True
    ways = "query W($id: String!) { issue(id: $id) { relations { nodes { id } } inverseRelations { nodes { issue { id } } } } }"
    seen = ask(server, ways, id=blocked.id).data["issue"]
    assert seen == {"relations": {"nodes": []}, "inverseRelations": {"nodes": [{"issue": {"id": made["id"]}}]}}
    assert server.violations == []


def test_linears_own_automation_moves_an_issue_as_nobody(server: LinearServer) -> None:
    server.automate(review="In Review", merge="Done")
    issue = server.create_issue()
    server.automation_moves(issue, "review")
    assert server.state_of(issue) == "In Review" and server.writes[-1].by.user_id is None
    server.automation_moves(issue, "start")
    assert server.state_of(issue) == "In Review"


def test_a_skewed_clock_is_the_servers_own(server: LinearServer) -> None:
    real = server.create_issue().created_at
    server.world.clock.skew_ms = -3_600_000
    assert server.create_issue().created_at < real - 3_000_000
