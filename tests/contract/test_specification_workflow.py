"""Section 17.1 of the Symphony specification, bullet by bullet: workflow and configuration parsing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.errors import ConfigError
from symphony.domain.issue import Issue
from symphony.workflow.findings import InvalidWorkflow
from symphony.workflow.loader import load, parse, workflow_path
from symphony.workflow.prompt import render, validate_template
from symphony.workflow.resolution import resolve
from symphony.workflow.watch import Broken, Reloaded, WatchedFile

MINIMAL = "---\ntracker: {kind: files}\n---\nDo it.\n"

REFERENCE_SHAPE = """\
---
tracker:
  kind: linear
  provider:
    project_slug: "payments-1a2b3c"
  required_labels: []
  active_states:
    - Todo
    - In Progress
    - Merging
    - Rework
  terminal_states:
    - Closed
    - Done
polling:
  interval_ms: 5000
workspace:
  root: ~/work/payments
hooks:
  after_create: |
    git clone "$SOURCE" .
    if command -v tool >/dev/null 2>&1; then
      tool trust
    fi
  before_remove: |
    tool clean
agent:
  max_concurrent_agents: 10
  max_turns: 20
codex:
  command: codex --config env.inherit=all --config 'model="some-model"' app-server
  approval_policy: never
  thread_sandbox: workspace-write
  turn_sandbox_policy:
    type: workspaceWrite
    networkAccess: true
---

The ticket is `{{ issue.identifier }}`.

{% if attempt %}
This is round {{ attempt }}.
{% endif %}

Labels: {{ issue.labels }}
{% if issue.description %}
{{ issue.description }}
{% else %}
Nothing more is known.
{% endif %}
"""

ISSUE = Issue(id="1", identifier="PAY-7", title="Round", state="Todo", dispatchable=True, labels=("bug",)).as_json()


def refused(text: str) -> InvalidWorkflow:
    with pytest.raises(InvalidWorkflow) as caught:
        parse(text, place="WORKFLOW.md")
    return caught.value


@pytest.mark.conformance("17.1", "A workflow path given at start is the one that is used")
def test_17_1_explicit_path_is_used_when_provided(tmp_path: Path) -> None:
    """A workflow path given at start is the one that is used."""
    explicit = tmp_path / "elsewhere" / "OTHER.md"
    explicit.parent.mkdir()
    explicit.write_text(MINIMAL.replace("Do it.", "Named."))
    (tmp_path / "WORKFLOW.md").write_text(MINIMAL)
    assert load(workflow_path(explicit, cwd=tmp_path)).prompt_template == "Named."


@pytest.mark.conformance("17.1", "Without a path, WORKFLOW.md of the working directory is used")
def test_17_1_cwd_default_is_workflow_md(tmp_path: Path) -> None:
    """Without a path, WORKFLOW.md of the working directory is used."""
    (tmp_path / "WORKFLOW.md").write_text(MINIMAL)
    assert load(workflow_path(None, cwd=tmp_path)).prompt_template == "Do it."


@pytest.mark.conformance("17.1", "A change of the file is noticed, read and applied without a restart")
def test_17_1_changes_are_detected_and_applied_without_restart(tmp_path: Path) -> None:
    """A change of the file is noticed, read and applied without a restart."""
    path = tmp_path / "WORKFLOW.md"
    path.write_text(MINIMAL)
    watched = WatchedFile(path)
    path.write_text(MINIMAL.replace("---\ntracker", "---\npolling: {interval_ms: 1000}\ntracker"))
    assert isinstance(watched.poll(), Reloaded)
    assert watched.current.workflow.polling.interval == timedelta(seconds=1)


@pytest.mark.conformance("17.1", "A reload that fails keeps the last good configuration and tells the operator")
def test_17_1_invalid_reload_keeps_last_known_good_configuration(tmp_path: Path) -> None:
    """A reload that fails keeps the last good configuration and tells the operator."""
    path = tmp_path / "WORKFLOW.md"
    path.write_text(MINIMAL)
    watched = WatchedFile(path)
    path.write_text("---\ntracker: [\n---\n")
    change = watched.poll()
    assert isinstance(change, Broken)
    assert str(path) in str(change.error)
    assert watched.current.prompt_template == "Do it."


@pytest.mark.conformance("17.1", "A workflow file that is not there gives its own class of error")
def test_17_1_missing_workflow_file_returns_typed_error(tmp_path: Path) -> None:
    """A workflow file that is not there gives its own class of error."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "WORKFLOW.md")
    assert caught.value.category == "missing_workflow_file"


@pytest.mark.conformance("17.1", "Front matter that is not YAML gives its own class of error")
def test_17_1_invalid_yaml_front_matter_returns_typed_error() -> None:
    """Front matter that is not YAML gives its own class of error."""
    assert refused("---\ntracker: {kind\n---\n").category == "workflow_parse_error"


@pytest.mark.conformance("17.1", "Front matter that is not a map gives its own class of error")
def test_17_1_front_matter_non_map_returns_typed_error() -> None:
    """Front matter that is not a map gives its own class of error."""
    assert refused("---\n- a\n---\n").category == "workflow_front_matter_not_a_map"


@pytest.mark.conformance("17.1", "Optional values that are left out have their defaults")
def test_17_1_defaults_apply_when_optional_values_are_missing() -> None:
    """Optional values that are left out have their defaults."""
    workflow = parse(MINIMAL, place="WORKFLOW.md").workflow
    assert (workflow.tracker.provider, workflow.tracker.required_labels) == ({}, ())
    assert workflow.polling.interval_ms == 30_000
    hooks = workflow.hooks
    assert (hooks.after_create, hooks.before_run, hooks.after_run, hooks.before_remove) == (None,) * 4
    assert hooks.timeout_ms == 60_000
    agent = workflow.agent
    assert (agent.max_concurrent_agents, agent.max_turns, agent.max_retry_backoff_ms) == (10, 20, 300_000)
    assert agent.max_concurrent_agents_by_state == {}
    codex = workflow.codex
    assert codex.command == "codex app-server"
    assert (codex.turn_timeout_ms, codex.read_timeout_ms, codex.stall_timeout_ms) == (3_600_000, 5_000, 300_000)


@pytest.mark.conformance("17.1", "tracker.kind must name an adapter that is known")
@pytest.mark.parametrize("tracker", ["{}", "{kind: trello}", "{kind: null}"])
def test_17_1_tracker_kind_must_be_supported(tracker: str) -> None:
    """tracker.kind must name an adapter that is known."""
    assert refused(f"---\ntracker: {tracker}\n---\n").category == "unsupported_tracker_kind"


@pytest.mark.conformance("17.1", "The adapter's own keys are kept as they are and checked by the adapter's profile")
def test_17_1_tracker_provider_is_preserved_and_validated_by_the_adapter() -> None:
    """The adapter's own keys are kept as they are and checked by the adapter's profile."""
    kept = parse("---\ntracker: {kind: files, provider: {path: b, own: {deep: [1]}}}\n---\n", place="WORKFLOW.md")
    assert kept.workflow.tracker.provider == {"path": "b", "own": {"deep": [1]}}
    assert refused("---\ntracker: {kind: files, provider: {path: [b]}}\n---\n").category == "invalid_tracker_config"


@pytest.mark.conformance("17.1", "$NAME works for the secrets that an adapter documents and for paths")
def test_17_1_variables_resolve_for_secrets_and_paths(tmp_path: Path) -> None:
    """$NAME works for the secrets that an adapter documents and for paths."""
    text = "---\ntracker: {kind: linear, provider: {project_slug: s, api_key: $K}}\nworkspace: {root: $R}\n---\n"
    loaded = parse(text, place="WORKFLOW.md")
    resolved = resolve(loaded, environ={"K": "hunter2", "R": str(tmp_path)}, base_dir=Path("/"))
    assert resolved.tracker_provider().secrets["api_key"].get_secret_value() == "hunter2"
    assert resolved.workspace_root(home=Path("/h")) == tmp_path
    with pytest.raises(ConfigError) as caught:
        resolve(loaded, environ={"K": ""}, base_dir=Path("/")).tracker_provider()
    assert caught.value.category == "missing_tracker_secret"


@pytest.mark.conformance("17.1", "~ in a path is the home folder")
def test_17_1_home_expansion_works(tmp_path: Path) -> None:
    """~ in a path is the home folder."""
    loaded = parse("---\ntracker: {kind: files}\nworkspace: {root: ~/w}\n---\n", place="WORKFLOW.md")
    resolved = resolve(loaded, environ={"HOME": str(tmp_path)}, base_dir=Path("/"))
    assert resolved.workspace_root(home=Path("/h")) == tmp_path / "w"


@pytest.mark.conformance("17.1", "codex.command stays the shell command line that was written")
def test_17_1_codex_command_is_preserved() -> None:
    """codex.command stays the shell command line that was written."""
    command = """$CODEX ~/x --config 'model="m"' | tee "$LOG" app-server"""
    loaded = parse(f"---\ntracker: {{kind: files}}\ncodex:\n  command: >-\n    {command}\n---\n", place="WORKFLOW.md")
    assert loaded.workflow.codex.command == command


@pytest.mark.conformance("17.1", "Limits by state have normalised names, and entries that make no sense are ignored")
def test_17_1_per_state_limits_are_normalised_and_invalid_ones_ignored() -> None:
    """Limits by state have normalised names, and entries that make no sense are ignored."""
    limits = "{' In Progress ': 2, TODO: '3', a: 0, b: -1, c: many, d: true, e: null, f: 1.5, ' ': 4}"
    text = f"---\ntracker: {{kind: files}}\nagent: {{max_concurrent_agents_by_state: {limits}}}\n---\n"
    loaded = parse(text, place="WORKFLOW.md")
    assert loaded.workflow.agent.max_concurrent_agents_by_state == {"in progress": 2, "todo": 3}
    assert len([note for note in loaded.warnings if note.category == "ignored_value"]) == 7


@pytest.mark.conformance("17.1", "A prompt is rendered with the issue and the attempt")
def test_17_1_prompt_renders_issue_and_attempt() -> None:
    """A prompt is rendered with the issue and the attempt."""
    template = "{{ issue.identifier }} {{ issue.labels[0] }} {{ attempt }}"
    assert render(template, issue=ISSUE, attempt=None) == "PAY-7 bug "
    assert render(template, issue=ISSUE, attempt=3) == "PAY-7 bug 3"


@pytest.mark.conformance("17.1", "A prompt with an unknown variable or filter fails")
@pytest.mark.parametrize("template", ["{{ nope }}", "{{ issue.nope }}", "{{ issue.title | nope }}"])
def test_17_1_prompt_fails_on_unknown_variables(template: str) -> None:
    """A prompt with an unknown variable or filter fails."""
    with pytest.raises(ConfigError) as caught:
        render(template, issue=ISSUE, attempt=None)
    assert caught.value.category == "template_render_error"


def test_a_file_of_the_references_shape_loads_unchanged_and_renders() -> None:
    """A file with every key that the reference's own file uses is valid, unwarned and in compatible mode."""
    loaded = parse(REFERENCE_SHAPE, place="WORKFLOW.md")
    workflow = loaded.workflow
    assert loaded.warnings == ()
    assert workflow.is_compatible_mode
    assert workflow.codex.turn_sandbox_policy == {"type": "workspaceWrite", "networkAccess": True}
    assert workflow.hooks.after_create is not None
    assert workflow.hooks.after_create.startswith('git clone "$SOURCE" .\nif')
    assert validate_template(loaded.prompt_template) == []
    made = render(loaded.prompt_template, issue=ISSUE, attempt=2)
    assert all(words in made for words in ("`PAY-7`", "round 2", "Nothing more is known."))
