"""Every key of the front matter: defaults, coercions, refusals with their line, typed accessors."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from symphony.domain.stage import Stage
from symphony.workflow.audit import missing_parts, not_enforced, state_findings
from symphony.workflow.findings import Finding, InvalidWorkflow
from symphony.workflow.loader import LoadedWorkflow, parse
from symphony.workflow.reference import document
from symphony.workflow.source_name import is_safe_name, name_from_folder


def loaded(yaml: str, *, tracker: str = "tracker: {kind: files}") -> LoadedWorkflow:
    return parse(f"---\n{tracker}\n{yaml}\n---\nDo it.\n", place="WORKFLOW.md", name="demo")


def faults(yaml: str, *, tracker: str = "tracker: {kind: files}") -> list[Finding]:
    with pytest.raises(InvalidWorkflow) as caught:
        loaded(yaml, tracker=tracker)
    return list(caught.value.findings)


COMMAND = "repository: {url: /srv/app}\nagent: {kind: command, command: ./agent}\n"


def test_our_defaults() -> None:
    workflow = loaded("repository: {url: git@example.com:a/b.git}").workflow
    assert workflow.name == "demo"
    assert workflow.repository is not None
    assert (workflow.repository.branch, workflow.repository.effective_forge) == ("main", "git")
    agent = workflow.agent
    assert (agent.kind, agent.command, agent.model, agent.effort) == ("openai", None, "gpt-6.2-sol", "high")
    assert (agent.max_attempts, agent.max_rework) == (5, 3)
    assert (agent.budget.tokens, agent.budget.cost_usd, agent.budget.seconds) == (None, 20, 14_400)
    assert workflow.tracker.tools == "guarded"
    sandbox = workflow.sandbox
    assert (sandbox.mode, sandbox.network, sandbox.memory, sandbox.disk) == ("auto", "off", 4 << 30, 10 << 30)
    assert (sandbox.processes, sandbox.allow, sandbox.env, sandbox.read) == (512, (), (), ())
    assert workflow.proof.protect == ("WORKFLOW.md", "AGENTS.md", ".github/**", ".gitlab-ci.yml")
    assert (workflow.proof.setup, workflow.proof.checks, workflow.proof.require) == (None, (), ("checks",))
    assert (workflow.land.mode, workflow.land.method, workflow.land.rework) == ("auto", "merge", "continue")
    assert (workflow.server.port, workflow.server.host) == (None, "127.0.0.1")


def test_stages_follow_from_the_repository() -> None:
    assert loaded("").workflow.stages == (Stage.PROVISION, Stage.AGENT)
    assert loaded(COMMAND).workflow.stages == (Stage.PROVISION, Stage.AGENT, Stage.PROOF, Stage.LAND)


@pytest.mark.parametrize("yaml", ["", "repository: null\nagent: {kind: null, model: ~}", "agent: {max_turns: 3}"])
def test_compatible_mode_behaves_as_the_reference(yaml: str) -> None:
    workflow = loaded(yaml).workflow
    assert workflow.is_compatible_mode
    assert (workflow.agent.kind, workflow.agent.max_attempts, workflow.tracker.tools) == ("codex", 0, "raw")
    assert set(workflow.agent.budget.model_dump().values()) == {None}


@pytest.mark.parametrize("yaml", ["repository: {url: x}", "agent: {kind: codex}", "agent: {model: m}"])
def test_any_of_three_keys_ends_compatible_mode(yaml: str) -> None:
    workflow = loaded(yaml).workflow
    assert not workflow.is_compatible_mode
    assert (workflow.agent.max_attempts, workflow.tracker.tools) == (5, "guarded")


def test_what_is_written_goes_before_compatible_mode() -> None:
    read = loaded(
        "agent: {max_attempts: 2, budget: {cost_usd: 1}}", tracker="tracker: {kind: files, tools: guarded}"
    ).workflow
    assert (read.agent.max_attempts, read.tracker.tools) == (2, "guarded")
    assert read.agent.budget.model_dump() == {"tokens": None, "cost_usd": 1, "seconds": None}


def test_numbers_may_be_written_as_text() -> None:
    assert loaded('polling: {interval_ms: "5000"}').workflow.polling.interval == timedelta(seconds=5)


def test_null_and_empty_sections_mean_left_out() -> None:
    workflow = loaded("hooks:\nagent: {max_turns: null}\ncodex: {turn_timeout_ms: ~, approval_policy: ~}\n").workflow
    assert (workflow.hooks.timeout, workflow.agent.max_turns) == (timedelta(minutes=1), 20)
    assert (workflow.codex.turn_timeout_ms, workflow.codex.approval_policy) == (3_600_000, "never")


def test_a_budget_key_may_be_null_for_no_limit() -> None:
    assert loaded(COMMAND[:-2] + ", budget: {cost_usd: null}}").workflow.agent.budget.cost_usd is None


@pytest.mark.parametrize(
    ("yaml", "key", "line"),
    [
        ("agent:\n  max_turns: many", "agent.max_turns", 4),
        ("agent:\n  max_turns: 0", "agent.max_turns", 4),
        ("agent:\n  max_turns: 1.5", "agent.max_turns", 4),
        ("agent:\n  max_concurrent_agents: true", "agent.max_concurrent_agents", 4),
        ("agent:\n  max_retry_backoff_ms: -1", "agent.max_retry_backoff_ms", 4),
        ("agent:\n  max_attempts: -1", "agent.max_attempts", 4),
        ("agent:\n  effort: 3", "agent.effort", 4),
        ("agent:\n  kind: oracle", "agent.kind", 4),
        ("agent:\n  kind: command", "agent.kind", 4),
        ("agent:\n  by_label:\n    big: {kind: command}", "agent.by_label.big.kind", 5),
        ("agent:\n  by_label:\n    big: {kind: 5}", "agent.by_label.big.kind", 5),
        ("agent:\n  max_concurrent_agents_by_state: 3", "agent.max_concurrent_agents_by_state", 4),
        ("agent:\n  budget: {cost_usd: free}", "agent.budget.cost_usd", 4),
        ("agent:\n  budget: {cost_usd: 0}", "agent.budget.cost_usd", 4),
        ("hooks: {timeout_ms: 0}", "hooks.timeout_ms", 3),
        ("hooks: {timeout_ms: soon}", "hooks.timeout_ms", 3),
        ("hooks: {before_run: [a]}", "hooks.before_run", 3),
        ("hooks: [a]", "hooks", 3),
        ("polling: {interval_ms: 0}", "polling.interval_ms", 3),
        ("polling: {interval_ms: 99999999999999999999}", "polling.interval_ms", 3),
        ("codex: {command: ' '}", "codex.command", 3),
        ("codex: {approval_policy: 5}", "codex.approval_policy", 3),
        ("codex: {approval_policy: {reject: all}}", "codex.approval_policy.reject", 3),
        ("workspace: {root: 5}", "workspace.root", 3),
        ("server: {port: 65536}", "server.port", 3),
        ("server: {port: true}", "server.port", 3),
        ("name: ../up", "name", 3),
        ("name: a.lock", "name", 3),
        ("repository: {branch: main}", "repository.url", 3),
        ("repository: {url: --upload-pack=x}", "repository.url", 3),
        ("repository: {url: x, branch: a..b}", "repository.branch", 3),
        ("repository: {url: x, branch: -b}", "repository.branch", 3),
        ("repository: {url: x, forge: svn}", "repository.forge", 3),
        ("sandbox: {memory: lots}", "sandbox.memory", 3),
        ("sandbox: {memory: 0}", "sandbox.memory", 3),
        ("sandbox: {mode: false}", "sandbox.mode", 3),
        ("sandbox: {env: [A-B]}", "sandbox.env[0]", 3),
        ("sandbox: {read: /usr}", "sandbox.read", 3),
        ("proof:\n  checks:\n    - {name: a, run: x}\n    - {name: a, run: y}", "proof.checks[1].name", 6),
        ("proof:\n  checks:\n    - {name: a}", "proof.checks[0].run", 5),
        ("proof: {setup: npm ci}", "proof.setup", 3),
        ("proof: {require: [luck]}", "proof.require[0]", 3),
        ("land: {mode: maybe}", "land.mode", 3),
        ("land: {method: rebase}", "land.method", 3),
    ],
)
def test_each_fault_has_its_key_and_line(yaml: str, key: str, line: int) -> None:
    (finding,) = faults(yaml)
    assert (finding.key, finding.line, finding.category) == (key, line, "invalid_workflow_config")
    assert str(finding).startswith(f"WORKFLOW.md:{line}: ")


@pytest.mark.parametrize(
    ("tracker", "category"),
    [
        ("tracker: {}", "unsupported_tracker_kind"),
        ("tracker:", "unsupported_tracker_kind"),
        ("tracker: {kind: trello}", "unsupported_tracker_kind"),
        ("tracker: {kind: 5}", "unsupported_tracker_kind"),
        ("tracker: {kind: [files]}", "unsupported_tracker_kind"),
        ("tracker: files", "invalid_workflow_config"),
        ("tracker: {kind: files, provider: [a]}", "invalid_tracker_config"),
        ("tracker: {kind: files, provider: {path: 5}}", "invalid_tracker_config"),
        ("tracker: {kind: files, provider: {path: ' '}}", "invalid_tracker_config"),
        ("tracker: {kind: github, provider: {repo: a/b}, active_states: [open]}", "invalid_tracker_config"),
        ("tracker: {kind: files, states: {finished: Done}}", "invalid_workflow_config"),
        ("tracker: {kind: files, active_states: Todo}", "invalid_workflow_config"),
    ],
)
def test_faults_of_the_tracker_section(tracker: str, category: str) -> None:
    assert {finding.category for finding in faults("", tracker=tracker)} == {category}


def test_all_faults_are_told_at_once_and_the_first_is_the_sentence() -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        loaded("agent:\n  max_turns: x\nhooks: {timeout_ms: y}\nland: {mode: z}")
    error = caught.value
    assert [finding.line for finding in error.findings] == [4, 5, 6]
    assert str(error).startswith("WORKFLOW.md:4: agent.max_turns must be a whole number")
    assert "2 more" in str(error)


def test_an_unknown_value_lists_the_allowed_ones() -> None:
    (finding,) = faults("land: {mode: maybe}")
    assert all(word in finding.message for word in ("auto", "review", "off", "maybe"))


def test_unknown_keys_are_kept_and_warned_of_once_each() -> None:
    read = loaded("agent: {max_turn: 3}\nobservability: {a: {b: 1}}\nproof: {checks: [{name: a, run: b, x: 1}]}")
    unknown = {note.key: note for note in read.warnings if note.category == "unknown_key"}
    assert set(unknown) == {"agent.max_turn", "observability", "proof.checks[0].x"}
    assert unknown["agent.max_turn"].cure == "did you mean max_turns?"
    assert unknown["agent.max_turn"].line == 3
    assert read.config["observability"] == {"a": {"b": 1}}
    assert (read.workflow.model_extra or {})["observability"] == {"a": {"b": 1}}


def test_older_flat_tracker_keys_become_the_providers() -> None:
    read = loaded("", tracker="tracker: {kind: linear, endpoint: e, api_key: $K, project_slug: s, assignee: me}")
    assert read.workflow.tracker.provider == {
        "endpoint": "e", "api_key": "$K", "project_slug": "s", "assignee": "me"
    }  # fmt: skip
    assert read.warnings == ()


def test_the_providers_own_key_goes_before_the_older_one() -> None:
    read = loaded("", tracker="tracker: {kind: linear, project_slug: old, provider: {project_slug: new}}")
    assert read.workflow.tracker.provider == {"project_slug": "new"}


@pytest.mark.parametrize(
    ("written", "translated"),
    [
        ("on-failure", "on-request"),
        ("never", "never"),
        ("{granular: {rules: true}}", {"granular": {"rules": True}}),
        (
            "{reject: {sandbox_approval: true, rules: true, mcp_elicitations: true}}",
            {
                "granular": {
                    "sandbox_approval": False,
                    "rules": False,
                    "skill_approval": True,
                    "request_permissions": True,
                    "mcp_elicitations": False,
                }
            },
        ),
    ],
)
def test_older_approval_policies_are_translated_with_one_warning(written: str, translated: object) -> None:
    read = loaded(f"codex: {{approval_policy: {written}}}")
    assert read.workflow.codex.approval_policy == translated
    older = written == "on-failure" or "reject" in written
    assert [note.category for note in read.warnings] == ["translated_policy"] * older


def test_time_limits_fall_back_to_codex() -> None:
    workflow = loaded("codex: {turn_timeout_ms: 1000, stall_timeout_ms: 2000}").workflow
    assert (workflow.turn_timeout, workflow.stall_timeout) == (timedelta(seconds=1), timedelta(seconds=2))
    workflow = loaded("codex: {stall_timeout_ms: 0}\nagent: {turn_timeout_ms: 3000, stall_timeout_ms: 4000}").workflow
    assert (workflow.turn_timeout, workflow.stall_timeout) == (timedelta(seconds=3), timedelta(seconds=4))


@pytest.mark.parametrize("yaml", ["codex: {stall_timeout_ms: 0}", "agent: {stall_timeout_ms: -5}"])
def test_no_stall_limit_at_or_below_zero(yaml: str) -> None:
    assert loaded(yaml).workflow.stall_timeout is None


@pytest.mark.parametrize(("text", "size"), [("4GiB", 4 << 30), ("512 MiB", 512 << 20), ("1024", 1024), ("4GB", 4e9)])
def test_sizes(text: str, size: float) -> None:
    assert loaded(f"sandbox: {{memory: {text}}}").workflow.sandbox.memory == size


def test_labels_choose_the_agent_key_by_key() -> None:
    agent = loaded(
        "agent:\n  kind: command\n  command: ./a\n  by_label:\n"
        "    Urgent: {effort: max, budget: {cost_usd: 50}}\n    small: {effort: low, model: mini}\n"
    ).workflow.agent
    assert agent.choice(["other"]).effort == "high"
    choice = agent.choice(["SMALL", " urgent "])
    assert (choice.kind, choice.effort, choice.model) == ("command", "max", "mini")
    assert (choice.budget.cost_usd, choice.budget.seconds) == (50, 14_400)


def test_slots_and_states_come_normalised() -> None:
    workflow = loaded("agent: {max_concurrent_agents_by_state: {' In Progress ': 2}}").workflow
    assert workflow.agent.slots.by_state == {"in progress": 2}
    assert workflow.tracker.state_sets.is_active(" TODO ")
    assert workflow.tracker.state_sets.is_terminal("cancelled")


@pytest.mark.parametrize(
    ("states", "keys"),
    [
        ("{started: In Progress, rework: Rework, merging: merging, review: Human Review, done: Done}", []),
        ("{started: Doing}", ["started"]),
        ("{rework: Done, merging: Nowhere}", ["rework", "merging"]),
        ("{review: Todo, blocked: Closed}", ["review", "blocked"]),
        ("{done: Todo}", ["done"]),
    ],
)
def test_states_must_agree_with_active_and_terminal(states: str, keys: list[str]) -> None:
    read = loaded("", tracker=f"tracker:\n  kind: files\n  states: {states}")
    found = state_findings(read.workflow, read.places)
    assert [finding.key for finding in found] == [f"tracker.states.{key}" for key in keys]
    assert all(finding.line == 4 and finding.severity == "error" for finding in found)


def test_a_state_in_both_lists_is_a_warning() -> None:
    read = loaded("", tracker="tracker: {kind: files, active_states: [A, b], terminal_states: [B]}")
    assert [finding.severity for finding in state_findings(read.workflow, read.places)] == ["warning"]


def test_parts_that_this_build_lacks() -> None:
    read = loaded(
        "repository: {url: https://github.com/a/b}\nagent: {by_label: {x: {kind: codex}}}\n"
        "sandbox: {mode: landlock}\nproof: {require: [checks, ci]}\nworker: {ssh_hosts: [h]}",
        tracker="tracker: {kind: github, active_states: [open], terminal_states: [closed]}",
    )
    found = missing_parts(read.workflow, read.places)
    assert {finding.category for finding in found} == {"not_in_this_build"}
    assert [(finding.key, finding.line) for finding in found] == [
        ("tracker.kind", 2),
        ("agent.by_label.x.kind", 4),
        ("sandbox.mode", 5),
        ("repository.forge", 3),
        ("proof.require[1]", 6),
        ("worker.ssh_hosts", 7),
    ]


def test_nothing_is_missing_for_files_and_a_command() -> None:
    read = loaded(COMMAND)
    assert missing_parts(read.workflow, read.places) == []
    assert not_enforced(read.workflow, read.places) == []


def test_a_network_limit_that_is_not_kept_is_told() -> None:
    read = loaded("sandbox: {network: off}")
    assert [finding.severity for finding in not_enforced(read.workflow, read.places)] == ["warning"]


@pytest.mark.parametrize(
    ("url", "forge"),
    [
        ("https://github.com/a/b.git", "github"),
        ("git@github.com:a/b.git", "github"),
        ("ssh://git@ssh.github.com:443/a/b", "github"),
        ("/srv/github.com/a", "git"),
        ("https://github.com.evil.example/a", "git"),
        ("./github.com:a", "git"),
    ],
)
def test_the_forge_is_told_from_the_url(url: str, forge: str) -> None:
    repository = loaded(f"repository: {{url: '{url}'}}").workflow.repository
    assert repository is not None
    assert repository.effective_forge == forge


def test_secrets_are_warned_of_and_never_shown() -> None:
    read = loaded(
        "repository: {url: 'https://me:hunter2@example.com/a.git'}\ntoken: hunter2",
        tracker="tracker: {kind: linear, api_key: hunter2, project_slug: s}",
    )
    assert [(note.category, note.line) for note in read.warnings if note.category == "literal_secret"] == [
        ("literal_secret", 2),
        ("literal_secret", 3),
    ]
    shown = repr(read) + repr(read.workflow) + str(read.workflow.tracker) + "".join(map(repr, read.warnings))
    assert "hunter2" not in shown


def test_a_refusal_does_not_show_an_adapters_values() -> None:
    found = faults("", tracker="tracker: {kind: linear, provider: {api_key: [hunter2], project_slug: 77001}}")
    assert "hunter2" not in repr(found)
    assert "77001" not in repr(found)


@pytest.mark.parametrize("name", ["a", "payments", "a.b-c_d", "9"])
def test_safe_names(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a..b", "a/b", "a b", "a.lock", "a.", "é", "a" * 65, "a\n"])
def test_unsafe_names(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("/srv/payments", "payments"), ("/srv/My App!", "My-App"), ("/", "workflow"), ("/srv/…", "workflow"),
     ("/srv/.hidden", "hidden"), ("/srv/" + "x" * 100, "x" * 64), ("/srv/a...b.lock", "workflow")],
)  # fmt: skip
def test_names_from_folders(folder: str, name: str) -> None:
    made = name_from_folder(Path(folder))
    assert is_safe_name(made)
    assert made == name or folder.endswith(".lock")


def test_the_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "workflow.md"
    assert page.read_text(encoding="utf-8") == document(), "run python -m symphony.workflow.reference docs/workflow.md"


def test_the_reference_names_every_key() -> None:
    page = document()
    for key in ("max_concurrent_agents_by_state", "stall_timeout_ms", "tracker.provider.path", "protect", "rework"):
        assert f"`{key}`" in page
