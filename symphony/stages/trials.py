"""Running a workflow's setup and checks on one commit: in a clean checkout, in a place of this node's few, once more alone.

Invariant: every run begins with a checkout of exactly its commit, in which nothing of another run lies but a private copy
of what the setup made of the target. A limit ends the run's own processes only, so there is always somebody left to say so.
The proof stage relies on it.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from os import cpu_count
from pathlib import Path
from uuid import UUID

from symphony.domain.errors import Cancelled
from symphony.domain.proof import CheckResult, Verdict
from symphony.ledger import attempts
from symphony.proof.check_logs import CheckLogs
from symphony.proof.commands import SETUP, Command, run_checks, run_command
from symphony.proof.concurrency import alone, place
from symphony.proof.setup_cache import SetupCache, Wanted, deciding
from symphony.proof.setup_outputs import footprint
from symphony.proof.trial import Ran, again
from symphony.stages.context import RunContext
from symphony.stages.lease import DRAINING
from symphony.stages.source import Code, environment
from symphony.telemetry.log import get_logger
from symphony.workflow.schema.repository import Proof as Demands
from symphony.workspaces.clones import clean_checkout
from symphony.workspaces.removal import remove_tree

_AFTER_ID = "@"
_OURS = f"{'[0-9a-f]' * 8}-*-*-*-{'[0-9a-f]' * 12}{_AFTER_ID}*"
_LOOK_AGAIN_S = 0.2

log = get_logger()


def commands_of(demands: Demands) -> tuple[Command | None, list[Command]]:
    """Give the setup and the checks that a workflow demands."""
    setup = Command(SETUP, demands.setup.run, demands.setup.timeout) if demands.setup is not None else None
    return setup, [Command(check.name, check.run, check.timeout, check.reports) for check in demands.checks]


class Trials:
    """The runs of one attempt, of candidates for one target."""

    def __init__(self, context: RunContext, code: Code, target: str) -> None:
        self._context = context
        self._code = code
        self._target = target
        self._setup, self._checks = commands_of(context.workflow.proof)
        self._home = context.settings.home
        self._logs = CheckLogs.of(self._home, context.run.id, context.lease.attempt_id)
        self._cache = SetupCache(context.tree, self._home / "setups")

    def steady(self, commit: str, kind: str = "", *, last: str | None = None, cached: bool = True) -> list[Ran]:
        """Run the setup and the checks, up to the one named `last`; what met a limit once more, alone on the node.

        `kind` tells these runs from others of the attempt; without `cached` the setup is run whatever is known of it.

        Raises:
            Transient: the attempt was ended from outside.
            Cancelled: the worker shuts down, and the run has not begun.
        """
        first = self._run(commit, kind, last, cached=cached)
        limited = [ran for ran in first if ran.is_limited]
        if not limited:
            return first
        names = ", ".join(ran.name for ran in limited)
        log.info("a check met a limit: once more, alone", run=str(self._context.run.id), checks=names)
        ended_early = len(first) < len(self._upto(last)) + (self._setup is not None)
        until = last if ended_early else limited[-1].name
        second = self._run(commit, "-".join(filter(None, (kind, "alone"))), until, cached=cached, is_alone=True)
        return again(first, second, {ran.key for ran in limited})

    def _run(self, commit: str, kind: str, last: str | None, *, cached: bool, is_alone: bool = False) -> list[Ran]:
        context = self._context
        with self._place(is_alone=is_alone), self._checkout(commit) as checkout:
            ready = self._made_ready(commit, checkout) if cached else None
            context.lease.heard("checks started")
            with context.side_tree(limited=True) as tree:
                results = run_checks(
                    tree, checkout, environment(context), self._setup if ready is None else None, self._upto(last),
                    lambda check, text: self._logs.write(check, text, kind),
                )  # fmt: skip
        return [*([ready] if ready else []), *(Ran(result, log=self._log_of(result.name, kind)) for result in results)]

    def _upto(self, last: str | None) -> list[Command]:
        """Give the checks that are to run: one stands on what those before it have made."""
        if last is None:
            return self._checks
        ends = [number for number, check in enumerate(self._checks, 1) if check.name == last]
        return self._checks[: ends[0] if ends else 0]

    def _log_of(self, check: str, kind: str) -> str:
        """Say how people get at the full log, which lies on this node."""
        run = self._context.run
        name = f"{check}@{kind}" if kind else check
        return f"symphony logs {shlex.quote(f'{self._context.issue.identifier}#{run.number}')} --check {shlex.quote(name)}"

    def _made_ready(self, commit: str, checkout: Path) -> Ran | None:
        """Give a checkout what the setup makes of the target, where that is what its own setup would make."""
        wanted, context = self._context.workflow.proof.setup, self._context
        if wanted is None or not wanted.cache:
            return None
        with self._code.mirror.reading() as git:
            files = deciding(git, self._target, wanted.cache)
            if not files or (commit != self._target and deciding(git, commit, wanted.cache) != files):
                return None
        key = Wanted(wanted.run, self._code.name, files).key(checkout.parent, environment(context))
        if not self._cache.has(key):
            self._make(key)
        if not self._cache.give(key, checkout, self._wait):
            return None
        told = "What it makes of the target's files was kept on this node."
        return Ran(CheckResult(SETUP, wanted.run, Verdict.PASSED, 0, 0.0, told), is_cached=True)

    def _make(self, key: str) -> None:
        """Let the setup run on a clean checkout of the target and keep what it makes, unless somebody just has."""
        assert self._setup is not None
        with self._cache.making(key, self._wait):
            if self._cache.has(key):
                return
            with self._checkout(self._target) as checkout:
                before = footprint(checkout)
                with self._context.side_tree(limited=True) as tree:
                    result = run_command(
                        tree, checkout, environment(self._context), self._setup,
                        lambda check, text: self._logs.write(check, text, "kept"),
                    )  # fmt: skip
                if result.verdict is Verdict.PASSED:
                    self._cache.keep(key, checkout, before)

    def _place(self, *, is_alone: bool) -> AbstractContextManager[None]:
        places = self._context.workflow.proof.concurrency or cpu_count() or 1
        return (alone if is_alone else place)(self._home / "run" / "proofs", places, self._wait)

    def _wait(self) -> None:
        lease = self._context.lease
        lease.wait(_LOOK_AGAIN_S)
        lease.ensure_trusted()
        if lease.drain_until is not None:
            raise Cancelled("the worker is shutting down", category=DRAINING)

    @contextmanager
    def _checkout(self, commit: str) -> Iterator[Path]:
        context = self._context
        folder = self._home / "checkouts"
        folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers(folder)
        # Every name has the same length: what a setup made in one checkout can be brought to another.
        path = folder.resolve() / f"{context.lease.attempt_id}{_AFTER_ID}{secrets.token_hex(4)}"
        try:
            with self._code.mirror.reading():
                clean_checkout(context.tree, self._code.mirror.path, commit, path)
            yield path
        finally:
            if context.tree.ended is None:
                remove_tree(context.tree, path)

    def _remove_leftovers(self, folder: Path) -> None:
        """Remove the checkouts of attempts that were killed before they could."""
        there = {path: UUID(path.name.partition(_AFTER_ID)[0]) for path in folder.glob(_OURS)}
        if not there:
            return
        context = self._context
        still_open = context.fenced(lambda transaction: attempts.still_open(transaction, there.values()))
        for path, attempt_id in there.items():
            if attempt_id not in still_open:
                remove_tree(context.tree, path)
