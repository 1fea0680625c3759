"""Are the tests hermetic? The same commands in clean checkouts, with the network and without it.

A second run without the network that differs from the first is told apart by a third one with it: the same as the first
means that the tests need the network, else they are flaky.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from symphony.local.harness.bench import Bench, Ran
from symphony.local.harness.kinds import Layout
from symphony.local.harness.report import Fault, Part, Section

GREEN, SAME, OFFLINE, TIDY, FAST = 15, 10, 10, 5, 10
_COUNTED = (
    re.compile(r"\b(\d+) (passed|failed|skipped|pending|errors?|xfailed|xpassed|todo)\b"),
    re.compile(r"(?:^|\n)(?:#|ℹ) (?P<word>pass|fail|skipped|todo) (?P<count>\d+)"),
    re.compile(r"\b(?P<word>Ran|Tests run|Failures|Errors|Skipped)(?::| )\s*(?P<count>\d+)\b"),
    re.compile(r"(?:^|\n)(?P<word>ok|FAIL)\s"),
)
_QUICK = ((60, FAST), (300, 7), (600, 4))
_WORDS = 200


@dataclass(frozen=True, slots=True)
class Trial:
    """One clean checkout in which everything was run; `failed_setup` where it came no further."""

    checkout: Path
    checks: tuple[Ran, ...]
    failed_setup: Ran | None
    is_offline: bool
    changed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check did."""
        return bool(self.checks) and all(ran.passed for ran in self.checks)

    @property
    def result(self) -> tuple[object, ...]:
        """What two trials of hermetic tests have in common."""
        return tuple((ran.passed, tuple(sorted(counts(ran.output).items()))) for ran in self.checks)

    @property
    def seconds(self) -> float:
        """How long the checks took, without the setup."""
        return sum(ran.seconds for ran in self.checks)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The trials that were made; `can_cut` says whether the network could be cut here."""

    trials: tuple[Trial, ...]
    can_cut: bool


def counts(output: str) -> Mapping[str, int]:
    """Add up how many tests passed, failed and were skipped, as the common runners say it."""
    found: Counter[str] = Counter()
    for count, word in _COUNTED[0].findall(output):
        found[word.rstrip("s") if word.startswith("error") else word] += int(count)
    for pattern in _COUNTED[1:]:
        for match in pattern.finditer(output):
            found[match["word"].lower()] += int(match["count"]) if "count" in pattern.groupindex else 1
    return found


def run(bench: Bench, layout: Layout, *, timeout_s: float, tell: Callable[[str], None]) -> Outcome:
    """Run setup and checks in two clean checkouts, the second time without the network; in a third when they differ."""
    can_cut = bench.can_cut_network()
    if not layout.checks:
        return Outcome((), can_cut)
    tell("running setup and tests in a clean checkout ...")
    first = _trial(bench, layout, timeout_s, offline=False)
    if first.failed_setup is not None:
        return Outcome((first,), can_cut)
    tell(
        f"the same in another one, {'without the network' if can_cut else 'with the network, which cannot be cut here'} ..."
    )
    second = _trial(bench, layout, timeout_s, offline=can_cut)
    if not can_cut or second.result == first.result:
        return Outcome((first, second), can_cut)
    tell("the results differ: the same in a third one, with the network ...")
    return Outcome((first, second, _trial(bench, layout, timeout_s, offline=False)), can_cut)


def _trial(bench: Bench, layout: Layout, timeout_s: float, *, offline: bool) -> Trial:
    checkout = bench.checkout()
    if layout.setup is not None:
        setup = bench.run(layout.setup, checkout, timeout_s=timeout_s)
        if not setup.passed:
            return Trial(checkout, (), setup, offline)
    before = set(bench.changes_in(checkout))
    checks = tuple(bench.run(check.run, checkout, timeout_s=timeout_s, offline=offline) for check in layout.checks)
    changed = tuple(path for path in bench.changes_in(checkout) if path not in before)
    return Trial(checkout, checks, None, offline, changed)


def section(outcome: Outcome, layout: Layout) -> Section:
    """Say what the trials came to."""
    names = (("tests pass", GREEN), ("same result again", SAME), ("without the network", OFFLINE),
             ("leaves no files", TIDY), ("quick", FAST))  # fmt: skip
    if not outcome.trials:
        fault = Fault(
            "no_tests",
            "the repository",
            "no test command was found",
            "add one, and name it in a Makefile or a package.json",
        )
        return Section(tuple(Part(name, 0, of, "no test command was found") for name, of in names), (fault,))
    first = outcome.trials[0]
    if first.failed_setup is not None:
        setup = first.failed_setup
        said = f"the setup `{setup.command}` {_how(setup)} in a clean checkout"
        fault = Fault("setup_fails", "the repository", said, "make it work from a fresh clone, with nothing done by hand")
        return Section(tuple(Part(name, 0, of, said) for name, of in names), (fault,))
    sections = [_green(first), _same(outcome), _offline(outcome), _tidy(first), _fast(first)]
    return Section(
        tuple(part for one in sections for part in one.parts), tuple(fault for one in sections for fault in one.faults)
    )


def _how(ran: Ran) -> str:
    if ran.timed_out:
        return f"did not end within {ran.seconds:.0f} s"
    words = f": {ran.last_words[:_WORDS]}" if ran.last_words else ""
    return f"failed with exit code {ran.code}{words}"


def _green(first: Trial) -> Section:
    commands = ", ".join(f"`{ran.command}`" for ran in first.checks)
    if first.passed:
        return Section((Part("tests pass", GREEN, GREEN, f"{commands} passed in a clean checkout"),))
    failed = [ran for ran in first.checks if not ran.passed]
    cure = "mend it: agents cannot tell their own fault from it"
    faults = tuple(Fault("tests_fail", f"`{ran.command}`", f"{_how(ran)} in a clean checkout", cure) for ran in failed)
    return Section((Part("tests pass", 0, GREEN, f"{len(failed)} of {len(first.checks)} commands failed"),), faults)


def _same(outcome: Outcome) -> Section:
    first, *others = outcome.trials
    again = [trial for trial in others if not trial.is_offline]
    if not again and others and others[0].result == first.result:
        return Section((Part("same result again", SAME, SAME, "two clean checkouts gave the same result"),))
    if again and again[-1].result == first.result:
        said = "a clean checkout with the network gave the first result again"
        return Section((Part("same result again", SAME, SAME, said),))
    said = f"two clean checkouts of one commit differ: {_difference(first, again[-1] if again else others[-1])}"
    cure = "find what they share: time, order, random numbers, ports, files outside the checkout"
    part = Part("same result again", 0, SAME, "clean checkouts of the same commit gave different results")
    return Section((part,), (Fault("flaky", f"`{first.checks[0].command}`", said, cure),))


def _offline(outcome: Outcome) -> Section:
    name = "without the network"
    if not outcome.can_cut:
        return Section(
            (Part(name, None, OFFLINE, "this kernel lets us give no command a network of its own: not measured"),)
        )
    first, cut = outcome.trials[0], next(trial for trial in outcome.trials if trial.is_offline)
    if cut.result == first.result:
        return Section((Part(name, OFFLINE, OFFLINE, "the result is the same with the network cut"),))
    if outcome.trials[-1].result != first.result:
        return Section((Part(name, None, OFFLINE, "cannot be told while the tests are flaky: not measured"),))
    said = f"the tests need the network: {_difference(first, cut)}"
    cure = "let them talk to servers that they start themselves, and fetch everything in the setup"
    fault = Fault("needs_network", f"`{first.checks[0].command}`", said, cure)
    return Section((Part(name, 0, OFFLINE, "the result differs with the network cut"),), (fault,))


def _difference(one: Trial, other: Trial) -> str:
    for before, after in zip(one.checks, other.checks, strict=False):
        if before.passed != after.passed:
            red = after if before.passed else before
            return f"`{red.command}` passed once, and once {_how(red)}"
        there, then = counts(before.output), counts(after.output)
        if there != then:
            words = sorted(word for word in {*there, *then} if there.get(word) != then.get(word))
            return ", ".join(f"{there.get(word, 0)} and then {then.get(word, 0)} {word}" for word in words)
    return f"the setup {_how(other.failed_setup)}" if other.failed_setup else "their results"


def _tidy(first: Trial) -> Section:
    if not first.changed:
        return Section((Part("leaves no files", TIDY, TIDY, "the tests left the checkout as it was"),))
    shown = ", ".join(first.changed[:3])
    said = f"the tests leave or change {len(first.changed)} files that no ignore rule names: {shown}"
    cure = "write into a temporary folder, or name them in .gitignore"
    part = Part("leaves no files", 0, TIDY, f"{len(first.changed)} files are changed or left behind")
    return Section((part,), (Fault("leaves_files", first.changed[0], said, cure),))


def _fast(first: Trial) -> Section:
    seconds = first.seconds
    points = next((points for limit, points in _QUICK if seconds <= limit), 0)
    part = Part("quick", points, FAST, f"the tests took {seconds:.1f} s")
    if points == FAST:
        return Section((part,))
    slowest = max(first.checks, key=lambda ran: ran.seconds)
    message = f"takes {slowest.seconds:.0f} s: an agent waits for it at every step"
    return Section(
        (part,), (Fault("slow", f"`{slowest.command}`", message, "run it in parallel, or give agents a quick subset"),)
    )
