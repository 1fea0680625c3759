"""The one artefact of a run for people: a line that says what came of it, the evidence folded below; and the same as JSON.

Invariant: what is unknown is left out and never made up; nothing that an agent, a check or an issue wrote can speak in
Symphony's name; the whole fits into a comment of any forge. `show --md`, comments and pull requests are this text. It is
made of what is stored, so it can be made again at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from symphony.proof.markdown import block, code, folded, inline

MOST_CHARACTERS = 65_536
_SHORT = 7
_MOST_LISTED = 50
_MOST_PICTURES = 10
_OUTPUT = 6_000
_OUTPUT_OF_PASSED = 2_000
_URL = re.compile(r"https?://[!-;=?-\[\]-~]+")  # nothing by which a link in angle brackets would end
_LEFT_OUT = "\n\n*Some evidence is left out here for its length.*"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run; None is unknown.

    `checks` are the stored results (`Ran.as_json`); walkthrough, lost_tests, complexity and artifacts are what the
    `as_json` of each gives, `protected` is the second run with the target's protected files, where one was needed.
    `seconds` is the whole time of the run, `reason` why it ended or waits.
    """

    state: str
    commit: str | None = None
    branch: str | None = None
    reason: str | None = None
    rework: int | None = None
    seconds: float | None = None
    cost_usd: Decimal | None = None
    verdict: str | None = None
    tree_sha: str | None = None
    checks: Sequence[Json] = ()
    walkthrough: Json | None = None
    lost_tests: Json | None = None
    protected: Json | None = None
    complexity: Json | None = None
    artifacts: Json | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    """The URL at which an artifact can be seen, by its `stored` name."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """The file in which an artifact is kept, by its `stored` name, where whoever reads this can open it."""


def headline(facts: Facts) -> str:
    """Say in one line what came of a run; plain text."""
    commit = f" {facts.commit[:_SHORT]}" if facts.commit else ""
    passed, bad = tests_of(facts.checks)
    parts = [
        f"{facts.state.capitalize()}{commit}",
        f"{passed:,} {_plural('test', passed)}" if passed else "",
        f"{bad:,} failed" if bad else "",
        f"{facts.rework} rework{'s' if facts.rework > 1 else ''}" if facts.rework else "",
        _duration(facts.seconds) if facts.seconds is not None else "",
        _money(facts.cost_usd) if facts.cost_usd is not None else "",
    ]
    return " · ".join(filter(None, parts))


def markdown(facts: Facts, *, most: int = MOST_CHARACTERS) -> str:
    """Give the artefact, no longer than `most` characters (at least 2,000); whole sections are left out, the last first."""
    text = f"**{headline(facts)}**"
    if facts.reason:
        text += f"\n\n{inline(facts.reason, 1_000)}"
    is_whole = True
    for section in _sections(facts):
        if len(text) + len(section) + 2 + len(_LEFT_OUT) <= most:
            text += f"\n\n{section}"
        else:
            is_whole = False
    return text if is_whole else text + _LEFT_OUT


def as_json(facts: Facts) -> dict[str, Any]:
    """Give the artefact for programs."""
    passed, bad = tests_of(facts.checks)
    return {
        "headline": headline(facts),
        "state": facts.state,
        "commit": facts.commit,
        "branch": facts.branch,
        "reason": facts.reason,
        "rework": facts.rework,
        "seconds": facts.seconds,
        "cost_usd": str(facts.cost_usd) if facts.cost_usd is not None else None,
        "verdict": facts.verdict,
        "tree_sha": facts.tree_sha,
        "tests": {"passed": passed, "failed": bad} if passed or bad else None,
        "checks": [dict(check) for check in facts.checks],
        "walkthrough": facts.walkthrough,
        "lost_tests": facts.lost_tests,
        "protected": facts.protected,
        "complexity": facts.complexity,
        "artifacts": facts.artifacts,
    }


def tests_of(checks: Iterable[Json]) -> tuple[int, int]:
    """Count the tests that passed and those that did not, over the reports of stored check results."""
    counts = [(check.get("report") or {}).get("tests") or {} for check in checks]
    passed = sum(count.get("passed", 0) for count in counts)
    return passed, sum(count.get("failed", 0) + count.get("error", 0) for count in counts)


def _sections(facts: Facts) -> Iterator[str]:
    """Give the evidence, what a reviewer needs most first."""
    failed = [check for check in facts.checks if check.get("verdict") != "passed"]
    if facts.walkthrough:
        yield from _walkthrough(facts.walkthrough)
    if facts.verdict is not None:
        yield _proof(facts)
    yield from (_failure(check) for check in failed)
    if facts.protected:
        yield _protected(facts.protected)
    if facts.lost_tests and (section := _lost(facts.lost_tests)):
        yield section
    if facts.complexity and (section := _complexity(facts.complexity)):
        yield section
    if facts.artifacts and (section := _artifacts(facts, facts.artifacts)):
        yield section
    if facts.walkthrough and (section := _quotes(facts.walkthrough)):
        yield section
    yield from (_written(check) for check in facts.checks if check.get("verdict") == "passed" and check.get("output"))


def _walkthrough(told: Json) -> Iterator[str]:
    if told.get("purpose"):
        yield inline(told["purpose"], 2_000)
    parts = []
    for group in told.get("groups", ()):
        why = f": {inline(group['why'], 600)}" if group.get("why") else ""
        files = [_file(file) for file in group["files"][:_MOST_LISTED]]
        parts.append(f"**{inline(group['title'])}**{why}\n\n{_bullets(files, len(group['files']))}")
    count = sum(len(group["files"]) for group in told.get("groups", ()))
    if parts:
        yield folded(f"{count} {_plural('file', count)}, by purpose", "\n\n".join(parts))
    for title, name in (("Risks", "risks"), ("Not done", "not_done"), ("Tests added", "tests_added")):
        if told.get(name):
            yield folded(f"{title} ({len(told[name])})", _bullets([inline(item) for item in told[name]]))
    if told.get("notes"):
        yield folded("What the agent says and the change does not show", _bullets([inline(note) for note in told["notes"]]))


def _file(file: Json) -> str:
    size = "binary" if file.get("is_binary") else f"+{file['added']} −{file['deleted']}"
    what = "" if file["status"] == "modified" else f", {file['status']}"
    return f"{code(file['path'])} ({size}{what})"


def _quotes(told: Json) -> str:
    parts = []
    for quote in told.get("quotes", ()):
        why = f": {inline(quote['why'])}" if quote.get("why") else ""
        place = f"{code(quote['path'])}, lines {quote['line']}–{quote['end_line']}"
        parts.append(f"{place}{why}\n\n{block(quote['text'], 4_000, 'diff')}")
    return folded("The hunks that matter", "\n\n".join(parts)) if parts else ""


def _proof(facts: Facts) -> str:
    lines = []
    for check in facts.checks:
        report = check.get("report") or {}
        tests, coverage = report.get("tests"), report.get("coverage")
        told = [f"{check.get('verdict')} in {check.get('seconds', 0):.1f} s"]
        if tests:
            told.append(", ".join(f"{count} {outcome}" for outcome, count in tests.items() if count))
        if coverage:
            told.append(f"{coverage['percent']:.1f} % coverage")
        if check.get("flaky"):
            told.append("flaky: it was red on the same tree before")
        if check.get("cached"):
            told.append("from this node's cache")
        told += [inline(finding) for finding in (*report.get("doubts", ()), *report.get("findings", ()))][:10]
        lines.append(
            f"{code(str(check.get('name')), 64)}: {'; '.join(filter(None, told))} ({code(str(check.get('command')))})"
        )
    tree = f" for tree {code(facts.tree_sha[:_SHORT])}" if facts.tree_sha else ""
    return folded(
        f"Proof {facts.verdict}: {len(lines)} {_plural('check', len(lines))}", f"Proof{tree}:\n\n{_bullets(lines)}"
    )


def _failure(check: Json) -> str:
    report = check.get("report") or {}
    parts = [
        f"{code(failure['name'])}\n\n{block(failure.get('message') or '(no message)', 1_500)}"
        for failure in report.get("failures", ())[:10]
    ]
    if check.get("output"):
        parts.append(block(check["output"], _OUTPUT))
    if check.get("log"):
        parts.append(f"The full log: {code(str(check['log']))}")
    return folded(
        f"{check.get('name')} {str(check.get('verdict')).replace('_', ' ')}", "\n\n".join(parts) or "It wrote nothing."
    )


def _written(check: Json) -> str:
    return folded(f"What {check.get('name')} wrote", block(check["output"], _OUTPUT_OF_PASSED))


def _protected(second: Json) -> str:
    """Show the second run: which files were the target's again, and what the checks came to."""
    files = [
        f"{code(file['path'])} ({', '.join(filter(None, (file['status'], file.get('why'))))})" for file in second["files"]
    ]
    red = [check for check in second["checks"] if check.get("verdict") != "passed"]
    parts = [f"These files were as they are at the target:\n\n{_bullets(files)}"]
    parts += [
        f"{code(str(check.get('name')), 64)} {inline(str(check.get('verdict')))}:\n\n"
        + block(check.get("output") or "(it wrote nothing)", _OUTPUT)
        for check in red[:10]
    ]
    count = len(files)
    title = f"With the target's versions of {count} protected {_plural('file', count)}: {second['verdict']}"
    return folded(title, "\n\n".join(parts))


def _lost(lost: Json) -> str:
    parts = []
    for title, name, count in (("Removed", "removed", "removed_in_all"), ("Newly skipped", "skipped", "skipped_in_all")):
        if lost.get(name):
            parts.append(f"{title}:\n\n{_bullets([code(item) for item in lost[name]], lost.get(count))}")
    removed, skipped = lost.get("removed_in_all", 0), lost.get("skipped_in_all", 0)
    return folded(f"Tests: {removed} removed, {skipped} newly skipped", "\n\n".join(parts)) if parts else ""


def _complexity(found: Json) -> str:
    parts = []
    if found.get("exceeded"):
        parts.append(f"Beyond the limits:\n\n{_bullets([inline(told) for told in found['exceeded']])}")
    changes = [
        f"{code(change['path'])} {code(change['name'], 100)}: complexity {_before(change, 'ccn')}, "
        f"{_before(change, 'length')} lines"
        for change in found.get("functions", ())
    ]
    if changes:
        parts.append(f"Functions that were made or touched:\n\n{_bullets(changes[:20], len(changes))}")
    if found.get("unmeasured"):
        parts.append(f"Not measured:\n\n{_bullets([inline(told) for told in found['unmeasured']])}")
    beyond = len(found.get("exceeded", ()))
    title = f"Complexity: {beyond} beyond the limits" if beyond else "Complexity: within the limits"
    return folded(title, "\n\n".join(parts)) if parts else ""


def _before(change: Json, name: str) -> str:
    before, now = change.get(f"{name}_before"), change[name]
    return str(now) if before is None or before == now else f"{before} → {now}"


def _artifacts(facts: Facts, collected: Json) -> str:
    lines, pictures = [], 0
    for kept in collected.get("kept", ()):
        about = f"{inline(kept['type'])}, {kept['bytes']:,} bytes, {code(kept['sha256'][:12])}"
        link, path = facts.links.get(kept["stored"], ""), facts.paths.get(kept["stored"])
        if _URL.fullmatch(link):
            told = f"[{inline(kept['name'])}](<{link}>): {about}"
            if kept["type"].startswith("image/") and pictures < _MOST_PICTURES:
                pictures += 1
                told += f"\n\n  ![{inline(kept['name'])}](<{link}>)"
        else:
            where = f"at {code(path, 4_000)}" if path else f"on the node {code(kept['node'])}" if kept.get("node") else ""
            told = f"{code(kept['name'])}: {', '.join(filter(None, (about, where)))}"
        lines.append(told)
    refused = [f"not kept: {inline(why)}" for why in collected.get("refused", ())]
    count = len(lines)
    return folded(f"{count} {_plural('artifact', count)}", _bullets(lines + refused)) if lines or refused else ""


def _bullets(items: Sequence[str], in_all: int | None = None) -> str:
    shown = items[:_MOST_LISTED]
    more = max(in_all or 0, len(items)) - len(shown)
    return "\n".join([*(f"- {item}" for item in shown), *([f"- … and {more} more"] if more > 0 else [])])


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(round(seconds), 0)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _money(cost: Decimal) -> str:
    return f"${cost:.2f}" if cost >= Decimal("0.005") or not cost else "less than $0.01"
