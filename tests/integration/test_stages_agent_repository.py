"""The agent stage with a repository: what counts as done, what is kept of the work, and who made the commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.forges import snapshot_ref
from symphony.processes.guardian import Guardian
from tests.conftest import wait_until
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import ISSUE, Bench, another_node, bench, files_at

pytest_plugins = ["tests.fakes.repository_fixtures"]

HOOKS = {
    "hooks": {
        "after_create": "echo x >> $HOME/created", "before_run": '. "$HOME/before.sh"', "after_run": '. "$HOME/after.sh"',
        "timeout_ms": 1500,
    }
}  # fmt: skip


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board with a repository."""
    with bench(database_url, tmp_path, guardian) as made:
        yield made


@pytest.fixture
def hooked(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board whose hooks are files in the home directory of its environment."""
    home = tmp_path / "user"
    home.mkdir()
    (home / "before.sh").write_text("true")
    (home / "after.sh").write_text("true")
    with bench(database_url, tmp_path, guardian, sections=HOOKS, environ={"HOME": str(home)}) as made:
        yield made


def assert_symphonys_own(repository: Repository, commit: str) -> None:
    """One commit by Symphony stands directly upon the base."""
    told = git(repository.path, "show", "-s", "--format=%P|%an|%cn|%ae", commit)
    assert told == f"{repository.first}|Symphony|Symphony|symphony@localhost"


def test_a_change_is_kept_as_one_commit_of_symphonys_under_the_holders_ref(work: Bench, repository: Repository) -> None:
    work.bring(Stage.AGENT)
    token = work.run.token + 1
    run = work.step()
    assert (run.state, run.stage, work.outcomes[-1]) == (RunState.QUEUED, Stage.PROOF, "advance")
    assert run.head_sha is not None
    assert repository.refs()[snapshot_ref(str(run.id), token)] == run.head_sha
    assert_symphonys_own(repository, run.head_sha)
    assert files_at(repository, run.head_sha)["new.txt"] == "changed"
    assert git(repository.path, "show", "-s", "--format=%B", run.head_sha).endswith(f"Symphony-Run: {ISSUE}#1")


REWRITES = {
    "commits": "echo a > new.txt; git add -A; git commit -qm 'by the agent'",
    "rewrites history": "echo a > new.txt; git checkout -q --orphan mine; git add -A; git commit -qm all; git branch -D main",
    "deletes .git": "echo a > new.txt; rm -rf .git",
    "starts its own": "echo a > new.txt; rm -rf .git; git init -q; git add -A; git -c user.name=x -c user.email=y commit -qm z",
}


@pytest.mark.parametrize("script", REWRITES.values(), ids=REWRITES.keys())
def test_what_counts_is_the_tree_whatever_the_agent_does_to_git(work: Bench, repository: Repository, script: str) -> None:
    work.agent(f"cat > /dev/null; {script}")
    work.bring(Stage.AGENT)
    run = work.step()
    assert run.stage is Stage.PROOF and run.head_sha is not None
    assert_symphonys_own(repository, run.head_sha)
    assert files_at(repository, run.head_sha)["new.txt"] == "a"
    assert "by the agent" not in git(repository.path, "log", "--all", "--format=%s")


def test_an_empty_change_is_sent_back_once_and_then_put_to_a_person(work: Bench) -> None:
    work.agent("true")
    work.bring(Stage.AGENT)
    run = work.step()
    assert (run.state, run.stage, run.rework_rounds) == (RunState.WAITING, Stage.AGENT, 1)
    assert run.feedback is not None and "no change" in run.feedback
    run = work.step()
    assert run.state is RunState.BLOCKED
    assert run.question is not None and "changed nothing" in run.question


def test_a_change_that_is_taken_back_in_a_rework_is_sent_back_once_too(work: Bench) -> None:
    work.check("! test -f new.txt")
    work.bring(Stage.PROOF)
    work.step()
    work.agent("rm -f new.txt")
    run = work.step()
    assert (run.state, run.stage, run.rework_rounds) == (RunState.WAITING, Stage.AGENT, 2), run.question
    assert run.feedback is not None and "no change" in run.feedback
    assert work.step().state is RunState.BLOCKED


def test_an_empty_change_is_sent_back_with_what_was_left_out_of_it(work: Bench) -> None:
    work.agent("git init -q inner; echo done > inner/work.txt")
    work.bring(Stage.AGENT)
    run = work.step()
    assert run.feedback is not None and "- `inner`: nested git repository" in run.feedback
    run = work.step()
    assert run.state is RunState.BLOCKED
    assert run.question is not None and "- `inner`: nested git repository" in run.question


def test_a_question_blocks_and_the_work_so_far_is_kept(work: Bench, repository: Repository) -> None:
    work.agent("echo half > half.txt; echo thinking; echo 'Which colour?'; exit 75")
    work.bring(Stage.AGENT)
    run = work.step()
    assert (run.state, run.question) == (RunState.BLOCKED, "Which colour?")
    assert run.head_sha is not None and files_at(repository, run.head_sha)["half.txt"] == "half"


def test_the_work_of_a_failed_turn_is_kept_and_found_by_the_next(work: Bench, repository: Repository) -> None:
    work.agent("echo half > half.txt; exit 3")
    work.bring(Stage.AGENT)
    run = work.step()
    assert (run.state, run.failures, work.outcomes[-1]) == (RunState.WAITING, 1, "retry")
    assert run.error is not None and "exited with 3" in run.error
    assert run.head_sha is not None and files_at(repository, run.head_sha)["half.txt"] == "half"
    work.agent("cat half.txt > whole.txt")
    run = work.step()
    assert run.head_sha is not None and files_at(repository, run.head_sha)["whole.txt"] == "half"
    assert_symphonys_own(repository, run.head_sha)


@pytest.mark.parametrize(
    ("script", "error"), [("echo no luck >&2; exit 7", "status 7: no luck"), ("sleep 60", "did not end within 1.5 s")]
)
def test_a_before_run_that_fails_ends_the_attempt_before_the_agent(hooked: Bench, script: str, error: str) -> None:
    (hooked.folder / "user" / "before.sh").write_text(script)
    hooked.agent("touch $HOME/agent-ran")
    hooked.bring(Stage.AGENT)
    run = hooked.step()
    assert (run.state, run.failures) == (RunState.WAITING, 1)
    assert run.error is not None and error in run.error
    assert not (hooked.folder / "user" / "agent-ran").exists()


@pytest.mark.parametrize("script", ["exit 7", "sleep 60", "kill -9 $$"])
def test_an_after_run_that_fails_changes_nothing(hooked: Bench, script: str) -> None:
    (hooked.folder / "user" / "after.sh").write_text(f"touch $HOME/after-ran; {script}")
    hooked.bring(Stage.AGENT)
    assert hooked.step().stage is Stage.PROOF
    assert (hooked.folder / "user" / "after-ran").exists()


def test_after_run_follows_a_failed_turn_and_after_create_runs_once(hooked: Bench) -> None:
    home = hooked.folder / "user"
    (home / "after.sh").write_text("pwd >> $HOME/after-ran")
    hooked.agent("exit 1")
    hooked.bring(Stage.AGENT)
    hooked.step()
    hooked.step()
    assert (home / "after-ran").read_text().split() == [str(hooked.workspace)] * 2
    assert (home / "created").read_text() == "x\n"


def test_a_failed_after_create_undoes_the_workspace_and_is_tried_again(hooked: Bench) -> None:
    """The specification's 9.4: fatal to the creation of the workspace."""
    home = hooked.folder / "user"
    (home / "created").mkdir()
    hooked.start()
    run = hooked.step()
    assert (run.state, run.stage) == (RunState.WAITING, Stage.PROVISION)
    assert not hooked.workspace.exists()
    (home / "created").rmdir()
    assert hooked.step().stage is Stage.AGENT


@pytest.mark.parametrize("signals", [1, 2])
def test_a_drain_that_is_over_interrupts_and_keeps_the_work(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, signals: int
) -> None:
    settings = {"drain": timedelta(seconds=0.5 if signals == 1 else 600)}
    with bench(database_url, tmp_path, guardian, settings=settings) as work:
        work.agent("echo half > half.txt; touch ../ready; exec sleep 600")
        work.bring(Stage.AGENT)
        thread, answers = work.step_aside()
        wait_until(lambda: (work.root / "ready").exists())
        for _ in range(signals):
            work.keeper.drain()
        thread.join(30)
        (run,) = answers
        assert (run.state, run.stage, run.failures) == (RunState.QUEUED, Stage.AGENT, 0)
        assert work.outcomes[-1] == "interrupted"
        assert run.head_sha is not None and files_at(repository, run.head_sha)["half.txt"] == "half"


def test_a_drain_that_has_begun_waits_for_the_turns_end(work: Bench) -> None:
    work.agent("touch ../ready; until test -e ../go; do sleep 0.02; done; echo a > new.txt")
    work.bring(Stage.AGENT)
    thread, answers = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists())
    work.keeper.drain()
    (work.root / "go").touch()
    thread.join(30)
    assert answers[0].stage is Stage.PROOF


def test_a_request_to_hand_over_ends_the_turn_and_advances(work: Bench, repository: Repository) -> None:
    work.agent("echo enough > new.txt; touch ../ready; exec sleep 600")
    work.bring(Stage.AGENT)
    thread, answers = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists())
    work.board.sql("UPDATE runs SET request = 'hand_over', request_reason = 'moved to merging'")
    work.keeper.renew_now()
    thread.join(30)
    (run,) = answers
    assert (run.state, run.stage) == (RunState.QUEUED, Stage.PROOF)
    assert run.head_sha is not None and files_at(repository, run.head_sha)["new.txt"] == "enough"


def test_a_cancel_ends_the_turn_and_the_run(work: Bench) -> None:
    work.agent("trap '' TERM; touch ../ready; while :; do sleep 0.1; done")
    work.bring(Stage.AGENT)
    thread, answers = work.step_aside()
    wait_until(lambda: (work.root / "ready").exists())
    work.board.sql("UPDATE runs SET request = 'cancel', request_reason = 'done', request_clean = true")
    work.keeper.renew_now()
    thread.join(30)
    (run,) = answers
    assert (run.state, run.clean_due) == (RunState.CANCELLED, True)


def test_the_environment_is_an_allowlist_and_the_place_is_the_workspace(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    environ = {
        "SYMPHONY_DATABASE_URL": "postgresql://secret", "SYMPHONY_BROKER_URL": "redis://secret", "OPENAI_API_KEY": "sk-secret",
        "GITHUB_TOKEN": "t", "SSH_AUTH_SOCK": "/s", "LANG": "C.UTF-8", "LC_TIME": "C", "MINE": "passed", "OTHER": "not",
    }  # fmt: skip
    with bench(database_url, tmp_path, guardian, environ=environ, sections={"sandbox": {"env": ["MINE"]}}) as work:
        work.agent("env -0 > env.txt; pwd -P > pwd.txt")
        work.bring(Stage.AGENT)
        work.step()
        told = dict(line.split("=", 1) for line in (work.workspace / "env.txt").read_text().split("\0") if line)
        by_bash = {"PWD", "SHLVL", "_", "OLDPWD"}
        assert told.keys() - by_bash == {
            "PATH", "LANG", "LC_TIME", "MINE", "SYMPHONY_ISSUE", "SYMPHONY_RUN", "SYMPHONY_RUN_ID", "SYMPHONY_STAGE",
            "SYMPHONY_ATTEMPT", "SYMPHONY_NODE", "SYMPHONY_ARTIFACTS",
        }  # fmt: skip
        assert (told["SYMPHONY_ISSUE"], told["SYMPHONY_STAGE"], told["SYMPHONY_RUN"]) == (ISSUE, "agent", f"{ISSUE}#1")
        assert (work.workspace / "pwd.txt").read_text().strip() == str(work.workspace.resolve())


def test_a_daemon_of_the_agents_is_dead_before_the_tree_is_taken(work: Bench, repository: Repository) -> None:
    work.agent(
        "setsid bash -c 'while :; do date +%N >> spin.txt; done' > /dev/null 2>&1 & until test -s spin.txt; do :; done"
    )
    work.bring(Stage.AGENT)
    run = work.step()
    assert run.stage is Stage.PROOF and run.head_sha is not None
    assert files_at(repository, run.head_sha)["spin.txt"] == (work.workspace / "spin.txt").read_text().strip()


def test_another_node_restores_exactly_the_snapshot_and_the_old_one_moves_its_stale_workspace_aside(
    work: Bench, repository: Repository
) -> None:
    work.agent("echo half > half.txt; echo ignored > a.log; exit 3")
    work.bring(Stage.AGENT)
    head = work.step().head_sha
    (work.workspace / "later.txt").write_text("after the snapshot")
    with another_node(work, "node-2") as second:
        work.board.sql("UPDATE runs SET stage = 'provision', node = NULL")
        run = work.step(on=second)
        assert (run.node, run.stage, run.head_sha) == ("node-2", Stage.AGENT, head)
        found = {path.name for path in second.workspace.iterdir()} - {".git"}
        assert found == {"README.md", "src", ".gitignore", "half.txt"}
        work.agent("echo more >> half.txt; exit 3")
        work.step(on=second)
    work.board.sql("UPDATE runs SET stage = 'provision', node = NULL")
    assert work.step().node == "node-1"
    assert (work.workspace / "half.txt").read_text() == "half\nmore\n"
    assert not (work.workspace / "later.txt").exists()
    assert [path.read_text() for path in work.root.glob(".symphony/aside/*/later.txt")] == ["after the snapshot"]


def test_a_missing_repository_and_a_missing_branch_are_said_in_a_sentence(work: Bench, repository: Repository) -> None:
    git(repository.path, "branch", "-m", "main", "trunk")
    work.start()
    run = work.step()
    assert (run.state, run.failures) == (RunState.WAITING, 1)
    assert run.error == (
        "repository.branch: the repository has no branch main (name a branch that exists, or push a first commit to it)"
    )
    repository.path.rename(repository.path.with_name("elsewhere"))
    run = work.step()
    assert run.error is not None and "\n" not in run.error
    assert "there is no git repository at this url" in run.error and "check repository.url" in run.error


def test_a_target_that_is_named_like_the_folder_of_our_branches_is_worked_on(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository
) -> None:
    git(repository.path, "branch", "symphony", "main")
    sections = {"repository": {"url": repository.url, "branch": "symphony"}}
    with bench(database_url, tmp_path, guardian, sections=sections, repository=False) as work:
        work.agent("git branch --format='%(refname:short)' > branches.txt")
        work.bring(Stage.AGENT)
        run = work.step()
        assert run.head_sha is not None
        assert files_at(repository, run.head_sha)["branches.txt"].split() == ["symphony", f"symphony-{ISSUE}"]


def test_an_empty_repository_is_said_in_a_sentence(database_url: str, tmp_path: Path, guardian: Guardian) -> None:
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(tmp_path / "origin.git"))
    with bench(database_url, tmp_path, guardian) as work:
        work.start()
        error = work.step().error
        assert error is not None and "has no branch main" in error and "first commit" in error
