"""Bad input of the verbs: one sentence with the place and the cure, the right exit code, no traceback."""

from __future__ import annotations

import json
import os
import re
import socket
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


@pytest.mark.parametrize("verb", ["status", "down", "db check", "web", "up"])
def test_a_home_that_nobody_may_look_at_is_a_sentence(
    symphony: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str
) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD)
    home = tmp_path / ("x" * 300)  # the one refusal that root hears too
    monkeypatch.setenv("SYMPHONY_HOME", str(home))
    said = symphony(*verb.split())
    assert said.code == 2 and str(home) in said.err and "cannot be used" in said.err and "SYMPHONY_HOME" in said.err


def test_down_without_anything_is_fine(symphony: Command) -> None:
    said = symphony("down")
    assert said.code == 0 and "nothing runs" in said.out


def test_a_second_up_names_the_holder(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD)
    with Home(tmp_path / "home").held():
        said = symphony("up")
    assert said.code == 2 and "pid " in said.err and "symphony down" in said.err


def test_up_refuses_what_no_run_could_succeed_with(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text("---\ntracker: {kind: linear}\nagent: {kind: codex}\n---\nx\n")
    said = symphony()
    assert said.code == 2 and "WORKFLOW.md:2" in said.err and "WORKFLOW.md:3" in said.err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("SYMPHONY_DATABASE_URL", "postgresql://h:port/x", "cannot be read"),
     ("SYMPHONY_DATABASE_URL", "postgresql://nobody:secretword@127.0.0.1:9/x", "does not answer"),
     ("SYMPHONY_BROKER_URL", "amqp://127.0.0.1:9", "does not name Redis"),
     ("SYMPHONY_BROKER_URL", "somewhere", "does not name Redis"),
     ("SYMPHONY_BROKER_URL", "redis://:secretword@127.0.0.1:9/0", "does not answer"),
     ("SYMPHONY_BROKER_URL", "redis://127.0.0.1:port/0", "does not name Redis")],
)  # fmt: skip
def test_up_refuses_servers_that_are_none_before_it_makes_anything(
    symphony: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, words: str
) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD)
    (tmp_path / "issues").mkdir()
    monkeypatch.setenv(name, value)
    for verb in ("up", "check"):
        said = symphony(verb)
        assert said.code == 2, said
        assert words in said.err + said.out and name in said.err + said.out
        assert "secretword" not in said.err + said.out and "redacted" not in said.err
    assert said.err == "" and not (tmp_path / "home").exists()


@pytest.mark.parametrize("verb", ["worker", "beat", "flower"])
def test_a_process_refuses_a_broker_url_that_celery_would_wait_for_for_ever(
    symphony: Command, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/x")
    monkeypatch.setenv("SYMPHONY_BROKER_URL", "somewhere")
    said = symphony(verb)
    assert said.code == 2 and "SYMPHONY_BROKER_URL" in said.err and "redis://HOST:PORT/0" in said.err


def test_db_upgrade_words_a_url_that_cannot_be_read(symphony: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY_DATABASE_URL", "postgresql://h:port/x")
    said = symphony("db", "upgrade")
    assert said.code == 2 and "SYMPHONY_DATABASE_URL" in said.err


@pytest.fixture
def old_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A git before the others on the path that is too old."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho git version 2.30.2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("old_git")
def test_up_refuses_a_git_that_every_run_would_fail_with(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD.replace("agent:", "repository: {url: origin.git}\nagent:"))
    (tmp_path / "issues").mkdir()
    said = symphony("up")
    assert said.code == 2 and "2.30.2 is too old" in said.err and "install git 2.38" in said.err
    assert not (tmp_path / "home").exists()
    found = symphony("check", "--json").document
    assert [probe["name"] for probe in found["probes"] if not probe["ok"]] == ["git"], "it cannot speak of repositories"


def test_a_second_up_names_the_holder_and_not_the_port_that_it_has(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD)
    with Home(tmp_path / "home").held(), socket.create_server(("127.0.0.1", 0)) as taken:
        said = symphony("up", "--port", str(taken.getsockname()[1]))
    assert said.code == 2 and "pid " in said.err and "symphony down" in said.err


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_nobody_can_listen_at_is_refused(symphony: Command, tmp_path: Path, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "WORKFLOW.md").write_text(GOOD.replace("agent:", f"server: {{host: {host}, port: {port}}}\nagent:"))
        said = symphony("up")
    assert said.code == 2 and f"port {port}" in said.err and "--port" in said.err
    assert said.err.count("\n") == 1


def test_a_missing_file_names_no_verb_that_does_not_exist(symphony: Command) -> None:
    said = symphony("up")
    assert said.code == 2
    for verb in re.findall(r"`symphony (\w+)", said.err):
        assert symphony(verb, "--help").code == 0, verb


def test_an_unknown_tracker_is_answered_with_those_that_work(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD.replace("files", "jira"))
    said = symphony("check")
    assert said.code == 2 and "use one of files, linear)" in said.out


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


def test_check_marks_what_people_may_mend_as_warnings(symphony: Command, tmp_path: Path) -> None:
    (tmp_path / "WORKFLOW.md").write_text(GOOD)
    (tmp_path / "issues").mkdir()
    (tmp_path / "issues" / "X-1.md").write_text("no front matter")
    said = symphony("check")
    assert said.code == 0
    (about,) = [line for line in said.out.splitlines() if "X-1.md" in line]
    assert about.startswith("warning tracker:")
    assert "ok      tracker: files answers" in said.out
    assert any(probe["is_warning"] for probe in symphony("check", "--json").document["probes"])


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
