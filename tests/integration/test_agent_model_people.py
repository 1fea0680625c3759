"""What people and proofs say to an agent on a model: each thing reaches it, once, in the round that it was said for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from symphony.domain.errors import Transient
from symphony.domain.issue import Comment
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import poll as polling
from symphony.engine.deliver import deliver
from tests.fakes import model_replies as say
from tests.fakes.model_request import Request
from tests.integration.board import MOVING
from tests.integration.served_model import ADD, Serve
from tests.integration.stage_bench import ISSUE

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.integration.served_model_fixtures"]


def told(request: Request) -> list[str]:
    """Give what we say to the model in a request."""
    return [item["content"][0]["text"] for item in request.body["input"] if item.get("role") == "user"]


def test_the_same_feedback_twice_is_told_twice_when_the_model_ends_in_words(serve: Serve) -> None:
    words = [say.text("It is done."), say.text("It is done.")]
    with serve([say.patch(ADD), *words, *words, say.finish()]) as (work, server):
        work.check("[ ! -e new.txt ] || { echo still red; exit 1; }")
        work.bring(Stage.PROOF)
        for _ in range(2):
            assert work.step().stage is Stage.AGENT
            work.step()
        assert sum("still red" in one for one in told(server.requests[-1])) == 2


def test_a_comment_that_stands_within_another_is_told_too(serve: Serve) -> None:
    said = ["Yes, but only in the tests.", "Yes", "only in the tests."]

    def model(request: Request) -> say.Answer:
        if len(server.requests) > len(said):
            return say.finish()
        work.tracker.person_comments(ISSUE, said[len(server.requests) - 1])
        work.board.poll()
        return say.patch(ADD) if len(server.requests) == 1 else say.shell("true")

    with serve(model) as (work, server):
        work.bring(Stage.PROOF)
        assert [one.splitlines()[-1] for one in told(server.requests[-1])[1:]] == [f"> {one}" for one in said]


def test_a_comment_is_not_lost_with_the_poll_that_fetched_it(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Iterator[Any]:
        raise Transient("the database is away", category="database_unreachable")

    def model(request: Request) -> say.Answer:
        if len(server.requests) == 1:
            work.tracker.person_comments(ISSUE, "Use British spelling.")
            with monkeypatch.context() as broken:
                broken.setattr(polling, "_record", fail)
                work.board.poll()
            work.board.poll()
            return say.patch(ADD)
        return say.finish()

    with serve(model) as (work, server):
        work.bring(Stage.PROOF)
        assert "Use British spelling." in told(server.requests[1])[-1]


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(minutes=2)], ids=["right", "behind"])
def test_a_comment_counts_whatever_the_trackers_clock_says_and_an_older_one_does_not(
    serve: Serve, behind: timedelta
) -> None:
    """Rule: what stood there before the run is no news, what came after its beginning is, once."""

    def comments(body: str) -> None:
        at = datetime.now(UTC) - behind
        said = work.tracker.comments.setdefault(ISSUE, [])
        said.append(Comment(f"c{len(said)}", "Ada", body, at))
        work.tracker.issues[ISSUE] = replace(work.tracker.issues[ISSUE], updated_at=at)

    def model(request: Request) -> say.Answer:
        if len(server.requests) == 1:
            comments("Use British spelling.")
        work.board.poll()
        return {1: say.patch(ADD), 2: say.shell("true")}.get(len(server.requests), say.finish())

    with serve(model) as (work, server):
        work.tracker.put(ISSUE, updated_at=datetime.now(UTC) - behind)
        comments("Somebody should do this.")
        work.board.poll()
        while work.run.stage is not Stage.PROOF:
            assert work.step().state is RunState.QUEUED
        heard = "\n".join(told(server.requests[-1]))
        assert heard.count("Use British spelling.") == 1
        assert "Somebody should do this." not in heard


def test_what_a_reviewer_wrote_stands_in_the_first_request_of_the_rework(serve: Serve) -> None:
    script = [say.patch(ADD), say.finish(), say.finish()]
    with serve(script, states=MOVING, sections={"land": {"mode": "review"}}) as (work, server):
        work.bring(Stage.PROOF)
        for _ in range(3):
            if work.run.state is RunState.REVIEWING:
                break
            work.step()
        while deliver(work.deployment):
            pass
        work.board.poll()
        work.tracker.person_comments(ISSUE, "Call it old.txt.")
        work.tracker.person_moves(ISSUE, "Rework")
        work.board.poll()
        work.step()
        assert "Call it old.txt." in "\n".join(told(server.requests[2]))


def test_an_answer_is_not_told_again_in_the_next_round(serve: Serve) -> None:
    script = [say.ask("Which colour?"), say.patch(ADD), say.finish(), say.finish()]
    with serve(script) as (work, server):
        work.check("[ ! -e new.txt ]")
        work.bring(Stage.AGENT)
        work.step()
        deliver(work.deployment)
        work.tracker.person_comments(ISSUE, "Blue.")
        work.board.poll()
        work.step()
        assert work.step().stage is Stage.AGENT
        work.board.poll()
        work.step()
        assert sum("Blue." in one for one in told(server.requests[-1])) == 1


def test_an_agent_without_a_repository_hears_that_its_issue_is_still_active(serve: Serve) -> None:
    with serve([say.finish()] * 4, repository=False, agent={"max_turns": 2}) as (work, server):
        work.bring(Stage.AGENT)
        for _ in range(2):
            assert work.step().state is RunState.WAITING
        assert len(server.requests) == 4
        assert all(request.body["input"][-1].get("role") == "user" for request in server.requests)
