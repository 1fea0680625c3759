"""What git's words mean, environments and branch names: the pure parts around workspaces."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain.errors import ConfigError, Rejected, SymphonyError, Transient
from symphony.forges import branch_name, snapshot_ref
from symphony.processes.environment import agent_environment, inherited_environment
from symphony.processes.git_failures import failure

_MOVED = f"is at {'a' * 40} but expected {'b' * 40}"
_SSH = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights"

SAID: list[tuple[str, type[SymphonyError], str]] = [
    ("!\tabc:refs/heads/main\t[rejected] (stale info)", Rejected, "lease_stale"),
    (" ! [rejected] main -> main (non-fast-forward)", Rejected, "lease_stale"),
    (" ! [rejected] main -> main (fetch first)", Rejected, "lease_stale"),
    (f"! [remote rejected] main (cannot lock ref 'refs/heads/main': {_MOVED})", Rejected, "lease_stale"),
    (
        "!\ta:b\t[remote rejected] (non-fast-forward)\nremote: error: denying non-fast-forward b",
        ConfigError,
        "rewriting_denied",
    ),
    ("! [remote rejected] main -> main (pre-receive hook declined)", Rejected, "hook_declined"),
    ("! [remote rejected] main -> main (protected branch hook declined)", Rejected, "protected"),
    ("remote: error: GH006: Protected branch update failed\n! (hook declined)", Rejected, "protected"),
    ("! (cannot lock ref 'r/s/A': 'r/s' exists; cannot create 'r/s/A')", Rejected, "ref_conflict"),
    ("! [remote rejected] main -> main (branch is currently checked out)", ConfigError, "checked_out"),
    ("fatal: Authentication failed for 'https://x/'", ConfigError, "auth_failed"),
    ("fatal: could not read Username for 'https://x': terminal prompts disabled", ConfigError, "auth_failed"),
    (f"git@x: Permission denied (publickey).\n{_SSH}\nand the repository exists.", ConfigError, "auth_failed"),
    (f"Host key verification failed.\n{_SSH}", ConfigError, "auth_failed"),
    ("remote: Repository not found.\nfatal: repository 'https://x/y/' not found", ConfigError, "remote_missing"),
    (f"fatal: '/x' does not appear to be a git repository\n{_SSH}", ConfigError, "remote_missing"),
    ("fatal: couldn't find remote ref refs/heads/nope", Rejected, "ref_missing"),
    ("fatal: remote error: upload-pack: not our ref abc", Rejected, "ref_missing"),
    ("fatal: unable to access 'https://x/': Could not resolve host: x", Transient, "network"),
    (f"ssh: connect to host x port 22: Connection refused\n{_SSH}", Transient, "network"),
    ("fatal: unable to access 'https://x/': The requested URL returned error: 503", Transient, "network"),
    ("error: RPC failed; curl 56\nfatal: early EOF", Transient, "network"),
    ("fatal: Unable to create '/m/index.lock': File exists.", Transient, "git_lock"),
    ("fatal: write error: No space left on device", Transient, "disk_full"),
    ("error: object file objects/ab/cd is empty\nfatal: loose object abcd is corrupt", Transient, "repository_corrupt"),
    ("fatal: not a git repository: '/m'", Transient, "repository_corrupt"),
    ("fatal: something nobody has seen", Transient, "git_failed"),
]


@pytest.mark.parametrize(("said", "error", "category"), SAID)
def test_gits_words_become_an_error_that_says_what_happens_next(
    said: str, error: type[SymphonyError], category: str
) -> None:
    found = failure("push", said)
    assert (type(found), found.category) == (error, category)


def test_no_password_of_a_url_is_repeated() -> None:
    found = failure("fetch", "fatal: unable to access 'https://ada:hunter2@x.org/r.git/': Could not resolve host: x.org")
    assert "hunter2" not in str(found)
    assert "https://x.org/r.git" in str(found)


def test_a_long_complaint_keeps_its_end() -> None:
    message = failure("push", "remote: " + "x" * 5000 + "\nfatal: the end").message
    assert message.endswith("fatal: the end")
    assert len(message) < 800


ENVIRON = {
    "PATH": "/bin",
    "HOME": "/home/ada",
    "LC_TIME": "C",
    "OPENAI_API_KEY": "sk",
    "LINEAR_API_KEY": "lin",
    "SSH_AUTH_SOCK": "/run/agent",
    "SYMPHONY_DATABASE_URL": "postgresql://u:p@h/d",
    "SYMPHONY_BROKER_URL": "redis://h",
    "EXTRA": "1",
}


def test_agents_see_the_built_in_few_and_what_was_named() -> None:
    assert agent_environment([], ENVIRON) == {"PATH": "/bin", "HOME": "/home/ada", "LC_TIME": "C"}
    assert agent_environment(["EXTRA"], ENVIRON)["EXTRA"] == "1"
    assert "UNSET" not in agent_environment(["UNSET"], ENVIRON)


@pytest.mark.parametrize("name", ["SYMPHONY_DATABASE_URL", "SYMPHONY_BROKER_URL", "LINEAR_API_KEY"])
def test_symphonys_credentials_cannot_be_passed_even_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        agent_environment([name], ENVIRON, secrets={"LINEAR_API_KEY"})


def test_compatible_mode_hands_down_all_but_secrets() -> None:
    passed = inherited_environment(ENVIRON, secrets={"LINEAR_API_KEY"})
    assert set(ENVIRON) - set(passed) == {"LINEAR_API_KEY", "SYMPHONY_DATABASE_URL", "SYMPHONY_BROKER_URL"}


KEYS = st.text(alphabet="abZ09._-", min_size=1, max_size=30)


@given(KEYS, st.none() | KEYS)
def test_every_key_has_a_branch_that_git_takes(key: str, workflow: str | None) -> None:
    assert _takes(f"refs/heads/{branch_name(key, workflow=workflow)}")


@pytest.mark.parametrize("key", [".hidden", "a..b", "a.lock", "a.", "-a", "...", "a.lock.lock", "..", "a....b"])
def test_awkward_keys_have_a_branch_too(key: str) -> None:
    assert _takes(f"refs/heads/{branch_name(key)}")


def test_plain_keys_keep_their_name() -> None:
    assert branch_name("DEMO-1") == "symphony/DEMO-1"
    assert branch_name("DEMO-1", workflow="payments") == "symphony/DEMO-1@payments"
    assert snapshot_ref("0198", 3) == "refs/symphony/wip/0198/3"


@given(KEYS, KEYS)
def test_different_keys_have_different_branches(one: str, other: str) -> None:
    assert (branch_name(one) == branch_name(other)) == (one == other)


def _takes(ref: str) -> bool:
    """Say what git says of a ref's name, by its written rules: a process for each example would take minutes."""
    if any(part.startswith(".") or part.endswith((".lock", ".")) or not part for part in ref.split("/")):
        return False
    return not any(bad in ref for bad in ("..", "@{", "\\", "~", "^", ":", "?", "*", "[", " "))


@pytest.mark.parametrize("name", ["a", ".a", "a..b", "a.lock", "a.", "a@b", "-a", "a_.lock_"])
def test_the_written_rules_are_gits(name: str) -> None:
    ref = f"refs/heads/symphony/{name}"
    assert (subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0) == _takes(ref)
