"""Agent sessions (docs/linear.md): greeted, told what happens, turned away, never silent for long while a run is at work."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.outcome import Advance, Block, Continue, Fail, Park, Retry, Review, Rework
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine import steer, sweep
from symphony.engine.greet import NOBODY, greet
from symphony.engine.lookup import find
from symphony.ledger import sessions, workflows
from symphony.web.webhooks import LINEAR_PATH, create_webhook_app
from tests.fakes import linear_faults as faults
from tests.fakes.linear_records import Issue
from tests.fakes.linear_server import LinearServer
from tests.fakes.linear_webhooks import Mishaps
from tests.integration.linear_talk import Talk
from tests.integration.served_app import served

pytest_plugins = ["tests.integration.linear_talk_fixtures"]


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
