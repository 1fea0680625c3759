"""Bad input of the verbs: one sentence with the place and the cure, the right exit code, no traceback."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from symphony.cli.main import with_default_verb
from symphony.local.home import Home
from tests.conftest import execute
from tests.fakes.command import Command

GOOD = """\
---
tracker: {kind: files}
agent: {kind: command, command: "true"}
---
Do {{ issue.title }}
"""


@pytest.fixture
def symphony(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    for name in ("SYMPHONY_DATABASE_URL", "SYMPHONY_BROKER_URL", "SYMPHONY_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SYMPHONY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


@pytest.mark.parametrize(
    "arguments",
    [("frobnicate",), ("status", "--frob"), ("show",), ("up", "--workers", "x"), ("up", "--port", "99999"), ("answer", "A"),
     ("status", "--json", "--watch"), ("show", "A", "--json", "--md"), ("nofile.md",), ("up", "a/b/WORKFLOW.md"),
     ("check", "none.md"), ("workflow",), ("db", "frob"), ("worker",), ("beat",), ("flower",)],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_exit_2(symphony: Command, arguments: tuple[str, ...]) -> None:
    said = symphony(*arguments)
    assert said.code == 2
    assert "Traceback" not in said.err + said.out
    assert (said.err + said.out).strip()
    assert said.err.count("\n") <= 1, said.err


@pytest.mark.parametrize(
    "verb", ["status", "runs", "show X", "retry X", "cancel X", "pause", "workflow list", "db check", "web"]
)
def test_where_nothing_runs_it_is_said(symphony: Command, verb: str, tmp_path: Path) -> None:
    said = symphony(*verb.split())
    assert said.code == 2 and "nothing runs on this home" in said.err and str(tmp_path / "home") in said.err
    assert not (tmp_path / "home").exists(), "asking makes nothing"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("SYMPHONY_DATABASE_URL", "mysql://x/y", 2), ("SYMPHONY_DATABASE_URL", "postgresql://h:port/x", 2),
     ("SYMPHONY_DATABASE_URL", "postgresql://nobody:secretword@127.0.0.1:9/x", 1), ("SYMPHONY_LEASE_TTL", "soon", 2),
     ("SYMPHONY_LOG_LEVEL", "LOUD", 2), ("SYMPHONY_TICK", "-1", 2)],
)  # fmt: skip
def test_garbage_in_the_environment(
    symphony: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: int
) -> None:
    monkeypatch.setenv(name, value)
    began = time.monotonic()
    said = symphony("status")
    assert said.code == code and said.err.count("\n") == 1
    assert "secretword" not in said.err
    assert time.monotonic() - began < 15


def test_a_newer_schema_is_refused(symphony: Command, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    assert symphony("db", "check").code == 0
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    for verb in ("status", "db check", "db upgrade"):
        said = symphony(*verb.split())
        assert said.code == 2 and "newer Symphony" in said.err


def test_an_empty_database_is_upgraded_on_request(
    symphony: Command, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", database_url)
    execute(database_url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert "symphony db upgrade" in symphony("status").err
    assert symphony("db", "upgrade").code == 0
    assert symphony("status").code == 0


def test_down_without_anything_is_fine(symphony: Command) -> None:
    said = symphony("down")
    assert said.code == 0 and "nothing runs" in said.out


def test_a_second_up_names_the_holder(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD)
    with Home(tmp_path / "home").held():
        said = symphony("up")
    assert said.code == 2 and "pid " in said.err and "symphony down" in said.err


def test_up_refuses_what_no_run_could_succeed_with(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text("---\ntracker: {kind: linear}\nagent: {kind: openai}\n---\nx\n")
    said = symphony()
    assert said.code == 2 and "WORKFLOW.md:2" in said.err and "WORKFLOW.md:3" in said.err


def test_check_tells_every_fault_with_its_line(symphony: Command, tmp_path: Path) -> None:
    text = "---\ntracker: {kind: files}\nagent:\n  kind: command\n  max_turns: -1\npolling: {interval_ms: soon}\n---\nx\n"
    (tmp_path / "WORKFLOW.md").write_text(text)
    said = symphony("check")
    assert said.code == 2 and "WORKFLOW.md:5" in said.out and "WORKFLOW.md:6" in said.out
    found = symphony("check", "--json").document
    assert found["ok"] is False and {finding["line"] for finding in found["findings"]} >= {5, 6}


def test_check_of_a_good_file_probes_what_it_names(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD)
    (tmp_path / "issues").mkdir()
    said = symphony("check", "--json")
    found = json.loads(said.out)
    assert (said.code, found["ok"]) == (0, True), found
    assert {"tracker", "agent", "git", "sandbox", "database", "broker"} <= {probe["name"] for probe in found["probes"]}


def test_check_tells_a_missing_branch_an_absent_agent_and_a_wrong_prompt(symphony: Command, tmp_path: Path) -> None:
    text = GOOD.replace('"true"', "no-such-agent --fast").replace("issue.title", "issue.titel")
    (tmp_path / "WORKFLOW.md").write_text(text.replace("agent:", "repository: {url: nowhere, forge: git}\nagent:"))
    found = symphony("check", "--json").document
    bad = {probe["name"] for probe in found["probes"] if not probe["ok"]}
    assert {"agent", "repository"} <= bad
    assert any("titel" in finding["message"] for finding in found["findings"])


def test_the_default_verb_is_up() -> None:
    assert with_default_verb([]) == ["up"]
    assert with_default_verb(["x/WORKFLOW.md", "--port", "0"]) == ["up", "x/WORKFLOW.md", "--port", "0"]
    assert with_default_verb(["--port=0"]) == ["up", "--port=0"]
    assert with_default_verb(["status", "--json"]) == ["status", "--json"]
    assert with_default_verb(["--help"]) == ["--help"]
