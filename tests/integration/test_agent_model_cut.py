"""A conversation that was cut to fit knows what was said in it, and shows its pictures, also to the worker that goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from symphony.agents.openai import compaction
from symphony.agents.openai.compaction import first_kept
from symphony.agents.openai.conversation import Conversation
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.trackers.protocol import Picture
from tests.fakes import model_replies as say
from tests.fakes.model_request import Request
from tests.integration.served_model import ADD, Serve
from tests.integration.stage_bench import ISSUE, Bench

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.integration.served_model_fixtures"]

MORE = "*** Begin Patch\n*** Add File: more.txt\n+two\n*** End Patch\n"


class Killed(BaseException):
    """The worker dies here."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut from the second step on."""
    monkeypatch.setattr(compaction, "COMPACT_AT", 1)
    monkeypatch.setattr(compaction, "first_kept", lambda items: first_kept(items, characters=100))


@pytest.fixture
def dies_at_cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the worker die once, right after a conversation was cut so often from now on."""
    cut = Conversation.compact

    def arm(number: int) -> None:
        def cut_and_die(self: Conversation, *arguments: Any) -> None:
            nonlocal number
            cut(self, *arguments)
            number -= 1
            if number == 0:
                raise Killed

        monkeypatch.setattr(Conversation, "compact", cut_and_die)

    return arm


def noting(answer: Callable[[], say.Answer]) -> Callable[[Request], say.Answer]:
    """Write notes when asked for them, and answer else."""

    def model(request: Request) -> say.Answer:
        is_asked = request.body["input"][-1].get("content") == compaction.ASK
        return say.text("Notes: something was done.") if is_asked else answer()

    return model


def looks(times: int) -> Iterator[say.Answer]:
    """Look around, each time in another way."""
    return (say.calls(("search", {"pattern": f"nothing {number}"})) for number in range(times))


def taken_over(work: Bench) -> None:
    """Let another worker take a run whose worker died."""
    with pytest.raises(Killed):
        work.step()
    work.board.expire(ISSUE, process_died=False)
    work.board.swept()
    work.deployment.settings = work.board.settings
    assert work.step().state is RunState.QUEUED


def times_said(work: Bench, words: str) -> int:
    """Count how often we have said something, notes of the model's and all that is no longer sent included."""
    rows = work.board.sql("SELECT payload FROM conversation_items WHERE kind = 'user'")
    return sum(words in str(row.payload) for row in rows)


def test_feedback_is_not_said_again_by_the_worker_that_goes_on(serve: Serve, dies_at_cut: Callable[[int], None]) -> None:
    answers = itertools.chain([say.patch(ADD), say.finish()], looks(3), [say.patch(MORE), say.finish()])
    with serve(noting(lambda: next(answers))) as (work, _):
        work.check("[ ! -e new.txt ] || [ -e more.txt ] || { echo still red; exit 1; }")
        work.bring(Stage.PROOF)
        assert work.step().stage is Stage.AGENT
        dies_at_cut(3)
        taken_over(work)
        assert work.run.stage is Stage.PROOF
        sent = work.board.sql("SELECT payload FROM conversation_items WHERE dropped_at IS NULL")
        assert "still red" not in str(sent), "it was cut, or this shows nothing"
        assert times_said(work, "still red") == 1
        assert times_said(work, "The workspace is not") == 0, "its tree is known, though what made it was cut"


def test_an_answer_that_was_cut_is_not_said_again_as_a_comment(serve: Serve) -> None:
    def polled() -> Iterator[say.Answer]:
        """Poll when the answer is cut: it is among the comments since the question."""
        sent = work.board.sql("SELECT payload FROM conversation_items WHERE dropped_at IS NULL")
        assert "Blue." not in str(sent), "it was cut, or this shows nothing"
        work.board.poll()
        yield say.shell("true")

    answers = itertools.chain([say.ask("Which colour?")], looks(4), polled(), [say.patch(ADD), say.finish()])
    with serve(noting(lambda: next(answers))) as (work, _):
        work.bring(Stage.AGENT)
        work.step()
        deliver(work.deployment)
        work.tracker.person_comments(ISSUE, "Blue.")
        work.board.poll()
        assert work.step().stage is Stage.PROOF
        assert [row.seen_seq is not None for row in work.board.sql("SELECT seen_seq FROM run_messages")] == [True]
        assert times_said(work, "Blue.") == 1


def test_pictures_are_shown_after_a_cut_and_to_the_worker_that_goes_on(
    serve: Serve, dies_at_cut: Callable[[int], None]
) -> None:
    answers = itertools.chain(looks(4), [say.patch(ADD), say.finish()])
    with serve(noting(lambda: next(answers))) as (work, server):
        work.tracker.pictures[ISSUE] = (Picture("shot.png", "image/png", b"\x89PNG\r\n\x1a\n"),)
        work.bring(Stage.AGENT)
        dies_at_cut(1)
        taken_over(work)
        assert work.run.stage is Stage.PROOF
        for request in server.requests:
            assert str(request.body["input"]).count("data:image/png;base64,iVBORw0KGgo=") == 1
        assert "Notes: something was done." in str(server.requests[-1].body["input"])
