"""An agent of kind `openai`, put together for one attempt: its conversation, its model, its tools, its workspace's trees.

Invariant: the credential of the model stays in this process; commands of the agent get the workflow's environment, which
never has it. The agent stage relies on `turn` only.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from symphony.agents.openai.asking import Asking
from symphony.agents.openai.conversation import Conversation
from symphony.agents.openai.instructions import AGENTS_BUDGET, AGENTS_FILE, from_the_root, instructions
from symphony.agents.openai.loop import OpenAIAgent, Trees
from symphony.agents.openai.model import Model, Watch
from symphony.agents.openai.purse import Purse
from symphony.agents.openai.step import Step
from symphony.agents.openai.transcript import Transcript
from symphony.agents.protocol import Assignment, Turn
from symphony.domain.errors import Cancelled, ConfigError, Fenced, SymphonyError, Transient
from symphony.domain.usage import Usage, price_of
from symphony.ledger import usage
from symphony.processes.git import Git
from symphony.stages.context import RunContext
from symphony.stages.pace import SharedPace
from symphony.stages.source import Code, keep, key_of, message_of
from symphony.stages.tracker_tools import tracker_tools
from symphony.telemetry.log import get_logger, speaking_of
from symphony.telemetry.redaction import remember_secrets
from symphony.workflow.schema.agent import AgentChoice
from symphony.workspaces.trees import take_tree
from symphony.workspaces.workspace import Workspaces

API_KEY, BASE_URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"
KEEP_EVERY_S = 30.0
_REQUEST_TIMEOUT_S = 900.0
_LONGEST_AGENTS_FILE = 1 << 20  # bytes

log = get_logger()


def turn(context: RunContext, choice: AgentChoice, code: Code | None, assignment: Assignment) -> Turn:
    """Let the model work until it has finished, asks, or is stopped; raises as `OpenAIAgent.turn`."""
    from symphony.agents.openai.tools import Desk, for_run

    context.lease.session_id = str(context.run.id)
    with ExitStack() as stack:
        stack.enter_context(speaking_of(session_id=str(context.run.id)))
        trees = _trees(context, code, stack)
        step = Step(assignment.turn_timeout, lambda: assignment.tree.frozen_s)
        told = instructions(_agents_files(context, code))
        conversation = Conversation(context.fenced)
        agent = OpenAIAgent(
            run_id=context.run.id,
            conversation=conversation,
            asking=_asking(context, choice, conversation, _watch(assignment, step), stack),
            tools=for_run(tracker_tools(context)),
            desk=Desk(
                workspace=assignment.workspace,
                tree=assignment.tree,
                environment=assignment.environment,
                artifacts=Path(assignment.environment["SYMPHONY_ARTIFACTS"]),
                stop_reason=assignment.stop_reason,
                heard=assignment.heard,
                step=step,
            ),
            trees=trees,
            instructions=told,
            effort=choice.effort,
            cache_key=_cache_key(context, choice),
            transcript=Transcript(assignment.log),
            images=_images(context) if assignment.opening else (),
        )
        return agent.turn(assignment.opening, assignment.news)


def _watch(assignment: Assignment, step: Step) -> Watch:
    return Watch(assignment.heard, assignment.stop_reason, assignment.ring_at_change, step=step)


def _asking(context: RunContext, choice: AgentChoice, conversation: Conversation, watch: Watch, stack: ExitStack) -> Asking:
    api_key = context.environ.get(API_KEY, "").strip()
    base_url = context.environ.get(BASE_URL, "").strip() or None
    if not api_key:
        raise ConfigError(
            f"agents of kind openai need a key in {API_KEY}",
            place=API_KEY,
            cure="set it where workers start",
            category="model_unauthorized",
        )
    remember_secrets([api_key])
    database, settings, run_id = context.database, context.settings, context.run.id

    def used(seen: Usage) -> None:
        context.lease.input_tokens += seen.input_tokens
        context.lease.output_tokens += seen.output_tokens

    return Asking(
        model=_model(choice, api_key, base_url, stack),
        conversation=conversation,
        purse=Purse(
            budget=choice.budget.limits,
            daily_usd=settings.daily_usd,
            price=price_of(settings.prices, choice.model),
            spent=lambda: context.lease.when_reachable(lambda: database.transact(lambda t: usage.spent_by_run(t, run_id))),
            spent_today=lambda: context.lease.when_reachable(lambda: database.transact(usage.spent_today)),
        ),
        pace=SharedPace(context, base_url or "", api_key, choice.model),
        watch=watch,
        name=choice.model,
        used=used,
    )


def _model(choice: AgentChoice, api_key: str, base_url: str | None, stack: ExitStack) -> Model:
    """Open the model; its connections end with the turn, not when the collector comes by."""
    from symphony.agents.openai.chat import ChatModel
    from symphony.agents.openai.responses import ResponsesModel, open_client

    client = open_client(api_key=api_key, base_url=base_url, timeout_s=_REQUEST_TIMEOUT_S)
    stack.callback(client.close)
    return ChatModel(client) if choice.api == "chat" else ResponsesModel(client)


def _images(context: RunContext) -> list[str]:
    """Fetch the issue's pictures as data urls; a tracker that does not answer must not keep the agent from its work."""
    try:
        found = context.tracker.fetch_pictures(context.issue)
    except SymphonyError as error:
        log.warning("pictures not fetched", reason=str(error))
        return []
    return [f"data:{one.media_type};base64,{base64.b64encode(one.content).decode()}" for one in found]


def _cache_key(context: RunContext, choice: AgentChoice) -> str:
    """Name the prefix that runs of one workflow share, for the provider's prompt cache."""
    repository = context.workflow.repository
    parts = (context.workflow_name, context.prompt_template, repository.url if repository else "", choice.model)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _agents_files(context: RunContext, code: Code | None) -> dict[str, str]:
    """Read the AGENTS.md files of the run's base commit, as far as they are shown; the others are named only."""
    base = context.run.base_sha
    if code is None or base is None:
        return {}
    git, found, left = code.mirror.git, {}, AGENTS_BUDGET
    with code.mirror.reading():
        listed = _agents_blobs(git.output("ls-tree", "-r", "-l", "-z", base))
        for path in from_the_root(listed):
            blob, size = listed[path]
            is_shown = left > 0 and size <= _LONGEST_AGENTS_FILE
            found[path] = git.output("cat-file", "blob", blob).decode(errors="replace") if is_shown else ""
            left -= size + len(path)
    return found


def _agents_blobs(listing: bytes) -> dict[str, tuple[str, int]]:
    """Find blob and size of each AGENTS.md in a tree; a link, and a submodule of this name, have no text of their own."""
    found = {}
    for entry in listing.split(b"\0"):
        described, _, path = entry.decode(errors="replace").partition("\t")
        if path.rpartition("/")[2] == AGENTS_FILE and described.startswith("100"):
            _, _, blob, size = described.split()
            found[path] = (blob, int(size))
    return found


@dataclass
class _Keeper:
    """Takes the workspace's tree beside the agent's processes, which stand still meanwhile."""

    context: RunContext
    code: Code
    workspaces: Workspaces
    kept_at: float = field(default_factory=time.monotonic)

    @property
    def _git(self) -> Git:
        return self.workspaces.git(key_of(self.context))

    def take(self) -> str | None:
        """Give the tree's id; None where it cannot be taken, which the end of the turn then says properly."""
        try:
            with self._frozen():
                return take_tree(self._git).tree
        except (Fenced, Cancelled):
            raise
        except SymphonyError as error:
            log.info("tree not taken", run=str(self.context.run.id), reason=str(error))
            return None

    def keep(self) -> str | None:
        """Push the tree when the last push is long enough ago; give the commit."""
        if time.monotonic() - self.kept_at < KEEP_EVERY_S:
            return None
        try:
            with self._frozen():
                kept = keep(self.context, self.code, self.workspaces, message_of(self.context))
        except Transient as error:
            log.warning("work not kept yet", run=str(self.context.run.id), reason=str(error))
            return None
        self.kept_at = time.monotonic()
        return kept.commit

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        self.context.tree.freeze()
        try:
            yield
        finally:
            self.context.tree.thaw()


def _trees(context: RunContext, code: Code | None, stack: ExitStack) -> Trees:
    """Open a tree of processes of its own for Symphony's git: the agent's stands still while git works."""
    if code is None:
        return Trees(take=lambda: None, keep=lambda: None)
    side = stack.enter_context(context.side_tree())
    root = context.resolved.workspace_root(home=context.settings.home)
    keeper = _Keeper(context, code, Workspaces(side, root))
    return Trees(take=keeper.take, keep=keeper.keep)
