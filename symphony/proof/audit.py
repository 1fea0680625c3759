"""The audit of a branch: every landing of Symphony on it, against the proofs that are stored.

Invariant: a landing is good only when the commit in the repository, its row and its proof say the same of tree, parents and
verdict, and the proof ran what the workflow demanded then. Nothing is taken from a branch's own words but the claim that a
commit was landed by Symphony, and a claim without a row is a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from symphony.domain.proof import PROOF_TRAILER, RUN_TRAILER, proof_key
from symphony.ledger.audits import StoredLanding
from symphony.processes.git import Git
from symphony.proof.commands import SETUP
from symphony.proof.demands import PROTECT, demands_of
from symphony.workflow.findings import InvalidWorkflow
from symphony.workflow.loader import parse
from symphony.workflow.schema import Workflow

_SHORT = 7
_BURIED = "it is on the branch, but not in its own line: somebody merged the other way round"
_FIELDS = "%x1f".join(
    ["%H", "%T", "%P", *(f"%(trailers:key={key},valueonly,separator=%x20)" for key in (RUN_TRAILER, PROOF_TRAILER)), "%s"]
)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a branch, with what its trailers claim."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    run: str
    proof: str
    subject: str


@dataclass(frozen=True, slots=True)
class Audited:
    """A landing of Symphony, or one that claims to be; it is good without `faults`."""

    commit: str
    run: str
    subject: str
    stored: StoredLanding | None
    workflow: Workflow | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return {
            "commit": self.commit,
            "run": self.run,
            "subject": self.subject,
            "ok": not self.faults,
            "faults": list(self.faults),
            "notes": list(self.notes),
            "tree": self.stored.tree_sha if self.stored else None,
            "proof": str(self.stored.proof_id) if self.stored else None,
        }


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found on a branch; `others` are people's own commits, `handed` work of Symphony that people landed."""

    landings: tuple[Audited, ...]
    others: tuple[Commit, ...] = ()
    handed: tuple[Commit, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether no landing has a fault."""
        return not any(landing.faults for landing in self.landings)


def history(git: Git, tip: str) -> list[Commit]:
    """Give the first-parent commits of a branch, newest first.

    Raises:
        SymphonyError: as git fails.
    """
    return _read(git, "--first-parent", tip)


def commits_named(git: Git, shas: Sequence[str]) -> list[Commit]:
    """Give single commits that the store has.

    Raises:
        SymphonyError: as git fails.
    """
    return _read(git, "--no-walk=unsorted", *shas) if shas else []


def audit(commits: Sequence[Commit], stored: Iterable[StoredLanding], buried: Sequence[Commit] = ()) -> Audit:
    """Audit a branch's first-parent `commits`; `buried` are landings that it holds elsewhere.

    Of `stored`, those on the branch's own target are demanded to be there; those of others are known by their commit.
    """
    rows: dict[str, StoredLanding] = {}
    for landing in stored:  # the last one counts: an abandoned landing may have been built again
        if landing.merge_sha not in rows or landing.state != "abandoned":
            rows[landing.merge_sha] = landing
    found: list[Audited] = []
    others: list[Commit] = []
    handed: list[Commit] = []
    for commit in [*commits, *buried]:
        row = rows.pop(commit.sha, None)
        if row is not None or commit.proof:
            found.append(_audited(commit, row))
        elif commit.run:
            handed.append(commit)
        else:
            others.append(commit)
    known = {commit.sha for commit in buried}
    found = [replace(each, notes=(*each.notes, _BURIED)) if each.commit in known else each for each in found]
    return Audit((*found, *_missing(rows.values())), tuple(others), tuple(handed))


def _missing(rows: Iterable[StoredLanding]) -> Iterator[Audited]:
    for row in rows:
        if row.state == "landed":
            yield Audited(row.merge_sha, row.run, "", row, faults=("it was landed, and the branch does not hold it",))


def _audited(commit: Commit, row: StoredLanding | None) -> Audited:
    if row is None:
        fault = f"it claims to be landed by Symphony as {commit.run or 'no run'}, and no such landing is stored"
        return Audited(commit.sha, commit.run, commit.subject, None, faults=(fault,))
    workflow = _workflow(row)
    faults = [*_of_commit(commit, row), *_of_proof(row), *_of_checks(row, workflow), *_of_trailers(commit, row, workflow)]
    notes = [] if commit.proof else [f"it has no trailer {PROOF_TRAILER}"]
    if row.state == "intended":
        notes.append("its row is not settled yet")
    return Audited(commit.sha, row.run, commit.subject, row, workflow, tuple(faults), tuple(notes))


def _of_commit(commit: Commit, row: StoredLanding) -> Iterator[str]:
    if row.state == "abandoned":
        yield "its landing was abandoned, and the branch holds it"
    if commit.tree != row.tree_sha:
        yield f"its tree is {commit.tree[:_SHORT]}, and {row.tree_sha[:_SHORT]} was to land"
    if commit.parents not in ((row.base_sha,), (row.base_sha, row.head_sha)):
        parents = ", ".join(parent[:_SHORT] for parent in commit.parents) or "none"
        yield f"its parents are {parents}, and it was to land {row.head_sha[:_SHORT]} on {row.base_sha[:_SHORT]}"


def _of_proof(row: StoredLanding) -> Iterator[str]:
    if row.proof_run_id != row.run_id:
        yield "its proof is that of another run"
    if row.proof_tree_sha != row.tree_sha or row.proof_merge_sha != row.merge_sha:
        yield f"its proof is for tree {row.proof_tree_sha[:_SHORT]}, not for {row.tree_sha[:_SHORT]}"
    red = [str(check.get("name")) for check in row.checks if check.get("verdict") != "passed"]
    if not row.checks:
        yield "its proof has no checks"
    elif row.verdict != "passed" or red:
        yield f"its proof has not passed{': ' if red else ''}{', '.join(red)}"


def _of_checks(row: StoredLanding, workflow: Workflow | None) -> Iterator[str]:
    if workflow is None:
        yield "the workflow by which it was proved is not known, so nobody can say what was demanded"
        return
    ran = {(str(check.get("name")), str(check.get("command"))) for check in row.checks}
    for name, command in demands_of(workflow.proof):
        # A setup may come out of a cache, and protected files are no check of their own.
        if name not in {SETUP, PROTECT} and (name, command) not in ran:
            yield f"the workflow demands the check {name} ({command}), and the proof does not have it"


def _of_trailers(commit: Commit, row: StoredLanding, workflow: Workflow | None) -> Iterator[str]:
    if commit.proof and workflow is not None:
        demands = demands_of(workflow.proof)
        if commit.proof == proof_key(row.run_id, base=row.base_sha, head=row.head_sha, demands=demands):
            return  # the run's id is in it: a tracker may have renamed the issue since
        yield f"it says {PROOF_TRAILER}: {commit.proof}, which is not the name of its proof"
    if commit.run != row.run:
        yield f"it says {RUN_TRAILER}: {commit.run or '(nothing)'}, and its run is {row.run}"


def _workflow(row: StoredLanding) -> Workflow | None:
    if row.content is None:
        return None
    try:
        return parse(row.content, place=row.workflow, name=row.workflow).workflow
    except InvalidWorkflow:
        return None


def _read(git: Git, walk: str, *tips: str) -> list[Commit]:
    told = git.output("log", walk, "-z", f"--format={_FIELDS}", "--end-of-options", *tips, "--")
    return [_commit(entry) for entry in told.decode(errors="replace").split("\0") if entry]


def _commit(entry: str) -> Commit:
    sha, tree, parents, run, proof, subject = (entry.strip("\n").split("\x1f", 5) + [""] * 6)[:6]
    return Commit(sha, tree, tuple(parents.split()), run.strip(), proof.strip(), subject)
