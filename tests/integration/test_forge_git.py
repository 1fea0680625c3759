"""The plain forge against a real repository, with people who push, rewind and forbid while we land."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from symphony.domain.errors import ConfigError, InvariantViolated, Rejected, SymphonyError, Transient
from symphony.forges import Forge, branch_name, snapshot_ref
from symphony.forges.git import GitForge
from symphony.processes.git import Credential, Git
from symphony.processes.guardian import Guardian, Tree
from symphony.workspaces.mirrors import Mirror
from tests.fakes.repositories import Repository, candidate, git, merged

pytest_plugins = ["tests.fakes.repository_fixtures"]


def refused(call: object) -> tuple[type[SymphonyError], str]:
    with pytest.raises(SymphonyError) as caught:
        call()  # type: ignore[operator]
    return type(caught.value), caught.value.category


def test_the_plain_forge_is_a_forge(forge: GitForge) -> None:
    as_protocol: Forge = forge
    assert as_protocol.branch == "main"


def test_a_merge_lands(forge: GitForge, mirror: Mirror, store: Git, repository: Repository) -> None:
    merge = merged(store, repository.first, candidate(store, repository.first))
    assert not mirror.update(lambda there: forge.has_landed(there, merge))
    forge.move_target(store, merge, base=repository.first)
    assert repository.tip() == merge
    assert mirror.update(lambda there: forge.has_landed(there, merge))


def test_a_push_repeated_after_a_crash_is_fine(forge: GitForge, store: Git, repository: Repository) -> None:
    merge = merged(store, repository.first, candidate(store, repository.first))
    forge.move_target(store, merge, base=repository.first)
    forge.move_target(store, merge, base=repository.first)
    assert repository.tip() == merge


def test_a_landed_merge_is_found_below_what_came_after(
    forge: GitForge, mirror: Mirror, store: Git, repository: Repository
) -> None:
    merge = merged(store, repository.first, candidate(store, repository.first))
    forge.move_target(store, merge, base=repository.first)
    repository.person.reset("origin/main")
    repository.person.commit({"later": "x"})
    repository.person.push()
    assert mirror.update(lambda there: forge.has_landed(there, merge))
    assert not mirror.update(lambda there: forge.has_landed(there, "1" * 40))


def test_an_intruder_before_the_push_makes_the_lease_stale(forge: GitForge, store: Git, repository: Repository) -> None:
    merge = merged(store, repository.first, candidate(store, repository.first))
    theirs = repository.person.commit({"theirs": "x"})
    repository.person.push()
    assert refused(lambda: forge.move_target(store, merge, base=repository.first)) == (Rejected, "lease_stale")
    assert repository.tip() == theirs


def test_an_intruder_during_the_push_is_not_undone(
    forge: GitForge, store: Git, repository: Repository, tmp_path: Path
) -> None:
    merge = merged(store, repository.first, candidate(store, repository.first))
    theirs = repository.person.commit({"theirs": "x"})
    repository.person.push(branch="parked")
    # The server has told us where the target is and has taken our objects; then the target moves.
    repository.hook("pre-receive", f"env -u GIT_QUARANTINE_PATH git update-ref refs/heads/main {theirs}")
    assert refused(lambda: forge.move_target(store, merge, base=repository.first)) == (Rejected, "lease_stale")
    assert repository.tip() == theirs


def test_a_target_rewound_during_the_push_is_not_restored(
    forge: GitForge, mirror: Mirror, store: Git, repository: Repository
) -> None:
    second = repository.person.commit({"secret.txt": "leaked"})
    repository.person.push()
    mirror.update(forge.fetch_target)
    merge = merged(store, second, candidate(store, second))
    repository.hook("pre-receive", f"env -u GIT_QUARANTINE_PATH git update-ref refs/heads/main {repository.first}")
    assert refused(lambda: forge.move_target(store, merge, base=second)) == (Rejected, "lease_stale")
    assert repository.tip() == repository.first


def test_a_rewound_target_is_not_restored(forge: GitForge, mirror: Mirror, store: Git, repository: Repository) -> None:
    second = repository.person.commit({"secret.txt": "leaked"})
    repository.person.push()
    assert mirror.update(forge.fetch_target) == second
    merge = merged(store, second, candidate(store, second))
    repository.person.reset(repository.first)
    repository.person.push("--force")
    assert refused(lambda: forge.move_target(store, merge, base=second)) == (Rejected, "lease_stale")
    assert repository.tip() == repository.first
    assert mirror.update(forge.fetch_target) == repository.first
    assert not mirror.update(lambda there: forge.has_landed(there, second))


def test_a_removed_target_is_not_made_again(forge: GitForge, store: Git, repository: Repository) -> None:
    merge = merged(store, repository.first, candidate(store, repository.first))
    git(repository.path, "update-ref", "-d", "refs/heads/main")
    assert refused(lambda: forge.move_target(store, merge, base=repository.first)) == (Rejected, "lease_stale")
    assert repository.refs() == {}


def test_what_does_not_descend_from_the_base_is_never_pushed(
    forge: GitForge, mirror: Mirror, store: Git, repository: Repository
) -> None:
    second = repository.person.commit({"b": "2"})
    repository.person.push()
    mirror.update(forge.fetch_target)
    with pytest.raises(InvariantViolated):
        forge.move_target(store, candidate(store, repository.first), base=second)
    assert repository.tip() == second


def test_of_many_landers_with_one_base_exactly_one_wins(
    guardian: Guardian, forge: GitForge, mirror: Mirror, store: Git, repository: Repository
) -> None:
    heads = [candidate(store, repository.first, f"{number}", f"f{number}") for number in range(6)]
    merges = [merged(store, repository.first, head) for head in heads]
    outcomes: list[str] = []
    start = threading.Barrier(len(merges))

    def land(number: int) -> None:
        with guardian.tree(f"lander-{number}") as tree:
            start.wait(20)
            try:
                forge.move_target(Git(tree, mirror.path), merges[number], base=repository.first)
                outcomes.append(merges[number])
            except (Rejected, Transient) as error:
                outcomes.append(error.category)

    threads = [threading.Thread(target=land, args=(number,)) for number in range(len(merges))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    won = [outcome for outcome in outcomes if outcome in merges]
    assert won == [repository.tip()]
    assert len(outcomes) == len(merges)
    assert set(outcomes) - set(won) <= {"lease_stale", "git_lock"}


def test_a_hook_that_declines_is_told_apart_from_a_stale_lease(forge: GitForge, store: Git, repository: Repository) -> None:
    merge = merged(store, repository.first, candidate(store, repository.first))
    repository.hook("pre-receive", "echo 'no landings on a Friday' >&2; exit 1")
    with pytest.raises(Rejected, match="no landings on a Friday") as caught:
        forge.move_target(store, merge, base=repository.first)
    assert caught.value.category == "hook_declined"
    repository.hook("pre-receive", "echo 'GH006: Protected branch update failed' >&2; exit 1")
    assert refused(lambda: forge.move_target(store, merge, base=repository.first)) == (Rejected, "protected")


def test_the_repositorys_own_hooks_do_run(forge: GitForge, store: Git, repository: Repository, tmp_path: Path) -> None:
    repository.hook("post-receive", f"cat > {tmp_path}/received")
    forge.move_target(store, merged(store, repository.first, candidate(store, repository.first)), base=repository.first)
    assert "refs/heads/main" in (tmp_path / "received").read_text()


def test_a_checked_out_target_has_a_cure(tree: Tree, store: Git, repository: Repository) -> None:
    forge = GitForge(str(repository.person.clone), "main")
    merge = merged(store, repository.first, candidate(store, repository.first))
    with pytest.raises(ConfigError, match="updateInstead"):
        forge.move_target(store, merge, base=repository.first)


def test_snapshots_are_hidden_and_each_token_has_its_own(
    forge: GitForge, mirror: Mirror, store: Git, repository: Repository
) -> None:
    newer, stale = candidate(store, repository.first, "new"), candidate(store, repository.first, "old")
    forge.push_snapshot(store, snapshot_ref("run-1", 2), newer)
    forge.push_snapshot(store, snapshot_ref("run-1", 1), stale)
    forge.push_snapshot(store, snapshot_ref("run-2", 1), newer)
    expected = {snapshot_ref("run-1", 1): stale, snapshot_ref("run-1", 2): newer}
    assert forge.snapshots(store, "run-1") == expected
    git(repository.person.clone, "fetch", "-q", "--prune", "origin")
    assert "symphony" not in git(repository.person.clone, "for-each-ref")
    forge.drop_snapshots(store, [snapshot_ref("run-1", 1)])
    forge.drop_snapshots(store, [snapshot_ref("run-1", 1)])
    forge.drop_snapshots(store, [])
    assert forge.snapshots(store, "run-1") == {snapshot_ref("run-1", 2): newer}


def test_a_snapshot_may_replace_its_own_tokens_older_one(forge: GitForge, store: Git, repository: Repository) -> None:
    ref = snapshot_ref("run-1", 1)
    for content in ("1", "2"):
        commit = candidate(store, repository.first, content)
        forge.push_snapshot(store, ref, commit)
    assert repository.tip(ref) == commit


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/symphony/other", "refs/symphony/wipe/1"])
def test_a_snapshot_is_pushed_nowhere_else(forge: GitForge, store: Git, repository: Repository, ref: str) -> None:
    with pytest.raises(InvariantViolated):
        forge.push_snapshot(store, ref, repository.first)
    with pytest.raises(InvariantViolated):
        forge.drop_snapshots(store, [ref])
    assert repository.tip() == repository.first


def test_a_run_is_taken_up_on_another_node_from_its_snapshot(
    forge: GitForge, store: Git, repository: Repository, tree: Tree, tmp_path: Path
) -> None:
    commit, ref = candidate(store, repository.first), snapshot_ref("run-1", 1)
    forge.push_snapshot(store, ref, commit)
    other = Mirror(tree, tmp_path / "other node", repository.url)
    other.update(lambda there: forge.fetch(there, [ref]))
    assert other.git.has(commit)
    assert refused(lambda: other.update(lambda there: forge.fetch(there, [snapshot_ref("run-1", 9)]))) == (
        Rejected,
        "ref_missing",
    )


def test_a_branch_is_published_and_moved_from_where_we_left_it(forge: GitForge, store: Git, repository: Repository) -> None:
    branch = branch_name("DEMO-1")
    one, two = candidate(store, repository.first, "1"), candidate(store, repository.first, "2")
    forge.publish(store, branch, one, expected=None)
    assert repository.tip(f"refs/heads/{branch}") == one
    forge.publish(store, branch, two, expected=one)
    assert repository.tip(f"refs/heads/{branch}") == two
    for stale in (None, one):
        assert refused(lambda: forge.publish(store, branch, one, expected=stale)) == (Rejected, "lease_stale")  # noqa: B023
    forge.publish(store, branch, two, expected=one)
    assert repository.tip(f"refs/heads/{branch}") == two


def test_a_persons_commit_on_our_branch_is_not_overwritten(forge: GitForge, store: Git, repository: Repository) -> None:
    one = candidate(store, repository.first, "1")
    forge.publish(store, "symphony/DEMO-1", one, expected=None)
    repository.person.reset("origin/symphony/DEMO-1")
    theirs = repository.person.commit({"theirs": "x"})
    repository.person.push(branch="symphony/DEMO-1")
    two = candidate(store, repository.first, "2")
    assert refused(lambda: forge.publish(store, "symphony/DEMO-1", two, expected=one)) == (Rejected, "lease_stale")
    assert repository.tip("refs/heads/symphony/DEMO-1") == theirs


def test_the_target_is_never_published_to(forge: GitForge, store: Git, repository: Repository) -> None:
    with pytest.raises(InvariantViolated):
        forge.publish(store, "main", repository.first, expected=repository.first)


def test_a_repository_that_lets_nothing_be_rewritten_has_a_cure(
    forge: GitForge, store: Git, repository: Repository
) -> None:
    git(repository.path, "config", "receive.denyNonFastForwards", "true")
    one, two = (candidate(store, repository.first, content) for content in ("one\n", "two\n"))
    forge.publish(store, "symphony/DEMO-1", one, expected=None)
    with pytest.raises(ConfigError, match="denyNonFastForwards"):
        forge.publish(store, "symphony/DEMO-1", two, expected=one)
    assert repository.tip("refs/heads/symphony/DEMO-1") == one


def test_a_branch_named_like_our_folder_has_a_cure(forge: GitForge, store: Git, repository: Repository) -> None:
    git(repository.path, "update-ref", "refs/heads/symphony", repository.first)
    with pytest.raises(ConfigError, match="rename the branch symphony") as caught:
        forge.publish(store, "symphony/DEMO-1", candidate(store, repository.first), expected=None)
    assert caught.value.category == "ref_conflict"


@pytest.mark.parametrize("branch", ["nope", "a..b", "bad name", "-x", ""])
def test_a_target_that_is_not_there_is_the_operators_to_correct(
    repository: Repository, mirror: Mirror, branch: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        mirror.update(GitForge(repository.url, branch).fetch_target)
    assert caught.value.place == "repository.branch"


@pytest.mark.parametrize(("before", "after"), [("release", "release/1"), ("release/1", "release")])
def test_a_target_may_take_the_place_of_a_branch_that_stood_in_its_way(
    repository: Repository, mirror: Mirror, before: str, after: str
) -> None:
    git(repository.path, "branch", before, "main")
    mirror.update(GitForge(repository.url, before).fetch_target)
    git(repository.path, "branch", "-m", before, "between")
    git(repository.path, "branch", "-m", "between", after)
    assert mirror.update(GitForge(repository.url, after).fetch_target) == repository.first
    assert mirror.update(GitForge(repository.url, "main").fetch_target) == repository.first


def test_a_repository_that_is_not_there_is_the_operators_to_correct(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for url in (str(tmp_path / "nope"), str(tmp_path / "folder"), "ext::sh -c touch% canary"):
        assert refused(lambda: mirror.update(GitForge(url, "main").fetch_target)) == (ConfigError, "remote_missing")  # noqa: B023
    with pytest.raises(ConfigError):
        GitForge("--upload-pack=touch canary", "main")


def test_an_unreachable_repository_is_worth_another_try(mirror: Mirror) -> None:
    for url in ("git://127.0.0.1:1/x", "http://127.0.0.1:1/x"):
        assert refused(lambda: mirror.update(GitForge(url, "main").fetch_target)) == (Transient, "network")  # noqa: B023


def test_the_operators_configuration_serves_remote_commands_only(
    tree: Tree, repository: Repository, tmp_path: Path, forge: GitForge
) -> None:
    canary = tmp_path / "canary"
    (tmp_path / ".gitconfig").write_text(
        f'[url "{repository.path.parent}/"]\n\tinsteadOf = work:\n'
        f"[core]\n\thooksPath = {tmp_path}/hooks\n\tfsmonitor = touch {canary}\n\texcludesFile = {tmp_path}/all\n"
        "[push]\n\tfollowTags = true\n\tgpgSign = true\n"
    )
    (tmp_path / "hooks").mkdir()
    # At the other end of a local path the operator's configuration is in its right; in our store it is not.
    for name in ("pre-push", "reference-transaction"):
        (tmp_path / "hooks" / name).write_text(
            f'#!/bin/sh\ncase "$GIT_DIR$PWD" in *{tmp_path}/m/*) touch {canary};; esac\n'
        )
        (tmp_path / "hooks" / name).chmod(0o755)
    mirror = Mirror(tree, tmp_path / "m", "work:origin.git")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    seen = GitForge("work:origin.git", "main")
    mirror.update(lambda there: seen.fetch_target(Git(tree, there.git_dir, environ=environ)))
    store = Git(tree, mirror.path, environ=environ)
    assert store.run("config", "--get", "core.excludesFile") == "/dev/null"
    merge = merged(store, repository.first, candidate(store, repository.first))
    seen.move_target(store, merge, base=repository.first)
    assert repository.tip() == merge
    assert not canary.exists()


def test_a_credential_reaches_git_but_no_command_line(tree: Tree, mirror: Mirror, tmp_path: Path) -> None:
    asked: list[str] = []

    def mint() -> Credential:
        asked.append("")
        return Credential("https://code.example.org", "x-access-token", "s3cret")

    store = Git(tree, mirror.path, environ={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    environment = store._remote_environment(mint)
    fill = ["git", "credential", "fill"]

    def ask(host: str) -> str:
        done = tree.run(fill, cwd=tmp_path, env=environment, stdin=f"protocol=https\nhost={host}\n\n".encode())
        return done.stdout.text()

    assert "password=s3cret" in ask("code.example.org")
    assert "s3cret" not in ask("evil.example.org")
    assert len(asked) == 1
    assert "s3cret" not in repr(mint())
