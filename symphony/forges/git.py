"""The plain forge: a git repository behind any url or path that git itself understands.

Invariant: a push that moves something names the commit that must be there now (`--force-with-lease`), and the server
compares again; the target is pushed only to a descendant of that commit. So an intruder's commit is never undone and a
rewound target never restored. Other forges build upon this class.
"""

from __future__ import annotations

from collections.abc import Sequence

from symphony.domain.errors import ConfigError, InvariantViolated, Rejected
from symphony.forges import SNAPSHOTS
from symphony.processes.git import CredentialSource, Git
from symphony.processes.git_failures import REF_CONFLICT, REF_MISSING


class GitForge:
    """A repository that is asked by git commands only."""

    def __init__(self, url: str, branch: str, *, credential: CredentialSource | None = None) -> None:
        if url.startswith("-"):
            raise ConfigError(f"{url} is no url", place="repository.url", cure="write the repository's url")
        self.url = url
        self.branch = branch
        self._credential = credential
        self._target = f"refs/heads/{branch}"

    def fetch_target(self, git: Git) -> str:
        """Bring the target into the store and return its commit."""
        if not git.answer("check-ref-format", self._target)[0]:
            raise ConfigError(f"{self.branch} is no branch name", place="repository.branch", cure="correct it")
        try:
            self._fetch_branch(git)
        except Rejected as error:
            if error.category != REF_MISSING:
                raise
            raise ConfigError(
                f"the repository has no branch {self.branch}",
                place="repository.branch",
                cure="name a branch that exists, or push a first commit to it",
                category="branch_missing",
            ) from error
        return git.run("rev-parse", "--verify", "--end-of-options", f"{self._target}^{{commit}}")

    def fetch(self, git: Git, refs: Sequence[str]) -> None:
        """Bring refs into the store under their own names, rewound ones too."""
        self._remote(git, "fetch", "--quiet", "--no-write-fetch-head", "--", refs=[f"+{ref}:{ref}" for ref in refs])

    def push_snapshot(self, git: Git, ref: str, commit: str) -> None:
        """Set a run's own hidden ref, whatever it was: the run's row, never the ref, says what counts."""
        self._require_hidden([ref])
        self._push(git, f"+{commit}:{ref}")

    def snapshots(self, git: Git, run: str) -> dict[str, str]:
        """Give the hidden refs of a run at the repository, with their commits."""
        told = self._remote(git, "ls-remote", "--refs", "--", refs=[f"{SNAPSHOTS}/{run}/*"])
        return {ref: commit for commit, ref in (line.split("\t") for line in told.splitlines())}

    def drop_snapshots(self, git: Git, refs: Sequence[str]) -> None:
        """Remove hidden refs; those that are gone are fine."""
        self._require_hidden(refs)
        if refs:
            self._push(git, *(f":{ref}" for ref in refs))

    def publish(self, git: Git, branch: str, commit: str, *, expected: str | None) -> None:
        """Move a branch of Symphony's from `expected` to `commit`; it may be rewritten, but only from there."""
        ref = f"refs/heads/{branch}"
        if ref == self._target:
            raise InvariantViolated(f"{branch} is the target: it is not published to")
        try:
            self._push(git, f"{commit}:{ref}", lease=(ref, expected or ""))
        except Rejected as error:
            if error.category != REF_CONFLICT:
                raise
            raise ConfigError(
                f"the branch {branch} cannot be made: the repository has a branch named like one of its folders",
                place=branch,
                cure=f"rename the branch {branch.partition('/')[0]} in the repository",
                category=REF_CONFLICT,
            ) from error

    def move_target(self, git: Git, commit: str, *, base: str) -> None:
        """Move the target from `base` forward to `commit`; done already is fine."""
        # The lease permits what git calls a forced update, so that this is a step forward is checked here.
        if not git.descends(commit, ancestor=base):
            raise InvariantViolated(f"{commit} does not descend from {base}: it is not pushed to {self.branch}")
        self._push(git, f"{commit}:{self._target}", lease=(self._target, base))

    def has_landed(self, git: Git, commit: str) -> bool:
        """Tell whether the target holds `commit`, asked now."""
        target = self.fetch_target(git)
        # After the fetch the store has all that the target holds.
        return git.has(commit) and git.descends(target, ancestor=commit)

    def _fetch_branch(self, git: Git) -> None:
        try:
            self.fetch(git, [self._target])
        except Rejected as error:
            if error.category != REF_CONFLICT:
                raise
            self._forget_branches_in_the_way(git)
            self.fetch(git, [self._target])

    def _forget_branches_in_the_way(self, git: Git) -> None:
        """Drop what the repository no longer has: no repository holds `release` beside `release/1`."""
        for ref in git.run("for-each-ref", "--format=%(refname)", "refs/heads/").splitlines():
            if f"{ref}/".startswith(f"{self._target}/") or f"{self._target}/".startswith(f"{ref}/"):
                git.run("update-ref", "--no-deref", "-d", ref)

    def _push(self, git: Git, *refs: str, lease: tuple[str, str] | None = None) -> None:
        leases = [f"--force-with-lease={lease[0]}:{lease[1]}"] if lease else []
        self._remote(git, "push", "--porcelain", "--no-verify", *leases, "--", refs=refs)

    def _remote(self, git: Git, *command: str, refs: Sequence[str]) -> str:
        return git.remote(*command, self.url, *refs, credential=self._credential)

    def _require_hidden(self, refs: Sequence[str]) -> None:
        for ref in refs:
            if not ref.startswith(f"{SNAPSHOTS}/"):
                raise InvariantViolated(f"{ref} is no snapshot's ref")
