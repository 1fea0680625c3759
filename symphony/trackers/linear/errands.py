"""What a guarded agent may write on Linear: each mutation judged by whom and what it names, and completed.

Invariant: a comment, an attachment or a change goes to the agent's own issue; what is created has an id out of a few that
follow from the issue or the run. So what the agent made is known again after any crash, and how much it made is counted by
Linear itself: an id is taken once. No state, label or issue that Symphony goes by is touched. Relied on by the tool.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

from symphony.domain.issue import normalized_state
from symphony.trackers.linear.answers import required_nodes, required_object, required_text
from symphony.trackers.linear.client import Client
from symphony.trackers.linear.guard import Root, refused
from symphony.trackers.linear.identity import own_uuid
from symphony.trackers.linear.settings import LinearSettings
from symphony.trackers.linear.writing_documents import COMMENTS_THERE, ISSUES_THERE, LABELS_THERE, LINKS_THERE
from symphony.trackers.protocol import Mandate

MOST_COMMENTS = 100
"""Of an issue, over all its runs."""
MOST_ISSUES = 10
"""Of a run."""
_MOST_LABELS = 20
_URL = re.compile(r"https?://[^\s/?#]+([/?#]\S*)?", re.IGNORECASE)
_CHANGE = re.compile(r"/(pulls?|pull-?requests?|merge_requests|pr)/(.*/)?\d", re.IGNORECASE)
_LONGEST_URL = 2_000

Arguments = dict[str, Any]


class Errands:
    """The writes of one agent."""

    def __init__(self, client: Client, settings: LinearSettings, mandate: Mandate) -> None:
        self._client = client
        self._slug_id = settings.slug_id
        self._issue = mandate.issue
        active_or_over = map(normalized_state, (*settings.active_states, *settings.terminal_states))
        self._reserved_states = mandate.reserved_states | frozenset(active_or_over)
        marks = (label.casefold() for label in settings.labels.values())
        self._reserved_labels = mandate.reserved_labels | frozenset(marks)
        self._comments = [own_uuid(f"agent:{mandate.issue.id}:comment:{number}") for number in range(MOST_COMMENTS)]
        self._issues = [own_uuid(f"agent:{mandate.run}:issue:{number}") for number in range(MOST_ISSUES)]

    def completed(self, root: Root) -> Arguments:
        """Judge a mutation and give the arguments with which it may be sent.

        Raises: Rejected with what is not allowed; Transient, ConfigError where Linear could not be asked about it.
        """
        given = root.arguments
        match root.name:
            case "commentCreate":
                return {"input": self._new_comment(given["input"])}
            case "commentUpdate":
                return {**given, "id": self._own_comment(given["id"])}
            case "issueUpdate":
                self._ensure_labels(
                    [*(given["input"].get("addedLabelIds") or ()), *(given["input"].get("removedLabelIds") or ())]
                )
                return {"id": self._own_issue(given["id"]), "input": given["input"]}
            case "issueCreate":
                return {"input": self._new_issue(given["input"])}
            case "attachmentCreate":
                return {"input": self._attachment(given["input"])}
            case "attachmentLinkURL":
                return self._attachment(given)
            case "issueRelationCreate":
                return {"input": self._relation(given["input"])}
            case name:
                raise refused(f"there is no rule for {name}")

    def _own_issue(self, named: str) -> str:
        if named.casefold() not in {self._issue.id.casefold(), self._issue.identifier.casefold()}:
            raise refused(f"{_shown(named)} is not your own issue: write to {self._issue.identifier} only")
        return self._issue.id

    def _own_comment(self, named: str) -> str:
        if named.casefold() not in self._comments:
            raise refused(f"the comment {_shown(named)} was not made by this tool on {self._issue.identifier}")
        return named.casefold()

    def _new_comment(self, given: Arguments) -> Arguments:
        issue_id = self._own_issue(given["issueId"])
        data = self._client.ask(COMMENTS_THERE, {"ids": self._comments}, operation="SymphonyCommentsThere")
        return {**given, "issueId": issue_id, "id": _free(self._comments, data, "comments")}

    def _attachment(self, given: Arguments) -> Arguments:
        url = given["url"]
        if len(url) > _LONGEST_URL or not _URL.fullmatch(url):
            raise refused(f"{_shown(url)} is no http or https address of at most {_LONGEST_URL} characters")
        if _CHANGE.search(_as_opened(url)):
            raise refused("pull requests are attached by Symphony, for Linear moves issues by what becomes of them")
        issue_id = self._own_issue(given["issueId"])
        asked = {"id": issue_id, "url": url}
        own = required_object(self._client.ask(LINKS_THERE, asked, operation="SymphonyLinksThere"), "issue")
        if required_nodes(own, "attachments"):  # which Linear would give other words, whoever attached it
            raise refused(f"{_shown(url)} is attached to {self._issue.identifier} already")
        return {**given, "issueId": issue_id}

    def _relation(self, given: Arguments) -> Arguments:
        ends = [self._related(given[name]) for name in ("issueId", "relatedIssueId")]
        if ends[0] == ends[1]:
            raise refused("an issue cannot be related with itself")
        return {**given, "issueId": ends[0], "relatedIssueId": ends[1]}

    def _related(self, named: str) -> str:
        return named.casefold() if named.casefold() in self._issues else self._own_issue(named)

    def _new_issue(self, given: Arguments) -> Arguments:
        self._ensure_labels(given.get("labelIds") or ())
        if given.get("parentId") is not None:
            given = {**given, "parentId": self._own_issue(given["parentId"])}
        data = self._client.ask(ISSUES_THERE, {"id": self._issue.id, "ids": self._issues}, operation="SymphonyIssuesThere")
        own = required_object(data, "issue")
        team, project = required_object(own, "team"), required_object(own, "project")
        if required_text(project, "slugId") != self._slug_id:
            raise refused(f"{self._issue.identifier} is no longer in this project")
        places = {"teamId": required_text(team, "id"), "projectId": required_text(project, "id")}
        for name, place in places.items():
            if given.get(name) not in (None, place):
                raise refused(f"{name} must be that of your own issue: leave it out")
        state = self._inactive(required_nodes(team, "states"), given.get("stateId"))
        return {**given, **places, "stateId": state, "id": _free(self._issues, data, "issues")}

    def _inactive(self, states: Collection[Mapping[str, Any]], wanted: str | None) -> str:
        """Choose the state of a new issue: none in which anything is started, over, or waiting for a person's decision."""
        fit = {
            required_text(state, "id"): required_text(state, "name")
            for state in sorted(states, key=lambda one: (one.get("type") != "backlog", one.get("position") or 0))
            if one_waits(state) and normalized_state(required_text(state, "name")) not in self._reserved_states
        }
        if wanted is None and fit:
            return next(iter(fit))
        if wanted is None or wanted not in fit:
            there = ", ".join(f"{name} ({state_id})" for state_id, name in fit.items()) or "none here"
            raise refused(f"new issues go into a state in which nothing is started: {there}")
        return wanted

    def _ensure_labels(self, ids: Collection[str]) -> None:
        """Refuse labels that Symphony goes by, and such as cannot be looked up. Raises: Rejected, Transient."""
        asked = set(ids)
        if not asked:
            return
        if len(asked) > _MOST_LABELS:
            raise refused(f"{_MOST_LABELS} labels at a time are allowed")
        data = self._client.ask(LABELS_THERE, {"ids": sorted(asked)}, operation="SymphonyLabelsThere")
        names = {required_text(node, "id"): required_text(node, "name") for node in required_nodes(data, "issueLabels")}
        for label in sorted(asked):
            if label not in names:
                raise refused(f"there is no label {_shown(label)}")
            if names[label].strip().casefold() in self._reserved_labels:
                raise refused(f"the label {names[label]!r} is one that Symphony goes by: people set it")


def one_waits(state: Mapping[str, Any]) -> bool:
    """Tell whether nothing has begun with an issue in a state, by Linear's own word for it."""
    return state.get("type") in {"backlog", "unstarted", "triage"}


def _free(ids: Collection[str], data: Mapping[str, Any], name: str) -> str:
    """Choose an id that nothing has; any of them, so that one which Linear keeps for something deleted is met once only."""
    taken = {required_text(node, "id") for node in required_nodes(data, name)}
    free = [one for one in ids if one not in taken]
    if not free:
        raise refused(f"{len(ids)} {name} were made, which is all that are allowed; edit one that is there")
    return secrets.choice(free)


def _as_opened(url: str) -> str:
    """Write an address as the most willing reader takes it: with backslashes for slashes, and escaped more than once."""
    while (plain := unquote(url)) != url:
        url = plain
    return url.replace("\\", "/")


def _shown(text: str) -> str:
    return repr(text[:60])
