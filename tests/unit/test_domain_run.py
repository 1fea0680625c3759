"""The state machine (docs/failure-model.md): total, and final where it says so."""

from __future__ import annotations

import itertools

import pytest

from symphony.domain.errors import InvariantViolated
from symphony.domain.run import CONSUMING, ENDED, LIVE, TRANSITIONS, RunEvent, RunState, diagram, next_state, takes_slot
from symphony.domain.stage import WITH_REPOSITORY, WITHOUT_REPOSITORY, Stage, before_agent, following, remaining

LEAVES_BY = {
    RunState.QUEUED: {"queued", "running", "waiting", "cancelled", "released"},
    RunState.RUNNING: {"queued", "waiting", "blocked", "reviewing", "landed", "failed", "cancelled", "released"},
    RunState.WAITING: {"queued", "waiting", "cancelled", "released"},
    RunState.BLOCKED: {"queued", "waiting", "cancelled", "released"},
    RunState.REVIEWING: {"queued", "waiting", "cancelled", "released"},
}
"""The column "leaves by" of the table of docs/failure-model.md, in states."""


@pytest.mark.parametrize(("state", "event"), list(itertools.product([None, *RunState], RunEvent)))
def test_every_pair_moves_or_raises(state: RunState | None, event: RunEvent) -> None:
    """Rule: the table is total; what it does not name is refused, never ignored."""
    if state in TRANSITIONS[event]:
        assert next_state(state, event) is TRANSITIONS[event][state]
    else:
        with pytest.raises(InvariantViolated):
            next_state(state, event)


def test_every_event_can_happen() -> None:
    """Rule: no event without a move, no state that nothing reaches."""
    assert set(TRANSITIONS) == set(RunEvent)
    assert all(TRANSITIONS.values())
    assert {after for moves in TRANSITIONS.values() for after in moves.values()} == set(RunState)


@pytest.mark.parametrize("event", RunEvent)
def test_ended_states_are_final(event: RunEvent) -> None:
    """Rule: nothing happens to a run that has ended."""
    assert not set(ENDED) & set(TRANSITIONS[event])


@pytest.mark.parametrize("state", LIVE)
def test_a_live_state_is_left_as_the_design_says(state: RunState) -> None:
    """Rule: docs/failure-model.md, column "leaves by"."""
    assert {str(moves[state]) for moves in TRANSITIONS.values() if state in moves} == LEAVES_BY[state]


def test_live_and_ended_are_all_and_apart() -> None:
    """Rule: a run is live or ended; released consumes no epoch."""
    assert {*LIVE, *ENDED} == set(RunState)
    assert not set(LIVE) & set(ENDED)
    assert set(ENDED) - set(CONSUMING) == {RunState.RELEASED}


@pytest.mark.parametrize(("state", "stage"), list(itertools.product(RunState, Stage)))
def test_slots(state: RunState, stage: Stage) -> None:
    """Rule: queued and running in provision and agent take a slot, nothing else does."""
    expected = str(state) in {"queued", "running"} and str(stage) in {"provision", "agent"}
    assert takes_slot(state, stage) is expected


def test_the_diagram_names_every_move() -> None:
    """Rule: the drawing is the table."""
    moves = sum(len(m) for m in TRANSITIONS.values())
    assert len(diagram().splitlines()) == 1 + moves + len(ENDED)


def test_stages_follow_in_order() -> None:
    """Rule: no repository: provision, agent; with it proof and land too."""
    assert [following(s, WITH_REPOSITORY) for s in WITH_REPOSITORY] == [Stage.AGENT, Stage.PROOF, Stage.LAND, None]
    assert following(Stage.AGENT, WITHOUT_REPOSITORY) is None
    assert remaining(Stage.PROOF, WITH_REPOSITORY) == (Stage.PROOF, Stage.LAND)


@pytest.mark.parametrize(("stage", "has_node"), list(itertools.product(Stage, [True, False])))
def test_an_agent_is_never_sent_where_no_workspace_is(stage: Stage, has_node: bool) -> None:
    """Rule: only a provisioned run goes straight to its agent; a run without a node could never be claimed there."""
    expected = Stage.AGENT if has_node and stage in {Stage.AGENT, Stage.PROOF, Stage.LAND} else Stage.PROVISION
    assert before_agent(stage, has_node=has_node) is expected
