"""The typed view of a WORKFLOW.md's front matter: every key with its type, default and meaning.

Values are as written: `$NAME` and `~` are resolved where they are used (`workflow.resolution`), since rows of the
database serve processes with different environments. The whole project reads its configuration from `Workflow`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ModelWrapValidatorHandler, PrivateAttr, model_validator

from symphony.domain.stage import WITH_REPOSITORY, WITHOUT_REPOSITORY, Stage
from symphony.workflow.schema.agent import Agent
from symphony.workflow.schema.codex import Codex
from symphony.workflow.schema.fields import Section, fault, key, milliseconds
from symphony.workflow.schema.repository import Land, Proof, Repository, Sandbox
from symphony.workflow.schema.service import Hooks, Polling, Server, Worker, Workspace
from symphony.workflow.schema.tracker import Tracker
from symphony.workflow.source_name import is_safe_name

_UNLIMITED: dict[str, Any] = {"tokens": None, "cost_usd": None, "seconds": None}


def _safe_name(name: str) -> str:
    if not is_safe_name(name):
        raise fault(
            f"must be usable in branches and paths, not {name!r}",
            cure="use up to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
        )
    return name


def describes_compatible_mode(config: Mapping[str, Any]) -> bool:
    """Tell whether a front matter names none of repository, agent.kind and agent.model."""
    agent = config.get("agent")
    agent = agent if isinstance(agent, Mapping) else {}
    return all(value is None for value in (config.get("repository"), agent.get("kind"), agent.get("model")))


class Workflow(Section):
    """The front matter of a WORKFLOW.md."""

    name: Annotated[str, AfterValidator(_safe_name)] = key(
        "Name of the workflow, bound to its source.", "workflow", applies="restart", shown="the folder's name"
    )
    tracker: Tracker = key("Where the issues are.")
    polling: Polling = key("How often the tracker is asked.", Polling())
    workspace: Workspace = key("Where workspaces lie.", Workspace())
    hooks: Hooks = key("Scripts around a workspace's life.", Hooks())
    agent: Agent = key("How many agents work, which, and how long.", Agent())
    codex: Codex = key("The codex app-server.", Codex())
    repository: Repository | None = key("The code that runs change. Left out: only hooks fill the workspace.", None)
    sandbox: Sandbox = key("What an agent's commands may reach.", Sandbox())
    proof: Proof = key("What must hold before a change lands.", Proof())
    land: Land = key("How a proved change reaches the branch.", Land())
    server: Server = key("The status API.", Server())
    worker: Worker = key("The specification's SSH workers.", Worker())

    _compatible: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _apply_mode(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, Mapping):
            return handler(value)
        config = dict(value)
        if config.get("tracker") is None:
            config["tracker"] = {}
        compatible = describes_compatible_mode(config)
        if compatible:
            _default(config, "tracker", {"tools": "raw"})
            _default(config, "agent", {"kind": "codex", "max_attempts": 0})
            if isinstance(config["agent"], dict):
                _default(config["agent"], "budget", _UNLIMITED)
        workflow = handler(config)
        workflow._compatible = compatible
        return workflow

    @property
    def is_compatible_mode(self) -> bool:
        """Whether the file asks for the reference's behaviour, and agents inherit the environment."""
        return self._compatible

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of this workflow's runs."""
        return WITHOUT_REPOSITORY if self.repository is None else WITH_REPOSITORY

    @property
    def turn_timeout(self) -> timedelta:
        """The longest time of one turn, or of one step of an `openai` agent."""
        return milliseconds(self.agent.turn_timeout_ms or self.codex.turn_timeout_ms)

    @property
    def stall_timeout(self) -> timedelta | None:
        """The longest silence of an agent; None: not watched."""
        own = self.agent.stall_timeout_ms
        count = self.codex.stall_timeout_ms if own is None else own
        return milliseconds(count) if count > 0 else None


def _default(config: dict[str, Any], section: str, defaults: dict[str, Any]) -> None:
    own = config.get(section)
    if own is None or isinstance(own, Mapping):
        config[section] = defaults | {name: value for name, value in (own or {}).items() if value is not None}
