"""What people say in agent sessions (docs/linear.md): heard once, as a comment is, from those who may; and stop means stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Block, Retry
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import steer
from symphony.engine.deliver import deliver
from symphony.engine.greet import greet
from symphony.engine.lookup import find
from symphony.ledger import conversations, landings
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue
from tests.fakes.linear_server import LinearServer
from tests.integration.linear_talk import OPENAI, Talk

pytest_plugins = ["tests.integration.linear_talk_fixtures"]


def test_a_question_is_put_and_its_answer_heard_once(talk: Talk, server: LinearServer, issue: Issue) -> None:
    """Rule: a reply in the session reaches the run as a comment does, once where it is both."""
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    server.prompt(session, "said before the question", aloud=True)
    talk.step("ENG-1", Block("Blue or green?"))
    talk.poll()
    assert talk.run("ENG-1").state is RunState.BLOCKED, "no answer before the question"
    talk.carried()
    assert talk.said(session)[-1] == ("elicitation", "Blue or green?") and server.status(session) == "awaitingInput"
    talk.poll()
    assert talk.run("ENG-1").state is RunState.BLOCKED, "our own words are no answer"
    server.prompt(session, "Blue.", aloud=True)
    talk.poll()
    run = talk.run("ENG-1")
    assert run.state is RunState.QUEUED and run.feedback is not None
    assert run.feedback.count("Blue.") == 1 and "said before" not in run.feedback
    talk.step("ENG-1", Block("Which blue?"))
    talk.carried()
    talk.poll()
    assert talk.run("ENG-1").state is RunState.BLOCKED, "an answer is heard once"
    server.prompt(session, "The dark one.")
    talk.poll()
    assert "The dark one." in (talk.run("ENG-1").feedback or "")
    talk.carried()
    assert ("thought", "It goes on with what was answered.") in talk.said(session)


def test_a_question_on_the_issue_comes_before_the_one_in_the_session(
    talk: Talk, server: LinearServer, issue: Issue
) -> None:
    """Rule: replies stand below the question; so nobody can answer in the session before it is there."""
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    talk.carried()
    talk.step("ENG-1", Block("Blue or green?"))
    server.fail("commentCreate", *[faults.status(500)] * 1)
    deliver(talk.deployment)
    assert talk.said(session)[-1][0] != "elicitation"
    talk.due_again()
    talk.carried()
    assert talk.said(session)[-1][0] == "elicitation"


def test_an_agent_at_work_is_told_what_people_say_in_its_session_once(
    database_url: str, tmp_path: Path, server: LinearServer, issue: Issue
) -> None:
    talk = Talk(database_url, tmp_path, server, agent=OPENAI)
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    claimed = talk.claim("ENG-1")
    talk.poll()
    for body, aloud in (("Quietly.", False), ("Aloud.", True)):
        server.prompt(session, body, aloud=aloud)
    server.comment(issue, "On the issue.")
    for _ in range(3):
        talk.poll()
    said = talk.fenced(claimed, conversations.unseen_messages)
    assert sorted(one.body for one in said) == ["Aloud.", "On the issue.", "Quietly."]
    assert {one.author for one in said} == {"pat"}
    talk.database.close()


def test_what_strangers_and_programs_say_in_a_session_steers_nothing(
    database_url: str, tmp_path: Path, server: LinearServer
) -> None:
    issue = server.create_issue("Ours", by=server.viewer)
    talk = Talk(database_url, tmp_path, server, authors={"users": [server.viewer.email]})
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    talk.step("ENG-1", Block("Well?"))
    talk.carried()
    server.prompt(session, "From a stranger", by=server.person)
    server.prompt(session, "stop", by=server.person, signal="stop")
    server.prompt(session, "From a program", by=server.app)
    talk.poll()
    assert talk.run("ENG-1").state is RunState.BLOCKED
    server.prompt(session, "From one of us", by=server.viewer)
    talk.poll()
    assert talk.run("ENG-1").feedback == "vera wrote:\nFrom one of us"
    talk.database.close()


@pytest.mark.parametrize("state", ["running", "blocked", "waiting"])
def test_stop_ends_the_run_for_good_and_keeps_its_workspace(
    talk: Talk, server: LinearServer, issue: Issue, state: str
) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    if state == "running":
        claimed = talk.claim("ENG-1")
    else:
        talk.step("ENG-1", Block("Well?") if state == "blocked" else Retry("later"))
    talk.carried()
    server.prompt(session, "stop", signal="stop", aloud=True)
    talk.poll()
    if state == "running":
        assert talk.run("ENG-1").request == "cancel"
        talk.settle(claimed, Advance())
    run = talk.run("ENG-1")
    assert run.state is RunState.CANCELLED and not run.clean_due and run.feedback is None
    talk.carried()
    kind, text = talk.said(session)[-1]
    assert kind == "response" and text.startswith("Stopped: pat stopped it.")
    for _ in range(3):
        talk.poll()
    assert len(talk.runs("ENG-1")) == 1, "it would begin again by itself"
    talk.assert_consistent()


def test_a_stop_of_an_earlier_run_does_not_hit_the_next_one(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    server.world.clock.skew_ms = -60_000
    server.prompt(session, "stop", signal="stop")
    server.world.clock.skew_ms = 0
    talk.poll()
    assert talk.run("ENG-1").state is RunState.QUEUED
    server.prompt(session, "stop", signal="stop")
    talk.poll()
    assert talk.run("ENG-1").state is RunState.CANCELLED
    talk.database.transact(lambda t: steer.retry(t, find(t, "ENG-1")))
    talk.opened(issue, action="prompted", session=session)
    greet(talk.deployment)
    talk.poll()
    talk.sql("UPDATE runs SET created_at = now() + interval '6 seconds' WHERE number = 2")
    talk.poll()
    run = talk.run("ENG-1")
    assert (run.number, run.state) == (2, RunState.QUEUED)


def test_a_landing_whose_push_is_intended_is_not_stopped(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.PROOF)
    talk.proved("ENG-1", "passed", [], Advance())
    claimed = talk.claim("ENG-1")
    proof = talk.database.transact(lambda t: landings.newest_proof(t, claimed.run.id))
    assert proof is not None
    talk.fenced(claimed, lambda t: landings.intend(t, proof))
    server.prompt(session, "stop", signal="stop")
    talk.poll()
    assert talk.run("ENG-1").request is None
    assert talk.settle(claimed, Advance()).state is RunState.LANDED


def test_prompts_that_cannot_be_read_hold_up_no_poll_and_are_read_later(
    talk: Talk, server: LinearServer, issue: Issue
) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    talk.step("ENG-1", Block("Well?"))
    talk.carried()
    server.prompt(session, "Yes.")
    server.fail("SymphonyPrompts", faults.html(), faults.status(500))
    for _ in range(2):
        talk.poll()
        assert talk.row.poll_error is None and talk.run("ENG-1").state is RunState.BLOCKED
    talk.poll()
    assert talk.run("ENG-1").feedback == "pat wrote:\nYes."


def test_prompts_of_all_sessions_are_one_request_and_none_without_a_live_run(talk: Talk, server: LinearServer) -> None:
    issues = [server.create_issue(f"Issue {number}") for number in range(8)]
    opened = [talk.greeted(issue) for issue in issues]
    talk.poll()
    assert server.asked("SymphonyPrompts") == []
    talk.poll()
    assert len(server.asked("SymphonyPrompts")) == 1
    for session in opened:
        for number in range(30):
            server.prompt(session, f"word {number}")
    talk.poll()
    assert len(server.asked("SymphonyPrompts")) == 1 + 3, "240 prompts are three pages"
