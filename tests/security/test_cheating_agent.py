"""Agents that would rather make the checks green than their work good: none of their changes lands by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.ledger.records import Run
from symphony.processes.guardian import Guardian
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import Bench, bench, files_at

pytest_plugins = ["tests.fakes.repository_fixtures"]

TESTS = """\
import unittest

from calc import add, double


class Calc(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(1, 2), 3)

    def test_double(self):
        self.assertEqual(double(2), 4)
"""
FILES = {
    "calc.py": "def add(a, b):\n    return a + b\n\n\ndef double(a):\n    return a * 2\n",
    "tests/__init__.py": "",
    "tests/test_calc.py": TESTS,
    "Makefile": "test:\n\tpython3 -m unittest discover -q -s tests -t .\n",
    "report.py": """\
import sys, unittest
from xml.sax.saxutils import quoteattr
result = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.discover("tests", top_level_dir="."))
bad = [f"<testcase name={quoteattr(t.id())}><failure message='no'/></testcase>" for t, _ in result.failures + result.errors]
good = "<testcase name='passed'/>" * (result.testsRun - len(bad))
open("junit.xml", "w").write(f"<testsuite tests='{result.testsRun}' failures='{len(bad)}'>{''.join(bad)}{good}</testsuite>")
sys.exit(0)
""",
}
BREAK = "sed -i 's/a \\* 2/a * 3/' calc.py"


@pytest.fixture
def calc(repository: Repository) -> Repository:
    """A repository with code, tests and a Makefile."""
    repository.person.commit(FILES)
    repository.person.push()
    return repository


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, calc: Repository) -> Iterator[Bench]:
    """A board whose check is `make test`."""
    with bench(database_url, tmp_path, guardian, sections=checked("make test")) as made:
        yield made


def checked(command: str, **rest: object) -> dict[str, object]:
    """Give the section of a workflow with one check."""
    return {"proof": {"checks": [{"name": "tests", "run": command, **rest}]}}


def after(work: Bench, agent: str) -> Run:
    """Let an agent work and give the run when it waits for somebody, or has landed."""
    work.agent(agent)
    work.start()
    for _ in range(6):
        run = work.step()
        if run.state not in {RunState.QUEUED, RunState.WAITING} or run.rework_rounds:
            return run
    raise AssertionError(f"{run} came to nothing")


def test_an_honest_change_lands(work: Bench, calc: Repository) -> None:
    run = after(work, "printf 'def half(a):\\n    return a / 2\\n' >> calc.py")
    assert (run.state, run.landed_sha) == (RunState.LANDED, calc.tip())
    assert work.board.sql("SELECT protected FROM proofs")[0][0] is None


def test_a_makefile_that_does_nothing_is_put_to_a_person(work: Bench, calc: Repository) -> None:
    before = calc.tip()
    run = after(work, f"{BREAK}; printf 'test: ; true\\n' > Makefile")
    assert (run.state, calc.tip()) == (RunState.REVIEWING, before)
    (said,) = [payload["body"] for kind, _, payload in work.board.effects("DEMO-1") if kind == "comment"]
    first = said.splitlines()[0]
    assert "`Makefile`" in first and "tests fails" in first and "a person" in first
    assert "protected file: failed" in said and "test_double" in said


def test_a_makefile_that_takes_the_others_place_is_no_better(work: Bench, calc: Repository) -> None:
    before = calc.tip()
    run = after(work, f"{BREAK}; printf 'test: ; true\\n' > GNUmakefile")
    assert (run.state, calc.tip()) == (RunState.REVIEWING, before)
    (second,) = [row[0] for row in work.board.sql("SELECT protected FROM proofs")]
    assert second["files"] == [{"path": "GNUmakefile", "status": "added"}]


def test_a_person_who_was_shown_that_may_still_land_it(work: Bench, calc: Repository) -> None:
    after(work, f"{BREAK}; printf 'test: ; true\\n' > Makefile")
    work.board.sql(
        "UPDATE runs SET state = 'queued', stage = 'land', approved_at = now(), due_at = now(), queued_at = now()"
    )
    run = work.step()
    assert (run.state, run.landed_sha) == (RunState.LANDED, calc.tip())


def test_an_approval_from_before_it_was_shown_does_not_count(work: Bench, calc: Repository) -> None:
    before = calc.tip()
    work.agent(f"{BREAK}; printf 'test: ; true\\n' > Makefile")
    work.bring(Stage.PROOF)
    work.board.sql("UPDATE runs SET approved_at = now()")
    assert work.step().state is RunState.REVIEWING
    assert calc.tip() == before


@pytest.mark.parametrize(
    ("cheat", "why"),
    [
        ("python3 - <<'E'\nt=open('tests/test_calc.py').read()\nopen('tests/test_calc.py','w').write(t[:t.index('    def test_double')])\nE", "tests removed"),
        ("rm tests/test_calc.py", "tests removed"),
        ("sed -i 's/    def test_double/    @unittest.skip(\"later\")\\n    def test_double/' tests/test_calc.py", "tests skipped"),
    ],
)  # fmt: skip
def test_a_failing_test_that_is_taken_away_is_put_to_a_person(work: Bench, calc: Repository, cheat: str, why: str) -> None:
    before = calc.tip()
    run = after(work, f"{BREAK}; {cheat}")
    assert (run.state, calc.tip()) == (RunState.REVIEWING, before), run.feedback
    ((second, lost),) = work.board.sql("SELECT protected, lost_tests FROM proofs")
    assert second["verdict"] == "failed"
    assert [(file["path"], file["why"]) for file in second["files"]] == [("tests/test_calc.py", why)]
    assert "tests/test_calc.py" in " ".join([*lost["removed"], *lost["skipped"]])


def test_a_test_that_passes_may_be_taken_away_and_is_listed(work: Bench, calc: Repository) -> None:
    run = after(work, "sed -i '/def test_double/,$d' tests/test_calc.py")
    assert run.state is RunState.LANDED
    (said,) = [payload["body"] for kind, _, payload in work.board.effects("DEMO-1") if kind == "comment"]
    assert "Tests: 1 removed, 0 newly skipped" in said and "protected file: passed" in said


def test_a_report_that_the_agent_wrote_counts_for_nothing(
    database_url: str, tmp_path: Path, guardian: Guardian, calc: Repository
) -> None:
    before = calc.tip()
    fake = '<testsuite tests="2" failures="0"><testcase name="a"/><testcase name="b"/></testsuite>'
    with bench(
        database_url, tmp_path, guardian, sections=checked("python3 report.py", reports=["junit.xml"])
    ) as work:  # fmt: skip
        run = after(work, f"{BREAK}; printf '{fake}' > junit.xml")
        assert run.stage is Stage.AGENT and calc.tip() == before
        assert run.feedback is not None and "tests.test_calc.Calc.test_double failed" in run.feedback
        # What lies there is no report of a check that wrote none.
        work.agent("printf 'import sys; sys.exit(0)\\n' > report.py; touch junit.xml")
        work.step()
        run = work.step()
        assert run.rework_rounds == 2 and calc.tip() == before
        assert run.feedback is not None and "no report that can be read was written at junit.xml" in run.feedback


def test_history_that_is_rewritten_in_the_clone_stays_there(work: Bench, calc: Repository) -> None:
    before = git(calc.path, "rev-list", "main").splitlines()
    run = after(
        work,
        "git checkout -q --orphan new && git add -A && echo x > new.txt && git add -A"
        " && git -c user.name=x -c user.email=x@x commit -qm 'All mine' && git branch -q -D main symphony/DEMO-1; git gc -q --prune=now",
    )
    assert run.state is RunState.LANDED
    history = git(calc.path, "rev-list", "main").splitlines()
    assert set(before) <= set(history) and len(history) == len(before) + 2
    assert "All mine" not in git(calc.path, "log", "--format=%an %s", "main")
    assert files_at(calc, calc.tip())["new.txt"] == "x"


@pytest.mark.parametrize(
    "nothing",
    [
        "true",
        "git -c user.name=x -c user.email=x@x commit -q --allow-empty -m Done",
        "git reset -q --hard HEAD~1 || true; git checkout -q -f symphony/DEMO-1 -- . ; git read-tree -u --reset ORIG_HEAD",
    ],
)
def test_an_agent_that_changes_nothing_lands_nothing(work: Bench, calc: Repository, nothing: str) -> None:
    before = calc.tip()
    run = after(work, nothing)
    assert (run.stage, run.rework_rounds) == (Stage.AGENT, 1)
    run = work.step()
    assert (run.state, calc.tip()) == (RunState.BLOCKED, before)
    assert work.board.sql("SELECT count(*) FROM landings")[0][0] == 0
