"""Checkouts, caches, mirrors, logs and what agents left: of a home, what nobody will look for again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from symphony.agents.log import log_path
from symphony.domain.errors import ConfigError
from symphony.engine.sources import GitSource
from symphony.ledger import attempts, upkeep
from symphony.ledger.records import WorkflowRow
from symphony.ledger.upkeep import Worked
from symphony.local.upkeep.waste import (
    LOG_AGE,
    WORKSPACE_AGE,
    Site,
    Waste,
    days,
    how_it_ended,
    locked,
    size_of,
    untouched_for,
)
from symphony.workspaces.mirrors import Mirror
from symphony.workspaces.removal import remove_tree

_ALTERNATES = Path("objects") / "info" / "alternates"


def checkouts(site: Site) -> Iterator[Waste]:
    """Find the clean checkouts of attempts that have ended: who was killed could not remove its own."""
    there = {path: run_id for path in _entries(site.home / "checkouts") if (run_id := _id(path.name.partition("@")[0]))}
    if not there:
        return
    still_open = site.deployment.database.transact(lambda t: attempts.still_open(t, there.values()))
    for path, attempt_id in there.items():
        if attempt_id not in still_open:
            yield Waste("checkout", str(path), "its attempt has ended", size_of(path), _removal(site, path))


def caches(site: Site) -> Iterator[Waste]:
    """Find the results of setups that no proof has taken for a week; whoever takes one touches it under its lock."""
    for path in _entries(site.home / "setups"):
        age = untouched_for(path)
        if path.suffix != ".lock" and age >= site.old_enough(WORKSPACE_AGE):
            lock = path.with_name(f"{path.name}.lock")
            yield Waste("cache", str(path), f"used {days(age)}", size_of(path), _removal(site, path, lock))


def dropped(site: Site) -> Iterator[Waste]:
    """Find the folders into which agents dropped what people should see, a week after the run: copies are kept."""
    yield from _of_ended_runs(site, "leftover", site.home / "run" / "artifacts", WORKSPACE_AGE)


def mirrors(site: Site, workflows: Sequence[WorkflowRow], roots: Sequence[Path]) -> Iterator[Waste]:
    """Find mirrors of repositories that no workflow names and no workspace reads from, untouched for a week."""
    folder = site.home / "mirrors"
    needed = _needed(site, workflows, folder)
    if needed is None:
        return
    for root in roots:
        for git_dir in _entries(root / ".symphony" / "git"):
            with suppress(OSError):
                needed.add(Path((git_dir / _ALTERNATES).read_text(encoding="utf-8").strip()).parent.name)
    for path in _entries(folder):
        age = min(untouched_for(path), untouched_for(path / "objects"), untouched_for(path / "objects" / "pack"))
        name = path.name.partition("@")[0]
        if path.name.endswith(".lock") or name in needed or age < site.old_enough(WORKSPACE_AGE):
            continue
        lock = folder / f"{name.removesuffix('.git').rpartition('-')[2]}.lock"
        reason = f"no workflow names its repository; used {days(age)}"
        yield Waste("mirror", str(path), reason, size_of(path), _removal(site, path, lock))


def _needed(site: Site, workflows: Sequence[WorkflowRow], folder: Path) -> set[str] | None:
    """Name the mirrors that workflows need; None when that cannot be told here."""
    urls: set[str] = set()
    for row in workflows:
        if row.source_kind == "git":
            urls.add(GitSource.parse(row.source).url)
        try:
            url = site.deployment.rules(row).resolved(site.deployment.environ).repository_url()
        except ConfigError:
            return None
        urls |= {url} if url is not None else set()
    return {Mirror(site.tree, folder, url).path.name for url in urls}


def logs(site: Site, worked: Sequence[Worked]) -> Iterator[Waste]:
    """Find the logs of agents and checks whose runs ended a month ago."""
    least = site.old_enough(LOG_AGE)
    by_path: dict[Path, list[Worked]] = {}
    for one in worked:
        by_path.setdefault(log_path(site.home, one.workflow, one.identifier), []).append(one)
    for path in (file for folder in _entries(site.home / "logs" / "agents") for file in _entries(folder)):
        ages = [one.over_for for one in by_path.get(path, ())]
        if any(age is None for age in ages):
            continue
        age = min([untouched_for(path), *(age for age in ages if age is not None)])
        if age >= least and path.is_file():
            yield Waste(
                "log", str(path), f"written {days(age)}, and its issue has no live run", size_of(path), _unlinking(path)
            )
    yield from _of_ended_runs(site, "log", site.home / "logs" / "proofs", LOG_AGE)


def artifacts(site: Site) -> Iterator[Waste]:
    """Find what is kept of what agents left for people, of runs that ended a month ago."""
    yield from _of_ended_runs(site, "artifact", site.home / "artifacts", LOG_AGE)


def _of_ended_runs(site: Site, kind: str, folder: Path, kept: timedelta) -> Iterator[Waste]:
    """Find the folders that bear the ids of runs that ended long enough ago."""
    least = site.old_enough(kept)
    there = {path: run_id for path in _entries(folder) if (run_id := _id(path.name))}
    if not there:
        return
    ended = site.deployment.database.transact(lambda t: upkeep.ended_runs(t, there.values()))
    for path, run_id in there.items():
        if run_id in ended and ended[run_id][1] >= least:
            reason = f"its run {how_it_ended(ended[run_id][0])} {days(ended[run_id][1])}"
            yield Waste(kind, str(path), reason, size_of(path), _removal(site, path))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _removal(site: Site, path: Path, lock: Path | None = None) -> Callable[[], bool]:
    def remove() -> bool:
        if lock is None:
            remove_tree(site.tree, path)
            return True
        with locked(lock) as is_free:
            if is_free:
                remove_tree(site.tree, path)
        return is_free

    return remove


def _unlinking(path: Path) -> Callable[[], bool]:
    def remove() -> bool:
        path.unlink(missing_ok=True)
        return True

    return remove
