"""The hidden refs by which runs keep their work at the repository, of runs that have ended.

A landed run's go at once, another one's as soon as workers drop them by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from symphony.domain.errors import SymphonyError
from symphony.domain.run import RunState
from symphony.engine.refs import KEPT, Hidden, repositories
from symphony.ledger.records import WorkflowRow
from symphony.local.upkeep.waste import Site, Waste, days, how_it_ended
from symphony.processes.git_failures import without_secrets
from symphony.telemetry.log import get_logger

log = get_logger()


def find(site: Site, workflows: Sequence[WorkflowRow]) -> Iterator[Waste]:
    """Find the refs of ended runs in the repositories of all workflows; one that does not answer is left out."""
    for url, branch in repositories(site.deployment, workflows).items():
        hidden = Hidden(site.deployment, site.tree, url, branch)
        try:
            found = hidden.leftovers()
        except SymphonyError as error:
            log.warning("refs of ended runs not looked for", repository=without_secrets(url), reason=str(error))
            continue
        for one in found:
            if one.state == RunState.LANDED or one.over_for >= site.old_enough(KEPT):
                reason = f"its run {how_it_ended(one.state)} {days(one.over_for)}"
                yield Waste("ref", f"{one.ref} of {url}", reason, 0, _drop(hidden, one.ref))


def _drop(hidden: Hidden, ref: str) -> Callable[[], bool]:
    def remove() -> bool:
        hidden.drop([ref])
        return True

    return remove
