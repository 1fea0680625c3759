"""A run's code: where it is fetched from, what its workspace must hold, how its work is kept.

Invariant: the row says what the head is; every commit of a run is Symphony's own and stands directly on the run's base.
Snapshots go to a ref that only this holder's token names, then the row is written, never the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from symphony.domain.errors import ConfigError, InvariantViolated, Poisoned, Rejected
from symphony.domain.issue import workspace_key
from symphony.domain.proof import PROOF_TRAILER, RUN_TRAILER
from symphony.forges import Forge, branch_name, snapshot_ref
from symphony.forges.git import GitForge
from symphony.ledger import landings, workflows
from symphony.ledger.records import WorkflowRow
from symphony.processes.environment import agent_environment, inherited_environment
from symphony.processes.git import Git
from symphony.processes.git_failures import without_secrets
from symphony.stages.context import RunContext
from symphony.telemetry.labels import Label
from symphony.telemetry.log import get_logger
from symphony.workflow.loader import parse
from symphony.workflow.resolution import Resolved, resolve
from symphony.workspaces.clones import Source
from symphony.workspaces.hooks import Hook, HookName, run_hook
from symphony.workspaces.mirrors import Mirror
from symphony.workspaces.snapshots import Snapshot, snapshot
from symphony.workspaces.workspace import Claim, Workspace, Workspaces

log = get_logger()


@dataclass(frozen=True, slots=True)
class Code:
    """A repository as one attempt uses it."""

    forge: Forge
    mirror: Mirror

    @property
    def target(self) -> str:
        """What landings on this repository and branch are ordered by."""
        return f"{self.name}#{self.forge.branch}"

    @property
    def name(self) -> str:
        """The repository's url as it may be written down: a url out of the environment can carry a password."""
        return without_secrets(self.forge.url)

    def ensure(self, context: RunContext) -> None:
        """Have what the run's workspace is made from in the mirror; asks the repository only when it is missing."""
        commit = context.run.head_sha or context.run.base_sha
        if commit is None or not self.mirror.path.is_dir() or not self.mirror.git.has(commit):
            self.fetch(context)

    def fetch(self, context: RunContext) -> str:
        """Bring the target and the run's head into the mirror and return the target's commit."""
        head = context.run.head_sha

        def bring(git: Git) -> str:
            target = self.forge.fetch_target(git)
            if head is not None and not git.has(head):
                known = self.forge.snapshots(git, str(context.run.id))
                refs = [ref for ref, commit in known.items() if commit == head]
                if not refs:
                    raise Rejected(f"the snapshot {head[:7]} of the run is gone from the repository")
                self.forge.fetch(git, refs[:1])
            return target

        return self.mirror.update(bring)


def code_of(context: RunContext) -> Code | None:
    """Open the repository of a workflow; None where hooks alone fill the workspace.

    Raises:
        ConfigError: the url cannot be resolved here, or its forge is not in this build.
    """
    repository = context.workflow.repository
    url = context.resolved.repository_url()
    if repository is None or url is None:
        return None
    if repository.effective_forge != "git":
        raise ConfigError(
            f"the forge {repository.effective_forge} is not in this build",
            place="repository.forge",
            cure="use `forge: git`, which lands by plain git",
        )
    return Code(GitForge(url, repository.branch), Mirror(context.tree, context.settings.home / "mirrors", url))


def key_of(context: RunContext) -> str:
    """Give the name of the issue's workspace."""
    return workspace_key(context.issue.identifier)


def open_workspaces(context: RunContext) -> Workspaces:
    """Open the workflow's workspaces on this node."""
    return Workspaces(context.tree, context.resolved.workspace_root(home=context.settings.home))


def open_workspace(context: RunContext, code: Code | None, workspaces: Workspaces) -> Workspace:
    """Give the run its workspace on this node, holding no less than the row's head."""
    key = key_of(context)
    script = context.workflow.hooks.after_create

    def after_create(path: Path) -> None:
        if script is not None:
            run_hook(context.tree, hook(context, "after_create", script), path)

    if code is None:
        return workspaces.open(key, Claim(context.workflow_name, str(context.run.id)), prepare=after_create)
    commit = context.run.head_sha or context.run.base_sha
    assert commit is not None
    branch = branch_name(key)
    if branch.startswith(f"{code.forge.branch}/"):
        branch = branch.replace("/", "-")  # no clone holds it beside a target that is named like its folder
    source = Source(code.mirror.path, commit, branch, (code.forge.branch, context.run.base_sha or commit))
    claim = Claim(context.workflow_name, str(context.run.id), code.name)
    with code.mirror.reading():
        return workspaces.open(key, claim, source=source, prepare=after_create)


def branch_of(context: RunContext, code: Code) -> str:
    """Name the branch on which the run's work is published: its own where it has one.

    Workflows that share a repository have issues of the same name; their branches carry the workflow's name, too.
    """
    if context.run.branch is not None:
        return context.run.branch
    others = [row for row in context.fenced(workflows.every) if row.name != context.workflow_name]
    is_shared = any(_works_on(row, code, context.environ) for row in others)
    return branch_name(key_of(context), workflow=context.workflow_name if is_shared else None)


def _works_on(row: WorkflowRow, code: Code, environ: Mapping[str, str]) -> bool:
    """Tell whether a workflow's repository is this one; one that cannot be read here cannot be compared."""
    try:
        loaded = parse(row.content, place=row.source, name=row.name)
        url = resolve(loaded, environ=environ, base_dir=Path(row.base_dir)).repository_url()
    except ConfigError:
        return False
    return url is not None and _address(without_secrets(url)) == _address(code.name)


def _address(url: str) -> str:
    return url.rstrip("/").removesuffix(".git")


def hook(context: RunContext, name: HookName, script: str) -> Hook:
    """Make a hook of the workflow with the environment that it gets."""
    return Hook(name, script, environment(context), context.workflow.hooks.timeout)


def environment(context: RunContext) -> dict[str, str]:
    """Give the environment of the workflow's subprocesses: by allowlist in every mode but compatible."""
    run = context.run
    return bare_environment(context.resolved, context.environ) | {
        "SYMPHONY_ISSUE": context.issue.identifier,
        "SYMPHONY_RUN": f"{context.issue.identifier}#{run.number}",
        "SYMPHONY_RUN_ID": str(run.id),
        "SYMPHONY_STAGE": str(run.stage),
        "SYMPHONY_ATTEMPT": str(context.number),
        "SYMPHONY_NODE": context.node,
        "SYMPHONY_ARTIFACTS": str(artifacts_of(context)),
    }


def artifacts_of(context: RunContext) -> Path:
    """Give the folder in which the agent leaves what it wants people to see."""
    return context.settings.home / "run" / "artifacts" / str(context.run.id)


def bare_environment(resolved: Resolved, environ: Mapping[str, str]) -> dict[str, str]:
    """Give what the workflow's subprocesses see of a process's environment; no tracker's secret is in it."""
    secrets = resolved.secret_variables() | _model_secrets(resolved)
    if resolved.workflow.is_compatible_mode:
        return inherited_environment(environ, secrets=secrets)
    return agent_environment(resolved.workflow.sandbox.env, environ, secrets=secrets)


def _model_secrets(resolved: Resolved) -> frozenset[str]:
    """Name the credential of the model that works in Symphony's own process; a program of its own may need one."""
    agent = resolved.workflow.agent
    kinds = {agent.kind, *(choice.kind for choice in agent.by_label.values())}
    return frozenset({"OPENAI_API_KEY"}) if "openai" in kinds else frozenset()


def keep(context: RunContext, code: Code, workspaces: Workspaces, message: str) -> Snapshot:
    """Take the workspace's tree, keep it at the repository, and write it into the row.

    Nothing of the attempt's agent may be alive.
    """
    run, key = context.run, key_of(context)
    if run.base_sha is None:
        raise InvariantViolated("a run with a workspace has no base")
    git = workspaces.git(key)
    taken = snapshot(git, parents=[run.base_sha], message=message, when=run.created_at)
    for left_out in taken.left_out:
        log.warning("left out of the snapshot", run=str(run.id), path=left_out.path, reason=left_out.reason)
    if taken.commit != run.head_sha:
        push_head(context, code, git, taken.commit)
    workspaces.note_head(key, taken.commit)
    return taken


def push_head(context: RunContext, code: Code, git: Git, commit: str, *, base: str | None = None) -> None:
    """Make `commit` the run's head: pushed under this token's own ref first, then written into the row."""
    run = context.run
    log.debug(Label.SNAPSHOT_PUSHING, run=str(run.id), commit=commit)
    context.lease.ensure_trusted()
    code.forge.push_snapshot(git, snapshot_ref(str(run.id), run.token), commit)
    log.debug(Label.SNAPSHOT_PUSHED, run=str(run.id), commit=commit)
    context.write(head_sha=commit, base_sha=base or run.base_sha)
    log.info(Label.SNAPSHOT_RECORDED, run=str(run.id), commit=commit)


def publish(context: RunContext, code: Code, git: Git, commit: str) -> None:
    """Move the run's public branch to `commit`, from where this run last left it."""
    if context.run.published_sha == commit:
        return
    branch = branch_of(context, code)
    log.debug(Label.PUBLISHING, run=str(context.run.id), branch=branch)
    context.lease.ensure_trusted()
    try:
        code.forge.publish(git, branch, commit, expected=context.run.published_sha)
    except Rejected as error:
        if error.category != "lease_stale":
            raise
        _publish_over_own(context, code, git, branch, commit)
    log.debug(Label.PUBLISHED, run=str(context.run.id), branch=branch)
    context.write(published_sha=commit, branch=branch)


def _publish_over_own(context: RunContext, code: Code, git: Git, branch: str, commit: str) -> None:
    """Publish over what an earlier run of the issue left there, or an attempt of this one that could not write it down.

    Raises:
        Poisoned: somebody else has moved the branch; their commits are theirs to take away.
    """
    ref = f"refs/heads/{branch}"
    own = set(code.forge.snapshots(git, str(context.run.id)).values())
    own |= context.fenced(lambda transaction: landings.published_of_issue(transaction, context.run.issue_id))
    found = git.remote("ls-remote", "--refs", "--", code.forge.url, ref).split("\t")[0]
    if found == commit:
        return
    if found and found not in own:
        raise Poisoned(
            f"The branch `{branch}` was moved to {found[:7]} by somebody else. Move or delete it, then answer here.",
            category="branch_moved",
        )
    code.forge.publish(git, branch, commit, expected=found or None)


def message_of(context: RunContext) -> str:
    """Give the message of the run's commits: what people read in the history."""
    issue = context.issue
    return f"{issue.identifier}: {issue.title}\n\n{RUN_TRAILER}: {issue.identifier}#{context.run.number}\n"


def landing_message(context: RunContext, key: str | None) -> str:
    """Give the message of the commit that is to land: the run's, with the name of the proof that it rests on."""
    return message_of(context) + (f"{PROOF_TRAILER}: {key}\n" if key is not None else "")
