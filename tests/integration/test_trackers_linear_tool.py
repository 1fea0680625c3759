"""`linear_graphql` for agents: what it sends, what it answers, and that its guard changes nothing in what is allowed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLScalarType,
    get_named_type,
)

from symphony.domain.issue import Issue
from symphony.domain.stage import Stage
from symphony.trackers.linear.surface import surface
from symphony.trackers.protocol import Mandate, NativeTool, ServesAgents
from tests.fakes import linear_faults as faults
from tests.fakes import model_replies as say
from tests.fakes.linear_limits import Limits
from tests.fakes.linear_records import Issue as Record
from tests.fakes.linear_schema import real_schema, schema_at
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_board import linear
from tests.integration.served_model import ADD, Serve

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.integration.served_model_fixtures"]

VIEWER = "{ viewer { name } }"
COMMENT = "mutation Say($i: CommentCreateInput!) { commentCreate(input: $i) { success comment { body } } }"


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer(team="DEMO") as server:
        yield server


def tool_of(server: LinearServer, own: Record, *, guarded: bool = True, patience_s: float | None = None) -> NativeTool:
    """Give the tool of an attempt."""
    issue = Issue(own.id, own.identifier, own.title, "In Progress", dispatchable=True)
    tracker = linear(server, patience_s=patience_s)
    assert isinstance(tracker, ServesAgents)
    (tool,) = tracker.native_tools(Mandate(issue, "run-1", is_guarded=guarded))
    return tool


def said(server: LinearServer, own: Record) -> dict[str, Any]:
    return {"query": COMMENT, "variables": {"i": {"issueId": own.id, "body": "Hello"}}}


# What it is.


def test_it_is_described_as_workflows_expect_it(server: LinearServer) -> None:
    for guarded in (True, False):
        tool = tool_of(server, server.create_issue(), guarded=guarded)
        assert tool.name == "linear_graphql"
        assert tool.parameters["required"] == ["query"] and set(tool.parameters["properties"]) == {"query", "variables"}
        assert ("Allowed: " in tool.description) == guarded
        assert tool_of(server, server.create_issue(), guarded=guarded).description == tool.description, "caches live on it"


def test_the_surface_is_a_part_of_linears_schema() -> None:
    """Names and types are Linear's, so what fits the one fits the other; only a linked issue has another name."""
    path = real_schema()
    if path is None:
        pytest.skip("Linear's schema is not on this machine: set SYMPHONY_TEST_SCHEMAS to the folder that has it")
    real = schema_at(path).type_map
    for name, ours in surface().type_map.items():
        if not name.startswith("__"):
            _compare(ours, real[_real(name)])


def _real(name: str) -> str:
    return name.replace("LinkedIssue", "Issue")


def _compare(ours: GraphQLNamedType, theirs: GraphQLNamedType) -> None:
    if isinstance(ours, GraphQLScalarType):
        assert isinstance(theirs, GraphQLScalarType)
    elif isinstance(ours, GraphQLEnumType):
        assert isinstance(theirs, GraphQLEnumType) and set(ours.values) <= set(theirs.values)
    elif isinstance(ours, GraphQLInputObjectType):
        assert isinstance(theirs, GraphQLInputObjectType)
        for name, field in ours.fields.items():
            assert str(field.type).removesuffix("!") == str(theirs.fields[name].type).removesuffix("!"), (ours.name, name)
        # What Linear demands is demanded here, or put in by us.
        demanded = {name for name, field in theirs.fields.items() if str(field.type).endswith("!")}
        assert demanded <= set(ours.fields), ours.name
    elif isinstance(ours, GraphQLObjectType):
        assert isinstance(theirs, GraphQLObjectType)
        for name, field in ours.fields.items():
            there = theirs.fields[name]
            assert _real(str(field.type)) == str(there.type), (ours.name, name)
            for argument, declared in field.args.items():
                assert str(declared.type) == str(there.args[argument].type), (ours.name, name, argument)


# What it answers.


@pytest.mark.parametrize("guarded", [True, False])
def test_an_answer_is_linears_body(server: LinearServer, guarded: bool) -> None:
    own = server.create_issue()
    tool = tool_of(server, own, guarded=guarded)
    for arguments in (VIEWER, {"query": VIEWER}, {"query": VIEWER, "variables": None}):
        answer = tool.run(arguments)
        assert (json.loads(answer.text), answer.success) == ({"data": {"viewer": {"name": "Vera Viewer"}}}, True)
    answer = tool.run(said(server, own))
    assert json.loads(answer.text)["data"]["commentCreate"] == {"success": True, "comment": {"body": "Hello"}}


def test_raw_is_sent_as_it_is(server: LinearServer) -> None:
    own = server.create_issue()
    foreign = server.create_issue("Elsewhere", project_id=server.add_project("Beta").id)
    query = "# a comment\nquery Mine($id: String!) { issue(id: $id) { title project { name } } }"
    answer = tool_of(server, own, guarded=False).run({"query": query, "variables": {"id": foreign.id}})
    assert answer.success and "Elsewhere" in answer.text
    assert server.requests[-1].document == query and server.requests[-1].operation == "Mine"


@pytest.mark.parametrize("query", ["", " \n", "{", "query A { viewer { id } } query B { viewer { id } }", "fragment F on User { id }",
                                   "subscription { issueCreated { id } }"])  # fmt: skip
def test_raw_takes_exactly_one_operation(server: LinearServer, query: str) -> None:
    answer = tool_of(server, server.create_issue(), guarded=False).run({"query": query})
    assert not answer.success and "Allowed: " not in answer.text
    assert json.loads(answer.text)["error"]["message"]
    assert server.requests == []


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("status", [200, 400])
def test_errors_of_graphql_keep_the_body(server: LinearServer, guarded: bool, status: int) -> None:
    server.refusal_status = status
    own = server.create_issue()
    answer = tool_of(server, own, guarded=guarded).run('{ issue(id: "DEMO-999") { title } }')
    told = json.loads(answer.text)
    assert not answer.success and "error" not in told
    assert told["errors"][0]["message"] == "Entity not found: Issue"
    server.fail("viewer", faults.partial("viewer"))
    answer = tool_of(server, own, guarded=guarded).run("{ viewer { id } projects { nodes { name } } }")
    told = json.loads(answer.text)
    assert not answer.success and told["errors"] and told["data"]["projects"] == {"nodes": [{"name": "Alpha"}]}


def test_a_limit_says_how_long_to_wait_and_is_shared_with_symphony(server: LinearServer) -> None:
    own = server.create_issue()
    tracker = linear(server)
    (tool,) = tracker.native_tools(Mandate(Issue(own.id, "DEMO-1", "t", "Todo", dispatchable=True), "r", is_guarded=True))
    server.fail("viewer", faults.rate_limited(90_000))
    for _ in range(2):
        told = json.loads(tool.run(VIEWER).text)["error"]
        assert told["category"] == "tracker_rate_limited"
        assert 0 < told["retryAfterMs"] <= 92_000
    assert len(server.requests) == 1, "nobody asks while the key is closed"
    assert tracker.poll_factor() >= 1


def test_an_eager_agent_leaves_symphony_the_last_of_the_budget() -> None:
    with LinearServer(limits=Limits(requests=40)) as limited:
        own = limited.create_issue()
        tracker = linear(limited)
        (tool,) = tracker.native_tools(
            Mandate(Issue(own.id, "ENG-1", "t", "Todo", dispatchable=True), "r", is_guarded=True)
        )
        for _ in range(60):
            answer = tool.run(VIEWER)
        assert "almost spent" in answer.text and not answer.success
        assert 30 <= len(limited.requests) < 40
        assert tracker.fetch_issues_by_ids([own.id]) and tracker.poll_factor() > 1


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize(
    ("fault", "is_unknown"),
    [(faults.reset(applied=True), True), (faults.status(503, applied=True), True), (faults.html(502), True), (faults.html(200), True),
     (faults.cut(applied=True), True), (faults.silent(applied=True), True), (faults.rate_limited(1000), False)],
)  # fmt: skip
def test_a_mutation_is_never_repeated(server: LinearServer, guarded: bool, fault: faults.Fault, is_unknown: bool) -> None:
    own = server.create_issue()
    tool = tool_of(server, own, guarded=guarded, patience_s=0.3)
    server.fail("commentCreate", fault)
    answer = tool.run(said(server, own))
    told = json.loads(answer.text)["error"]
    assert not answer.success
    assert ("look before you ask" in told["message"]) == is_unknown
    assert len(server.asked("commentCreate")) == 1


def test_a_key_that_is_not_accepted_is_told_without_it(server: LinearServer) -> None:
    own = server.create_issue()
    tracker = linear(server, key="lin_api_of_nobody")
    issue = Issue(own.id, "DEMO-1", "t", "Todo", dispatchable=True)
    for guarded in (True, False):
        (tool,) = tracker.native_tools(Mandate(issue, "r", is_guarded=guarded))
        answer = tool.run(VIEWER)
        assert not answer.success and "does not accept the key" in answer.text and "lin_api_of_nobody" not in answer.text


def test_an_answer_that_is_too_large_is_said_to_be(server: LinearServer) -> None:
    own = server.create_issue(description="long " * 30_000)
    answer = tool_of(server, own).run('{ issue(id: "DEMO-1") { description } }')
    assert not answer.success and "ask for fewer fields" in answer.text
    update = 'mutation { issueUpdate(id: "DEMO-1", input: {priority: 1}) { issue { description } } }'
    assert "It was applied" in tool_of(server, own).run(update).text
    assert server.issue(own).priority == 1


# The guard changes nothing in what is allowed.


class Author:
    """Writes documents that fit the surface, in every way in which GraphQL lets one write them."""

    def __init__(self, seed: int, issues: list[Record]) -> None:
        self.dice = random.Random(seed)
        self.issues = issues
        self.variables: dict[str, tuple[str, Any]] = {}
        self.fragments: list[str] = []
        self.names = count()

    def document(self) -> tuple[str, dict[str, Any]]:
        roots = " ".join(self._root() for _ in range(self.dice.randint(1, 3)))
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in self.variables.items())
        head = f"query Q{f'({declared})' if declared else ''} {{ {roots} }}"
        given = {name: value for name, (_, value) in self.variables.items()}
        return " ".join([head, *self.fragments]), given

    def _root(self) -> str:
        kind = self.dice.choice(["viewer", "issue", "issues", "projects"])
        alias = f"r{next(self.names)}: "
        if kind == "issue":
            issue = self.dice.choice(self.issues)
            name = self._value("String!", self.dice.choice([issue.id, issue.identifier]))
            return f"{alias}issue(id: {name}) {self._selection('Issue', 4)}"
        if kind == "issues":
            filter = self._value(
                "IssueFilter", self.dice.choice([None, {"priority": {"gte": 2}}, {"state": {"name": {"eq": "Todo"}}}])
            )
            arguments = f"(first: {self._value('Int', 2)}, filter: {filter}, orderBy: {self._value('PaginationOrderBy', 'updatedAt')})"
            return f"{alias}issues{arguments} {self._selection('IssueConnection', 4)}"
        return f"{alias}{kind} {self._selection({'viewer': 'User', 'projects': 'ProjectConnection'}[kind], 4)}"

    def _selection(self, kind: str, depth: int) -> str:
        declared = surface().type_map[kind]
        assert isinstance(declared, GraphQLObjectType)
        leaves, inner = [], []
        for name, field in declared.fields.items():
            (inner if isinstance(get_named_type(field.type), GraphQLObjectType) else leaves).append((name, field))
        parts = [f"{self._alias()}{name}{self._directives()}" for name, _ in self.dice.sample(leaves, min(len(leaves), 2))]
        chosen = self.dice.sample(inner, min(len(inner), 2)) if depth > 0 else []
        if kind.endswith("Connection"):
            chosen = [(name, field) for name, field in inner if name == "nodes"]
        for name, field in chosen:
            first = f"(first: {self._value('Int', 2)})" if "first" in field.args else ""
            inside = self._selection(get_named_type(field.type).name, depth - 1)
            parts.append(f"{self._alias()}{name}{first}{self._directives()} {inside}")
        inside = " ".join(parts or ["__typename"])
        form = self.dice.random() if kind not in ("LinkedIssue", "LinkedIssueConnection") else 1
        if form < 0.15:
            return f"{{ ... on {kind} {{ {inside} }} }}"
        if form < 0.3:
            name = f"F{next(self.names)}"
            self.fragments.append(f"fragment {name} on {kind} {{ {inside} }}")
            return f"{{ ...{name} }}"
        return f"{{ {inside} }}"

    def _alias(self) -> str:
        return f"a{next(self.names)}: " if self.dice.random() < 0.3 else ""

    def _directives(self) -> str:
        skip = f" @skip(if: {self._value('Boolean!', self.dice.random() < 0.5)})" if self.dice.random() < 0.1 else ""
        include = f" @include(if: {self._value('Boolean!', True)})" if self.dice.random() < 0.1 else ""
        return skip + include

    def _value(self, kind: str, value: Any) -> str:
        if self.dice.random() < 0.5:
            name = f"v{next(self.names)}"
            self.variables[name] = (kind, value)
            return f"${name}"
        return _literal(value, is_enum=kind == "PaginationOrderBy")


def _literal(value: Any, *, is_enum: bool = False) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_literal(inner)}" for name, inner in value.items()) + "}"
    return str(value) if is_enum else json.dumps(value)


@pytest.mark.parametrize("seed", range(6))
def test_where_all_is_in_the_project_the_guard_changes_no_answer(server: LinearServer, seed: int) -> None:
    issues = [
        server.create_issue(f"Issue {number}", priority=number % 5, labels=["bug"], description="d") for number in range(6)
    ]
    for number, issue in enumerate(issues[1:]):
        server.set_parent(issue, issues[0])
        server.block(issue, by=issues[number])
        server.reply(server.comment(issue, "A comment"), "An answer")
        server.assign(issue, server.person)
    raw, guarded = (tool_of(server, issues[0], guarded=guarded) for guarded in (False, True))
    for number in range(20):
        query, variables = Author(seed * 1000 + number, issues).document()
        expected = raw.run({"query": query, "variables": variables})
        answer = guarded.run({"query": query, "variables": variables})
        assert (answer.text, answer.success) == (expected.text, True), query
    assert server.violations == []


# An agent of kind openai with it.


def test_a_model_speaks_to_linear_in_its_stage(serve: Serve, server: LinearServer) -> None:
    """Rule: the tool is bound to the attempt's tracker and guard; what it is refused the model reads and goes on."""
    issue = server.create_issue("Add a file", state="Todo")
    move = 'mutation { issueUpdate(id: "DEMO-1", input: {stateId: "%s"}) { success } }' % server.state("Done").id  # noqa: UP031
    script = [
        say.calls(("linear_graphql", {"query": '{ issue(id: "DEMO-1") { title state { name } } }', "variables": None})),
        say.calls(("linear_graphql", said(server, issue)), ("linear_graphql", {"query": move})),
        say.calls(("linear_graphql", {"query": 7}), ("linear_graphql", {"variables": {}})),
        say.patch(ADD) + say.finish(),
    ]
    with serve(script) as (work, model):
        work.deployment._trackers[work.board.row.version_id] = linear(server)
        work.board.poll()
        work.board.admit()
        work.step()
        work.step()
        assert work.run.stage is Stage.PROOF
        (tool,) = [one for one in model.requests[0].body["tools"] if one["name"] == "linear_graphql"]
        assert tool["strict"] is False and tool["parameters"]["properties"]["variables"]["type"] == ["object", "null"]
        outputs = [item["output"] for item in model.requests[-1].body["input"] if item["type"] == "function_call_output"]
        assert json.loads(outputs[0]) == {"data": {"issue": {"title": "Add a file", "state": {"name": "Todo"}}}}
        assert json.loads(outputs[1])["data"]["commentCreate"]["success"] is True
        assert "unknown field 'stateId'" in outputs[2] and "Allowed: " in outputs[2]
        assert all("needs a query" in output for output in outputs[3:5])
        assert [comment.body for comment in server.comments(issue)] == ["Hello"]
        assert server.key not in json.dumps([request.body for request in model.requests])
        assert server.violations == []


@pytest.mark.parametrize(("tools", "named"), [("off", None), ("raw", False), ("guarded", True)])
def test_a_workflow_says_which_tools_there_are(serve: Serve, server: LinearServer, tools: str, named: bool | None) -> None:
    server.create_issue("Add a file", state="Todo")
    with serve([say.patch(ADD) + say.finish()], states=f"  tools: {tools}") as (work, model):
        work.deployment._trackers[work.board.row.version_id] = linear(server)
        work.board.poll()
        work.board.admit()
        work.step()
        work.step()
        shown = [one["description"] for one in model.requests[0].body["tools"] if one["name"] == "linear_graphql"]
        assert [("Allowed: " in one) for one in shown] == ([] if named is None else [named])
