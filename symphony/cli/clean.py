"""`symphony clean`: remove what nothing needs any more on this node, and say what and how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import typer

from symphony.cli.app import app
from symphony.cli.connection import AsJson, ledger
from symphony.cli.formatting import document, line
from symphony.domain.errors import SymphonyError
from symphony.engine.deployment import Deployment
from symphony.ledger import upkeep, workflows
from symphony.local.upkeep import folders, refs, workspaces
from symphony.local.upkeep.waste import Site, Waste
from symphony.processes.guardian import Guardian
from symphony.settings import Settings, load
from symphony.telemetry.redaction import redact

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@app.command()
def clean(
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            min=0,
            metavar="DAYS",
            help="In place of 7 days for workspaces, 30 for logs, 1 for refs and the like.",
        ),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what nothing needs any more on this node; never anything of a live run."""
    settings = load()
    age = timedelta(days=older_than) if older_than is not None else None
    done: list[dict[str, Any]] = []
    with _site(settings, age) as site:
        for waste in list(_find(site)):
            outcome = "would go" if dry_run else _removed(waste)
            done.append({"kind": waste.kind, "name": redact(waste.name), "reason": waste.reason, "bytes": waste.bytes})
            done[-1] |= {"outcome": outcome}
            if not as_json:
                line(f"{_spoken(outcome)} {waste.kind} {done[-1]['name']}: {waste.reason} ({size(waste.bytes)})")
    gone = [one for one in done if one["outcome"] in ("would go", "removed")]
    total = sum(one["bytes"] for one in gone)
    if as_json:
        document({"node": settings.node, "dry_run": dry_run, "bytes": total, "items": done})
        return
    verb = "would remove" if dry_run else "removed"
    if not gone:
        line(f"nothing to remove on the node {settings.node}")
    else:
        counts = Counter(one["kind"] for one in gone)
        said = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
        line(f"{verb} {said} on the node {settings.node}: {size(total)}")


@contextmanager
def _site(settings: Settings, age: timedelta | None) -> Iterator[Site]:
    with ledger(settings, pool_size=2) as database:
        guardian = Guardian.start()
        try:
            with guardian.tree("upkeep") as tree:
                yield Site(Deployment(database, settings, settings.node), guardian, tree, age)
        finally:
            guardian.close()


def _find(site: Site) -> Iterator[Waste]:
    database = site.deployment.database
    known = database.transact(workflows.every)
    worked = database.transact(lambda transaction: upkeep.worked_issues(transaction, site.deployment.node))
    yield from workspaces.find(site, known, worked)
    yield from folders.checkouts(site)
    yield from folders.caches(site)
    yield from folders.dropped(site)
    yield from folders.mirrors(site, known, list(workspaces.roots(site, known).values()))
    yield from folders.logs(site, worked)
    yield from folders.artifacts(site)
    yield from refs.find(site, known)


def _removed(waste: Waste) -> str:
    """Remove one thing and say what became of it; what cannot be removed stops nothing else."""
    try:
        return "removed" if waste.remove() else "left: something uses it now"
    except (SymphonyError, OSError) as error:
        return f"left: {redact(str(error))}"


def _spoken(outcome: str) -> str:
    return {"would go": "would remove", "removed": "removed"}.get(outcome, outcome.replace("left:", "left") + ";")


def size(count: int) -> str:
    """Give a number of bytes in the unit that people would choose."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{count} {_UNITS[0]}" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
