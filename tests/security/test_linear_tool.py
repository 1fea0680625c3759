"""A guarded agent cannot get around the guard of `linear_graphql`: not in what it reads, nor in how it writes a document."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import get_introspection_query

from tests.security.linear_agent import Field, names_of, put, scene


@pytest.fixture
def world() -> Iterator[Field]:
    with scene() as field:
        yield field


def test_an_agent_reads_its_project(world: Field) -> None:
    told = world.ask(
        """query($id: String!, $n: Int) {
          mine: issue(id: $id) { ...Parts team { key states(first: 20) { nodes { id name type } } labels { nodes { name } } } }
          issues(first: $n, filter: {state: {type: {in: ["backlog", "started"]}}}) { nodes { ...Parts } pageInfo { hasNextPage } }
          viewer { name isMe } projects { nodes { name slugId teams { nodes { key } } } } __typename
        } fragment Parts on Issue { identifier title comments { nodes { body user { name } } } labels { nodes { name } } }""",
        {"id": world.own.identifier, "n": 10},
    )["data"]
    assert told["mine"]["comments"]["nodes"] == [{"body": "A person's comment", "user": {"name": "Pat Person"}}]
    assert "symphonyScope" not in json.dumps(told)
    assert {one["identifier"] for one in told["issues"]["nodes"]} == {world.own.identifier, world.other.identifier}
    assert [one["name"] for one in told["projects"]["nodes"]] == ["Alpha"]
    assert told["__typename"] == "Query"


def test_types_are_told_without_asking_linear(world: Field) -> None:
    told = world.ask('{ __type(name: "Mutation") { fields { name description } } }')["data"]["__type"]["fields"]
    assert "issueDelete" not in {one["name"] for one in told} and "commentCreate" in {one["name"] for one in told}
    assert world.ask(get_introspection_query())["data"]["__schema"]["mutationType"]["name"] == "Mutation"
    assert world.server.requests == []


WAYS_OUT = [
    "{ issue(id: %s) { team { issues { nodes { title } } } } }",
    "{ issue(id: %s) { team { organization { users { nodes { email } } } } } }",
    "{ issue(id: %s) { project { issues { nodes { title } } } } }",
    "{ issue(id: %s) { assignee { email } } }",
    "{ issue(id: %s) { creator { assignedIssues { nodes { title } } createdIssues { nodes { title } } } } }",
    "{ issue(id: %s) { state { issues { nodes { title } } team { issues { nodes { title } } } } } }",
    "{ issue(id: %s) { labels { nodes { issues { nodes { title } } } } } }",
    "{ issue(id: %s) { parent { description comments { nodes { body } } } } }",
    "{ issue(id: %s) { children { nodes { description } } } }",
    "{ issue(id: %s) { relations { nodes { relatedIssue { description } } } } }",
    "{ issue(id: %s) { comments { nodes { issue { team { id } } user { email } } } } }",
    "{ issue(id: %s) { history { nodes { id } } } }",
    "{ issue(id: %s) { attachments { nodes { metadata issue { id } } } } }",
    "{ issue(id: %s) { ... on Node { id } } }",
    "{ issue(id: %s) { parent { ... on Issue { description } } } }",
    "query { issue(id: %s) { ...F } } fragment F on Issue { team { ...G } } fragment G on Team { issues { nodes { id } } }",
]


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_way_leads_out_of_an_issue(world: Field, way: str) -> None:
    world.server.set_parent(world.own, world.foreign)
    assert "Allowed: " in world.refused(put(way, json.dumps(world.own.id)))
    assert world.server.requests == [], "such a document is not sent"


@pytest.mark.parametrize(
    "root",
    [
        "team(id: \"ENG\") { issues { nodes { title } } }", "teams { nodes { issues { nodes { title } } } }",
        "users { nodes { email } }", "organization { id }", "comments { nodes { body } }", "searchIssues(term: \"x\") { totalCount }",
        "issueSearch { nodes { title } }", "attachments { nodes { url } }", "issueLabels { nodes { name } }", "webhooks { nodes { url } }",
        "viewer { email }", "viewer { assignedIssues { nodes { title } } }", "viewer { organization { id } }", "documents { nodes { id } }",
        "projects { nodes { issues { nodes { title } } } }", "auditEntries { nodes { id } }", "rateLimitStatus { identifier }",
        "workflowStates { nodes { name } }", "comment(id: \"x\") { body }", "project(id: \"x\") { name }", "apiKeys { nodes { id } }",
    ],
)  # fmt: skip
def test_other_entries_are_closed(world: Field, root: str) -> None:
    for query in (f"{{ {root} }}", f"query Q {{ a: {root} }}", f"{{ ... on Query {{ b: {root} }} }}"):
        assert "Allowed: " in world.refused(query)
    assert world.server.requests == []


def test_issues_of_other_projects_are_not_told_of(world: Field) -> None:
    for name in names_of(world.foreign):
        for query in (
            "query($id: String!) { issue(id: $id) { title description } }",
            "query($id: String!) { a: issue(id: $id) { ...P } } fragment P on Issue { title labels { nodes { name } } }",
            "query($id: String!) { issue(id: $id) { ... on Issue @include(if: true) { title comments { nodes { body } } } } }",
            "query($id: String!) { viewer { name } issue(id: $id) { title project { name slugId } } }",
            'query($id: String! = "x") { issue(id: $id) { title } }',
        ):
            told = world.ask(query, {"id": name})
            assert "error" in told or told["errors"], told
            assert "data" not in told or told["data"] is None
    for query in (
        put('{ issues(filter: {id: {eq: "%s"}}) { nodes { title } } }', world.foreign.id),
        put(
            '{ issues(filter: {or: [{id: {eq: "%s"}}, {title: {contains: "SECRET"}}]}) { nodes { title } } }',
            world.foreign.id,
        ),
        '{ issues(filter: {project: {name: {contains: "SECRET"}}}, includeArchived: true) { nodes { title } } }',
        "{ issues(filter: null) { nodes { title } } issues2: issues(first: 250) { nodes { title } } }",
        "query($f: IssueFilter) { issues(filter: $f) { nodes { title project { name } } } }",
        '{ projects(filter: {name: {contains: "SECRET"}}) { nodes { name } } }',
    ):
        assert "SECRET" not in json.dumps(world.ask(query)["data"])


def test_an_issue_that_left_the_project_is_told_of_no_longer(world: Field) -> None:
    world.server.change_project(world.other, None)
    assert (
        "is no issue of this project" in world.ask(put('{ issue(id: "%s") { title } }', world.other.id))["error"]["message"]
    )


def test_the_project_of_an_issue_cannot_be_faked(world: Field) -> None:
    slug = world.server.project.slug_id
    for inside in (
        "symphonyScope: project { slugId: name }",
        "symphonyScope: team { slugId: key }",
        "... { symphonyScope: state { id } }",
        "title(x: 1) symphonyScope: id",
    ):
        assert "is taken" in world.refused(put('{ issue(id: "%s") { %s } }', world.foreign.id, inside))
    told = world.ask(put('{ symphony: issue(id: "%s") { project { slugId } p: project { slugId } } }', world.foreign.id))
    assert "error" in told
    assert slug not in told["error"]["message"]


@pytest.mark.parametrize(
    "filter",
    [
        '{team: {issues: {some: {title: {startsWith: "S"}}}}}', '{parent: {title: {startsWith: "S"}}}',
        '{children: {some: {description: {contains: "x"}}}}', '{creator: {email: {eq: "x"}}}', '{comments: {some: {body: {eq: "x"}}}}',
        '{project: {issues: {some: {title: {eq: "x"}}}}}', '{state: {issues: {some: {id: {eq: "x"}}}}}', '{assignee: {assignedIssues: {}}}',
        '{labels: {some: {creator: {email: {eq: "x"}}}}}', '{or: [{and: [{parent: {title: {eq: "x"}}}]}]}', '{searchableContent: {contains: "x"}}',
    ],
)  # fmt: skip
def test_filters_are_no_oracle(world: Field, filter: str) -> None:
    world.server.set_parent(world.own, world.foreign)
    assert "Allowed: " in world.refused(put("{ issues(filter: %s) { nodes { id } } }", filter))
    by_variable = "query($f: IssueFilter) { issues(filter: $f) { nodes { id } } }"
    assert "Allowed: " in world.refused(by_variable, {"f": json.loads(_as_json(filter))})
    assert world.server.requests == []


def _as_json(literal: str) -> str:
    return re.sub(r"([{,]\s*)(\w+):", r'\1"\2":', literal)


def test_linked_issues_show_their_outline_only(world: Field) -> None:
    plain = world.server.create_issue("Upstream", project_id=None)
    world.server.set_parent(world.own, plain)
    world.server.block(world.own, by=plain)
    told = world.ask(
        put(
            '{ issue(id: "%s") { parent { identifier title state { name } } inverseRelations { nodes { type issue { title } } } } }',
            world.own.id,
        )
    )["data"]["issue"]
    assert told["parent"] == {"identifier": plain.identifier, "title": "Upstream", "state": {"name": "Todo"}}
    assert told["inverseRelations"]["nodes"] == [{"type": "blocks", "issue": {"title": "Upstream"}}]
    by_type = "{ issue(id: %s) { parent { ...L } ... on Issue { parent { ... on LinkedIssue { id } } } } } fragment L on LinkedIssue { title }"
    told = world.ask(put(by_type, json.dumps(world.own.id)))["data"]["issue"]
    assert told["parent"] == {"title": "Upstream", "id": plain.id}


def test_one_mutation_a_call(world: Field) -> None:
    one = put('commentCreate(input: {issueId: "%s", body: "x"}) { success }', world.own.id)
    assert "exactly one mutation, not 2" in world.refused(put("mutation { a: %s b: %s }", one, one))
    assert "exactly one mutation, not 2" in world.refused(
        put("mutation { ...F b: %s } fragment F on Mutation { %s }", one, one)
    )
    assert "exactly one operation" in world.refused(put("mutation A { %s } mutation B { %s }", one, one))
    assert "exactly one operation" in world.refused(put("query A { viewer { id } } mutation B { %s }", one))
    assert "subscriptions" in world.refused("subscription { issueCreated { id } }")
    assert "exactly one mutation, not 0" in world.refused(put("mutation { ... @skip(if: true) { %s } }", one))
    assert "exactly one mutation, not 0" in world.refused("mutation { __typename }")


@pytest.mark.parametrize(
    "query",
    [
        "", "   ", "#", "# { viewer { id } }", "{", "}", "{ viewer }", "{ viewer { } }", "query", "null", "{ viewer { id } } }", "\ufeff", "\0",
        "{ viewer { id } } extend type Query { x: Int }", "type Query { x: Int } { viewer { id } }", "{ issue { id } }", "{ issue(id: 1) { id } }",
        "{ issue(id: [\"x\"]) { id } }", "{ issue(id: $id) { id } }", "query($id: ID!) { issue(id: $id) { id } }", "{ issues(first: \"10\") { nodes { id } } }",
        "{ viewer @defer { id } }", "{ viewer { id @export(as: \"x\") } }", "{ ...F } fragment F on Query { ...F }", "{ ...F }", "fragment F on Query { viewer { id } }",
        "{ viewer { ...F } } fragment F on User { ...G } fragment G on User { ...F }", "query($x: Webhook) { viewer { id } }", "{ issue(id: \"a\", id: \"b\") { id } }",
        "{ viewer { id: name id } }", "{ __schema { types { fields { type { fields { type { name } } } } } } }", "{ __schema { queryType { name } } viewer { id } }",
        "{ a: viewer { id } a: viewer { name } }", "query Q($a: String!) { viewer { id } }", "{ ＿_typename }", "{ viewer { ıd } }",
    ],
)  # fmt: skip
def test_what_is_no_document_is_answered(world: Field, query: str) -> None:
    assert world.refused(query)
    assert world.server.requests == []


@pytest.mark.parametrize(
    "arguments",
    [None, 1, [], {}, {"query": None}, {"query": 1}, {"query": {"x": 1}}, {"query": "{ viewer { id } }", "variables": []},
     {"query": "{ viewer { id } }", "variables": "{}"}, {"query": "{ viewer { id } }", "operationName": "x"},
     {"query": "\ud800"}, {"query": "{ viewer { id } }", "variables": {"x": float("nan")}},
     {"query": "query($id: String!) { issue(id: $id) { id } }", "variables": {"id": None}},
     {"query": "query($id: String!) { issue(id: $id) { id } }", "variables": {"id": {"eq": "x"}}},
     {"query": "query($id: String!) { issue(id: $id) { id } }", "variables": {"id": 7}},
     {"query": "query($f: IssueFilter) { issues(filter: $f) { nodes { id } } }", "variables": {"f": [[[{}]]]}},
     {"query": "query($f: IssueFilter) { issues(filter: $f) { nodes { id } } }", "variables": {"f": {"and": "x"}}},
     {"query": "mutation($i: CommentCreateInput!) { commentCreate(input: $i) { success } }", "variables": {"i": {"issueId": ["x"], "body": "x"}}}],
)  # fmt: skip
def test_arguments_of_wrong_types_are_answered(world: Field, arguments: object) -> None:
    answer = world.tool.run(arguments)
    assert not answer.success and "message" in json.loads(answer.text)["error"]
    assert world.server.requests == []


def _bomb() -> str:
    parts = [f"fragment F{n} on User {{ a{n}: id ...F{n + 1} b{n}: name ...F{n + 1} }}" for n in range(40)]
    return "{ viewer { ...F0 } } " + " ".join([*parts, "fragment F40 on User { id }"])


@pytest.mark.parametrize(
    "query",
    [
        "{ viewer { id } }" + " " * 100_000,
        "{ " + " ".join(f"v{number}: viewer {{ id }}" for number in range(2_000)) + " }",
        "{ " + " ".join(f"v{number}: viewer {{ id }}" for number in range(11)) + " }",
        '{ issue(id: "x") ' + "{ comments { nodes { parent " * 500 + "{ id }" + " } } }" * 500 + " }",
        "{ issues(filter: " + "{and: [" * 3_000 + "]}" * 3_000 + ") { nodes { id } } }",
        "{ viewer { id(x: " + "[" * 5_000 + "]" * 5_000 + ") } }",
        "{ viewer { " + "id " * 500 + "} }",
        "{ viewer { id } } " + "#" * 50_000 + "\n" * 5_000,
        _bomb(),
    ],
    ids=["long", "roots", "eleven", "deep", "nested filter", "nested list", "wide", "comments", "bomb"],
)
def test_huge_documents_cost_little(world: Field, query: str) -> None:
    began = time.process_time()
    world.ask(query)
    assert time.process_time() - began < 5
    assert len(world.server.requests) <= 1


def test_huge_variables_are_refused(world: Field) -> None:
    filter: dict[str, Any] = {}
    for _ in range(3_000):
        filter = {"and": [filter]}
    query = "query($f: IssueFilter) { issues(filter: $f) { nodes { id } } }"
    assert world.refused(query, {"f": filter})
    assert "at most" in world.refused(query, {"f": {"title": {"eq": "x" * 300_000}}})
    began = time.process_time()
    assert "unknown field" in world.refused(query, {"f": {f"k{number}": 1 for number in range(15_000)}})
    assert time.process_time() - began < 5


def test_what_is_sent_is_not_the_agents_text(world: Field) -> None:
    world.ask(
        "# a comment\nquery Evil($id: String!, $n: Int = 5, $yes: Boolean!) { mine: issue(id: $id) @include(if: $yes) {\n"
        "...F } } fragment F on Issue { title @skip(if: false) labels(first: $n) { nodes { name } } }",
        {"id": world.own.id, "yes": True},
    )
    (request,) = world.server.requests
    assert request.operation == "SymphonyAgent"
    assert request.variables == {"v0": world.own.id}
    for word in ("#", "Evil", "fragment", "$n", "$yes", "@include"):
        assert word not in request.document
    assert "labels(first: 5)" in request.document
