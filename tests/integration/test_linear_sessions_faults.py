"""Agent sessions (docs/linear.md) when workers die, answers are lost and Linear is away: each word once, nothing held up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from symphony.domain.outcome import Advance, Block
from symphony.domain.run import RunEvent
from symphony.domain.stage import Stage
from symphony.engine import sessions as saying
from symphony.engine.deliver import deliver
from symphony.engine.greet import greet
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue, Session
from tests.fakes.linear_server import LinearServer
from tests.integration.board import at_once
from tests.integration.linear_talk import Talk

pytest_plugins = ["tests.integration.linear_talk_fixtures"]


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
