"""The hidden refs by which runs keep their work at the repository, of runs that have ended.

A landed run's go at once, another one's after a month: nobody reads them again. Refs of runs that live, or that this
ledger does not know, are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

from symphony.domain.errors import ConfigError, SymphonyError
from symphony.domain.run import RunState
from symphony.forges import SNAPSHOTS
from symphony.forges.git import GitForge
from symphony.ledger import upkeep
from symphony.ledger.records import WorkflowRow
from symphony.local.upkeep.waste import LOG_AGE, Site, Waste, days, how_it_ended
from symphony.processes.git import Git
from symphony.telemetry.log import get_logger
from symphony.workspaces.mirrors import Mirror

_PATIENCE_S = 30.0

log = get_logger()


def find(site: Site, workflows: Sequence[WorkflowRow]) -> Iterator[Waste]:
    """Find the refs of ended runs in the repositories of all workflows; one that does not answer is left out."""
    seen: set[str] = set()
    for row in workflows:
        rules = site.deployment.rules(row)
        try:
            url = rules.resolved(site.deployment.environ).repository_url()
        except ConfigError:
            continue
        repository = rules.workflow.repository
        if url is None or repository is None or url in seen:
            continue
        seen.add(url)
        try:
            yield from _of_repository(site, url, repository.branch)
        except SymphonyError as error:
            log.warning("refs of ended runs not looked for", workflow=row.name, reason=str(error))


def _of_repository(site: Site, url: str, branch: str) -> Iterator[Waste]:
    mirror = Mirror(site.tree, site.home / "mirrors", url)
    git = mirror.git if mirror.path.is_dir() else Git(site.tree, site.home)
    told = git.remote("ls-remote", "--refs", "--", url, f"{SNAPSHOTS}/*", timeout_s=_PATIENCE_S)
    by_run: dict[UUID, list[str]] = {}
    for line in told.splitlines():
        ref = line.partition("\t")[2]
        try:
            by_run.setdefault(UUID(ref.removeprefix(f"{SNAPSHOTS}/").partition("/")[0]), []).append(ref)
        except ValueError:
            continue
    ended = site.deployment.database.transact(lambda t: upkeep.ended_runs(t, by_run)) if by_run else {}
    for run_id, (state, over_for) in ended.items():
        if state != RunState.LANDED and over_for < site.old_enough(LOG_AGE):
            continue
        reason = f"its run {how_it_ended(state)} {days(over_for)}"
        for ref in sorted(by_run[run_id]):
            yield Waste("ref", f"{ref} of {url}", reason, 0, _drop(mirror, GitForge(url, branch), ref))


def _drop(mirror: Mirror, forge: GitForge, ref: str) -> Callable[[], bool]:
    def remove() -> bool:
        mirror.update(lambda git: forge.drop_snapshots(git, [ref]))
        return True

    return remove
