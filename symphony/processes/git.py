"""The one git runner: every git process of Symphony starts here, with a fixed configuration.

Invariant: git works on the git directory that was named and on no other; a `.git`, hook, file-system monitor or user's
configuration that lies in a work tree is never read. Only `remote` sees the operator's own configuration, because ssh
agents and credential helpers are the operator's way of being somebody at the repository. Workspaces and forges rely on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from symphony.domain.errors import ConfigError, Rejected, Transient
from symphony.processes.git_failures import failure
from symphony.processes.tree import refusal

if TYPE_CHECKING:
    from symphony.processes.guardian import Completed, Tree

MINIMUM_VERSION = (2, 38)
IDENTITY = ("Symphony", "symphony@localhost")
LOCAL_S = 300.0
REMOTE_S = 900.0
_OUTPUT_BYTES = 128 * 1024 * 1024
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

_SAFE = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "protocol.ext.allow": "never",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "no",
    "fetch.prune": "false",
    "push.recurseSubmodules": "no",
    "push.followTags": "false",
    "push.gpgSign": "false",
    "push.useForceIfIncludes": "false",
}
_LOCAL = {
    # A tree must not depend on the machine: the user's ignore and attribute files have defaults even without a config.
    "core.excludesFile": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "core.fileMode": "true",
    "core.symlinks": "true",
    "core.ignoreCase": "false",
    "core.quotePath": "false",
    "core.splitIndex": "false",
    "core.untrackedCache": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "diff.ignoreSubmodules": "all",
    # Newer versions take a bare repository's attributes from HEAD, older ones from nowhere: the same merge for all.
    "attr.tree": _EMPTY_TREE,
    "commit.gpgSign": "false",
    "init.defaultBranch": "main",
    "init.templateDir": "",
    "advice.detachedHead": "false",
}
_LOCAL_NAMES = frozenset({"PATH", "TMPDIR", "LD_LIBRARY_PATH"})
_REMOTE_NAMES = _LOCAL_NAMES | {
    *("HOME", "USER", "LOGNAME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "KRB5CCNAME"),
}
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$SYMPHONY_GIT_USER" "$SYMPHONY_GIT_PASSWORD"; }; f'
)


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """A user name and a password or token, told to nobody but the server at `scope` (https://host)."""

    scope: str
    user: str
    password: str


CredentialSource = Callable[[], Credential]


class Git:
    """git bound to a tree of processes, a git directory and, where named, a work tree and an index."""

    def __init__(
        self,
        tree: Tree,
        git_dir: Path,
        *,
        work_tree: Path | None = None,
        index: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.tree = tree
        self.git_dir = git_dir
        self.work_tree = work_tree
        self._index = index
        self._environ = os.environ if environ is None else environ

    def run(self, *arguments: str, stdin: bytes = b"", timeout_s: float = LOCAL_S) -> str:
        """Run a local command and return its output as text without the last newline.

        Raises:
            SymphonyError: what `git_failures` reads from git's words; `Transient` for a time-out or a killed process.
        """
        return os.fsdecode(self.output(*arguments, stdin=stdin, timeout_s=timeout_s)).removesuffix("\n")

    def output(
        self,
        *arguments: str,
        stdin: bytes = b"",
        timeout_s: float = LOCAL_S,
        extra: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a local command and return its output as bytes, whole."""
        completed = self._start(arguments, self._local_environment(dict(extra or {})), stdin, timeout_s)
        return _succeeded(arguments[0], completed)

    def output_and_warnings(self, *arguments: str, timeout_s: float = LOCAL_S) -> tuple[bytes, str]:
        """Run a local command; return its output as bytes, and what it said beside it."""
        completed = self._start(arguments, self._local_environment({}), b"", timeout_s)
        return _succeeded(arguments[0], completed), os.fsdecode(completed.stderr.head + completed.stderr.tail)

    def answer(self, *arguments: str, stdin: bytes = b"", timeout_s: float = LOCAL_S) -> tuple[bool, bytes]:
        """Run a local command that exits 0 for yes and 1 for no; return that and its output."""
        completed = self._start(arguments, self._local_environment({}), stdin, timeout_s)
        if completed.returncode == 1 and not completed.timed_out:
            return False, completed.stdout.head + completed.stdout.tail
        return True, _succeeded(arguments[0], completed)

    def remote(self, *arguments: str, credential: CredentialSource | None = None, timeout_s: float = REMOTE_S) -> str:
        """Run a command that talks to a repository, as the operator; return its output as text."""
        completed = self._start(arguments, self._remote_environment(credential), b"", timeout_s)
        return os.fsdecode(_succeeded(arguments[0], completed)).removesuffix("\n")

    def commit(self, tree_sha: str, parents: Sequence[str], *, message: str, when: datetime) -> str:
        """Make a commit object as Symphony; the same arguments give the same commit on every machine.

        Raises:
            ValueError: when `when` has no time zone.
        """
        if when.tzinfo is None:
            raise ValueError("a commit's time needs a time zone")
        date = f"@{int(when.timestamp())} +0000"
        extra = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        for role in ("AUTHOR", "COMMITTER"):
            extra[f"GIT_{role}_NAME"], extra[f"GIT_{role}_EMAIL"] = IDENTITY
        named = [word for parent in parents for word in ("-p", parent)]
        text = message.replace("\0", "").strip().encode(errors="replace") + b"\n"
        made = self.output("commit-tree", tree_sha, *named, stdin=text, extra=extra)
        return made.decode().strip()

    def has(self, sha: str) -> bool:
        """Tell whether the commit is in this store."""
        return self.run("cat-file", "--batch-check=%(objecttype)", stdin=sha.encode()) == "commit"

    def tree_of(self, commit: str) -> str:
        """Give the tree that a commit holds."""
        return self.run("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")

    def descends(self, commit: str, *, ancestor: str) -> bool:
        """Tell whether `ancestor` is reachable from `commit`; a commit counts as its own ancestor."""
        return self.answer("merge-base", "--is-ancestor", ancestor, commit)[0]

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes, timeout_s: float) -> Completed:
        cwd = self.git_dir if self.git_dir.is_dir() else self.git_dir.parent
        return self.tree.run(
            ["git", *arguments], cwd=cwd, env=environment, stdin=stdin, timeout_s=timeout_s, head=_OUTPUT_BYTES
        )

    def _local_environment(self, extra: dict[str, str]) -> dict[str, str]:
        environment = {name: self._environ[name] for name in _LOCAL_NAMES if name in self._environ}
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1"}
        environment["GIT_LITERAL_PATHSPECS"] = "1"
        environment |= self._fixed() | _as_environment(list((_SAFE | _LOCAL).items())) | extra
        if self.work_tree is not None:
            environment["GIT_WORK_TREE"] = str(self.work_tree)
        if self._index is not None:
            environment["GIT_INDEX_FILE"] = str(self._index)
        return environment

    def _remote_environment(self, credential: CredentialSource | None) -> dict[str, str]:
        environment = {name: self._environ[name] for name in _REMOTE_NAMES if name in self._environ}
        configuration = list(_SAFE.items())
        if credential is not None:
            # The empty value empties the operator's list of helpers: none of them is asked, or told to store a token.
            secret = credential()
            configuration += [("credential.helper", ""), (f"credential.{secret.scope}.helper", _HELPER)]
            environment |= {"SYMPHONY_GIT_USER": secret.user, "SYMPHONY_GIT_PASSWORD": secret.password}
        return environment | self._fixed() | _as_environment(configuration)

    def _fixed(self) -> dict[str, str]:
        return {
            "GIT_DIR": str(self.git_dir),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "SSH_ASKPASS_REQUIRE": "never",
            "LC_ALL": "C",
        }


def create(tree: Tree, git_dir: Path, *, bare: bool) -> Git:
    """Make an empty repository; `git_dir` is its git directory, which must not exist."""
    git = Git(tree, git_dir)
    git.run("init", "--quiet", "--template=", *(["--bare"] if bare else []))
    return git


def check_git(tree: Tree, cwd: Path) -> tuple[int, int]:
    """Give the version of the installed git.

    Raises:
        ConfigError: when there is none, or it is older than Symphony can use.
    """
    wanted = ".".join(str(part) for part in MINIMUM_VERSION)
    cure = f"install git {wanted} or newer"
    try:
        said = Git(tree, cwd).run("version", timeout_s=30)
    except (OSError, Transient) as error:
        raise ConfigError("git does not run", place="PATH", cure=cure, category="git_missing") from error
    found = re.search(r"(\d+)\.(\d+)", said)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    if version < MINIMUM_VERSION:
        raise ConfigError(f"{said} is too old", place="PATH", cure=cure, category="git_too_old")
    return version


def _succeeded(command: str, completed: Completed) -> bytes:
    if completed.timed_out:
        raise Transient(f"git {command} did not end in time", category="git_timeout")
    if completed.returncode < 0:
        if completed.limit is not None:
            raise refusal(f"git {command}", {"ended": completed.limit})
        raise Transient(f"git {command} was killed by signal {-completed.returncode}", category="git_killed")
    if completed.returncode != 0:
        # A push answers for each ref on its standard output.
        answers = completed.stdout.text() + "\n" if command == "push" else ""
        raise failure(command, answers + completed.stderr.text())
    if completed.stdout.dropped:
        raise Rejected(f"git {command} said more than {_OUTPUT_BYTES} bytes", category="output_too_large")
    return completed.stdout.head + completed.stdout.tail


def _as_environment(configuration: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Say the configuration as git reads it from the environment, where it has the last word."""
    said = {"GIT_CONFIG_COUNT": str(len(configuration))}
    for number, (key, value) in enumerate(configuration):
        said |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return said
