"""What `symphony check` asks of the world: tracker, agent, git, repository, sandbox, servers.

Each probe ends by itself within its time, changes nothing, and says in one sentence what it found.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.agents.openai.failures import of_exception
from symphony.agents.openai.responses import open_client
from symphony.domain.errors import ConfigError, SymphonyError, Transient
from symphony.domain.usage import price_of
from symphony.engine import preflight
from symphony.ledger.opening import open_current
from symphony.local.binaries import disguise, postgres_bin, valkey_server
from symphony.local.broker import ensure_broker_answers
from symphony.processes.environment import agent_environment
from symphony.processes.git import Git, check_git
from symphony.processes.guardian import Guardian, Tree
from symphony.settings import Settings
from symphony.stages.model_agent import API_KEY, BASE_URL
from symphony.telemetry.redaction import redact, remember_secrets
from symphony.trackers.protocol import MakesStates
from symphony.workflow.loader import LoadedWorkflow
from symphony.workflow.resolution import resolve

_REMOTE_S = 30.0
_SHELL_S = 30.0
_NOT_LOOKED_FOR = frozenset("$`(){}[]<>|&;*?~!")


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer; `ok` is False where runs would fail for it, and a warning is about something that people may mend."""

    name: str
    ok: bool
    message: str
    cure: str | None = None
    is_warning: bool = False


def make_states(loaded: LoadedWorkflow, base: Path) -> list[Probe]:
    """Let the tracker make the states that the workflow names and it lacks; what was made before a fault is said, too."""
    made: list[Probe] = []

    def make() -> list[Probe]:
        tracker = preflight.tracker_of(loaded, environ=os.environ, base_dir=base)
        if not isinstance(tracker, MakesStates):
            message = f"a tracker of kind {tracker.kind} takes states as they are written: there is nothing to make"
            return [Probe("states", ok=True, message=message)]
        for said in tracker.create_states(_named_states(loaded)):
            made.append(Probe("states", ok=True, message=redact(said)))
        return (
            [] if made else [Probe("states", ok=True, message="the tracker has every state that is named: none was made")]
        )

    seen = _guarded("states", make)
    return [*made, *seen]


def probe_all(loaded: LoadedWorkflow, base: Path, settings: Settings, *, ask_tracker: bool = True) -> list[Probe]:
    """Ask everything that the workflow and the environment name."""
    probes: list[Probe] = []
    if ask_tracker and loaded.workflow.tracker.profile.in_this_build:
        probes += _guarded("tracker", lambda: _tracker(loaded, base))
    with _tree() as tree, tempfile.TemporaryDirectory(prefix="symphony-check-") as folder:
        probes += _guarded("agent", lambda: _agent(loaded, tree, base))
        probes += _guarded("model", lambda: _models(loaded, settings))
        git = _guarded("git", lambda: [Probe("git", ok=True, message=_git_version(tree, Path(folder)))])
        probes += git
        has_git = all(probe.ok for probe in git)  # what an unfit one says of a repository means nothing
        if has_git and loaded.workflow.repository is not None and loaded.workflow.repository.effective_forge == "git":
            probes += _guarded("repository", lambda: _repository(loaded, base, tree, Path(folder) / "none.git"))
    probes.append(_sandbox(loaded))
    probes += _guarded("database", lambda: _database(settings))
    probes += _guarded("broker", lambda: _broker(settings))
    return probes


def _guarded(name: str, ask: Callable[[], list[Probe]]) -> list[Probe]:
    try:
        return ask()
    except ConfigError as error:
        message = f"{error.place}: {error.message}" if error.place else error.message
        return [Probe(name, ok=False, message=redact(message), cure=error.cure)]
    except SymphonyError as error:
        return [Probe(name, ok=False, message=redact(str(error)))]


@contextmanager
def _tree() -> Iterator[Tree]:
    guardian = Guardian.start()
    try:
        with guardian.tree("check") as tree:
            yield tree
    finally:
        guardian.close()


def _tracker(loaded: LoadedWorkflow, base: Path) -> list[Probe]:
    tracker = preflight.tracker_of(loaded, environ=os.environ, base_dir=base)
    found = tracker.check(named_states=list(_named_states(loaded).values()))
    seen = [Probe("tracker", f.level != "error", redact(f.message), f.cure, is_warning=f.level == "warning") for f in found]
    if all(probe.ok for probe in seen):
        count = len(tracker.fetch_issues_by_states(tracker.active_states).issues)
        seen.append(Probe("tracker", ok=True, message=f"{tracker.kind} answers, {count} issues in active states"))
    return seen


def _named_states(loaded: LoadedWorkflow) -> dict[str, str]:
    states = loaded.workflow.tracker.states.model_dump()
    return {role: state for role, state in states.items() if state is not None}


def _models(loaded: LoadedWorkflow, settings: Settings) -> list[Probe]:
    """Ask for every model that an issue of this workflow may get: its price, then whether the endpoint has it."""
    agent = loaded.workflow.agent
    choices = [
        (agent.kind, agent.model),
        *((c.kind or agent.kind, c.model or agent.model) for c in agent.by_label.values()),
    ]
    models = sorted({model for kind, model in choices if kind == "openai"})
    if not models:
        return []
    for model in models:
        price_of(settings.prices, model)
    api_key = os.environ.get(API_KEY, "").strip()
    if not api_key:
        cure = "set it where workers start; OPENAI_BASE_URL names another endpoint than OpenAI's"
        return [Probe("model", ok=False, message=f"{API_KEY} is not set", cure=cure)]
    remember_secrets([api_key])
    base_url = os.environ.get(BASE_URL, "").strip() or None
    client = open_client(api_key=api_key, base_url=base_url, timeout_s=_REMOTE_S)
    return [_model(client, model, base_url) for model in models]


def _model(client: Any, model: str, base_url: str | None) -> Probe:
    where = base_url or "OpenAI"
    try:
        client.models.retrieve(model)
    except Exception as error:  # noqa: BLE001 - whatever the package raises becomes what it means
        meaning = of_exception(error)
        cure = meaning.cure if isinstance(meaning, ConfigError) else None
        return Probe("model", ok=False, message=redact(f"{model} at {where}: {meaning.message}"), cure=cure)
    return Probe("model", ok=True, message=redact(f"{model} is known at {where}"))


def _agent(loaded: LoadedWorkflow, tree: Tree, base: Path) -> list[Probe]:
    command = loaded.workflow.agent.command
    if loaded.workflow.agent.kind != "command" or command is None:
        return []
    program = _program(command)
    if program is None:
        return [Probe("agent", ok=True, message="the command is a shell script of its own, not looked for")]
    environment = agent_environment(loaded.workflow.sandbox.env, os.environ)
    asked = ["bash", "-lc", 'command -v -- "$1"', "bash", program]
    done = tree.run(asked, cwd=base, env=environment, timeout_s=_SHELL_S)
    if done.timed_out:
        message = f"a login shell does not start within {_SHELL_S:.0f} s"
        return [Probe("agent", ok=False, message=message, cure="look into your shell's profile")]
    if done.returncode == 0:
        return [Probe("agent", ok=True, message=f"{program} is {done.stdout.text().strip().splitlines()[-1]}")]
    return [
        Probe("agent", ok=False, message=f"the command {program} is not found here", cure="install it, or name its path")
    ]


def _program(command: str) -> str | None:
    """Name the program that a command line begins with; None where only a shell could tell."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        return None
    words = [word for word in words if not word.split("=")[0].isidentifier() or "=" not in word]
    if not words or _NOT_LOOKED_FOR & set(words[0]) or words[0].startswith("."):
        return None
    return words[0]


def _git_version(tree: Tree, folder: Path) -> str:
    return ".".join(str(part) for part in check_git(tree, folder))


def _repository(loaded: LoadedWorkflow, base: Path, tree: Tree, no_git_dir: Path) -> list[Probe]:
    repository = loaded.workflow.repository
    url = resolve(loaded, environ=os.environ, base_dir=base).repository_url()
    assert repository is not None and url is not None
    said = Git(tree, no_git_dir).remote("ls-remote", "--heads", "--", url, timeout_s=_REMOTE_S)
    branches = [head.partition("refs/heads/")[2] for head in said.splitlines()]
    if repository.branch in branches:
        return [Probe("repository", ok=True, message=redact(f"{url} has the branch {repository.branch}"))]
    cure = f"set repository.branch to one of: {', '.join(branches[:5])}" if branches else "push a first commit to it"
    message = f"{url} has no branch {repository.branch}"
    return [Probe("repository", ok=False, message=redact(message), cure=cure)]


def _sandbox(loaded: LoadedWorkflow) -> Probe:
    mode = loaded.workflow.sandbox.mode
    if mode in ("bubblewrap", "landlock"):
        message = f"this build has no {mode}: runs would be held by the guardian only"
        return Probe("sandbox", ok=False, message=message, cure="use mode auto or off")
    message = "guardian only: commands run as this user, held and ended by the guardian; this build has no sandbox"
    return Probe("sandbox", ok=True, message=message)


def _database(settings: Settings) -> list[Probe]:
    if settings.database_url is None:
        postgres_bin()
        disguise()
        return [Probe("database", ok=True, message="embedded PostgreSQL")]
    try:
        open_current(settings.database_url, pool_size=1, application="symphony check").close()
    except Transient as error:
        cure = "start it, or correct SYMPHONY_DATABASE_URL"
        return [Probe("database", ok=False, message=redact(error.message), cure=cure)]
    return [Probe("database", ok=True, message="PostgreSQL answers and has this build's schema")]


def _broker(settings: Settings) -> list[Probe]:
    if settings.broker_url is None:
        valkey_server()
        return [Probe("broker", ok=True, message="embedded Valkey")]
    ensure_broker_answers(settings.broker_url)
    return [Probe("broker", ok=True, message="answers")]
