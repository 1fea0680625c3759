"""The agent's own way to Linear: the tool `linear_graphql`, carried out by Symphony with its credential.

Invariant: a call sends at most one document of the agent's, once: nothing is tried again, for a mutation must not be
repeated. Whatever is given is answered, as JSON; what Linear's errors say is kept. Guarded, only what `guard` and `errands`
let pass is sent, and of an issue that is not of the project nothing is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphql import OperationType

from symphony.domain.errors import ConfigError, Rejected, SymphonyError, Transient
from symphony.trackers.linear import guard, printing
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.errands import MOST_ISSUES, Errands
from symphony.trackers.linear.guard import REFUSED, Operation, refused
from symphony.trackers.linear.settings import LinearSettings
from symphony.trackers.protocol import Mandate, NativeTool, ToolAnswer
from symphony.trackers.quota import RATE_LIMITED

NAME = "linear_graphql"
_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["query"],
    "properties": {
        "query": {"type": "string", "description": "A GraphQL document with exactly one query or mutation."},
        "variables": {"type": ["object", "null"], "description": "Its variables.", "additionalProperties": True},
    },
}
_DESCRIPTION = "Send a GraphQL query or mutation to Linear with Symphony's credential; the answer is Linear's, as JSON."
_ALLOWED = (
    "Allowed: the queries viewer, issue, issues and projects, inside this project (of issues that are linked from "
    "elsewhere id, identifier, title, url and state); on your own issue the mutations commentCreate, commentUpdate of "
    "comments made by this tool, attachmentCreate, attachmentLinkURL, and issueUpdate of title, description, priority, "
    f"estimate, addedLabelIds and removedLabelIds; issueCreate of at most {MOST_ISSUES} issues, in a state in which "
    "nothing is started; issueRelationCreate (blocks, related) between these and your own. States are moved by Symphony. "
    '{ __type(name: "Mutation") { fields { name } } } and the like show all that there is.'
)
"""The same words for every run: tools that differ would cost each conversation the provider's cache."""
_LEAST_SHARE = 0.1
_LONGEST_ANSWER = 100_000  # characters
_LONGEST_VARIABLES = 200_000  # characters of JSON
_UNKNOWN = "Whether it was applied is not known: look before you ask for it again."


def linear_graphql(client: Client, settings: LinearSettings, mandate: Mandate) -> NativeTool:
    """Give the tool for one attempt of a run."""
    description = f"{_DESCRIPTION} {_ALLOWED}" if mandate.is_guarded else _DESCRIPTION
    return NativeTool(NAME, description, _PARAMETERS, _Caller(client, settings, mandate).run)


class _Caller:
    def __init__(self, client: Client, settings: LinearSettings, mandate: Mandate) -> None:
        self._client = client
        self._slug_id = settings.slug_id
        self._is_guarded = mandate.is_guarded
        self._errands = Errands(client, settings, mandate)

    def run(self, arguments: object) -> ToolAnswer:
        """Answer a call."""
        try:
            text, variables = _given(arguments)
            return self._guarded(text, variables) if self._is_guarded else self._raw(text, variables)
        except SymphonyError as error:
            return _failure(error, is_guarded=self._is_guarded)

    def _ensure_plenty(self) -> None:
        """Keep the rest of a scarce budget for Symphony: no agent's zeal shall stop the polls of all. Raises: Transient."""
        self._client.quota.ensure_open()
        if self._client.quota.share() < _LEAST_SHARE:
            raise Transient("the key's budget is almost spent: go on without Linear for now", category=RATE_LIMITED)

    def _raw(self, text: str, variables: dict[str, Any]) -> ToolAnswer:
        _, operation = guard.parsed(text)
        self._ensure_plenty()
        name = operation.name.value if operation.name is not None else None
        return self._send(text, variables, name, is_mutation=operation.operation is OperationType.MUTATION)

    def _guarded(self, text: str, variables: dict[str, Any]) -> ToolAnswer:
        operation = guard.read(text, variables)
        if operation.is_about_types:
            return _answer(printing.types(operation), is_mutation=False)
        self._ensure_plenty()
        return self._mutate(operation) if operation.is_mutation else self._query(operation)

    def _mutate(self, operation: Operation) -> ToolAnswer:
        roots = [
            root if root.name == "__typename" else replace(root, arguments=self._errands.completed(root))
            for root in operation.roots
        ]
        document, variables = printing.printed(operation, roots)
        return self._send(document, variables, printing.NAME, is_mutation=True)

    def _query(self, operation: Operation) -> ToolAnswer:
        roots = [guard.within_project(root, self._slug_id) for root in operation.roots]
        document, variables = printing.printed(operation, roots)
        body = self._client.ask_whole(document, variables, operation=printing.NAME)
        data = body.get("data")
        for root in roots:
            answer = data.get(root.key) if isinstance(data, Mapping) else None
            if not guard.is_within_project(root, answer, self._slug_id):
                raise refused(f"{root.arguments['id'][:60]!r} is no issue of this project")
        return _answer(body, is_mutation=False)

    def _send(self, document: str, variables: dict[str, Any], name: str | None, *, is_mutation: bool) -> ToolAnswer:
        try:
            body = self._client.ask_whole(document, variables, operation=name)
        except Transient as error:
            if not is_mutation or error.category == RATE_LIMITED:
                raise
            raise Transient(
                f"{error.message}. {_UNKNOWN}", retry_after=error.retry_after, category=error.category
            ) from error
        return _answer(body, is_mutation=is_mutation)


def _given(arguments: object) -> tuple[str, dict[str, Any]]:
    """Read what a call brings: a document alone, or with its variables. Raises: Rejected."""
    if isinstance(arguments, str):
        arguments = {"query": arguments}
    if not isinstance(arguments, Mapping) or not set(arguments) <= {"query", "variables"}:
        raise _unfit("takes a query, and variables where it has some")
    query, variables = arguments.get("query"), arguments.get("variables")
    if not isinstance(query, str) or not query.strip():
        raise _unfit("needs a query: a text that is not empty")
    if variables is None:
        variables = {}
    if not isinstance(variables, dict):
        raise _unfit("takes variables as an object only")
    try:
        size = len(json.dumps(variables, allow_nan=False))
        query.encode()
    except (ValueError, TypeError, RecursionError):
        raise _unfit("takes what JSON can say only") from None
    if size > _LONGEST_VARIABLES:
        raise _unfit(f"takes variables of at most {_LONGEST_VARIABLES} characters")
    return query, variables


def _unfit(what: str) -> Rejected:
    return Rejected(f"{NAME} {what}", category="invalid_arguments")


def _answer(body: Mapping[str, Any], *, is_mutation: bool) -> ToolAnswer:
    text = json.dumps(body, ensure_ascii=False)
    success = not body.get("errors")
    if len(text) <= _LONGEST_ANSWER:
        return ToolAnswer(text, success)
    done = "It was applied, but the" if is_mutation and success else "The"
    told = (
        f"{done} answer has {len(text)} characters, {_LONGEST_ANSWER} are allowed: ask for fewer fields or a smaller page."
    )
    return _told({"message": told, "category": "answer_too_large"})


def _failure(error: SymphonyError, *, is_guarded: bool) -> ToolAnswer:
    is_refused = is_guarded and error.category == REFUSED
    message = f"{error.message.rstrip('.')}. {_ALLOWED}" if is_refused else error.message
    told: dict[str, Any] = {"message": message, "category": error.category}
    if isinstance(error, ConfigError) and error.cure:
        told["cure"] = error.cure
    if isinstance(error, Transient) and error.retry_after is not None:
        told["retryAfterMs"] = round(error.retry_after.total_seconds() * 1000)
    return _told(told)


def _told(error: Mapping[str, Any]) -> ToolAnswer:
    return ToolAnswer(json.dumps({"error": error}, ensure_ascii=False), success=False)
