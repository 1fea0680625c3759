"""What a proof shows: reports, complexity, the walkthrough with the agent's account, artifacts, and the trailers of landings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from symphony.agents.command import CommandAgent
from symphony.agents.protocol import Assignment, Finished, Turn
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.processes.guardian import Guardian
from tests.fakes.command import Command
from tests.fakes.repositories import Repository, git
from tests.integration.stage_bench import Bench, another_node, bench
from tests.integration.test_stages_land import die_at

pytest_plugins = ["tests.fakes.repository_fixtures"]

JUNIT = (
    'printf \'<testsuite tests="3" failures="%s"><testcase classname="t" name="a"/><testcase classname="t" name="b"/>'
    '<testcase classname="t" name="c">%s</testcase></testsuite>\' '
)
COVERAGE = (
    'printf \'<coverage line-rate="0.5"><packages><package><classes><class><lines><line number="1" hits="1"/>'
    '<line number="2" hits="0"/></lines></class></classes></package></packages></coverage>\' > coverage.xml'
)
KNOTTY = "def f(a):\n" + "".join(f"    if a == {n}:\n        return {n}\n" for n in range(20))


@pytest.fixture
def work(database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository) -> Iterator[Bench]:
    """A board whose run can land."""
    with bench(database_url, tmp_path, guardian) as made:
        yield made


@pytest.fixture
def symphony(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command on the bench's ledger and home."""
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    return Command(capsys)


def comment(work: Bench) -> str:
    """Give the last comment."""
    bodies: list[str] = [payload["body"] for kind, _, payload in work.board.effects("DEMO-1") if kind == "comment"]
    return bodies[-1]


def test_reports_are_shown_in_the_line_and_their_failures_come_first_in_a_rework(work: Bench, symphony: Command) -> None:
    work.check(
        f"echo noise; {COVERAGE}; if test -f new.txt -a ! -f better.txt; then {JUNIT} 1 '<failure message=\"boom\"/>';"
        f" else {JUNIT} 0 ''; fi > junit.xml"
    )
    work.bring(Stage.PROOF)
    run = work.step()
    assert run.feedback is not None and run.rework_rounds == 1
    assert "exited with 0, but 1 of its 3 tests failed" in run.feedback.splitlines()[0]
    assert 0 < run.feedback.index("t::c failed:\nboom") < run.feedback.index("noise")
    work.agent("touch better.txt")
    for _ in range(3):
        run = work.step()
    assert run.state is RunState.LANDED
    first = comment(work).splitlines()[0]
    assert first.startswith(f"**Landed {str(run.landed_sha)[:7]} · 3 tests · 1 rework · ") and "50.0 % coverage" in comment(
        work
    )
    shown = symphony("show", "DEMO-1", "--json").document
    assert shown["headline"].startswith(f"Landed {str(run.landed_sha)[:7]} · 3 tests · 1 rework")
    assert shown["proof"]["checks"][0]["report"]["tests"]["passed"] == 3
    assert symphony("show", "DEMO-1", "--md").out.splitlines()[2].startswith(first.rpartition(" · ")[0])
    assert shown["headline"] in symphony("show", "DEMO-1").out


def test_tests_that_are_gone_from_the_reports_are_listed(work: Bench) -> None:
    work.check(f"{JUNIT} 0 '' > junit.xml")
    work.bring(Stage.LAND)
    work.step()
    work.check('printf \'<testsuite><testcase classname="t" name="a"/></testsuite>\' > junit.xml')
    work.agent("echo second > second.txt")
    work.board.sql("DELETE FROM effects; UPDATE issues SET epoch = epoch + 1, active = true, eligible = true")
    work.board.admit()
    for _ in range(4):
        run = work.step()
    assert run.state is RunState.LANDED and run.number == 2
    lost = work.board.sql("SELECT lost_tests FROM proofs ORDER BY id DESC LIMIT 1")[0][0]
    assert (lost["told_by"], lost["removed"]) == ("reports", ["t::b", "t::c"])


@pytest.mark.parametrize(("mode", "stage"), [("fail", Stage.AGENT), ("warn", Stage.LAND), ("off", Stage.LAND)])
def test_complexity_is_told_or_sent_back(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, mode: str, stage: Stage
) -> None:
    sections = {"proof": {"checks": [{"name": "tests", "run": "true"}], "complexity": {"mode": mode, "ccn": 10}}}
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        (tmp_path / "knotty.py").write_text(KNOTTY)
        work.agent(f"cp {tmp_path}/knotty.py src/knotty.py")
        work.bring(Stage.PROOF)
        run = work.step()
        assert run.stage is stage
        found = work.board.sql("SELECT complexity FROM proofs")[0][0]
        if mode == "off":
            assert found is None
            return
        assert (
            len(found["exceeded"]) == 1 and "src/knotty.py:1: `f` has a cyclomatic complexity of 21" in found["exceeded"][0]
        )
        if mode == "fail":
            assert run.feedback is not None and found["exceeded"][0] in run.feedback
            work.agent("echo 'def f(a): return a' > src/knotty.py")
            for _ in range(3):
                run = work.step()
            assert run.state is RunState.LANDED
            assert [check["name"] for check in work.proofs()[-1].checks] == ["tests", "complexity"]


def test_the_agents_account_guides_through_the_change(work: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "purpose": "Say it louder.", "risks": ["Ears."], "not_done": ["Whispering."],
        "groups": [{"title": "The new file", "files": ["new.txt", "gone.txt"], "why": "it is needed"}],
        "hunks": [{"file": "new.txt", "start_line": 1, "end_line": 1, "why": "all of it"}],
    }  # fmt: skip

    def finishing(self: CommandAgent, assignment: Assignment) -> Turn:
        assert isinstance(turn(self, assignment), Finished)
        return Finished("Did it.", walkthrough=told)

    turn = CommandAgent.turn
    monkeypatch.setattr(CommandAgent, "turn", finishing)
    work.agent("echo changed > new.txt; echo more > other.txt")
    work.bring(Stage.LAND)
    work.step()
    assert work.board.sql("SELECT account FROM runs")[0][0] == {
        "summary": "Did it.", "outcome": "done", "reason": None, "walkthrough": told,
    }  # fmt: skip
    walk = work.board.sql("SELECT walkthrough FROM proofs")[0][0]
    assert (walk["by"], walk["purpose"], walk["risks"]) == ("agent", "Say it louder.", ["Ears."])
    assert [(group["title"], [file["path"] for file in group["files"]]) for group in walk["groups"]] == [
        ("The new file", ["new.txt"]), ("Not mentioned by the agent", ["other.txt"]),
    ]  # fmt: skip
    assert walk["notes"] == ["gone.txt is named, but not in the change"]
    assert all(words in comment(work) for words in ("Say it louder.", "Ears.", "+changed", "gone.txt is named"))


def test_what_an_agent_leaves_is_kept_and_shown(work: Bench, symphony: Command) -> None:
    work.agent(
        'test "$(stat -c %a "$SYMPHONY_ARTIFACTS")" = 700 && printf "\\211PNG\\r\\n\\032\\nxx" > "$SYMPHONY_ARTIFACTS/seen.html"'
        ' && ln -s /etc/passwd "$SYMPHONY_ARTIFACTS/link"; echo changed > new.txt'
    )
    run = work.bring(Stage.LAND)
    work.step()
    kept = symphony("show", "DEMO-1", "--json").document["artifacts"]
    assert [(one["name"], one["type"]) for one in kept["kept"]] == [("seen.html", "image/png")]
    assert kept["refused"] == ["link: no regular file"]
    folder = work.folder / "home" / "artifacts" / str(run.id)
    assert [path.name for path in folder.iterdir()] == [kept["kept"][0]["stored"]]
    assert not (work.folder / "home" / "run" / "artifacts" / str(run.id)).exists()
    told = next(line for line in comment(work).splitlines() if "image/png" in line)
    assert "1 artifact" in comment(work) and told.startswith("- `seen.html`: ") and told.endswith(", on the node `node-1`")
    work.deployment.settings = work.deployment.settings.model_copy(update={"public_url": "https://symphony.example"})
    work.board.sql("DELETE FROM effects; UPDATE issues SET epoch = epoch + 1, active = true, eligible = true")
    work.agent('printf "\\211PNG\\r\\n\\032\\nxx" > "$SYMPHONY_ARTIFACTS/seen.html"; echo second > second.txt')
    work.board.admit()
    while (run := work.step()).state is not RunState.LANDED:
        assert run.state is RunState.QUEUED
    link = f"https://symphony.example/api/v1/runs/{run.id}/artifacts/{kept['kept'][0]['stored']}"
    assert f"- [seen.html](<{link}>): image/png" in comment(work) and f"![seen.html](<{link}>)" in comment(work)


def test_a_folder_for_artifacts_that_is_a_link_is_made_anew(work: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    work.agent(f'rmdir "$SYMPHONY_ARTIFACTS" && ln -s {outside} "$SYMPHONY_ARTIFACTS"; echo x > new.txt; exit 1')
    work.bring(Stage.AGENT)
    work.step()
    work.agent('test ! -L "$SYMPHONY_ARTIFACTS" && echo note > "$SYMPHONY_ARTIFACTS/note" && echo changed > new.txt')
    assert work.step().stage is Stage.PROOF
    assert not list(outside.iterdir())


@pytest.mark.parametrize("method", ["merge", "squash"])
def test_a_landing_is_verified_from_its_trailers(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, symphony: Command, method: str
) -> None:
    sections: dict[str, Any] = {
        "proof": {
            "setup": {"run": "mkdir deps", "cache": ["README.md"]}, "checks": [{"name": "tests", "run": "test -d deps"}],
            "protect": ["Makefile"], "complexity": {"mode": "fail"},
        },
        "land": {"method": method},
    }  # fmt: skip
    with bench(database_url, tmp_path, guardian, sections=sections) as work:
        work.bring(Stage.LAND)
        repository.person.commit({"theirs.txt": "x"})
        repository.person.push()
        assert work.step().state is RunState.LANDED
        tip = repository.tip()
        trailers = git(repository.path, "log", "-1", "--format=%(trailers:only)", tip).splitlines()
        key = work.proofs()[-1].key
        assert trailers == ["Symphony-Run: DEMO-1#1", f"Symphony-Proof: {key}"] and len(str(key)) == 32
        said = symphony("verify", "--json", "--rerun")
        (landing,) = said.document["landings"]
        assert (said.code, landing["commit"], landing["faults"], landing["notes"]) == (0, tip, [], [])
        # The head of a merge names its run only: whoever lands that by hand has no proof of it.
        if method == "merge":
            assert "Symphony-Proof" not in git(repository.path, "log", "-1", "--format=%B", f"{tip}^2")


@pytest.mark.parametrize("was", ["merge", "squash"])
def test_what_was_intended_is_made_again_though_the_workflow_has_changed(
    database_url: str, tmp_path: Path, guardian: Guardian, repository: Repository, monkeypatch: pytest.MonkeyPatch, was: str
) -> None:
    """Rule: the same inputs give the same commit, and the stored proof is one of them."""
    checks = {"checks": [{"name": "tests", "run": "true"}]}
    with bench(database_url, tmp_path, guardian, sections={"proof": checks, "land": {"method": was}}) as work:
        work.bring(Stage.LAND)
        commit = die_at(work, monkeypatch, after_push=False)
        work.board.sql(
            "UPDATE workflow_versions SET content = replace(replace(content, 'name: tests', 'name: others'), 'method:', 'mode: auto #')"
        )
        work.deployment._rules.clear()
        with another_node(work, "node-2") as second:
            run = work.step(on=second)
        assert (run.state, run.landed_sha, repository.tip()) == (RunState.LANDED, commit, commit)
        assert len(work.proofs()) == 1
