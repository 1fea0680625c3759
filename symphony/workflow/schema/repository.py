"""The sections about code: repository, sandbox, proof, land."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ByteSize

from symphony.workflow.schema.fields import (
    Milliseconds,
    Positive,
    Section,
    Size,
    Text,
    Variable,
    Words,
    fault,
    key,
    milliseconds,
)

Forge = Literal["git", "github"]
_NO_BRANCH = re.compile(r"^[-/.]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|/\.|@\{|\.lock(/|$)|[/.]$|^@$")


def is_remote(url: str) -> bool:
    """Tell a url from a local path by git's own rule: a colon before the first slash."""
    return ":" in url.split("/", 1)[0]


def host_of(url: str) -> str:
    """Name the host of a url, of either form that git knows."""
    if "://" in url:
        return (urlsplit(url).hostname or "").lower()
    return url.split(":", 1)[0].rpartition("@")[2].lower() if is_remote(url) else ""


def _url(url: str) -> str:
    if url.startswith("-"):
        raise fault("must not begin with a dash")
    try:
        host_of(url)
    except ValueError:
        raise fault("is not a url") from None
    return url


def _branch(name: str) -> str:
    if _NO_BRANCH.search(name):
        raise fault(f"must be the name of a branch, not {name!r}")
    return name


def _check_name(name: str) -> str:
    if len(name) > 64 or not name.isprintable():
        raise fault("must be a short name on one line")
    return name


class Repository(Section):
    """The code that runs change."""

    url: Annotated[Text, AfterValidator(_url)] = key("Git url or local path.", hidden=True)
    branch: Annotated[Text, AfterValidator(_branch)] = key("Branch that changes land on.", "main")
    forge: Forge | None = key("Where the code lives. Left out: `github` for github.com urls, else `git`.", None)

    @property
    def effective_forge(self) -> Forge:
        """The forge, told from the url where the file names none."""
        return self.forge or ("github" if host_of(self.url) in ("github.com", "ssh.github.com") else "git")


class Sandbox(Section):
    """What an agent's commands may reach. The environment is by allowlist in every mode but compatible."""

    mode: Literal["auto", "bubblewrap", "landlock", "off"] = key("How commands are confined.", "auto")
    network: Literal["off", "allowlist", "on"] = key("Network of agents and checks.", "off")
    allow: Words = key("Hosts, for network allowlist.", ())
    env: tuple[Variable, ...] = key("Names of variables passed through besides the built-in few.", ())
    read: Words = key("Further readable paths.", ())
    memory: Size = key("Most memory of a run.", ByteSize(4 << 30))
    disk: Size = key("Most disk space of a run.", ByteSize(10 << 30))
    processes: Positive = key("Most processes of a run.", 512)


class Setup(Section):
    """What makes a clean checkout ready for its checks."""

    run: Text = key("Shell command line.")
    timeout_ms: Milliseconds = key("Longest time that it may take.", 600_000)
    network: Literal["off", "allowlist", "on"] = key("Network while it runs.", "allowlist")
    cache: Words = key("Files of the target branch whose content decides whether it must run again.", ())

    @property
    def timeout(self) -> timedelta:
        """The longest time that the setup may take."""
        return milliseconds(self.timeout_ms)


class Check(Section):
    """One thing that a proof demands."""

    name: Annotated[Text, AfterValidator(_check_name)] = key("Name, once in the list.")
    run: Text = key("Shell command line; exit 0 passes.")
    timeout_ms: Milliseconds = key("Longest time that it may take.", 600_000)
    reports: Words = key(
        "Where it writes JUnit and Cobertura XML, with `*` and `**`: one that is missing or cannot be read fails it. "
        "Left out: what it writes in the common places is read.",
        (),
    )

    @property
    def timeout(self) -> timedelta:
        """The longest time that the check may take."""
        return milliseconds(self.timeout_ms)


def _unique(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    seen: set[str] = set()
    for number, check in enumerate(checks):
        if check.name in seen:
            raise fault(f"two checks are named {check.name}", number, "name", cure="give each its own name")
        seen.add(check.name)
    return checks


class Complexity(Section):
    """How complex the functions that a change made or touched may be; files that cannot be measured are told."""

    mode: Literal["warn", "fail", "off"] = key("`warn` tells the reviewer, `fail` sends the change back.", "warn")
    ccn: Positive = key("Most independent paths through a function (cyclomatic complexity).", 15)
    length: Positive = key("Most lines of a function.", 100)
    duplication: Positive = key("Lines from which a copy of other code counts.", 30)


class Proof(Section):
    """What must hold before a change lands."""

    setup: Setup | None = key("Runs before the checks in a clean checkout.", None)
    checks: Annotated[tuple[Check, ...], AfterValidator(_unique)] = key(
        "Commands that must pass, in this order; none: nothing lands.", ()
    )
    protect: Words = key(
        "Files whose change makes the checks run a second time with the target's own.",
        ("WORKFLOW.md", "AGENTS.md", ".github/**", ".gitlab-ci.yml"),
    )
    complexity: Complexity = key("Limits of complexity, length and duplication.", Complexity())
    require: tuple[Literal["checks", "ci", "review"], ...] = key("What a landing waits for.", ("checks",))
    concurrency: Positive | None = key("Proofs at once on a node. Left out: its cores.", None)


class Land(Section):
    """How a proved change reaches the branch."""

    mode: Literal["auto", "review", "off"] = key(
        "`auto` lands; `review` waits until the issue is moved to `merging` or approved; `off` ends at review.", "auto"
    )
    method: Literal["merge", "squash"] = key("Shape of the landing commit.", "merge")
    rework: Literal["continue", "restart"] = key("Rework goes on with the branch, or begins a new one.", "continue")
