"""What people call an issue or a run, turned into rows: `DEMO-1`, `DEMO-1#2`, or the id of a run.

Invariant: one word never silently means one of two things; what is ambiguous or unknown is a sentence that says what
would be understood. The commands and the status API rely on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from uuid import UUID

from symphony.domain.errors import ConfigError
from symphony.ledger import issues, runs, views, workflows
from symphony.ledger.database import Transaction
from symphony.ledger.records import IssueRow, WorkflowRow

UNKNOWN = "issue_not_found"
AMBIGUOUS = "issue_ambiguous"


@dataclass(frozen=True, slots=True)
class Target:
    """An issue, and the run of it that is meant: the one that was named, else its newest, if it has any."""

    issue: IssueRow
    run_id: UUID | None
    is_run_named: bool = False


def find(transaction: Transaction, word: str, *, workflow: str | None = None) -> Target:
    """Find what a word means; `workflow` decides where an identifier stands in several.

    Raises:
        ConfigError: `issue_not_found` or `issue_ambiguous`.
    """
    named = _run_by_id(transaction, word)
    if named is not None:
        return named
    found = _in_workflow(transaction, issues.find(transaction, word), workflow)
    if found:
        issue = _only(transaction, word, found)
        return Target(issue, views.run_numbered(transaction, issue.id, None))
    identifier, _, number = word.rpartition("#")
    if identifier and number.isascii() and number.isdigit() and len(number) < 10:
        found = _in_workflow(transaction, issues.find(transaction, identifier), workflow)
        if found:
            issue = _only(transaction, word, found)
            run_id = views.run_numbered(transaction, issue.id, int(number))
            if run_id is None:
                raise ConfigError(
                    f"{issue.identifier} has no run {number}",
                    cure=f"`symphony runs --issue {issue.identifier}` lists them",
                    category=UNKNOWN,
                )
            return Target(issue, run_id, is_run_named=True)
    raise _unknown(transaction, word)


def find_workflow(transaction: Transaction, name: str) -> WorkflowRow:
    """Find a workflow by its name.

    Raises:
        ConfigError: there is none.
    """
    known = {row.name: row for row in workflows.every(transaction)}
    if name not in known:
        near = _near(name, list(known))
        raise ConfigError(f"there is no workflow {name!r}", cure=near or "`symphony workflow list` lists them")
    return known[name]


def _run_by_id(transaction: Transaction, word: str) -> Target | None:
    try:
        run_id = UUID(word)
    except ValueError:
        return None
    run = runs.get(transaction, run_id)
    issue = issues.get(transaction, run.issue_id) if run is not None else None
    return Target(issue, run_id, is_run_named=True) if issue is not None else None


def _in_workflow(transaction: Transaction, found: Sequence[IssueRow], workflow: str | None) -> list[IssueRow]:
    if workflow is None:
        return list(found)
    wanted = find_workflow(transaction, workflow).id
    return [issue for issue in found if issue.workflow_id == wanted]


def _only(transaction: Transaction, word: str, found: Sequence[IssueRow]) -> IssueRow:
    exact = [issue for issue in found if word.startswith(issue.identifier)]
    if len(found) > 1 and len(exact) != 1:
        names = {row.id: row.name for row in workflows.every(transaction)}
        places = ", ".join(f"{issue.identifier} in {names.get(issue.workflow_id, '?')}" for issue in found)
        raise ConfigError(f"{word!r} is ambiguous: {places}", cure="add `--workflow NAME`", category=AMBIGUOUS)
    return exact[0] if len(exact) == 1 else found[0]


def _unknown(transaction: Transaction, word: str) -> ConfigError:
    near = _near(word.rpartition("#")[0] or word, views.identifiers(transaction))
    cure = near or "an issue is known once a poll has seen it; `symphony status` shows the polls"
    return ConfigError(f"no issue or run is called {word!r}", cure=cure, category=UNKNOWN)


def _near(word: str, known: Sequence[str]) -> str | None:
    folded = {name.casefold(): name for name in known}
    close = [folded[name] for name in get_close_matches(word.casefold(), folded, n=3)]
    return f"did you mean {' or '.join(close)}?" if close else None
