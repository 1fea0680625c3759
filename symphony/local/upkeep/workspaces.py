"""Workspaces of issues whose runs are over, and what was moved aside or left half made beside them.

A workspace goes when its issue is terminal or its change has landed; one that a run on a repository left otherwise goes
after a week, since no later run takes it up; without a repository it stays for the issue's next run. The removal is the
engine's own: marked in the ledger, then done under the workspace's lock with the hook `before_remove`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

from symphony.domain.errors import ConfigError
from symphony.domain.issue import workspace_key
from symphony.domain.run import RunState
from symphony.engine import clean as engine
from symphony.engine.rules import Rules
from symphony.ledger import upkeep
from symphony.ledger.records import WorkflowRow
from symphony.ledger.upkeep import Worked
from symphony.local.upkeep.waste import WORKSPACE_AGE, Site, Waste, days, how_it_ended, locked, size_of, untouched_for
from symphony.workspaces.markers import read_marker
from symphony.workspaces.places import SIDE, Places
from symphony.workspaces.removal import remove_tree

_ROUNDS = 20


def roots(site: Site, workflows: Sequence[WorkflowRow]) -> dict[UUID, Path]:
    """Give the workspace root of each workflow that has one here; what cannot be resolved here is left out."""
    found: dict[UUID, Path] = {}
    for row in workflows:
        try:
            root = site.deployment.rules(row).resolved(site.deployment.environ).workspace_root(home=site.home)
        except ConfigError:
            continue
        if (root / SIDE).is_dir():
            found[row.id] = root
    return found


def find(site: Site, workflows: Sequence[WorkflowRow], worked: Sequence[Worked]) -> Iterator[Waste]:
    """Find workspaces that are past their use."""
    there = roots(site, workflows)
    for row in workflows:
        if row.id not in there:
            continue
        places, rules = Places(there[row.id].resolve()), site.deployment.rules(row)
        of_workflow = {workspace_key(one.identifier): one for one in worked if one.workflow_id == row.id}
        for key, issue in of_workflow.items():
            reason = _past_use(site, rules, issue) if issue.was_here else None
            if reason is not None and _is_of(places, key, row.name):
                yield Waste(
                    "workspace",
                    str(places.root / key),
                    reason,
                    _size(places, key),
                    _removal(site, issue, places.root / key),
                )
    yield from _beside(site, set(there.values()), worked)


def _past_use(site: Site, rules: Rules, issue: Worked) -> str | None:
    if issue.over_for is None:
        return None
    name = f"{issue.identifier}#{issue.run_number}"
    if rules.states.is_terminal(issue.issue_state):
        return f"its issue is {issue.issue_state}"
    if issue.run_state == RunState.LANDED:
        return f"{name} has landed"
    if rules.workflow.repository is not None and issue.over_for >= site.old_enough(WORKSPACE_AGE):
        return f"{name} {how_it_ended(issue.run_state)} {days(issue.over_for)}, and no later run takes it up"
    return None


def _is_of(places: Places, key: str, workflow: str) -> bool:
    try:
        marker = read_marker(places.marker(key))
        return places.existing(key) is not None and (marker is None or marker.workflow == workflow)
    except ConfigError:
        return False


def _size(places: Places, key: str) -> int:
    return size_of(places.root / key) + size_of(places.git_dir(key))


def _removal(site: Site, issue: Worked, path: Path) -> Callable[[], bool]:
    def remove() -> bool:
        node, database = site.deployment.node, site.deployment.database
        if not database.transact(lambda t: upkeep.mark_for_cleaning_if_over(t, issue.issue_id, node)):
            return False
        for _ in range(_ROUNDS):
            if engine.clean(site.deployment, site.guardian) == 0 or not path.exists():
                break
        return not path.exists()

    return remove


def _beside(site: Site, found: set[Path], worked: Sequence[Worked]) -> Iterator[Waste]:
    """Find what lies aside or half made for a week, of issues without a live run."""
    live = {workspace_key(one.identifier) for one in worked if one.over_for is None}
    for root in sorted(found):
        places = Places(root.resolve())
        for folder, what in ((places.aside, "moved aside"), (places.new, "left half made")):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                key, age = path.name.partition("@")[0], untouched_for(path)
                if key not in live and age >= site.old_enough(WORKSPACE_AGE):
                    reason = f"it was {what} {days(age)}"
                    yield Waste("leftover", str(path), reason, size_of(path), _locked_removal(site, path, places.lock(key)))


def _locked_removal(site: Site, path: Path, lock: Path) -> Callable[[], bool]:
    def remove() -> bool:
        with locked(lock) as is_free:
            if is_free:
                remove_tree(site.tree, path)
        return is_free

    return remove
