"""Whether the story came true: read from the bare repository, the board's files and the ledger, never from a recording.

Each finding is a sentence with what speaks against it; a demo succeeds when nothing speaks against any. The accidents of
the story are demanded where it is told exactly: a real model makes its own mistakes, and chaos comes in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symphony.local.demo.evidence import Evidence
from symphony.local.demo.sample import Sample, git, run_tests
from symphony.local.demo.show import Killed
from symphony.local.demo.story import (
    ASKING,
    DEPENDENT,
    FAILING,
    FRENCH,
    GERMAN,
    KILLED,
    QUESTION,
    REWORKED,
    SLOTS,
)
from symphony.trackers.files.document import Document

_GREETING = "words/greeting.py"


@dataclass(slots=True)
class Finding:
    """A sentence of the story, and what speaks against it."""

    sentence: str
    faults: list[str] = field(default_factory=list)

    def expect(self, holds: object, fault: str) -> None:
        """Note the fault unless `holds`."""
        if not holds:
            self.faults.append(fault)


def judge(sample: Sample, evidence: Evidence, killed: Killed | None, *, is_recorded: bool, is_exact: bool) -> list[Finding]:
    """Compare what happened with the story; `is_exact` demands its accidents, too."""
    states = _states(sample, evidence, is_recorded=is_recorded)
    if evidence.runs.keys() != {issue.identifier for issue in sample.story}:
        return [states]
    findings = [states, _parallel(evidence)]
    if DEPENDENT in evidence.runs:
        findings.append(_dependent(sample, evidence))
    if is_exact:
        findings += [_reworked(evidence), _collision(sample, evidence), _failure(evidence), _kill(evidence, killed)]
    if evidence.runs.get(ASKING, {}).get("state") == "blocked":
        findings.append(_question(sample, evidence, QUESTION if is_recorded else None))
    return [*findings, _landings(sample, evidence), _tip(sample)]


def _states(sample: Sample, evidence: Evidence, *, is_recorded: bool) -> Finding:
    """Find every issue in its state; a real model may know by itself what the recorded one asks."""
    landed = sum(run["state"] == "landed" for run in evidence.runs.values())
    blocked = evidence.runs.get(ASKING, {}).get("state") == "blocked"
    rest = f", {ASKING} is Blocked" if blocked else ""
    finding = Finding(f"{landed} issues have landed and are Done{rest}, as the story says")
    for issue in sample.story:
        run = evidence.runs.get(issue.identifier)
        found = run["state"] if run else "not there"
        wanted, column = issue.run_ends, issue.ends_in
        if found == "landed" and not is_recorded:
            wanted, column = "landed", "Done"
        finding.expect(found == wanted, f"the run of {issue.identifier} is {found}, not {wanted}{_why(run)}")
        state = Document.parse(sample.issue(issue.identifier).read_text(encoding="utf-8")).header.state
        finding.expect(state == column, f"{issue.identifier} is in {state!r} on the board, not in {column!r}")
    finding.expect(not evidence.superfluous, f"issues ran again: {', '.join(evidence.superfluous)}")
    return finding


def _parallel(evidence: Evidence) -> Finding:
    """Replay the attempts for agents at once, and the events for slots held at once."""
    moments = []
    for identifier in evidence.runs:
        for attempt in evidence.agent_attempts(identifier):
            moments += [(attempt["started_at"], 1), (attempt["finished_at"] or evidence.events[-1].at, -1)]
    working = most = 0
    for _, step in sorted(moments):
        working += step
        most = max(most, working)
    holding: dict[str, bool] = {}
    most_held = 0
    for event in evidence.events:
        holding[event.identifier] = event.takes_slot
        most_held = max(most_held, sum(holding.values()))
    finding = Finding(f"up to {most} agents worked at the same time; the {SLOTS} slots were never exceeded")
    finding.expect(most >= 2, "no two agents worked at the same time")
    finding.expect(most_held <= SLOTS, f"{most_held} slots were taken at once")
    return finding


def _dependent(sample: Sample, evidence: Evidence) -> Finding:
    run = evidence.runs[DEPENDENT]
    blockers = next(issue.blocked_by for issue in sample.story if issue.identifier == DEPENDENT)
    finding = Finding(f"{DEPENDENT} began after {' and '.join(blockers)} had landed, on a main that holds both")
    for blocker in blockers:
        landed = evidence.runs[blocker]
        finding.expect(
            landed["finished_at"] and landed["finished_at"] <= run["created_at"], f"it began before {blocker} had landed"
        )
        history = git("rev-list", run["base_sha"], cwd=sample.origin).split() if run["base_sha"] else []
        finding.expect(landed["landed_sha"] in history, f"its base lacks {blocker}")
    return finding


def _reworked(evidence: Evidence) -> Finding:
    run = evidence.runs[REWORKED]
    failed = [proof for proof in run["proofs"] if proof["verdict"] == "failed"]
    shown = re.search(r"AssertionError: .*", failed[0]["checks"][0]["output"]) if failed else None
    finding = Finding(
        f"{REWORKED}'s first proof failed ({shown[0] if shown else 'no assertion'}); "
        f"its agent mended that in attempt {len(evidence.agent_attempts(REWORKED))} and it landed"
    )
    finding.expect(shown, "its first proof shows no failed test")
    finding.expect(run["proofs"] and run["proofs"][0]["verdict"] == "failed", "its first proof did not fail")
    finding.expect(evidence.of(REWORKED, "reworked"), "it was not sent back to its agent")
    return finding


def _collision(sample: Sample, evidence: Evidence) -> Finding:
    both = (FRENCH, GERMAN)
    second = max(both, key=lambda one: str(evidence.runs[one]["finished_at"]))
    first = FRENCH if second == GERMAN else GERMAN
    finding = Finding(f"{first} and {second} changed the same line of {_GREETING}; {second} resolved it; both landed")
    failed = [proof for proof in evidence.runs[second]["proofs"] if proof["verdict"] == "failed"]
    finding.expect(evidence.of(second, "reworked") and not failed, f"{second} was not reworked for a conflict")
    for one in both:
        landed = evidence.runs[one]["landed_sha"]
        changed = git("diff", "--name-only", f"{landed}^1", landed, cwd=sample.origin).splitlines() if landed else []
        finding.expect(_GREETING in changed, f"{one} changed nothing in {_GREETING}")
    text = git("show", f"main:{_GREETING}", cwd=sample.origin)
    for word in ("Hello", "Bonjour", "Hallo"):
        finding.expect(word in text, f"{word} is not in {_GREETING} on main")
    return finding


def _failure(evidence: Evidence) -> Finding:
    retried = evidence.of(FAILING, "retried")
    error = retried[0].data["error"] if retried else "nothing"
    finding = Finding(
        f"an attempt of {FAILING}'s agent failed ({_short(error, 100)}), the next went on in the same conversation, "
        "and it landed"
    )
    finding.expect(retried, "no attempt of its agent failed")
    finding.expect("the model's endpoint failed" in error, f"what failed was not its model: {error}")
    finding.expect(len(evidence.agent_attempts(FAILING)) >= 2, "its agent was not tried again")
    return finding


def _kill(evidence: Evidence, killed: Killed | None) -> Finding:
    if killed is None:
        return Finding(f"a worker was killed under {KILLED}'s agent", ["the moment for it never came"])
    attempts = evidence.agent_attempts(KILLED)
    lost = [attempt for attempt in attempts if attempt["process_id"] == killed.holder.process_id]
    again = [attempt for attempt in attempts if lost and attempt["started_at"] > lost[0]["started_at"]]
    took = f"{(again[0]['started_at'] - killed.at).total_seconds():.1f} s" if again else "?"
    finding = Finding(
        f"{killed.name} was killed under {KILLED}'s agent; the agent's command died with it, the lease ran out, "
        f"the conversation went on in another attempt {took} after the kill, and it landed"
    )
    finding.expect(lost and lost[0]["outcome"] == "lost", "no attempt was lost with the worker")
    finding.expect(again, "no other attempt followed")
    for pid in killed.outlived:
        finding.faults.append(f"its command with pid {pid} was alive when that began")
    return finding


def _question(sample: Sample, evidence: Evidence, expected: str | None) -> Finding:
    question = str(evidence.runs[ASKING]["question"])
    finding = Finding(f"{ASKING} asks on the board: {_short(question, 200)}")
    finding.expect(expected in {None, question}, f"it does not ask: {expected}")
    body = sample.issue(ASKING).read_text(encoding="utf-8").partition("## Comments")[2]
    finding.expect(_short(question, 200).rstrip("…") in body, "the question is no comment of its file")
    finding.expect(not evidence.runs[ASKING]["landings"], "something of it has landed")
    return finding


def _landings(sample: Sample, evidence: Evidence) -> Finding:
    """Walk main's own history: what stands there must be the landings, once each, with a passed proof for its tree."""
    tips = git("rev-list", "--first-parent", "main", cwd=sample.origin).split()[:-1]
    finding = Finding(f"main has {len(tips)} new tips, one an issue, each with a passed proof for exactly its tree")
    landed = [row for run in evidence.runs.values() for row in run["landings"] if row["state"] == "landed"]
    finding.expect(
        sorted(tips) == sorted(row["merge_sha"] for row in landed), "main's tips are not the landings of the ledger"
    )
    proved = {
        (proof["merge_sha"], proof["tree_sha"])
        for run in evidence.runs.values()
        for proof in run["proofs"]
        if proof["verdict"] == "passed"
    }
    for tip in tips:
        tree = git("rev-parse", f"{tip}^{{tree}}", cwd=sample.origin)
        finding.expect((tip, tree) in proved, f"{_short(tip)} has no passed proof for its tree {_short(tree)}")
    return finding


def _tip(sample: Sample) -> Finding:
    checkout = sample.folder / "clone"
    git("clone", "--quiet", str(sample.origin), str(checkout), cwd=sample.folder)
    passed, said = run_tests(checkout)
    count = len(list(Path(checkout / "tests").glob("test_*.py")))
    return Finding(f"the tests in a clean clone of main pass ({count} files)", [] if passed else [said])


def _why(run: dict[str, Any] | None) -> str:
    return f": {_short(run['error'], 200)}" if run and run["error"] else ""


def _short(text: str, most: int = 60) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= most else f"{line[: most - 1]}…"
