"""`$NAME`, `~` and relative paths, resolved at the time of use and never earlier."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from symphony.domain.errors import ConfigError
from symphony.workflow.loader import parse
from symphony.workflow.resolution import Resolved, resolve

BASE = Path("/srv/project")
HOME = Path("/var/symphony")


def resolved(yaml: str, *, tracker: str = "tracker: {kind: files}", **environ: str) -> Resolved:
    read = parse(f"---\n{tracker}\n{yaml}\n---\n", place="WORKFLOW.md", name="demo")
    return resolve(read, environ=environ, base_dir=BASE)


@pytest.mark.parametrize(
    ("written", "root"),
    [
        ("/abs/../w", "/w"),
        ("work", "/srv/project/work"),
        ("../w", "/srv/w"),
        ("~", "/home/me"),
        ("~/w", "/home/me/w"),
        ("$ROOT", "/data/root"),
        ("${ROOT}/w", "/data/root/w"),
        ("$TILDE", "/home/me/t"),
        ("$RELATIVE", "/srv/project/r"),
        ("a~b", "/srv/project/a~b"),
        ("cost$", "/srv/project/cost$"),
    ],
)
def test_workspace_root(written: str, root: str) -> None:
    environ = {"HOME": "/home/me", "ROOT": "/data/root", "TILDE": "~/t", "RELATIVE": "r"}
    assert resolved(f"workspace: {{root: '{written}'}}", **environ).workspace_root(home=HOME) == Path(root)


def test_default_workspace_roots() -> None:
    assert resolved("").workspace_root(home=HOME) == Path(tempfile.gettempdir()) / "symphony_workspaces"
    assert resolved("repository: {url: x}").workspace_root(home=HOME) == HOME / "workspaces" / "demo"


@pytest.mark.parametrize("environ", [{}, {"ROOT": ""}])
def test_a_missing_variable_is_named_with_its_place(environ: dict[str, str]) -> None:
    read = resolved("workspace:\n  root: $ROOT", **environ)
    with pytest.raises(ConfigError) as caught:
        read.workspace_root(home=HOME)
    assert caught.value.place == "WORKFLOW.md:4"
    assert "workspace.root needs $ROOT, which is not set" in str(caught.value)


def test_an_unknown_user_is_named() -> None:
    with pytest.raises(ConfigError, match="~no-such-user-here"):
        resolved("workspace: {root: ~no-such-user-here/x}").workspace_root(home=HOME)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("git@example.com:a/b.git", "git@example.com:a/b.git"),
        ("https://example.com/~a/$b.git", "https://example.com/~a/$b.git"),
        ("file:///srv/x", "file:///srv/x"),
        ("../app", "/srv/app"),
        ("~/app", "/home/me/app"),
        ("/srv/a:b", "/srv/a:b"),
        ("./a:b", "/srv/project/a:b"),
        ("$REPO", "ssh://git@example.com/x"),
        ("$LOCAL", "/srv/project/x"),
    ],
)
def test_repository_url(written: str, url: str) -> None:
    environ = {"HOME": "/home/me", "REPO": "ssh://git@example.com/x", "LOCAL": "x"}
    assert resolved(f"repository: {{url: '{written}'}}", **environ).repository_url() == url


def test_no_repository_has_no_url() -> None:
    assert resolved("").repository_url() is None


@pytest.mark.parametrize("value", ["-oops", "--upload-pack=touch /tmp/x"])
def test_a_url_from_the_environment_is_never_an_option(value: str) -> None:
    url = resolved("repository: {url: $REPO}", REPO=value).repository_url()
    assert url is not None
    assert not url.startswith("-")


def test_readable_paths() -> None:
    read = resolved("sandbox: {read: [~/.cache, data, $X]}", HOME="/home/me", X="/x")
    assert read.readable_paths() == (Path("/home/me/.cache"), BASE / "data", Path("/x"))


def test_files_provider() -> None:
    assert resolved("").tracker_provider().values == {"path": BASE / "issues"}
    written = "tracker: {kind: files, provider: {path: $BOARD, other: 5, more: $MORE}}"
    provider = resolved("", tracker=written, BOARD="board", MORE="m").tracker_provider()
    assert provider.values == {"path": BASE / "board", "other": 5, "more": "m"}


LINEAR = "tracker: {kind: linear, provider: {project_slug: s, api_key: $MY_KEY}}"


def test_a_secret_comes_from_its_variable_and_is_never_shown() -> None:
    read = resolved("", tracker=LINEAR, MY_KEY="hunter2", LINEAR_API_KEY="hunter3", LINEAR_ASSIGNEE="me")
    provider = read.tracker_provider()
    assert provider.secrets["api_key"].get_secret_value() == "hunter2"
    assert provider.values["assignee"] == "me"
    assert "hunter" not in repr(provider) + repr(read) + str(provider.secrets)
    assert read.secret_variables() == {"MY_KEY", "LINEAR_API_KEY", "LINEAR_WEBHOOK_SECRET"}


def test_a_secret_that_is_left_out_falls_back_to_the_adapters_variable() -> None:
    read = resolved("", tracker="tracker: {kind: linear, project_slug: s}", LINEAR_API_KEY="k")
    assert read.tracker_provider().secrets["api_key"].get_secret_value() == "k"


@pytest.mark.parametrize("environ", [{}, {"MY_KEY": ""}, {"MY_KEY": "  "}])
def test_an_empty_secret_is_missing(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolved("", tracker=LINEAR, **environ).tracker_provider()
    assert caught.value.category == "missing_tracker_secret"
    assert "$MY_KEY" in str(caught.value)


def test_a_secret_without_any_source_is_missing() -> None:
    with pytest.raises(ConfigError, match="LINEAR_API_KEY") as caught:
        resolved("", tracker="tracker: {kind: linear, project_slug: s}").tracker_provider()
    assert caught.value.category == "missing_tracker_secret"


@pytest.mark.parametrize("provider", ["{}", "{project_slug: $SLUG}"])
def test_a_required_key_that_is_missing(provider: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolved("", tracker=f"tracker: {{kind: linear, provider: {provider}}}", LINEAR_API_KEY="k").tracker_provider()
    assert caught.value.category == "invalid_tracker_config"
    assert "project_slug" in str(caught.value)


def test_a_row_keeps_references_unresolved() -> None:
    read = resolved("workspace: {root: $ROOT}", tracker=LINEAR, ROOT="/elsewhere", MY_KEY="hunter2")
    assert read.workflow.workspace.root == "$ROOT"
    assert read.workflow.tracker.provider["api_key"] == "$MY_KEY"
