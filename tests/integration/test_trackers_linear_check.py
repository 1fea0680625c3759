"""`symphony check` on a board of Linear: what is wrong is named with what there is, and missing states can be made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from symphony.domain.errors import ConfigError, Rejected, Transient
from tests.fakes import linear_faults as faults
from tests.fakes.command import Command
from tests.fakes.linear_records import State
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_board import linear

ROLES = {"started": "In Progress", "review": "Human Review", "rework": "Rework", "blocked": "Blocked", "done": "Done"}
WORKFLOW = """\
---
tracker:
  kind: linear
  provider: {{endpoint: "{url}", project_slug: {slug}}}
  active_states: [Todo, In Progress, Rework, Merging]
  states: {{started: In Progress, review: Human Review, rework: Rework, merging: Merging, done: Done}}
agent: {{kind: command, command: "true"}}
---
Do {{{{ issue.title }}}}
"""


@pytest.fixture
def server() -> Iterator[LinearServer]:
    with LinearServer() as server:
        yield server
        assert server.violations == []


@pytest.fixture
def symphony(
    server: LinearServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    for name in ("SYMPHONY_DATABASE_URL", "SYMPHONY_BROKER_URL", "LINEAR_ASSIGNEE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LINEAR_API_KEY", server.key)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "WORKFLOW.md").write_text(WORKFLOW.format(url=server.url, slug=server.project.slug_id))
    return Command(capsys)


def states_of(server: LinearServer, team: object = None) -> dict[str, str]:
    """Give the states of a team with their types."""
    wanted = getattr(team, "id", server.team.id)
    return {state.name: state.type for state in server.world.board.all(State) if state.team_id == wanted}


def test_a_board_that_works_is_said_to_be_whose(server: LinearServer) -> None:
    (finding,) = linear(server).check(named_states=["in review"])
    assert finding.level == "note"
    assert finding.message == "acts as Vera Viewer (vera@acme.test) on the project 'Alpha' of ENG"


@pytest.mark.parametrize(("skew_ms", "said"), [(-600_000, "s ahead of Linear's"), (600_000, "s behind Linear's")])
def test_a_clock_that_differs_from_linears_is_a_warning(server: LinearServer, skew_ms: int, said: str) -> None:
    server.world.clock.skew_ms = skew_ms
    (finding,) = [one for one in linear(server).check(named_states=["in review"]) if one.level == "warning"]
    assert said in finding.message
    assert "NTP" in (finding.cure or "")


def test_unknown_states_are_named_by_team_with_those_that_there_are(server: LinearServer) -> None:
    other = server.add_team("OPS", [("Ready", "unstarted"), ("Doing", "started"), ("Shipped", "completed")])
    server.project = server.add_project("Beta", server.team, other)
    found = [finding for finding in linear(server).check(named_states=["Human Review"]) if finding.level != "note"]
    assert [(one.level, one.message.partition(";")[0]) for one in found] == [
        ("error", "team ENG has no state 'Human Review'"),
        ("error", "team OPS has no state 'Human Review', 'Todo', 'In Progress'"),
        ("warning", "team OPS has no state 'Done', 'Canceled', 'Duplicate'"),
    ]
    assert "it has: Ready, Doing, Shipped" in found[1].message
    assert "--create-states" in (found[0].cure or "")


def test_an_active_state_that_one_team_lacks_is_a_warning(server: LinearServer) -> None:
    other = server.add_team("OPS", [("Todo", "unstarted"), ("Done", "completed")])
    server.project = server.add_project("Beta", other)
    found = [(one.level, one.message.partition(";")[0]) for one in linear(server).check()]
    assert found[1:] == [("warning", "team OPS has no state 'In Progress'")]


@pytest.mark.parametrize(
    ("provider", "message", "cure"),
    [
        ({"project_slug": "0123456789ab"}, "no project with the slug 0123456789ab", "(Alpha)"),
        ({"key": "lin_api_of_nobody"}, "does not accept the key", "make a new one"),
        ({"assignee": "7f3d0a5e-0000-4000-8000-000000000000"}, "no active user has the id 7f3d0a5e", "`me`"),
    ],
)
def test_a_mistake_is_named_with_its_cure(server: LinearServer, provider: dict[str, str], message: str, cure: str) -> None:
    (finding,) = [one for one in linear(server, **provider).check() if one.level == "error"]
    assert message in finding.message and cure in (finding.cure or "")
    assert server.key not in finding.message and "lin_api_of_nobody" not in finding.message


def test_linear_away_is_one_error(server: LinearServer) -> None:
    server.fail("*", faults.html(200))
    assert [one.level for one in linear(server).check()] == ["error"]


def test_missing_states_are_made_in_every_team_by_their_role_and_once(server: LinearServer) -> None:
    other = server.add_team("OPS", [("Backlog", "backlog"), ("done", "completed")])
    server.project = server.add_project("Beta", server.team, other)
    made = list(linear(server).create_states(ROLES))
    assert len(made) == 3 + 7
    assert "made the state 'Human Review' (of type started) in team ENG" in made
    kinds = {"Human Review": "started", "Rework": "started", "Blocked": "started"}
    assert {name: kind for name, kind in states_of(server).items() if name in kinds} == kinds
    assert states_of(server, other) == {
        "Backlog": "backlog", "done": "completed", "Todo": "unstarted", "In Progress": "started", **kinds,
        "Canceled": "canceled", "Duplicate": "canceled",
    }  # fmt: skip
    writes = len(server.writes)
    assert list(linear(server).create_states(ROLES)) == []
    assert len(server.writes) == writes
    assert [one.level for one in linear(server).check(named_states=list(ROLES.values()))] == ["note"]


def test_two_who_make_states_at_once_make_each_once(server: LinearServer) -> None:
    start = Barrier(3)

    def make(_: int) -> list[str]:
        tracker = linear(server)
        start.wait()
        return list(tracker.create_states(ROLES))

    with ThreadPoolExecutor(3) as pool:
        made = [said for several in pool.map(make, range(3)) for said in several]
    assert sorted(made) == sorted(set(made)) and len(made) == 3
    assert len(server.written("WorkflowState.create")) == 3


def test_a_state_whose_answer_was_lost_is_made_once(server: LinearServer) -> None:
    server.fail("workflowStateCreate", faults.reset(applied=True))
    with pytest.raises(Transient):
        list(linear(server).create_states(ROLES))
    list(linear(server).create_states(ROLES))
    assert len(server.written("WorkflowState.create")) == 3


def test_a_key_that_may_not_is_told_what_was_made_before(server: LinearServer) -> None:
    server.fail("workflowStateCreate", faults.slow(0), faults.refused("Not allowed.", code="FORBIDDEN", kind="forbidden"))
    made = []
    with pytest.raises(ConfigError) as fault:
        for said in linear(server).create_states(ROLES):
            made.append(said)
    assert "may not make the state 'Rework' in team ENG" in fault.value.message
    assert "admin" in (fault.value.cure or "")
    assert made == ["made the state 'Human Review' (of type started) in team ENG"]


def test_a_name_that_linear_does_not_take_is_refused_with_its_words(server: LinearServer) -> None:
    server.faults.always("workflowStateCreate", faults.refused("The name is reserved."))
    with pytest.raises(Rejected, match=r"team ENG takes no state 'Human Review': .*The name is reserved"):
        list(linear(server).create_states(ROLES))


def test_check_makes_states_when_asked_and_says_which(server: LinearServer, symphony: Command) -> None:
    first = symphony("check")
    assert first.code == 2 and "team ENG has no state 'Human Review'" in first.out
    assert server.written("WorkflowState.create") == []
    made = symphony("check", "--create-states")
    assert "ok      states: made the state 'Human Review' (of type started) in team ENG" in made.out
    assert "error   tracker" not in made.out and "acts as Vera Viewer" in made.out
    again = symphony("check", "--create-states", "--json")
    probes = [probe["message"] for probe in json.loads(again.out)["probes"] if probe["name"] == "states"]
    assert probes == ["the tracker has every state that is named: none was made"]
    assert len(server.written("WorkflowState.create")) == 3, "Closed and Cancelled are spellings that no team needs"


def test_check_makes_no_states_of_a_file_with_errors(server: LinearServer, symphony: Command, tmp_path: Path) -> None:
    text = (tmp_path / "WORKFLOW.md").read_text()
    (tmp_path / "WORKFLOW.md").write_text(text.replace("rework: Rework, ", "rework: Human Review, "))
    said = symphony("check", "--create-states")
    assert said.code == 2 and "Traceback" not in said.out + said.err
    assert server.written("WorkflowState.create") == []


def test_a_folder_needs_no_states(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "issues").mkdir()
    (tmp_path / "WORKFLOW.md").write_text(
        "---\ntracker: {kind: files}\nagent: {kind: command, command: 'true'}\n---\nDo it.\n"
    )
    assert "there is nothing to make" in symphony("check", "--create-states").out
    assert symphony("check", "--harness", "--create-states").code == 2
