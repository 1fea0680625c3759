"""Agents on models where what surrounds them is odd: names in the repository, slow paces, commits of unknown end."""

from __future__ import annotations

import gc
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from symphony.agents.openai import compaction
from symphony.agents.openai.compaction import first_kept
from symphony.agents.openai.conversation import Conversation
from symphony.domain.run import RunState
from symphony.domain.stage import Stage
from symphony.ledger import database as databases
from symphony.stages import pace
from tests.fakes import model_replies as say
from tests.fakes.model_request import Request
from tests.fakes.model_server import ModelServer
from tests.fakes.repositories import Repository, git
from tests.fakes.seen_processes import until
from tests.integration.served_model import ADD, Serve
from tests.integration.stage_bench import ISSUE

pytest_plugins = ["tests.fakes.repository_fixtures", "tests.integration.served_model_fixtures"]


def test_agents_files_of_odd_names_and_kinds_keep_no_run_from_its_work(serve: Serve, repository: Repository) -> None:
    """Rule: a name that is no UTF-8, a link and a submodule called AGENTS.md are legal in git and stop nobody."""
    clone = repository.person.clone
    (clone / "AGENTS.md").write_text("Use tabs.\n")
    odd = Path(os.fsdecode(os.fsencode(clone) + b"/caf\xe9"))
    odd.mkdir()
    (odd / "AGENTS.md").write_text("Use spaces here.\n")
    (clone / "docs").mkdir(exist_ok=True)
    (clone / "docs" / "AGENTS.md").symlink_to("../AGENTS.md")
    git(clone, "add", "-A")
    git(clone, "update-index", "--add", "--cacheinfo", f"160000,{repository.first},vendored/AGENTS.md")
    git(clone, "commit", "-q", "-m", "odd")
    git(clone, "push", "-q", "origin", "HEAD:main")
    with serve([say.patch(ADD), say.finish()]) as (work, server):
        work.bring(Stage.PROOF)
        told = server.requests[0].body["instructions"]
        assert "Use tabs." in told and "Use spaces here." in told
        assert "../AGENTS.md" not in told and "vendored" not in told


def test_what_others_spent_while_a_request_waited_for_its_turn_counts(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: many agents that wait for the pace of one key do not pass the day's limit together."""
    wait = pace.SharedPace.wait

    def wait_and_spend(self: Any, pause: Any) -> None:
        wait(self, pause)
        pause(timedelta(milliseconds=1))
        work.board.sql(
            "INSERT INTO usage_days (run_id, day, model, requests, input_tokens, cached_tokens, cache_write_tokens, "
            "output_tokens, reasoning_tokens, cost_usd, estimated_usd) "
            "VALUES (%(run)s, CAST(now() AT TIME ZONE 'UTC' AS date), 'other', 1, 0, 0, 0, 0, 0, 5, 0)",
            run=work.run.id,
        )

    monkeypatch.setattr(pace.SharedPace, "wait", wait_and_spend)
    with serve([say.patch(ADD), say.finish()], settings={"daily_usd": 5}) as (work, server):
        work.bring(Stage.AGENT)
        assert work.step().state is RunState.BLOCKED
        assert "today" in str(work.run.question) and not server.requests


def test_stale_reasoning_is_dropped_while_a_conversation_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: what is long and cannot be cut yet goes on; the notes are asked for again without what cannot be read."""
    monkeypatch.setattr(compaction, "COMPACT_AT", 1)
    monkeypatch.setattr(compaction, "first_kept", lambda items: first_kept(items, characters=100))
    asked: list[list[str]] = []

    def model(request: Request) -> say.Answer:
        items = request.body["input"]
        if items[-1].get("content") != compaction.ASK:
            return say.finish() if asked else say.reasoning("Think.") + say.patch(ADD if len(items) == 1 else "none")
        asked.append([item["type"] for item in items if "type" in item])
        return say.stale_reasoning() if len(asked) == 1 else say.text("Notes: one step.")

    with serve(model) as (work, server):
        work.bring(Stage.PROOF)
        assert work.outcomes == ["advance", "advance"]
        assert "reasoning" in asked[0] and "reasoning" not in asked[1]
        assert "Notes: one step." in str(server.requests[-1].body["input"])


def test_a_comment_is_written_once_after_a_commit_of_unknown_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule: what was committed and not confirmed is found by the repetition: one comment, and a message that is told."""
    once = databases.Database._once

    def twice(self: Any, body: Any) -> Any:
        once(self, body)
        return once(self, body)

    def model(request: Request) -> say.Answer:
        if len(server.requests) == 1:
            work.tracker.person_comments(ISSUE, "Use British spelling.")
            work.board.poll()
            monkeypatch.setattr(Conversation, "hear", unsure(Conversation.hear))
            monkeypatch.setattr(Conversation, "finish_calls", unsure(Conversation.finish_calls))
            return say.patch(ADD) + say.calls(("comment_issue", {"body": "Half is done."}))
        return say.finish()

    def unsure(method: Any) -> Any:
        def called(*arguments: Any) -> Any:
            with monkeypatch.context() as patched:
                patched.setattr(databases.Database, "_once", twice)
                return method(*arguments)

        return called

    server = ModelServer(model)
    with serve([], server=server) as (work, _):
        work.bring(Stage.PROOF)
        assert sum("Half is done." in str(effect) for effect in work.board.effects(ISSUE)) == 1
        assert "Use British spelling." in str(server.requests[1].body["input"])


def test_no_connection_outlives_its_turn(serve: Serve) -> None:
    """Rule: connections are closed at a turn's end, and not when the collector of cycles comes by."""
    with serve([say.finish()] * 10, repository=False, agent={"max_turns": 5}) as (work, server):
        work.bring(Stage.AGENT)
        work.step()
        gc.collect()
        gc.disable()
        try:
            before = len(os.listdir("/proc/self/fd"))
            work.step()
            assert len(server.requests) == 10
            until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        finally:
            gc.enable()
