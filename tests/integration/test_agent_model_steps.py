"""How long a step of an agent on a model may take (`agent.turn_timeout_ms`): a request with the calls that it asks for."""

from __future__ import annotations

import time

import pytest

from symphony.agents.openai import asking
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from tests.fakes import model_replies as say
from tests.integration.served_model import ADD, Serve

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.integration.served_model_fixtures"]

TRICKLE = say.text("It goes on and on. " * 40).slowly(120)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without a long pause."""
    monkeypatch.setattr(asking, "_FIRST_PAUSE_S", 0.02)


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_an_answer_that_trickles_for_too_long_is_broken_off_and_asked_for_again(serve: Serve, api: str) -> None:
    answers = iter([TRICKLE, say.patch(ADD), say.finish()])
    with serve(lambda _request: next(answers), agent={"turn_timeout_ms": 1_500, "api": api}) as (work, server):
        began = time.monotonic()
        work.bring(Stage.PROOF)
        assert time.monotonic() - began < 60
        assert work.outcomes == ["advance", "advance"] and len(server.requests) == 3
        first = work.board.sql("SELECT state, is_estimated, error FROM model_requests ORDER BY started_at")[0]
        assert (first.state, first.is_estimated) == ("discarded", True), "it may have been paid"
        assert "longer than 1.5 s (agent.turn_timeout_ms)" in first.error


def test_an_endpoint_that_only_trickles_fails_the_attempt_after_the_usual_tries(serve: Serve) -> None:
    with serve(lambda _request: TRICKLE, agent={"turn_timeout_ms": 300}) as (work, server):
        work.bring(Stage.AGENT)
        assert work.step().state is RunState.WAITING
        assert "agent.turn_timeout_ms" in str(work.run.error)
        assert len(server.requests) == asking.TRIES


def test_the_calls_of_a_step_end_with_it_and_the_model_is_told(serve: Serve) -> None:
    """Rule: what runs goes on as a session, as after a call's own time; what had not begun is not begun."""
    both = say.shell("echo begun; sleep 300") + say.shell("touch later.txt")
    with serve([both, say.patch(ADD), say.finish()], agent={"turn_timeout_ms": 2_000}) as (work, server):
        began = time.monotonic()
        work.bring(Stage.PROOF)
        assert time.monotonic() - began < 60
        waited, left = [item["output"] for item in server.requests[1].body["input"][-2:]]
        assert "Still running after" in waited and "session" in waited and "begun" in waited
        assert left.startswith("Not run") and "2 s (agent.turn_timeout_ms)" in left
        assert not (work.workspace / "later.txt").exists() and (work.workspace / "new.txt").exists()


def test_a_call_that_looks_ends_with_its_step(serve: Serve) -> None:
    hopeless = say.calls(("search", {"pattern": "(a+)+$", "path": "line.txt", "glob": None, "limit": None}))
    script = [say.shell(f"echo {'a' * 60}! > line.txt"), hopeless, say.patch(ADD), say.finish()]
    with serve(script, agent={"turn_timeout_ms": 2_000}) as (work, server):
        began = time.monotonic()
        work.bring(Stage.PROOF)
        assert time.monotonic() - began < 50, "without that it is ended after a minute"
        assert "and was ended" in server.requests[2].body["input"][-1]["output"]
