"""The WORKFLOW.md that fits a repository, as text with comments for whoever edits it next.

Invariant: what is written loads without a fault. Values stand as YAML would read them back; everything that a person
may want to turn is named, with what it means.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from symphony.local.harness.bench import Remote
from symphony.local.harness.guards import ALWAYS
from symphony.local.harness.kinds import Check, Layout
from symphony.workflow.schema.agent import DEFAULT_MODEL
from symphony.workflow.schema.repository import host_of

_PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./~@+-]*( [A-Za-z0-9_./~+-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "~", "y", "n"})
_GITHUB = ("github.com", "ssh.github.com")

_TOP = """\
---
# {name}: how Symphony turns issues into landed changes here. `symphony check` explains this file,
# docs/workflow.md of Symphony lists every key.
name: {name}

{tracker}
polling:
  interval_ms: {poll_ms}

repository:
{repository}
agent:
  kind: openai                     # needs OPENAI_API_KEY; OPENAI_BASE_URL for another endpoint
  model: {model}               # one constant: every run of this workflow uses it
  effort: high
  max_concurrent_agents: 2         # agents at once
  budget: {{cost_usd: 20, seconds: 14400}}   # of one run, over all its attempts

# sandbox:
#   env: []                        # variables that agents and checks see besides PATH, HOME and the like

"""
_FILES = """\
tracker:
  kind: files                      # one Markdown file an issue: issues/DEMO-1.md, its name is the identifier
  provider: {path: issues}
  # Where Symphony itself moves an issue; leave a key out and it does not move it.
  states: {started: In Progress, review: In Review, rework: Rework, merging: Merging, blocked: Blocked, done: Done}
"""
_LINEAR = """\
tracker:
  kind: linear                     # needs LINEAR_API_KEY
  provider:
    project_slug: {project}
  active_states: [Todo, In Progress, Rework, Merging]
  # Where Symphony itself moves an issue; leave a key out and it does not move it. `symphony check --create-states` makes
  # the ones that a team lacks.
  states: {{started: In Progress, review: Human Review, rework: Rework, merging: Merging, blocked: Blocked, done: Done}}
"""
_END = """\
land:
  mode: review                   # a person moves the issue to Merging, or says `symphony approve`; auto: lands when proved
  method: merge                    # merge | squash
---

You work on {{ issue.identifier }}: {{ issue.title }}

{{ issue.description }}

"""
_ATTEMPT = "{% if attempt %}This is a further attempt; go on from what lies in the workspace.{% endif %}\n"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the text is made from."""

    name: str
    remote: Remote
    layout: Layout
    protect: tuple[str, ...]
    has_agents_md: bool
    linear_project: str | None = None
    """The slug of the project whose issues are worked on; None: a folder of files."""
    setup_timeout_ms: int = 600_000
    check_timeout_ms: int = 600_000


def text_of(facts: Facts) -> str:
    """Write the file."""
    project = facts.linear_project
    head = _TOP.format(
        name=scalar(facts.name),
        repository=_repository(facts.remote),
        model=DEFAULT_MODEL,
        tracker=_FILES if project is None else _LINEAR.format(project=scalar(project)),
        poll_ms=5_000 if project is None else 15_000,
    )
    return head + _proof(facts) + "\n" + _END + _prompt(facts)


def scalar(text: str) -> str:
    """Give a text as one YAML scalar that reads back as itself."""
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and not re.fullmatch(r"[\d._+-]+(e\d+)?", text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def without_password(url: str) -> str:
    """Give a url without a password or token in it: those belong into a credential helper."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    if parts.password is None and not (parts.username and parts.scheme in ("http", "https")):
        return url
    user = parts.username if parts.scheme == "ssh" else None
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))


def _repository(remote: Remote) -> str:
    url = without_password(remote.url) if remote.url else "."
    lines = [f"  url: {scalar(url)}", f"  branch: {scalar(remote.branch)}"]
    if remote.url is None:
        lines.insert(
            0, "  # This repository has no remote, so changes land in the folder of this file itself. git refuses that"
        )
        lines.insert(1, "  # for a branch that is checked out, unless: git config receive.denyCurrentBranch updateInstead")
    if host_of(url) in _GITHUB:
        lines.append("  forge: git                       # lands by plain git; the credentials are those of your git")
    return "\n".join(lines) + "\n"


def _proof(facts: Facts) -> str:
    layout = facts.layout
    lines = ["proof:"]
    if layout.setup is not None:
        cache = ", ".join(scalar(path) for path in layout.cache)
        lines += [
            "  setup:                           # once for each content of the cache files, in a clean checkout",
            f"    run: {scalar(layout.setup)}",
            f"    timeout_ms: {facts.setup_timeout_ms}",
            "    network: on                    # it fetches dependencies; allowlist, with sandbox.allow, is narrower",
            f"    cache: [{cache}]",
        ]
    else:
        lines.append("  # setup: {run: make deps, network: on, cache: [Makefile]}   # nothing to set up was found")
    lines += _checks(layout)
    lines += [
        "  protect:                         # whoever changes one of these is checked a second time, with the target's own"
    ]
    lines += [f"    - {scalar(path)}" for path in (*ALWAYS, *facts.protect)]
    return "\n".join(lines) + "\n"


def _checks(layout: Layout) -> list[str]:
    further = [f"    # - {_check(check, 600_000)}" for check in layout.further]
    if not layout.checks:
        return [
            "  # No test command was found: nothing lands until one is named here, such as",
            "  #   - {name: tests, run: make test, timeout_ms: 600000}",
            "  checks: []",
            *further,
        ]
    return ["  checks:", *(f"    - {_check(check, 600_000)}" for check in layout.checks), *further]


def _check(check: Check, timeout_ms: int) -> str:
    return f"{{name: {scalar(check.name)}, run: {_in_flow(check.run)}, timeout_ms: {timeout_ms}}}"


def _in_flow(text: str) -> str:
    return (
        text if scalar(text) == text and not set(text) & set(",[]{}:#&*!|>'\"%@`") else json.dumps(text, ensure_ascii=False)
    )


def _prompt(facts: Facts) -> str:
    read = "Read AGENTS.md first: it says how to work here. " if facts.has_agents_md else ""
    proved = " and ".join(f"`{check.run}`" for check in facts.layout.checks)
    tests = f"{proved} must pass. " if proved else ""
    return f"{_plain(read + tests)}Keep the change small, with tests that can fail without it.\n{_ATTEMPT}"


def _plain(text: str) -> str:
    """Keep what a command line holds from being read as a template."""
    return f"{{% raw %}}{text}{{% endraw %}}" if "{{" in text or "{%" in text else text
