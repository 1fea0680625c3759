"""Agent sessions (docs/linear.md): greeted in time, told what happens, heard once, whoever dies and whatever Linear does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.outcome import Advance, Block, Continue, Fail, Park, Retry, Review, Rework
from symphony.domain.run import RunEvent, RunState
from symphony.domain.stage import Stage
from symphony.engine import sessions as saying
from symphony.engine import steer, sweep
from symphony.engine.deliver import deliver
from symphony.engine.greet import NOBODY, greet
from symphony.engine.lookup import find
from symphony.ledger import conversations, landings, sessions, workflows
from symphony.web.webhooks import LINEAR_PATH, create_webhook_app
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue, Session
from tests.fakes.linear_schema import SMALL, real_schema
from tests.fakes.linear_server import LinearServer
from tests.fakes.linear_webhooks import Mishaps
from tests.integration.board import at_once
from tests.integration.linear_talk import OPENAI, STATES, Talk
from tests.integration.served_app import served


@pytest.fixture(params=["real", "small"] if real_schema() else ["small"])
def server(request: pytest.FixtureRequest) -> Iterator[LinearServer]:
    """A workspace of Linear's; whatever a test does, no request of ours may be one that Linear would not take."""
    with LinearServer(states=STATES, schema=SMALL if request.param == "small" else real_schema()) as server:
        yield server
        assert server.violations == []


@pytest.fixture
def talk(database_url: str, tmp_path: Path, server: LinearServer) -> Iterator[Talk]:
    """A workflow on the workspace's project."""
    talk = Talk(database_url, tmp_path, server)
    yield talk
    talk.database.close()


@pytest.fixture
def issue(server: LinearServer) -> Issue:
    """An issue that is ready."""
    return server.create_issue("Fix the parser")


def test_an_opened_session_is_greeted_with_what_comes_next(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.opened(issue)
    assert (greet(talk.deployment), greet(talk.deployment)) == (1, 0)
    ((kind, text),) = talk.said(session)
    assert kind == "thought" and "takes ENG-1 on, in its workflow board" in text
    assert server.status(session) == "active"
    assert talk.session(session)["workflow_id"] == talk.id


@pytest.mark.parametrize("case", ["backlog", "blocked", "paused", "slots", "over", "at work"])
def test_a_greeting_says_what_an_issue_waits_for(talk: Talk, server: LinearServer, issue: Issue, case: str) -> None:
    wanted = "yet: "
    match case:
        case "backlog":
            server.move(issue, "Backlog")
            wanted += "its state 'Backlog' is none in which issues are worked on. To change that: move it to Todo."
        case "blocked":
            server.block(issue, by=server.create_issue("First"))
            wanted += "it waits for ENG-2 (Todo)"
        case "paused":
            talk.database.transact(lambda t: workflows.set_paused(t, talk.id, paused=True))
            wanted += "its workflow board is paused"
        case "over":
            talk.poll()
            talk.database.transact(lambda t: steer.cancel(t, find(t, "ENG-1"), None))
            wanted += (
                "its run ENG-1#1 cancelled, and it has not entered an active state anew since. To change that: `symphony"
            )
        case "at work":
            talk.bring("ENG-1", Stage.AGENT)
            talk.claim("ENG-1")
            wanted = "is at work on ENG-1: its command agent works on the node node-1, attempt 1"
        case "slots":
            wanted = "Work begins when an agent's slot is free."
    session = talk.greeted(issue)
    assert wanted in talk.said(session)[0][1]


def test_a_run_is_told_of_from_its_beginning_to_its_landing(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    talk.step("ENG-1", Retry("the network was away"))
    talk.due("ENG-1")
    talk.step("ENG-1", Advance())
    talk.proved("ENG-1", "failed", [("lint", "passed"), ("test", "failed")], Rework("the test is red"))
    talk.due("ENG-1")
    talk.step("ENG-1", Advance())
    talk.step("ENG-1", Park(timedelta(minutes=5), "the target is red by itself"))
    talk.due("ENG-1")
    talk.proved("ENG-1", "passed", [("lint", "passed"), ("test", "passed")], Advance())
    talk.landed("ENG-1")
    talk.carried()
    said = talk.said(session)[1:]
    assert [kind for kind, _ in said] == [
        "action", "thought", "thought", "thought", "thought", "action", "thought", "thought", "thought", "thought",
        "action", "action", "response",
    ]  # fmt: skip
    texts = [text for _, text in said]
    assert texts[:3] == ["Prepared the workspace on node-1", "The agent begins.", said[2][1]]
    assert "made again in" in texts[2] and "the network was away" in texts[2]
    assert texts[5:8] == [
        "Tried to prove lint, test: failed: test",
        "Back to the agent, round 1.",
        "The agent goes on, with what was said.",
    ]
    assert texts[9:12] == ["It waits: the target is red by itself", "Proved lint, test: passed", "Landing origin main"]
    assert texts[12].startswith("**Landed m")
    assert server.status(session) == "complete" and talk.session(session)["state"] == "closed"


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


def test_a_session_for_an_issue_that_nobody_serves_is_told_so(talk: Talk, server: LinearServer) -> None:
    elsewhere = server.create_issue("Elsewhere", project_id=server.add_project("Beta").id)
    session = talk.opened(elsewhere)
    greet(talk.deployment)
    assert talk.said(session) == [("error", NOBODY)] and server.status(session) == "error"
    assert talk.session(session)["state"] == "closed"
    assert greet(talk.deployment) == 0
    server.change_project(elsewhere, server.project)
    talk.opened(elsewhere, action="prompted", session=session)
    greet(talk.deployment)
    assert talk.said(session)[-1][0] == "thought" and talk.session(session)["state"] == "greeted"


def test_the_one_whose_key_is_the_applications_turns_a_session_away(
    talk: Talk, server: LinearServer, database_url: str, tmp_path: Path
) -> None:
    personal = Talk(database_url, tmp_path, server, name="personal", key=server.key)
    talk.deployment._trackers.update(personal.deployment._trackers)
    session = talk.opened(server.create_issue("Elsewhere", project_id=server.add_project("Beta").id))
    talk.sql("UPDATE agent_sessions SET candidates = %(both)s", both=[personal.id, talk.id])
    assert greet(talk.deployment) == 1
    assert talk.said(session) == [("error", NOBODY)] and talk.session(session)["state"] == "closed"
    personal.database.close()


def test_a_session_about_no_issue_is_told_so(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.opened(issue)
    talk.sql("UPDATE agent_sessions SET tracker_id = ''")
    greet(talk.deployment)
    assert [kind for kind, _ in talk.said(session)] == ["error"]


def test_of_several_workflows_the_one_whose_scope_has_it_greets(
    talk: Talk, server: LinearServer, database_url: str, tmp_path: Path, issue: Issue
) -> None:
    """Rule: while one that may have the issue does not answer, nobody says that there is none."""
    beta = server.add_project("Beta")
    other = Talk(database_url, tmp_path, server, name="other", provider={"project_slug": beta.slug_id})
    talk.deployment._trackers.update(other.deployment._trackers)
    elsewhere = server.create_issue("Elsewhere", project_id=beta.id)
    session = talk.opened(elsewhere)
    talk.sql("UPDATE agent_sessions SET candidates = %(both)s", both=[talk.id, other.id])
    server.fail("SymphonyIssuesByIds", faults.status(503), faults.status(503))
    assert greet(talk.deployment) == 0
    row = talk.session(session)
    assert row["state"] == "opened" and "503" in row["error"] and talk.said(session) == []
    talk.due_again()
    assert greet(talk.deployment) == 1
    assert "its workflow other" in talk.said(session)[0][1] and talk.session(session)["workflow_id"] == other.id
    talk.database.transact(lambda t: workflows.remove(t, talk.id))
    talk.database.transact(lambda t: workflows.remove(t, other.id))
    alone = talk.opened(issue)
    greet(talk.deployment)
    assert talk.session(alone)["state"] == "closed" and talk.said(alone) == []
    other.database.close()


def test_two_processes_greet_and_tell_once(talk: Talk, server: LinearServer) -> None:
    opened = [talk.opened(server.create_issue(f"Issue {number}")) for number in range(6)]
    others = [talk.another_process() for _ in range(3)]
    assert sum(at_once([lambda one=one: greet(one) for one in (talk.deployment, *others)])) == 6  # type: ignore[misc]
    talk.poll()
    for number in range(1, 7):
        talk.step(f"ENG-{number}", Advance())
    at_once([lambda one=one: deliver(one) for one in (talk.deployment, *others)])  # type: ignore[misc]
    assert [len(talk.said(session)) for session in opened] == [2] * 6
    for one in others:
        one.database.close()


def test_a_change_that_is_written_again_is_told_once(talk: Talk, server: LinearServer, issue: Issue) -> None:
    """Rule: a claim whose commit has an unknown end is made again as a whole, and finds itself."""
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    run = talk.claim("ENG-1").run
    talk.database.transact(lambda t: saying.tell(t, run, RunEvent.CLAIMED, {}))
    talk.carried()
    assert [text for _, text in talk.said(session)].count("The agent begins.") == 1


KILLED = """
import os, sys
from pathlib import Path
from symphony.engine import deliver, greet
from symphony.engine.deployment import Deployment
from symphony.ledger.database import Database
from symphony.settings import Settings
from symphony.trackers.linear import adapter, sessions

said = sessions.say
def say_and_die(*args, **values):
    said(*args, **values)
    os._exit(9)
adapter.sessions.say = say_and_die
url, home, token = sys.argv[1:]
settings = Settings(home=Path(home), database_url=url)
deployment = Deployment(Database(url), settings, "node-1", environ={"LINEAR_API_KEY": token})
greet.greet(deployment)
deliver.deliver(deployment)
"""


def test_a_kill_between_the_word_and_its_record_says_nothing_twice(
    talk: Talk, server: LinearServer, database_url: str, tmp_path: Path, issue: Issue
) -> None:
    provider = f"{{endpoint: '{server.url}', project_slug: {server.project.slug_id}}}"
    talk.sql(
        "UPDATE workflow_versions SET content = regexp_replace(content, 'provider: .*', %(p)s)", p=f"provider: {provider}"
    )
    command = [sys.executable, "-c", KILLED, database_url, str(tmp_path), server.token]
    session = talk.opened(issue)
    for kind in ("greeting", "activity"):
        killed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert killed.returncode == 9, killed.stderr
        before = talk.said(session)
        if kind == "greeting":
            assert len(before) == 1 and talk.session(session)["state"] == "opened"
            talk.due_again()
            assert greet(talk.deployment) == 1
            talk.poll()
            talk.step("ENG-1", Advance())
            assert talk.said(session) == before
        else:
            assert len(before) == 2
            assert talk.sql("SELECT 1 FROM effects WHERE kind = 'activity' AND state = 'pending'")
            talk.due_again()
            talk.carried()
            assert talk.said(session) == before and not talk.sql("SELECT 1 FROM effects WHERE state = 'refused'")


@pytest.mark.parametrize("fault", [faults.reset(applied=True), faults.html(applied=True), faults.cut(applied=True)])
def test_a_lost_answer_says_nothing_twice(talk: Talk, server: LinearServer, issue: Issue, fault: Any) -> None:
    session = talk.opened(issue)
    server.fail("agentActivityCreate", fault)
    assert greet(talk.deployment) == 0
    talk.due_again()
    assert greet(talk.deployment) == 1 and len(talk.said(session)) == 1
    talk.bring("ENG-1", Stage.AGENT)
    server.fail("agentActivityCreate", fault)
    deliver(talk.deployment)
    talk.due_again()
    talk.carried()
    assert len(talk.said(session)) == 2 and not talk.sql("SELECT 1 FROM effects WHERE state = 'refused'")


def test_while_linear_is_away_everything_waits_in_order(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    talk.step("ENG-1", Advance())
    server.fail("*", *[faults.status(502)] * 3)
    deliver(talk.deployment)
    assert len(talk.said(session)) == 1
    server.faults.script("*")
    talk.due_again()
    for _ in range(5):
        deliver(talk.deployment)
        talk.due_again()
    assert [text for _, text in talk.said(session)][1:] == [
        "Prepared the workspace on node-1", "The agent begins.", "The agent has finished. What it changed is proved now.",
    ]  # fmt: skip


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


def test_one_who_may_not_speak_in_sessions_writes_on_the_issue_all_the_same(
    database_url: str, tmp_path: Path, server: LinearServer, issue: Issue
) -> None:
    """Rule: a personal key is not the application; what it cannot say must not hold up what it can write."""
    talk = Talk(database_url, tmp_path, server, key=server.key)
    session = talk.opened(issue)
    assert greet(talk.deployment) == 0
    assert "Only the session's app user" in talk.session(session)["error"]
    talk.sql("UPDATE agent_sessions SET state = 'greeted', workflow_id = %(id)s, spoken_at = now()", id=talk.id)
    talk.bring("ENG-1", Stage.AGENT)
    talk.step("ENG-1", Block("Well?"))
    talk.carried()
    assert any("Well?" in one.body for one in server.comments(issue)) and server.state_of(issue) == "Blocked"
    assert talk.said(session) == []
    talk.database.close()


def test_a_session_that_is_gone_is_spoken_in_no_more(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    server.world.remove(server.world.need(Session, session.id), by=server._hand())
    talk.bring("ENG-1", Stage.AGENT)
    talk.carried()
    assert talk.session(session)["state"] == "closed"
    never = talk.opened(issue)
    server.world.remove(server.world.need(Session, never.id), by=server._hand())
    greet(talk.deployment)
    assert talk.session(never)["state"] == "closed"


def test_silence_is_broken_while_a_run_is_at_work(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.silent_for(25)
    assert greet(talk.deployment) == 0, "nothing is at work yet"
    talk.bring("ENG-1", Stage.AGENT)
    claimed = talk.claim("ENG-1")
    talk.carried()
    talk.silent_for(19)
    assert greet(talk.deployment) == 0
    talk.silent_for(21)
    assert (greet(talk.deployment), greet(talk.deployment)) == (1, 0)
    beat = server.activities(session)[-1]
    assert beat.ephemeral and beat.content["body"].startswith("Still at it: its command agent works on the node node-1")
    talk.silent_for(21)
    server.fail("agentActivityCreate", faults.reset(applied=True))
    assert greet(talk.deployment) == 0
    talk.due_again()
    assert greet(talk.deployment) == 1
    assert [one.ephemeral for one in server.activities(session)].count(True) == 1
    talk.settle(claimed, Block("Well?"))
    talk.carried()
    talk.silent_for(40)
    assert greet(talk.deployment) == 0 and server.status(session) == "awaitingInput", "it is the person's turn"


def test_a_word_after_the_end_is_answered(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    talk.step("ENG-1", Fail("no luck"))
    talk.carried()
    assert talk.said(session)[-1][0] == "error" and server.status(session) == "error"
    server.prompt(session, "Try again?")
    talk.opened(issue, action="prompted", session=session)
    assert greet(talk.deployment) == 1
    assert "its state 'Blocked' is none in which issues are worked on" in talk.said(session)[-1][1]


def test_a_run_that_was_let_go_may_be_told_of_again(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    server.move(issue, "Backlog")
    talk.poll()
    talk.carried()
    assert talk.run("ENG-1").state is RunState.RELEASED
    assert (
        talk.said(session)[-1][1].startswith("Let go: the issue is now 'Backlog'.") and server.status(session) == "complete"
    )
    server.move(issue, "Todo")
    talk.bring("ENG-1", Stage.AGENT)
    talk.carried()
    assert talk.run("ENG-1").number == 2
    assert talk.said(session)[-1][1] == "Prepared the workspace on node-1" and server.status(session) == "active"


def test_other_ways_a_run_goes_are_told(talk: Talk, server: LinearServer, issue: Issue) -> None:
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.PROOF)
    talk.proved("ENG-1", "passed", [("test", "passed")], Review("A test was removed."))
    talk.carried()
    kind, text = talk.said(session)[-1]
    assert kind == "response" and "Ready for review: A test was removed." in text and text.startswith("**Reviewing")
    server.prompt(session, "The name is wrong.")
    talk.database.transact(lambda t: steer.rework(t, find(t, "ENG-1"), "The name is wrong."))
    talk.due("ENG-1")
    talk.claim("ENG-1")
    talk.blame()
    talk.expire("ENG-1", process_died=True)
    talk.swept()
    talk.carried()
    assert [text for _, text in talk.said(session)][-3:] == [
        "A person sent it back.", "The agent goes on, with what was said.",
        "The worker was lost. The stage begins again on another one.",
    ]  # fmt: skip


def test_in_compatible_mode_a_session_is_answered_although_nothing_is_written_on_the_issue(
    database_url: str, tmp_path: Path, server: LinearServer, issue: Issue
) -> None:
    talk = Talk(database_url, tmp_path, server, repository=False, agent="{max_turns: 2}", states="")
    assert talk.rules.is_compatible
    session = talk.greeted(issue)
    talk.bring("ENG-1", Stage.AGENT)
    talk.step("ENG-1", Continue())
    talk.due("ENG-1")
    talk.claim("ENG-1")
    server.move(issue, "Done")
    talk.carried()
    assert [text for _, text in talk.said(session)][1:] == [
        "Prepared the workspace on node-1", "The agent begins.", "The agent goes on with another session.",
    ]  # fmt: skip
    assert server.comments(issue) == []
    talk.database.close()


@pytest.mark.parametrize(
    "mishaps",
    [Mishaps(), Mishaps(doubled=1), Mishaps(reordered=0.5, seed=1), Mishaps(forged=1, forgery={"id": "x"}),
     Mishaps(doubled=0.5, reordered=0.5, forged=0.5, seed=3), Mishaps(skew_ms=-120_000)],
    ids=["plain", "doubled", "reordered", "forged", "all", "late"],
)  # fmt: skip
def test_webhooks_that_go_wrong_open_each_session_once(talk: Talk, server: LinearServer, mishaps: Mishaps) -> None:
    with served(create_webhook_app(talk.database, {"LINEAR_WEBHOOK_SECRET": "lin_wh_secret"})) as url:
        webhook = server.webhook(url + LINEAR_PATH, "lin_wh_secret", mishaps=mishaps)
        issues = [server.delegate(server.create_issue(f"Issue {number}"), server.app) for number in range(4)]
        opened = [server.sessions(issue)[0] for issue in issues]
        for session in opened:
            server.prompt(session, "Please.")
        webhook.settle()
        assert {one.status for one in webhook.deliveries if one.forged} <= {401}
        wanted = 400 if mishaps.skew_ms else 200
        assert {one.status for one in webhook.deliveries if not one.forged} == {wanted}
        webhook.close()
        server.webhooks.clear()
    for _ in range(2):
        greet(talk.deployment)
    assert [len(server.activities(one)) for one in opened] == [1 if mishaps.skew_ms else 2] * 4
    assert len(talk.sql("SELECT 1 FROM agent_sessions")) == (0 if mishaps.skew_ms else 4)


def test_old_sessions_are_forgotten_but_not_those_of_live_runs(talk: Talk, server: LinearServer) -> None:
    live, idle, fresh = (talk.greeted(server.create_issue(f"Issue {number}", state=state)) for number, state in
                         enumerate(("Todo", "Backlog", "Backlog")))  # fmt: skip
    talk.poll()
    talk.sql(
        "UPDATE agent_sessions SET opened_at = opened_at - interval '31 days', spoken_at = spoken_at - interval '31 days' "
        "WHERE id <> %(fresh)s",
        fresh=fresh.id,
    )
    sweep.prune(talk.deployment)
    assert {row[0] for row in talk.sql("SELECT id FROM agent_sessions")} == {live.id, fresh.id}
    assert idle.id not in {live.id, fresh.id}


def test_a_greeting_that_fails_for_a_day_is_given_up(talk: Talk, issue: Issue) -> None:
    talk.opened(issue)
    talk.sql("UPDATE agent_sessions SET opened_at = now() - interval '25 hours'")
    assert talk.database.transact(lambda t: sessions.take_opened(t, lease=timedelta(seconds=30), limit=5)) == []
