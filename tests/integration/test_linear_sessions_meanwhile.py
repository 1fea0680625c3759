"""A run that comes to ask or to end while its session is being greeted: people are told in the session all the same."""

from __future__ import annotations

from typing import Any

import pytest

from symphony.domain.outcome import Block
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.greet import greet
from symphony.trackers.linear import sessions
from tests.fakes.linear_records import Issue
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_talk import Talk

pytest_plugins = ["tests.integration.linear_talk_fixtures"]


@pytest.mark.parametrize("dies", [False, True])
def test_a_question_that_is_put_during_the_greeting_is_told(
    talk: Talk, server: LinearServer, issue: Issue, dies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: a session that is not greeted yet hears no change of its run, so its greeting tells the newest."""
    talk.bring("ENG-1", Stage.AGENT)
    claimed = talk.claim("ENG-1")
    session = talk.opened(issue)
    say = sessions.say

    def say_while_the_agent_asks(*given: Any, **more: Any) -> None:
        monkeypatch.setattr(sessions, "say", say)
        say(*given, **more)
        talk.settle(claimed, Block("Blue or green?"))
        if dies:
            raise ZeroDivisionError

    monkeypatch.setattr(sessions, "say", say_while_the_agent_asks)
    greet(talk.deployment)
    assert talk.run("ENG-1").state is RunState.BLOCKED and talk.session(session)["state"] == "opened"
    talk.due_again()
    greet(talk.deployment)
    assert talk.session(session)["state"] == "greeted"
    (_, before), (_, after) = talk.said(session)
    assert "Blue or green?" in after and "Blue or green?" not in before
    talk.due_again()
    assert greet(talk.deployment) == 0


def test_a_run_that_ends_during_the_greeting_is_not_said_to_be_at_work(
    talk: Talk, server: LinearServer, issue: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.bring("ENG-1", Stage.AGENT)
    session = talk.opened(issue)
    say = sessions.say

    def say_while_a_person_ends_it(*given: Any, **more: Any) -> None:
        monkeypatch.setattr(sessions, "say", say)
        say(*given, **more)
        server.move(issue, "Done")
        talk.poll()

    monkeypatch.setattr(sessions, "say", say_while_a_person_ends_it)
    greet(talk.deployment)
    talk.due_again()
    greet(talk.deployment)
    (_, before), (_, after) = talk.said(session)
    assert "is at work on ENG-1" in before and "does not work on ENG-1" in after
