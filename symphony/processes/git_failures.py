"""What git's complaint means for whoever asked: one table from its words (locale C) to an error of `domain.errors`.

Invariant: the first row that matches decides, and rows stand from the precise to the vague; an unknown complaint is
`Transient`, so that limits on attempts, never a guess, end it. Only `processes.git` reads this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from symphony.domain.errors import ConfigError, Rejected, SymphonyError, Transient

_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_SAID_CHARACTERS = 600

LEASE_STALE = "lease_stale"
HOOK_DECLINED = "hook_declined"
PROTECTED = "protected"
REF_MISSING = "ref_missing"
REF_CONFLICT = "ref_conflict"
CORRUPT = "repository_corrupt"


@dataclass(frozen=True, slots=True)
class _Row:
    pattern: re.Pattern[str]
    category: str
    error: Callable[[str, str], SymphonyError]
    sentence: str


def _config(cure: str) -> Callable[[str, str], SymphonyError]:
    return lambda message, category: ConfigError(message, cure=cure, category=category)


def _transient(message: str, category: str) -> SymphonyError:
    return Transient(message, category=category)


def _rejected(message: str, category: str) -> SymphonyError:
    return Rejected(message, category=category)


def _row(pattern: str, category: str, error: Callable[[str, str], SymphonyError], sentence: str) -> _Row:
    return _Row(re.compile(pattern, re.IGNORECASE), category, error, sentence)


_PUSH = (
    _row(
        r"protected branch|GH00[0-9]|GH013|not allowed to push code to protected",
        PROTECTED,
        _rejected,
        "the repository protects this branch",
    ),
    _row(
        r"denying non-fast-forward",
        "rewriting_denied",
        _config("run `git config receive.denyNonFastForwards false` in it; the target is never rewritten all the same"),
        "the repository lets no branch be rewritten, as ours is after a rework",
    ),
    _row(r"\(stale info\)|non-fast-forward|fetch first|needs force", LEASE_STALE, _rejected, "the branch has moved"),
    _row(
        r"is at [0-9a-f]{40,64} but expected|incorrect old value|reference already exists",
        LEASE_STALE,
        _rejected,
        "the branch moved during the push",
    ),
    _row(r"' exists; cannot create '", REF_CONFLICT, _rejected, "a branch of the repository stands in the way"),
    _row(
        r"branch is currently checked out",
        "checked_out",
        _config("use a bare repository, or run `git config receive.denyCurrentBranch updateInstead` in it"),
        "the target branch is checked out in the repository that was pushed to",
    ),
    _row(r"hook declined|deny updating|prohibited", HOOK_DECLINED, _rejected, "the repository declined the push"),
)

_REMOTE = (
    _row(
        r"authentication failed|could not read (username|password)|permission denied \(|terminal prompts disabled"
        r"|invalid credentials|returned error: 40[13]|host key verification failed|access denied|HTTP Basic",
        "auth_failed",
        _config("make `git ls-remote` of this url work without a question for the user that runs Symphony"),
        "the repository refused our credentials",
    ),
    _row(r"couldn't find remote ref|not our ref", REF_MISSING, _rejected, "the repository has no such ref"),
    _row(
        r"does not appear to be a git repository|repository not found|repository '.*' (does not exist|not found)"
        r"|returned error: 404|unsupported protocol|unable to find remote helper|transport '.*' not allowed",
        "remote_missing",
        _config("check repository.url"),
        "there is no git repository at this url",
    ),
    _row(
        r"dubious ownership",
        "foreign_owner",
        _config("run `git config --global --add safe.directory <path>` as the user that runs Symphony"),
        "the repository belongs to another user",
    ),
)

_LOCAL = (
    _row(r"no space left on device|disk quota exceeded", "disk_full", _transient, "the disk is full"),
    _row(
        r"reference broken|unable to resolve reference|does not point to a valid object",
        CORRUPT,
        _transient,
        "git's store on this machine is damaged",
    ),
    _row(
        r"\.lock': file exists|another git process|cannot lock ref|could not lock",
        "git_lock",
        _transient,
        "another git process holds a lock",
    ),
    _row(r"unrelated histories", "unrelated_histories", _rejected, "the two commits share no history"),
    _row(
        r"not a git repository|corrupt|bad object|missing (blob|tree|commit|necessary)|unable to (read|find) "
        r"|is empty$|bad config|index file|inflate|invalid object|garbage|could not parse object|bad tree",
        CORRUPT,
        _transient,
        "git's store on this machine is damaged",
    ),
)

_NETWORK = (
    _row(
        r"could not resolve|couldn't connect|failed to connect|connection (refused|reset|closed|timed out)|timed out"
        r"|early eof|hung up|rpc failed|returned error: (429|5[0-9][0-9])|unexpected disconnect|network is unreachable"
        r"|no route to host|tls|ssl|kex_exchange|could not read from remote",
        "network",
        _transient,
        "the repository could not be reached",
    ),
)

_TABLE = (*_PUSH, *_REMOTE, *_LOCAL, *_NETWORK)


def without_secrets(text: str) -> str:
    """Take user names and passwords out of the urls in a text."""
    return _USER_INFO.sub("", text)


def failure(command: str, said: str) -> SymphonyError:
    """Give the error that git's words stand for; `command` is the git command's name."""
    said = without_secrets(said).strip()
    for row in _TABLE:
        if row.pattern.search(said):
            return row.error(f"git {command}: {row.sentence}: {_shortened(said)}", row.category)
    return Transient(f"git {command} failed: {_shortened(said)}", category="git_failed")


def _shortened(said: str) -> str:
    """Keep the end, where git and hooks put what matters, on one line."""
    line = "; ".join(part.strip() for part in said.splitlines() if part.strip() and not part.startswith("hint:"))
    return line if len(line) <= _SAID_CHARACTERS else "…" + line[-_SAID_CHARACTERS:]
