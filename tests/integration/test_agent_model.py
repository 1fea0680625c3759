"""Agents on models, in their stage: a real conversation with the tests' model server, real tools, real repository."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from symphony.agents.openai import asking
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.engine.deliver import deliver
from symphony.trackers.protocol import Picture
from symphony.web.shapes import state_of
from tests.fakes import model_replies as say
from tests.fakes.command import Command
from tests.fakes.model_request import Request
from tests.fakes.model_server import ModelServer
from tests.fakes.repositories import git
from tests.fakes.seen_processes import until
from tests.integration.served_model import ADD, Serve
from tests.integration.stage_bench import ISSUE

MORE = "*** Begin Patch\n*** Add File: more.txt\n+two\n*** End Patch\n"

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.integration.served_model_fixtures"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without a long pause."""
    monkeypatch.setattr(asking, "_FIRST_PAUSE_S", 0.02)


def test_a_model_edits_tests_and_finishes(serve: Serve) -> None:
    script = [
        say.reasoning("Look first.") + say.calls(("list_files", {}), ("read_file", {"path": "src/app.py"})),
        say.patch(ADD) + say.shell("cat new.txt"),
        say.finish(summary="Added new.txt."),
    ]
    with serve(script) as (work, server):
        work.bring(Stage.PROOF)
        assert git(work.folder, "-C", str(work.workspace), "status", "--porcelain").strip() == "?? new.txt"
        kinds = [item["type"] for item in server.requests[-1].body["input"]]
        assert kinds.count("function_call") == kinds.count("function_call_output") == 4
        outputs = [item["output"] for item in server.requests[-1].body["input"] if item["type"] == "function_call_output"]
        assert "one" in outputs[-1]
        rows = work.board.sql("SELECT state, cost_usd, is_estimated FROM model_requests ORDER BY started_at")
        assert [(row.state, row.is_estimated) for row in rows] == [("done", False)] * 3
        assert work.board.sql("SELECT input_tokens FROM attempts WHERE stage = 'agent'")[0].input_tokens > 0
        assert json.dumps(server.requests[0].body).count("sk-test") == 0
        assert work.board.sql("SELECT session_id FROM runs")[0].session_id == str(work.run.id)
        assert work.run.state is RunState.QUEUED


@pytest.mark.parametrize(
    "trouble",
    [
        say.rate_limited(0.05),
        say.server_error(503),
        say.html(502),
        say.reset(),
        say.text("I was").cut(after=3),
        say.text("I was").malformed(after=3),
        say.text("I was").errored(after=3),
        say.failed("server_error"),
        say.empty(),
        say.reasoning("Only thought."),
        say.incomplete("max_output_tokens"),
        say.unknown_tool(),
        say.invalid_arguments(),
        say.stale_reasoning(),
        say.text("All is done."),
    ],
    ids=[
        "429", "503", "html", "reset", "cut", "malformed", "error event", "failed", "empty", "reasoning only", "incomplete", "unknown tool",
        "invalid arguments", "stale reasoning", "words only",
    ],
)  # fmt: skip
def test_trouble_on_the_way_costs_no_attempt(serve: Serve, trouble: Any, quick: None) -> None:
    """Rule: what another request mends is mended in the same attempt, and one answer is enough to go on."""
    script = [say.reasoning("Think.") + say.patch(ADD), trouble, say.finish()]
    with serve(script) as (work, server):
        work.bring(Stage.PROOF)
        assert work.outcomes == ["advance", "advance"]
        assert len(server.requests) == 3 or trouble == say.stale_reasoning()
        states = {row[0] for row in work.board.sql("SELECT state FROM model_requests")}
        assert "started" not in states


def test_reasoning_of_another_key_is_dropped_once(serve: Serve, quick: None) -> None:
    with serve([say.reasoning("Think.") + say.text("First.") + say.patch(ADD), say.stale_reasoning(), say.finish()]) as (
        work,
        server,
    ):
        work.bring(Stage.PROOF)
        kinds = [[item["type"] for item in request.body["input"]] for request in server.requests]
        assert "reasoning" in kinds[1] and "reasoning" not in kinds[2]
        made = [item for item in server.requests[2].body["input"] if item["type"] in ("function_call", "message")]
        assert all("id" not in item for item in made), "the API refuses what it knows to have followed from reasoning"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (say.refusal("I will not."), "I will not."),
        (say.incomplete("content_filter"), "content filter"),
        (say.insufficient_quota(), "no quota left"),
        (say.ask("Which colour?"), "Which colour?"),
        (say.finish("blocked", "The server's password is missing."), "password is missing"),
    ],
    ids=["refusal", "content filter", "quota", "question", "blocked"],
)
def test_what_only_a_person_can_mend_blocks_the_run(serve: Serve, answer: Any, words: str) -> None:
    with serve([answer]) as (work, server):
        work.bring(Stage.AGENT)
        run = work.step()
        assert run.state is RunState.BLOCKED
        assert words in str(run.question)
        assert len(server.requests) == 1


def test_an_answer_continues_the_conversation(serve: Serve) -> None:
    """Rule: the prompt stands in the conversation once; what a person says is added to it."""
    with serve([say.ask("Which colour?"), say.patch(ADD), say.finish()]) as (work, server):
        work.bring(Stage.AGENT)
        work.step()
        deliver(work.deployment)
        work.tracker.person_comments(ISSUE, "Blue.")
        work.board.poll()
        assert work.run.state is RunState.QUEUED
        work.step()
        told = [item["content"][0]["text"] for item in server.requests[1].body["input"] if item.get("role") == "user"]
        assert len(told) == 2 and "Blue." in told[1] and "Which colour?" in told[1]
        assert work.run.stage is Stage.PROOF


def test_a_failed_proof_continues_the_conversation(serve: Serve) -> None:
    mended = "*** Begin Patch\n*** Update File: new.txt\n-one\n+two\n*** End Patch\n"
    with serve([say.patch(ADD), say.finish(), say.patch(mended), say.finish()]) as (work, server):
        work.check("[ ! -e new.txt ] || grep -q two new.txt || { echo 'two is missing'; exit 1; }")
        work.bring(Stage.PROOF)
        assert work.step().stage is Stage.AGENT
        work.step()
        told = [item["content"][0]["text"] for item in server.requests[2].body["input"] if item.get("role") == "user"]
        assert len(told) == 2 and "two is missing" in told[1]
        work.step()
        assert work.run.stage is Stage.LAND


def test_nothing_to_change_goes_to_a_person_with_its_reason(serve: Serve) -> None:
    with serve([say.finish("no_change", "It works already.")]) as (work, _):
        work.bring(Stage.AGENT)
        assert work.step().state is RunState.REVIEWING
        assert "It works already." in str(work.board.effects(ISSUE)[-1])


@pytest.mark.parametrize(
    ("budget", "daily", "words"),
    [({"tokens": 900}, None, "tokens"), ({"cost_usd": 0.0001}, None, "$"), ({}, "0.0001", "today")],
    ids=["tokens", "cost", "day"],
)
def test_a_budget_is_checked_before_each_request(
    serve: Serve, budget: dict[str, Any], daily: str | None, words: str
) -> None:
    """Rule: over a budget the run is blocked, nothing more is asked, and what it has is kept."""
    settings = {"daily_usd": Decimal(daily)} if daily else None
    with serve([say.patch(ADD), say.finish()], agent={"budget": budget}, settings=settings) as (work, server):
        work.bring(Stage.AGENT)
        assert work.step().state is RunState.BLOCKED
        assert words in str(work.run.question) and "kept" in str(work.run.question)
        assert len(server.requests) == 0


def test_a_persons_comment_reaches_the_agent_at_its_next_step(serve: Serve) -> None:
    with serve([]) as (work, server):

        def model(request: Request) -> say.Answer:
            if len(server.requests) == 1:
                work.tracker.person_comments(ISSUE, "Use British spelling.")
                work.board.poll()
                return say.patch(ADD)
            return say.finish()

        server._player._script = model
        work.bring(Stage.PROOF)
        last = [item for item in server.requests[1].body["input"] if item.get("role") == "user"][-1]
        assert "writes on the issue" in last["content"][0]["text"]
        assert "> Use British spelling." in last["content"][0]["text"]


def test_what_models_cost_is_in_the_status_and_in_the_run(serve: Serve) -> None:
    with serve([say.patch(ADD), say.finish()]) as (work, server):
        work.bring(Stage.PROOF)
        status = work.board.database.transact(state_of)["usage"]
        paid = Decimal(status["today_usd"])
        assert paid == sum(row[0] for row in work.board.sql("SELECT cost_usd FROM model_requests")) > 0
        assert Decimal(status["workflows"]["board"]["cost_usd"]) == paid
        assert [Decimal(day["cost_usd"]) for day in status["days"].values()] == [paid]
        assert status["workflows"]["board"]["requests"] == len(server.requests)


def test_what_a_run_has_cost_is_shown_by_model(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ["gpt-6.2-sol", "gpt-6.2-sol-2026-11-17"]
    server = ModelServer([say.patch(ADD), say.finish(), say.patch(MORE), say.finish()], models=models)
    with serve([], server=server, agent={"by_label": {"hard": {"model": models[1]}}}) as (work, _):
        work.check("[ ! -e new.txt ] || [ -e more.txt ]")
        work.bring(Stage.PROOF)
        work.tracker.put(ISSUE, labels=("hard",))
        work.board.poll()
        assert work.step().stage is Stage.AGENT
        monkeypatch.setenv("SYMPHONY_DATABASE_URL", work.board.url)
        monkeypatch.setenv("SYMPHONY_HOME", str(work.deployment.settings.home))
        symphony = Command(capsys)
        work.step()
        used = symphony("show", ISSUE, "--json").document["usage"]
        assert {model: one["requests"] for model, one in used["by_model"].items()} == dict.fromkeys(models, 2)
        assert sum(Decimal(one["cost_usd"]) for one in used["by_model"].values()) == Decimal(used["cost_usd"]) > 0
        page = symphony("show", ISSUE).out
        assert all(f"\n{model}: 2 requests, " in page for model in models)


def test_pictures_of_the_issue_are_shown_to_the_model(serve: Serve) -> None:
    with serve([say.patch(ADD), say.finish()]) as (work, server):
        work.tracker.pictures[ISSUE] = (Picture("shot.png", "image/png", b"\x89PNG\r\n\x1a\n"),)
        work.bring(Stage.PROOF)
        content = server.requests[0].body["input"][0]["content"]
        assert content[1]["image_url"] == "data:image/png;base64,iVBORw0KGgo="


def test_the_prefix_is_cached(serve: Serve) -> None:
    """Rule: from the third request on at least four fifths of the input come from the provider's cache."""
    text = "x" * 2_000
    steps = [say.shell(f"echo {number} {text}") for number in range(8)]
    with serve([say.patch(ADD), *steps, say.finish()]) as (work, server):
        work.bring(Stage.PROOF)
        assert server.cached_share(since=2) >= 0.8


def test_a_conversation_that_is_too_long_is_cut(serve: Serve) -> None:
    steps = [say.shell(f"seq {number}0000 {number}9000") for number in range(1, 7)]
    server = ModelServer(
        [say.patch(ADD), *steps, say.text("Notes: new.txt is there."), *steps[:2], say.finish()], context_tokens=60_000
    )
    with serve([], server=server) as (work, _):
        work.bring(Stage.PROOF)
        kinds = [row[0] for row in work.board.sql("SELECT kind FROM model_requests ORDER BY started_at")]
        assert "compaction" in kinds
        assert any("Notes: new.txt is there." in str(item) for item in server.requests[-1].body["input"])


def test_chat_completions_do_the_same(serve: Serve) -> None:
    script = [say.calls(("read_file", {"path": "src/app.py"})), say.patch(ADD) + say.shell("cat new.txt"), say.finish()]
    with serve(script, agent={"api": "chat"}) as (work, server):
        work.bring(Stage.PROOF)
        assert {request.path for request in server.requests} == {"/v1/chat/completions"}


def test_the_key_is_in_no_process_of_the_agent(serve: Serve) -> None:
    with serve([say.shell("env; cat /proc/$PPID/environ | tr '\\0' '\\n'"), say.patch(ADD), say.finish()]) as (
        work,
        server,
    ):
        work.bring(Stage.PROOF)
        output = server.requests[1].body["input"][-1]["output"]
        assert "PATH=" in output and "sk-test" not in output and "OPENAI_API_KEY" not in output


@pytest.mark.parametrize(
    ("agent", "environ", "words"),
    [({"model": "gpt-unpriced"}, {}, "price"), ({}, {"OPENAI_API_KEY": ""}, "OPENAI_API_KEY")],
    ids=["price", "key"],
)
def test_what_is_not_set_up_is_said_and_not_paid(
    serve: Serve, agent: dict[str, Any], environ: dict[str, str], words: str
) -> None:
    with serve([], agent=agent) as (work, server):
        work.deployment.environ = {**work.deployment.environ, **environ}
        work.bring(Stage.AGENT)
        assert work.step().state is RunState.WAITING
        assert words in str(work.run.error)
        assert not server.requests


def test_what_the_operator_has_mended_is_taken_up_by_the_next_attempt(serve: Serve) -> None:
    """Rule: a mistake of the operator's costs the attempt, not the run, and nobody is asked."""
    with serve([say.patch(ADD), say.finish()]) as (work, _):
        good = work.deployment.environ
        work.deployment.environ = {**good, "OPENAI_API_KEY": ""}
        work.bring(Stage.AGENT)
        work.step()
        assert (work.run.state, work.run.failures) == (RunState.WAITING, 1)
        work.deployment.environ = good
        assert work.step().stage is Stage.PROOF


def test_going_round_in_circles_ends_with_a_person(serve: Serve) -> None:
    with serve(lambda _request: say.calls(("read_file", {"path": "nowhere.txt"}))) as (work, server):
        work.bring(Stage.AGENT)
        assert work.step().state is RunState.BLOCKED
        assert "no progress" in str(work.run.question)
        assert any("Try something else" in str(item) for item in server.requests[-1].body["input"])


def test_a_label_chooses_model_and_effort(serve: Serve) -> None:
    server = ModelServer([say.patch(ADD), say.finish()], models=["gpt-6.2-sol", "gpt-6.2-sol-2026-11-17"])
    choice = {"hard": {"model": "gpt-6.2-sol-2026-11-17", "effort": "xhigh"}}
    with serve([], server=server, agent={"by_label": choice}) as (work, _):
        work.bring(Stage.PROOF, labels=["hard"])
        asked = {(request.body["model"], request.body["reasoning"]["effort"]) for request in server.requests}
        assert asked == {("gpt-6.2-sol-2026-11-17", "xhigh")}


def test_a_cancel_breaks_off_a_silent_model(serve: Serve) -> None:
    with serve([say.text("Let me think").silent(after=3)]) as (work, server):
        work.bring(Stage.AGENT)
        thread, answers = work.step_aside()
        until(lambda: server.requests and work.run.state is RunState.RUNNING)
        work.tracker.put(ISSUE, state="Cancelled")
        work.board.poll()
        work.keeper.renew_now()
        thread.join(20)
        assert answers and answers[0] is not None and answers[0].state is RunState.CANCELLED
        rows = work.board.sql("SELECT state, is_estimated, error FROM model_requests")
        assert [tuple(row) for row in rows] == [("discarded", True, "the attempt ended before it was answered")]
