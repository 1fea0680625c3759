"""A guarded agent cannot get around the guard of `linear_graphql` in what it writes: its own issue, its own comments, a few new issues."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from symphony.domain.issue import Issue
from symphony.trackers.protocol import Attachment
from tests.fakes.linear_records import Label
from tests.integration.linear_board import linear
from tests.security.linear_agent import Field, names_of, put, scene


@pytest.fixture
def world() -> Iterator[Field]:
    with scene() as field:
        yield field


def create(world: Field, title: str = "New", **given: object) -> dict[str, Any]:
    return world.ask(
        "mutation($i: IssueCreateInput!) { issueCreate(input: $i) { success issue { id identifier state { name } } } }",
        {"i": {"title": title, **given}},
    )


def created(world: Field, **given: object) -> str:
    issue: str = create(world, **given)["data"]["issueCreate"]["issue"]["id"]
    return issue


def test_an_agent_comments_and_edits_its_comments_also_of_earlier_runs(world: Field) -> None:
    made = world.ask(
        put(
            'mutation { commentCreate(input: {issueId: "%s", body: "Started"}) { success comment { id body } } }',
            world.own.identifier,
        )
    )["data"]["commentCreate"]["comment"]
    world.tool = world.open(run="run-2")
    edit = "mutation($id: String!, $body: String!) { commentUpdate(id: $id, input: {body: $body}) { comment { body } } }"
    told = world.ask(edit, {"id": made["id"], "body": 'Done: \u202e\U0001f600 "quoted" \\ \u2028'})
    assert told["data"]["commentUpdate"]["comment"]["body"] == 'Done: \u202e\U0001f600 "quoted" \\ \u2028'
    assert linear(world.server).fetch_comments(issue_of(world))[-1].id == f"symphony:{made['id']}", "it steers no run"


def issue_of(world: Field) -> Issue:
    (issue,) = linear(world.server).fetch_issues_by_ids([world.own.id])
    return issue


def test_an_agent_changes_harmless_fields_of_its_issue(world: Field) -> None:
    label = world.server.add_label("needs-docs")
    told = world.ask(
        "mutation($id: String!, $i: IssueUpdateInput!) { issueUpdate(id: $id, input: $i) { success issue { title priority } } }",
        {"id": world.own.id.upper(), "i": {"title": "Better", "priority": 2, "addedLabelIds": [label.id]}},
    )
    assert told["data"]["issueUpdate"] == {"success": True, "issue": {"title": "Better", "priority": 2}}
    assert label.id in world.server.issue(world.own).label_ids


def test_new_issues_wait_where_nothing_is_started_and_can_be_related(world: Field) -> None:
    told = create(world, parentId=world.own.identifier, labelIds=[world.server.add_label("bug").id])
    issue = told["data"]["issueCreate"]["issue"]
    assert issue["state"] == {"name": "Backlog"}
    made = world.server.issue(issue["identifier"])
    assert (made.project_id, made.team_id, made.parent_id) == (world.server.project.id, world.own.team_id, world.own.id)
    relate = "mutation($i: IssueRelationCreateInput!) { issueRelationCreate(input: $i) { issueRelation { type } } }"
    world.tool = world.open()
    for one, two in ((made.id, world.own.id), (world.own.identifier, made.id)):
        given = {"issueId": one, "relatedIssueId": two, "type": "related"}
        assert world.ask(relate, {"i": given})["data"]["issueRelationCreate"]["issueRelation"] == {"type": "related"}


def test_links_are_attached_to_the_own_issue(world: Field) -> None:
    attach = "mutation($i: AttachmentCreateInput!) { attachmentCreate(input: $i) { attachment { title } } }"
    given = {"issueId": world.own.id, "title": "Report", "url": "https://ci.example.org/1"}
    assert world.ask(attach, {"i": given})["data"]["attachmentCreate"]["attachment"] == {"title": "Report"}
    link = 'mutation { attachmentLinkURL(issueId: "%s", url: "http://x.example/y", title: "T") { success } }'
    assert world.ask(put(link, world.own.identifier))["data"]["attachmentLinkURL"] == {"success": True}


def test_what_is_attached_keeps_its_words(world: Field) -> None:
    """Rule: Linear changes the attachment of a url that is there, and a proof that failed must not be called passed."""
    url = "https://uploads.linear.app/proof.md"
    failed = Attachment(title="Proof: failed", subtitle="red", url=url)
    linear(world.server).attach(world.own.id, key="a proof", attachment=failed)
    created = "mutation($a: AttachmentCreateInput!) { attachmentCreate(input: $a) { success } }"
    linked = (
        'mutation($i: String!, $u: String!) { attachmentLinkURL(issueId: $i, url: $u, title: "Proof: passed") { success } }'
    )
    for name in (url, url.upper().replace("HTTPS", "https")):
        given = {"issueId": world.own.id, "title": "Proof: passed", "url": name}
        assert "attached to ENG-2 already" in world.refused(created, {"a": given})
        assert "attached to ENG-2 already" in world.refused(linked, {"i": world.own.id, "u": name})
    assert [one.title for one in world.server.attachments(world.own)] == ["Proof: failed"]
    world.ask(created, {"a": {"issueId": world.own.id, "title": "Report", "url": f"{url}?other"}})


@pytest.mark.parametrize("target", ["other", "foreign"])
def test_other_issues_are_not_written_to(world: Field, target: str) -> None:
    issue = getattr(world, target)
    for name in [*names_of(issue), f" {world.own.id}", f"{world.own.id}\u200b", world.own.id.replace("-", ""), "", "null"]:
        for query, variables in (
            ("mutation($n: String!) { issueUpdate(id: $n, input: {title: \"x\"}) { success } }", {"n": name}),
            (put("mutation { issueUpdate(id: %s, input: {title: \"x\"}) { success } }", json.dumps(name)), None),
            (put("mutation($n: String = %s) { issueUpdate(id: $n, input: {title: \"x\"}) { success } }", json.dumps(name)), None),
            ("mutation($i: CommentCreateInput!) { commentCreate(input: $i) { success } }", {"i": {"issueId": name, "body": "x"}}),
            ("mutation($n: String!) { commentCreate(input: {issueId: $n, body: \"x\"}) { success } }", {"n": name}),
            ("mutation($n: String!) { attachmentCreate(input: {issueId: $n, title: \"x\", url: \"https://x.y\"}) { success } }", {"n": name}),
            ("mutation($n: String!) { attachmentLinkURL(issueId: $n, url: \"https://x.y\") { success } }", {"n": name}),
            ("mutation($n: String!, $o: String!) { issueRelationCreate(input: {issueId: $n, relatedIssueId: $o, type: blocks}) { success } }", {"n": name, "o": world.own.id}),
            ("mutation($n: String!, $o: String!) { issueRelationCreate(input: {issueId: $o, relatedIssueId: $n, type: blocks}) { success } }", {"n": name, "o": world.own.id}),
            ("mutation($n: String!) { issueCreate(input: {title: \"x\", parentId: $n}) { success } }", {"n": name}),
        ):  # fmt: skip
            world.refused(query, variables)
    assert [write for write in world.server.writes if write.key] == []


@pytest.mark.parametrize(
    "mutation",
    [
        'issueDelete(id: "{own}") {{ success }}', 'issueArchive(id: "{own}") {{ success }}', 'commentDelete(id: "{comment}") {{ success }}',
        'issueBatchUpdate(ids: ["{own}", "{other}"], input: {{title: "x"}}) {{ success }}', 'issueUpdate(id: "{own}", input: {{stateId: "{done}"}}) {{ success }}',
        'issueUpdate(id: "{own}", input: {{title: "x", stateId: "{done}"}}) {{ success }}', 'issueUpdate(id: "{own}", input: {{projectId: null}}) {{ success }}',
        'issueUpdate(id: "{own}", input: {{parentId: "{other}"}}) {{ success }}', 'issueUpdate(id: "{own}", input: {{delegateId: null}}) {{ success }}',
        'issueUpdate(id: "{own}", input: {{labelIds: []}}) {{ success }}', 'issueUpdate(id: "{own}", input: {{assigneeId: null}}) {{ success }}',
        'issueUpdate(id: "{own}", input: {{trashed: true}}) {{ success }}', 'issueUpdate(id: "{own}", input: {{teamId: "x"}}) {{ success }}',
        'issueUpdate(id: "{own}", input: {{subscriberIds: ["x"]}}) {{ success }}', 'webhookCreate(input: {{url: "https://x.y"}}) {{ success }}',
        'fileUpload(contentType: "a", filename: "b", size: 1) {{ success }}', 'attachmentLinkGitHubPR(issueId: "{own}", url: "https://github.com/a/b/pull/1") {{ success }}',
        'attachmentCreate(input: {{issueId: "{own}", title: "x", url: "https://github.com/a/b/pull/1"}}) {{ success }}',
        'attachmentLinkURL(issueId: "{own}", url: "https://github.com/a/b/%70ull/1") {{ success }}',
        'attachmentCreate(input: {{issueId: "{own}", title: "x", url: "javascript:alert(1)"}}) {{ success }}',
        'attachmentCreate(input: {{issueId: "{own}", title: "x", url: "https://x.y", createAsUser: "Vera"}}) {{ success }}',
        'commentCreate(input: {{issueId: "{own}", body: "x", createAsUser: "Vera"}}) {{ success }}',
        'commentCreate(input: {{issueId: "{own}", body: "x", id: "{fresh}"}}) {{ success }}',
        'commentCreate(input: {{issueId: "{own}", body: "x", parentId: "{foreign_comment}"}}) {{ success }}',
        'commentCreate(input: {{projectUpdateId: "x", body: "x"}}) {{ success }}', 'commentUpdate(id: "{comment}", input: {{body: "x"}}) {{ success }}',
        'commentUpdate(id: "{foreign_comment}", input: {{body: "x"}}) {{ success }}', 'commentUpdate(id: "{fresh}", input: {{body: "x"}}) {{ success }}',
        'issueRelationCreate(input: {{issueId: "{own}", relatedIssueId: "{own}", type: blocks}}) {{ success }}',
        'issueRelationCreate(input: {{issueId: "{own}", relatedIssueId: "{other}", type: duplicate}}) {{ success }}',
        'issueCreate(input: {{title: "x", teamId: "{fresh}"}}) {{ success }}', 'issueCreate(input: {{title: "x", projectId: "{elsewhere}"}}) {{ success }}',
        'issueCreate(input: {{title: "x", stateId: "{todo}"}}) {{ success }}', 'issueCreate(input: {{title: "x", stateId: "{done}"}}) {{ success }}',
        'issueCreate(input: {{title: "x", stateId: "{review}"}}) {{ success }}', 'issueCreate(input: {{title: "x", delegateId: "{app}"}}) {{ success }}',
        'issueCreate(input: {{title: "x", id: "{fresh}"}}) {{ success }}', 'issueCreate(input: {{title: "x", templateId: "{fresh}"}}) {{ success }}',
        'issueLabelCreate(input: {{name: "x"}}) {{ success }}', 'agentSessionCreateOnIssue(input: {{issueId: "{own}"}}) {{ success }}', 'logout {{ success }}',
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_with_what_is(world: Field, mutation: str) -> None:
    server = world.server
    named = {
        "own": world.own.id, "other": world.other.id, "comment": server.comments(world.own)[0].id, "fresh": str(uuid4()),
        "foreign_comment": world.foreign_comment.id, "elsewhere": world.foreign.project_id, "app": server.app.id,
        "done": server.state("Done").id, "todo": server.state("Todo").id, "review": server.state("In Review").id,
    }  # fmt: skip
    text = mutation.format(**named)
    for query in (
        f"mutation {{ {text} }}",
        f"mutation M {{ a: {text} }}",
        f"mutation {{ ...F }} fragment F on Mutation {{ {text} }}",
    ):
        assert "Allowed: " in world.refused(query)
    assert [write for write in server.writes if write.key] == []


def test_comments_of_symphony_and_of_people_are_not_edited(world: Field) -> None:
    linear(world.server).comment(world.own.id, key="effect", body="Which one?")
    for comment in world.server.comments(world.own):
        edit = 'mutation($id: String!) { commentUpdate(id: $id, input: {body: "x"}) { success } }'
        assert "was not made by this tool" in world.refused(edit, {"id": comment.id})


def test_labels_that_symphony_goes_by_are_left_to_people(world: Field) -> None:
    world.tool = world.open(working="Symphony: working")
    labels = {name: world.server.add_label(name) for name in ("symphony-ready", "Big-Model", "symphony: WORKING", "docs")}
    for name, label in labels.items():
        for change in ("addedLabelIds", "removedLabelIds"):
            update = "mutation($id: String!, $i: IssueUpdateInput!) { issueUpdate(id: $id, input: $i) { success } }"
            given = {"id": world.own.id, "i": {change: [labels["docs"].id, label.id]}}
            if name == "docs":
                assert "data" in world.ask(update, given)
            else:
                assert "people set it" in world.refused(update, given)
        if name != "docs":
            new = 'mutation($l: [String!]) { issueCreate(input: {title: "x", labelIds: $l}) { success } }'
            assert "people set it" in world.refused(new, {"l": [label.id]})
    assert "there is no label" in world.refused(new, {"l": [str(uuid4())]})


def test_a_run_makes_at_most_ten_issues_whatever_restarts(world: Field) -> None:
    made = []
    for number in range(10):
        world.tool = world.open()
        made.append(created(world, title=f"Follow-up {number}"))
    assert len(set(made)) == 10
    world.tool = world.open()
    assert "10 issues were made" in create(world)["error"]["message"]
    world.server.archive(made[0])
    assert "10 issues were made" in create(world)["error"]["message"], "an archived one counts"
    world.tool = world.open(run="run-2")
    mine = created(world)
    relate = "mutation($i: IssueRelationCreateInput!) { issueRelationCreate(input: $i) { success } }"
    assert "not your own issue" in world.refused(
        relate, {"i": {"issueId": made[1], "relatedIssueId": mine, "type": "blocks"}}
    )


def test_what_an_agent_made_it_does_not_write_to_either(world: Field) -> None:
    made = created(world)
    for mutation in (
        'issueUpdate(id: "%s", input: {title: "x"}) { success }',
        'commentCreate(input: {issueId: "%s", body: "x"}) { success }',
    ):
        assert "not your own issue" in world.refused(put("mutation { %s }", put(mutation, made)))


def test_text_of_any_kind_arrives_as_it_was_written(world: Field) -> None:
    body = 'a"""b\\u0022 \u0000\u001f \u202e\u2028 \U0001f600 # } { commentDelete(id: "x")'.replace("\u0000", "")
    for query, variables in (
        (put("mutation($b: String!) { commentCreate(input: {issueId: \"%s\", body: $b}) { success } }", world.own.id), {"b": body}),
        (put("mutation { commentCreate(input: {issueId: \"%s\", body: %s}) { success } }", world.own.id, json.dumps(body)), None),
    ):  # fmt: skip
        assert "data" in world.ask(query, variables)
        assert world.server.comments(world.own)[-1].body == body


def test_labels_are_no_way_to_names_elsewhere(world: Field) -> None:
    hidden = world.server.world.board.all(Label)
    secret = next(label for label in hidden if label.name == "SECRET label")
    update = put('mutation($l: [String!]) { issueUpdate(id: "%s", input: {addedLabelIds: $l}) { success } }', world.own.id)
    world.ask(update, {"l": [secret.id]})


@pytest.mark.parametrize(
    "path",
    ["o/r/pull/1", "o/r\\pull\\1", "o/r/pull//1", "o/r/pull/./1", "o/r/pull/x/../1", "o/r/%70ull/1", "o/r/%2570ull/%2531", "o/r/PULLS/1",
     "o/r/-/merge_requests/1", "o/r/-%2Fmerge_requests/1", "p/_git/r/pullrequest/1", "github/pr/o/r/1", "o/r/pull/1#x", "x" * 2_000,
     "/pull/" * 20_000],
    ids=lambda path: path[:30],
)  # fmt: skip
def test_no_pull_request_is_attached_however_it_is_written(world: Field, path: str) -> None:
    """Rule: Linear moves an issue by what becomes of its pull requests, and that is not the agent's to decide."""
    began = time.process_time()
    linked = "mutation($i: String!, $u: String!) { attachmentLinkURL(issueId: $i, url: $u) { success } }"
    assert world.refused(linked, {"i": world.own.id, "u": f"https://example.org/{path}"})
    created = "mutation($a: AttachmentCreateInput!) { attachmentCreate(input: $a) { success } }"
    assert world.refused(created, {"a": {"issueId": world.own.id, "title": "x", "url": f"https://example.org/{path}"}})
    assert time.process_time() - began < 5
