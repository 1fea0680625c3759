"""The hidden refs by which runs keep their work at a repository, of runs that have ended: nobody reads them again.

Invariant: a ref goes only when this ledger knows its run and the run has ended; those of live runs, and those that other
deployments keep in the same repository, are left alone. The prune tick and `symphony clean` rely on it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from symphony.domain.errors import ConfigError, SymphonyError
from symphony.engine.deployment import Deployment
from symphony.forges import SNAPSHOTS
from symphony.forges.git import GitForge
from symphony.ledger import upkeep, workflows
from symphony.ledger.database import new_id
from symphony.ledger.records import WorkflowRow
from symphony.processes.git import Git
from symphony.processes.git_failures import without_secrets
from symphony.processes.guardian import Guardian, Tree
from symphony.telemetry.log import get_logger
from symphony.workspaces.mirrors import Mirror

KEPT = timedelta(days=1)
"""How long after its run's end a ref is kept."""
MOST = 200
"""The most refs that one sweep drops."""
_LOOK_EVERY_S = 3600.0
_PATIENCE_S, _DEADLINE_S = 30.0, 120.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Leftover:
    """A ref of an ended run; `over_for` is since its end."""

    ref: str
    state: str
    over_for: timedelta


@dataclass(frozen=True, slots=True)
class Hidden:
    """The hidden refs of one repository, as one tree of processes reaches them."""

    deployment: Deployment
    tree: Tree
    url: str
    branch: str

    def leftovers(self) -> list[Leftover]:
        """List the refs of ended runs. Raises: what git's failure means."""
        mirror = self._mirror
        git = mirror.git if mirror.path.is_dir() else Git(self.tree, self.deployment.settings.home)
        told = git.remote("ls-remote", "--refs", "--", self.url, f"{SNAPSHOTS}/*", timeout_s=_PATIENCE_S)
        by_run: dict[UUID, list[str]] = {}
        for line in told.splitlines():
            ref = line.partition("\t")[2]
            try:
                by_run.setdefault(UUID(ref.removeprefix(f"{SNAPSHOTS}/").partition("/")[0]), []).append(ref)
            except ValueError:
                continue
        ended = self.deployment.database.transact(lambda t: upkeep.ended_runs(t, by_run)) if by_run else {}
        return [Leftover(ref, *ended[run_id]) for run_id in sorted(ended) for ref in sorted(by_run[run_id])]

    def drop(self, refs: Sequence[str]) -> None:
        """Remove refs. Raises: what git's failure means."""
        forge = GitForge(self.url, self.branch)
        self._mirror.update(lambda git: forge.drop_snapshots(git, refs), lock_timeout_s=_PATIENCE_S)

    @property
    def _mirror(self) -> Mirror:
        return Mirror(self.tree, self.deployment.settings.home / "mirrors", self.url)


def repositories(deployment: Deployment, known: Sequence[WorkflowRow]) -> dict[str, str]:
    """Give the url and the branch of each workflow's repository; what cannot be resolved here is left out."""
    found: dict[str, str] = {}
    for row in known:
        try:
            rules = deployment.rules(row)
            url = rules.resolved(deployment.environ).repository_url()
        except ConfigError:
            continue
        if url is not None and rules.workflow.repository is not None:
            found.setdefault(url, rules.workflow.repository.branch)
    return found


def sweep(deployment: Deployment, guardian: Guardian) -> int:
    """Drop old refs of ended runs at the repository that was looked at the longest ago; give their number.

    Each is looked at once an hour, and as long as there are more than one sweep drops. A repository that does not answer
    has its turn again an hour later.
    """
    known = repositories(deployment, deployment.database.transact(workflows.every))
    looked = deployment.refs_looked_at
    url = min(known, key=lambda one: looked.get(one, 0.0), default=None)
    if url is None or (url in looked and time.monotonic() - looked[url] < _LOOK_EVERY_S):
        return 0
    looked[url] = time.monotonic()
    try:
        with guardian.tree(f"refs-{new_id()}", deadline_s=_DEADLINE_S) as tree:
            hidden = Hidden(deployment, tree, url, known[url])
            refs = [one.ref for one in hidden.leftovers() if one.over_for >= KEPT][:MOST]
            if refs:
                hidden.drop(refs)
    except (SymphonyError, OSError) as error:
        log.warning("refs of ended runs not dropped", repository=without_secrets(url), reason=str(error))
        return 0
    if len(refs) == MOST:
        del looked[url]
    if refs:
        log.info("refs of ended runs dropped", repository=without_secrets(url), count=len(refs))
    return len(refs)
