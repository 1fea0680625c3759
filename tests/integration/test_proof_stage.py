"""The proof stage: what is proved, in which place, and whose fault a failure is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from symphony.proof.concurrency import place
from tests.conftest import wait_until
from tests.fakes.repositories import Person, Repository, git
from tests.fakes.seen_processes import alive, daemon, mark
from tests.integration.stage_bench import ISSUE, Bench, bench, files_at

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board with one check, `tests`."""
    with bench(database_url, tmp_path, guardian) as made:
        yield made


def proving(check: str, name: str = "tests", **rest: object) -> dict[str, object]:
    """Give the section of a workflow with one check."""
    return {"proof": {"checks": [{"name": name, "run": check, **rest}]}}


def test_a_proof_is_bound_to_the_merge_of_head_and_target(work: Bench, repository: Repository) -> None:
    work.bring(Stage.PROOF)
    theirs = repository.person.commit({"theirs.txt": "theirs\n"})
    repository.person.push()
    work.check("test -f new.txt -a -f theirs.txt && git rev-parse HEAD HEAD^{tree} > ../seen")
    run = work.step()
    assert (run.state, run.stage) == (RunState.QUEUED, Stage.LAND)
    (proof,) = work.proofs()
    assert (proof.base_sha, proof.head_sha, proof.verdict) == (theirs, run.head_sha, "passed")
    seen = (work.folder / "home" / "checkouts" / "seen").read_text().split()
    assert seen == [proof.merge_sha, proof.tree_sha]
    assert proof.checks[0]["name"] == "tests" and proof.checks[0]["exit_code"] == 0
    assert list((work.folder / "home" / "checkouts").iterdir()) == [work.folder / "home" / "checkouts" / "seen"]


def test_a_failing_check_goes_back_to_the_agent_with_its_output_first(work: Bench) -> None:
    work.bring(Stage.PROOF)
    work.check("! test -f new.txt || { echo 'assert 1 == 2'; head -c 500000 /dev/zero | tr '\\0' y; exit 4; }")
    run = work.step()
    assert (run.state, run.stage, run.rework_rounds) == (RunState.WAITING, Stage.AGENT, 1)
    assert run.feedback is not None and len(run.feedback) <= 12_000
    assert run.feedback.startswith("The check `tests`") and "exited with 4" in run.feedback.splitlines()[0]
    assert run.feedback.index("assert 1 == 2") < 300
    assert [proof.verdict for proof in work.proofs()] == ["failed"]
    work.agent("cat > prompt.txt; echo more > more.txt")
    work.step()
    told = (work.workspace / "prompt.txt").read_text()
    assert "> assert 1 == 2" in told and "## What must be better than last time" in told


def test_a_rework_is_proved_anew_and_a_pass_is_used_again(work: Bench) -> None:
    work.check("! test -f new.txt || test -f more.txt")
    work.bring(Stage.PROOF)
    work.step()
    work.agent("echo more > more.txt")
    work.step()
    assert work.step().stage is Stage.LAND
    assert [proof.verdict for proof in work.proofs()] == ["failed", "passed"]
    work.check("false")
    work.board.sql("UPDATE runs SET stage = 'proof'")
    assert work.step().stage is Stage.LAND, "the same tree is not proved twice"


def test_a_pass_is_not_used_again_when_the_workflow_demands_something_else(work: Bench) -> None:
    work.bring(Stage.LAND)
    work.board.sql("UPDATE workflow_versions SET content = replace(content, 'name: tests', 'name: more')")
    work.deployment._rules.clear()
    assert work.step().state is RunState.LANDED
    assert [[check["name"] for check in proof.checks] for proof in work.proofs()] == [["tests"], ["more"]]


def test_the_rounds_of_rework_are_bounded(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, agent={"max_rework": 1}) as work:
        work.check("! test -f new.txt")
        work.bring(Stage.PROOF)
        work.step()
        work.step()
        run = work.step()
        assert run.state is RunState.BLOCKED
        assert run.question is not None and "after 1 rounds" in run.question and "exited with 1" in run.question


def test_a_setup_that_fails_is_said_and_no_check_is_run(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    setup = {"run": "! test -f new.txt || { echo 'no such package'; exit 9; }"}
    sections = {"proof": {"setup": setup, "checks": [{"name": "tests", "run": f"touch {tmp_path}/ran"}]}}
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        before = (tmp_path / "ran").exists()
        run = work.step()
        assert run.stage is Stage.AGENT and run.feedback is not None and "no such package" in run.feedback
        (proof,) = work.proofs()
        assert [(check["name"], check["verdict"]) for check in proof.checks] == [("setup", "failed")]
        assert not before


@pytest.mark.parametrize("name", ["tests", "setup"])
def test_a_check_may_have_any_name(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, name: str
) -> None:
    sections = {"proof": {"checks": [{"name": name, "run": "true"}, {"name": "b", "run": "! test -f new.txt"}]}}
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        run = work.step()
        assert run.stage is Stage.AGENT and run.feedback is not None and "check `b`" in run.feedback


def test_a_check_that_takes_too_long_is_ended_and_said(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    sections = proving("test ! -f new.txt || { echo slow; sleep 600; }", timeout_ms=1000)
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        run = work.step()
        assert run.feedback is not None and "ran longer than it may" in run.feedback and "slow" in run.feedback
        assert work.proofs()[0].checks[0]["verdict"] == "timed_out"


def test_a_check_that_takes_too_much_is_recorded_and_ends_the_rest(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    sections = {
        "sandbox": {"processes": 12},
        "proof": {"checks": [{"name": "bomb", "run": "for n in $(seq $((40 * $(ls new.txt | wc -l)))); do sleep 600 & done; wait"},
                             {"name": "after", "run": "true"}]},
    }  # fmt: skip
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        run = work.step()
        assert (work.outcomes[-1], run.stage) == ("rework", Stage.AGENT)
        assert run.feedback is not None and "killed for using more" in run.feedback
        assert [(check["name"], check["verdict"]) for check in work.proofs()[0].checks] == [("bomb", "killed")]


def test_without_checks_a_person_reviews(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, sections={"proof": {}}) as work:
        work.bring(Stage.PROOF)
        run = work.step()
        assert run.state is RunState.REVIEWING
        assert repository.tip() == repository.first
        assert repository.tip(f"refs/heads/{run.branch}") == run.head_sha == run.published_sha


def test_a_red_target_is_nobodys_rework(work: Bench) -> None:
    work.bring(Stage.PROOF)
    work.check("false")
    run = work.step()
    assert (run.state, run.stage, run.rework_rounds, run.failures) == (RunState.WAITING, Stage.PROOF, 0, 0)
    assert run.waiting_for == "tests fails on `main` itself"
    work.check("true")
    assert work.step().stage is Stage.LAND


def test_only_what_the_target_passes_is_the_agents_fault(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    sections = {
        "proof": {"checks": [{"name": "red", "run": "echo always; false"}, {"name": "mine", "run": "! test -f new.txt"}]}
    }
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        run = work.step()
        assert run.feedback is not None and "mine" in run.feedback and "always" not in run.feedback


def test_a_conflict_puts_the_marked_tree_on_the_new_base(work: Bench, repository: Repository) -> None:
    work.agent("sed -i 's/two/TWO/' README.md; echo a > new.txt")
    work.bring(Stage.PROOF)
    theirs = repository.person.commit({"README.md": "one\nzwei\nthree\n"})
    repository.person.push()
    run = work.step()
    assert (run.stage, run.rework_rounds, run.base_sha) == (Stage.AGENT, 1, theirs)
    assert run.feedback is not None and "- `README.md`" in run.feedback and "new.txt" not in run.feedback
    assert run.head_sha is not None
    assert git(repository.path, "show", "-s", "--format=%P", run.head_sha) == theirs
    assert "<<<<<<<" in files_at(repository, run.head_sha)["README.md"]
    work.agent("grep -q '<<<<<<<' README.md && printf 'one\\nZWEI\\nthree\\n' > README.md && cat new.txt > seen.txt")
    work.step()
    assert work.step().stage is Stage.LAND
    run = work.step()
    assert run.state is RunState.LANDED
    landed = files_at(repository, repository.tip())
    assert (landed["README.md"], landed["seen.txt"]) == ("one\nZWEI\nthree", "a")


def test_a_change_that_the_target_has_already_is_put_to_a_person(work: Bench, repository: Repository) -> None:
    work.bring(Stage.PROOF)
    repository.person.commit({"new.txt": "changed\n"})
    repository.person.push()
    run = work.step()
    assert run.state is RunState.BLOCKED
    assert run.question is not None and "holds all of this change already" in run.question


def test_checks_see_a_clean_checkout_each_time(work: Bench) -> None:
    work.agent("echo changed > new.txt; echo x > secret.log; mkdir -p .git/hooks; touch .git/agents-own")
    work.bring(Stage.PROOF)
    work.check(
        'test ! -e secret.log -a ! -e .git/agents-own -a ! -e dirt -a -z "$(git status --porcelain)"'
        " && touch dirt && echo > README.md && git commit -qam mine"
    )
    assert work.step().stage is Stage.LAND
    work.board.sql("UPDATE runs SET stage = 'proof'; DELETE FROM proofs")
    run = work.step()
    assert run.stage is Stage.LAND and run.rework_rounds == 0
    assert len(work.proofs()) == 1


def test_the_workspaces_version_of_a_check_counts_for_nothing(work: Bench) -> None:
    work.agent("echo changed > new.txt; git init -q; echo '* filter=x' > .gitattributes")
    work.bring(Stage.PROOF)
    assert work.step().stage is Stage.LAND


def test_a_daemon_of_one_check_is_dead_before_the_next(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    word = mark()
    first = f"{shlex.join(daemon(word))}; until grep -qs {word[:-1]}[{word[-1]}] /proc/[0-9]*/cmdline; do :; done"
    second = f"! grep -qs {word[:-1]}[{word[-1]}] /proc/[0-9]*/cmdline"
    sections = {"proof": {"checks": [{"name": "first", "run": first}, {"name": "second", "run": second}]}}
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.PROOF)
        assert work.step().stage is Stage.LAND, work.run.feedback
        assert not alive(word)


def test_a_proof_that_waits_for_its_place_is_handed_back_when_the_worker_shuts_down(work: Bench) -> None:
    """Rule: a drain interrupts; it never ends a run."""
    places = os.cpu_count() or 1
    with ExitStack() as taken:
        for _ in range(places):
            taken.enter_context(place(work.folder / "home" / "run" / "proofs", places, lambda: None))
        work.bring(Stage.PROOF)
        thread, answers = work.step_aside()
        wait_until(lambda: work.leases())
        work.keeper.drain()
        thread.join(30)
    (run,) = answers
    assert (run.state, run.stage, work.outcomes[-1]) == (RunState.QUEUED, Stage.PROOF, "interrupted")
    assert work.step().stage is Stage.LAND


def test_review_publishes_the_branch_and_a_rework_moves_it(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, sections={**proving("true"), "land": {"mode": "review"}}) as work:
        work.bring(Stage.PROOF)
        run = work.step()
        assert (run.state, run.branch) == (RunState.REVIEWING, f"symphony/{ISSUE}")
        first = repository.tip(f"refs/heads/symphony/{ISSUE}")
        assert first == run.head_sha == run.published_sha
        work.board.sql(
            "UPDATE runs SET state = 'queued', stage = 'agent', feedback = 'better', due_at = now(), queued_at = now()"
        )
        work.agent("echo better > better.txt")
        work.step()
        run = work.step()
        assert run.state is RunState.REVIEWING
        assert repository.tip(f"refs/heads/symphony/{ISSUE}") == run.head_sha != first
        assert repository.tip() == repository.first


def test_a_branch_that_was_pushed_by_an_attempt_that_died_is_taken_for_our_own(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, sections={**proving("true"), "land": {"mode": "review"}}) as work:
        work.bring(Stage.PROOF)
        head = work.run.head_sha
        git(repository.path, "update-ref", f"refs/heads/symphony/{ISSUE}", str(head))
        run = work.step()
        assert (run.state, run.published_sha) == (RunState.REVIEWING, head)
        work.board.sql(
            "UPDATE runs SET state = 'queued', stage = 'agent', published_sha = NULL, due_at = now(), queued_at = now()"
        )
        work.agent("echo better > better.txt")
        work.step()
        run = work.step()
        assert run.state is RunState.REVIEWING and run.published_sha == run.head_sha != head


def test_a_branch_that_a_person_has_moved_is_not_overwritten(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, sections={**proving("true"), "land": {"mode": "review"}}) as work:
        work.bring(Stage.PROOF)
        person: Person = repository.person
        theirs = person.commit({"by-hand.txt": "x"})
        person.push(branch=f"symphony/{ISSUE}")
        run = work.step()
        assert repository.tip(f"refs/heads/symphony/{ISSUE}") == theirs
        assert run.state is RunState.BLOCKED and run.question is not None and theirs[:7] in run.question
        git(repository.path, "update-ref", "-d", f"refs/heads/symphony/{ISSUE}")
        work.board.sql("UPDATE runs SET state = 'queued', stage = 'proof', due_at = now(), queued_at = now()")
        run = work.step()
        assert run.state is RunState.REVIEWING and repository.tip(f"refs/heads/symphony/{ISSUE}") == run.head_sha


def test_checkouts_that_a_killed_prover_left_are_removed_by_the_next(work: Bench) -> None:
    """Rule: what belongs to an attempt that goes on, or to nobody known, stays."""
    work.tracker.put("DEMO-2")
    work.board.bring("DEMO-2", Stage.AGENT)
    working = work.board.claim("DEMO-2").run
    work.bring(Stage.PROOF)
    checkouts = work.folder / "home" / "checkouts"
    left = checkouts / f"{uuid4()}@1234abcd"
    kept = {checkouts / f"{working.attempt_id}@1234abcd", checkouts / "notes"}
    for path in (left, *kept):
        (path / "deep").mkdir(parents=True)
    assert work.step().stage is Stage.LAND
    assert set(checkouts.iterdir()) == kept


def test_the_next_run_of_an_issue_publishes_where_the_last_one_did(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    with bench(database_url, tmp_path, guardian, sections={**proving("true"), "land": {"mode": "review"}}) as work:
        work.bring(Stage.PROOF)
        first = work.step()
        work.board.sql("UPDATE runs SET state = 'queued', stage = 'land', approved_at = now(), due_at = now()")
        assert work.step().state is RunState.LANDED
        for state in ("Done", "Todo"):
            work.tracker.person_moves(ISSUE, state)
            work.board.poll()
            work.board.admit()
        assert work.run.id != first.id
        work.agent("echo second > second.txt")
        for _ in range(3):
            run = work.step()
        assert run.state is RunState.REVIEWING, run.error
        assert repository.tip(f"refs/heads/symphony/{ISSUE}") == run.head_sha
