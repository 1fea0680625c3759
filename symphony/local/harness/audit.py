"""The harness audit: how well agents can work in a repository, in parts that add up to a hundred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from symphony.local.harness import documents, modularity, trials
from symphony.local.harness.bench import bench_for
from symphony.local.harness.folder import Folder
from symphony.local.harness.kinds import layout_of
from symphony.local.harness.report import Fault, Part, Section, score_of

_NOT_RUN = "nothing was run, as asked: not measured"


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit of one repository came to; `score` is None where nothing could be measured."""

    name: str
    commit: str
    described: str
    score: int | None
    parts: tuple[Part, ...]
    faults: tuple[Fault, ...]


def audit(folder: Path, *, timeout_s: float, runs: bool, tell: Callable[[str], None]) -> Audit:
    """Audit the last commit of a repository; without `runs` nothing of it is executed.

    Raises:
        ConfigError: the folder is no repository's top, or has no commit.
    """
    with bench_for(folder) as bench:
        outcome = None
        first = bench.checkout()
        layout = layout_of(Folder(first))
        if runs:
            outcome = trials.run(bench, layout, timeout_s=timeout_s, tell=tell)
        tests = trials.section(outcome, layout) if outcome is not None else _unmeasured()
        tried = outcome.trials[0] if outcome is not None and outcome.trials else None
        already = {ran.command: ran for ran in tried.checks} if tried is not None else {}
        read = documents.section(
            Folder(tried.checkout if tried is not None else first),
            bench if runs else None,
            already,
            offline=outcome is not None
            and outcome.can_cut
            and not any(f.category == "needs_network" for f in tests.faults),
            tell=tell,
        )
        tell("looking at imports, sizes and history ...")
        modular = modularity.section(Folder(first), bench)
        parts = (*tests.parts, *read.parts, *modular.parts)
        faults = (*tests.faults, *read.faults, *modular.faults)
        return Audit(bench.top.name, bench.commit, layout.described, score_of(parts), parts, faults)


def _unmeasured() -> Section:
    names = {"tests pass": trials.GREEN, "same result again": trials.SAME, "without the network": trials.OFFLINE,
             "leaves no files": trials.TIDY, "quick": trials.FAST}  # fmt: skip
    return Section(tuple(Part(name, None, of, _NOT_RUN) for name, of in names.items()))
