"""`symphony verify`: what was landed as it was proved is good, and every way in which it may not be is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.outcome import Advance
from symphony.domain.proof import PROOF_TRAILER, RUN_TRAILER, proof_key
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.ledger.database import Database
from symphony.processes.guardian import Guardian
from symphony.proof.demands import demands_of
from tests.fakes.board import Board
from tests.fakes.command import Command
from tests.fakes.repositories import Person, Repository, git
from tests.integration.stage_bench import bench

pytest_plugins = ["tests.fakes.repository_fixtures"]


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@dataclass
class Branch:
    """A branch that this deployment lands on, and the ledger that says so."""

    board: Board
    person: Person
    origin: Path

    def land(self, issue: str, *, squash: bool = False, trailers: str | None = None, **stored: Any) -> str:
        """Land a change as Symphony does; `stored` replaces what the rows say."""
        run = self.board.run(issue, Advance(), Advance(), Advance())
        base = git(self.person.clone, "rev-parse", "HEAD")
        git(self.person.clone, "checkout", "-q", "-b", issue)
        head = self.person.commit({f"{issue}.txt": "change\n"}, f"{issue}: A title\n\n{RUN_TRAILER}: {issue}#1")
        key = proof_key(run.id, base=base, head=head, demands=demands_of(self.board.rules.workflow.proof))
        told = trailers if trailers is not None else f"{RUN_TRAILER}: {issue}#1\n{PROOF_TRAILER}: {key}"
        tree = git(self.person.clone, "rev-parse", "HEAD^{tree}")
        parents = ["-p", base] if squash else ["-p", base, "-p", head]
        commit = git(self.person.clone, "commit-tree", tree, *parents, "-m", f"{issue}: A title", "-m", told)
        git(self.person.clone, "checkout", "-q", "main")
        git(self.person.clone, "reset", "-q", "--hard", commit)
        self.person.push()
        row = {
            "base": base, "head": head, "merge": commit, "tree": tree, "verdict": "passed", "proof_tree": tree,
            "state": "landed", "target": f"{self.origin}#main", "checks": [check("t", "true")],
        } | stored  # fmt: skip
        self.board.rows(
            """
            WITH p AS (INSERT INTO proofs (id, run_id, base_sha, head_sha, merge_sha, tree_sha, verdict, checks)
              VALUES (gen_random_uuid(), :run, :base, :head, :merge, :proof_tree, :verdict, CAST(:checks AS jsonb)) RETURNING *)
            INSERT INTO landings (id, run_id, proof_id, target, base_sha, head_sha, merge_sha, tree_sha, state, settled_at)
            SELECT gen_random_uuid(), run_id, id, :target, base_sha, head_sha, merge_sha, :tree, :state,
              CASE WHEN :state = 'intended' THEN NULL ELSE now() END FROM p RETURNING id
            """,
            run=run.id, **row,
        )  # fmt: skip
        return commit


def check(name: str, command: str, verdict: str = "passed") -> dict[str, Any]:
    return {
        "name": name,
        "command": command,
        "verdict": verdict,
        "exit_code": 0,
        "seconds": 0.1,
        "output": "",
        "dropped": 0,
    }


@pytest.fixture
def branch(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Branch]:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    origin = tmp_path / "repo"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(origin))
    git(tmp_path, "clone", "-q", str(origin), str(tmp_path / "person"))
    person = Person(tmp_path / "person")
    git(person.clone, "checkout", "-q", "-B", "main")
    person.commit({"README.md": "one\n"}, "first")
    person.push()
    database = Database(database_url, pool_size=2)
    yield Branch(Board.make(database, tmp_path), person, origin)
    database.close()


def test_landings_as_they_were_proved_are_good_and_people_are_told_apart(branch: Branch, symphony: Command) -> None:
    first = branch.land("DEMO-1")
    branch.person.commit({"people.txt": "mine\n"}, "mine")
    branch.person.commit({"handed.txt": "x\n"}, f"DEMO-7: by hand\n\n{RUN_TRAILER}: DEMO-7#1")
    branch.person.push()
    second = branch.land("DEMO-2", squash=True)
    said = symphony("verify", "--json")
    assert said.code == 0, said
    told = said.document
    assert told["ok"] and told["branch"] == "main" and told["tip"] == second
    assert [(landing["commit"], landing["run"], landing["faults"], landing["notes"]) for landing in told["landings"]] == [
        (second, "DEMO-2#1", [], []),
        (first, "DEMO-1#1", [], []),
    ]
    assert [commit["subject"] for commit in told["others"]] == ["mine", "first"]
    assert [commit["run"] for commit in told["handed"]] == ["DEMO-7#1"]
    assert "2 landings, 0 wrong; 3 other commits" in symphony("verify").out


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tree": "0" * 40, "proof_tree": "0" * 40}, "its tree is"),
    ({"proof_tree": "1" * 40}, "its proof is for tree 1111111"),
    ({"base": "2" * 40}, "its parents are"),
    ({"head": "3" * 40}, "its parents are"),
    ({"verdict": "failed"}, "its proof has not passed"),
    ({"checks": [check("t", "true", "failed")]}, "has not passed: t"),
    ({"checks": []}, "its proof has no checks"),
    ({"checks": [check("t", "echo")]}, "demands the check t (true)"),
    ({"checks": [check("u", "true")]}, "demands the check t (true)"),
    ({"state": "abandoned"}, "was abandoned"),
    ({"trailers": f"{RUN_TRAILER}: OTHER-9#1\n{PROOF_TRAILER}: {'0' * 32}"}, "says Symphony-Run: OTHER-9#1"),
    ({"trailers": f"{RUN_TRAILER}: DEMO-12#1\n{PROOF_TRAILER}: {'0' * 32}"}, "not the name of its proof"),
]


def test_what_is_not_as_it_was_proved_is_wrong(branch: Branch, symphony: Command) -> None:
    landed = [branch.land(f"DEMO-{number}", **stored) for number, (stored, _) in enumerate(WRONG, 1)]
    good = branch.land("DEMO-99")
    said = symphony("verify", "--json")
    assert said.code == 1
    faults = {landing["commit"]: landing["faults"] for landing in said.document["landings"]}
    assert faults.pop(good) == []
    for commit, (stored, words) in zip(landed, WRONG, strict=True):
        assert len(faults[commit]) >= 1 and words in " ".join(faults[commit]), (stored, faults[commit])
    assert "13 landings, 12 wrong" in symphony("verify").out


def test_a_claim_without_a_row_is_wrong(branch: Branch, symphony: Command) -> None:
    forged = branch.person.commit({"x": "y"}, f"DEMO-1: x\n\n{RUN_TRAILER}: DEMO-1#1\n{PROOF_TRAILER}: {'0' * 32}")
    branch.person.push()
    said = symphony("verify", "--json")
    assert said.code == 1
    (landing,) = said.document["landings"]
    assert landing["commit"] == forged and "no such landing is stored" in landing["faults"][0]


def test_a_landing_that_the_branch_lost_is_wrong(branch: Branch, symphony: Command) -> None:
    first = git(branch.person.clone, "rev-parse", "HEAD")
    branch.land("DEMO-1")
    git(branch.person.clone, "reset", "-q", "--hard", first)
    branch.person.push("--force")
    said = symphony("verify")
    assert said.code == 1 and "it was landed, and the branch does not hold it" in said.out


def test_a_landing_that_somebody_merged_the_other_way_round_is_found(branch: Branch, symphony: Command) -> None:
    first = git(branch.person.clone, "rev-parse", "HEAD")
    landed = branch.land("DEMO-1")
    git(branch.person.clone, "reset", "-q", "--hard", first)
    branch.person.commit({"mine.txt": "mine\n"}, "mine")
    git(branch.person.clone, "merge", "-q", "--no-ff", "-m", "Merge main", landed)
    branch.person.push()
    said = symphony("verify", "--json")
    assert said.code == 0, said.out
    (landing,) = said.document["landings"]
    assert landing["commit"] == landed and "not in its own line" in landing["notes"][0]


def test_an_unsettled_landing_and_one_without_the_trailer_are_noted(branch: Branch, symphony: Command) -> None:
    branch.land("DEMO-1", state="intended")
    branch.land("DEMO-2", trailers=f"{RUN_TRAILER}: DEMO-2#1")
    said = symphony("verify", "--json")
    assert said.code == 0
    assert [landing["notes"] for landing in said.document["landings"]] == [
        ["it has no trailer Symphony-Proof"],
        ["its row is not settled yet"],
    ]


def test_an_issue_that_was_renamed_since_is_no_fault(branch: Branch, symphony: Command) -> None:
    branch.land("DEMO-1")
    branch.board.rows("UPDATE issues SET identifier = 'OPS-1' RETURNING id")
    said = symphony("verify", "--json")
    assert said.code == 0 and said.document["landings"][0]["run"] == "OPS-1#1"


def test_checks_are_run_again_on_exactly_what_landed(branch: Branch, symphony: Command, tmp_path: Path) -> None:
    branch.board.rows(
        "UPDATE workflow_versions SET content = replace(content, 'run: \"true\"', :run) RETURNING id",
        run=f'run: "test ! -f DEMO-2.txt && git rev-parse HEAD >> {tmp_path}/seen"',
    )
    command = f"test ! -f DEMO-2.txt && git rev-parse HEAD >> {tmp_path}/seen"
    first = branch.land("DEMO-1", checks=[check("t", command)], trailers=f"{RUN_TRAILER}: DEMO-1#1")
    assert symphony("verify", "--rerun").code == 0
    assert (tmp_path / "seen").read_text().split() == [first]
    second = branch.land("DEMO-2", checks=[check("t", command)], trailers=f"{RUN_TRAILER}: DEMO-2#1")
    said = symphony("verify", "--rerun", "--json")
    assert said.code == 1
    by_commit = {landing["commit"]: landing for landing in said.document["landings"]}
    assert by_commit[second]["faults"] == ["run again, the check t failed"]
    assert by_commit[first]["ok"] and by_commit[first]["rerun"][0]["verdict"] == "passed"
    assert list((tmp_path / "home" / "checkouts").iterdir()) == []


def test_another_branch_and_another_copy_of_the_repository(branch: Branch, symphony: Command, tmp_path: Path) -> None:
    branch.land("DEMO-1")
    git(branch.person.clone, "push", "-q", "origin", "HEAD:refs/heads/release")
    assert symphony("verify", "release", "--json").document["landings"][0]["ok"]
    git(tmp_path, "clone", "-q", "--bare", str(branch.origin), "copy.git")
    copy = symphony("verify", "--repository", str(tmp_path / "copy.git"), "--json")
    assert copy.code == 0 and copy.document["repository"].endswith("copy.git")
    git(tmp_path / "copy.git", "update-ref", "refs/heads/main", "main^")
    assert symphony("verify", "--repository", str(tmp_path / "copy.git")).code == 1


def test_mistakes_are_sentences(branch: Branch, symphony: Command, tmp_path: Path) -> None:
    for arguments, words in (
        (["nowhere"], "no branch nowhere"),
        (["--workflow", "payment"], "did you mean payments?"),
        (["--repository", str(tmp_path / "none")], str(tmp_path / "none")),
        (["a..b"], "no branch name"),
    ):
        said = symphony("verify", *arguments)
        assert said.code == 2 and words in said.err and said.err.count("\n") == 1, said
    Board.make(branch.board.database, tmp_path, name="billing")
    assert "several workflows land: billing, payments" in symphony("verify").err
    assert symphony("verify", "-w", "billing").code == 0


def test_what_symphony_itself_landed_is_good(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, symphony: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    with bench(database_url, tmp_path, guardian) as work:
        work.bring(Stage.LAND)
        run = work.step()
        assert run.state is RunState.LANDED
        said = symphony("verify", "--rerun", "--json")
        assert said.code == 0, said
        (landing,) = said.document["landings"]
        assert landing["commit"] == run.landed_sha and landing["ok"]
        work.board.sql("UPDATE proofs SET verdict = 'failed'")
        assert symphony("verify").code == 1
