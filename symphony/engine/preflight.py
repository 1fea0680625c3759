"""Whether a workflow can be served from here: what `up` refuses to start with and `check` explains.

Pure but for the environment that is passed in: nothing is opened or asked. Faults of the prompt are not among them,
since they fail an attempt and not the workflow (specification 5.5, 6.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from symphony.domain.errors import ConfigError
from symphony.trackers.protocol import Tracker
from symphony.trackers.registry import open_tracker
from symphony.workflow.audit import missing_parts, state_findings
from symphony.workflow.findings import INVALID, Finding, InvalidWorkflow
from symphony.workflow.loader import LoadedWorkflow
from symphony.workflow.resolution import resolve


def findings(loaded: LoadedWorkflow, *, environ: Mapping[str, str], base_dir: Path, home: Path) -> list[Finding]:
    """Tell what this build lacks, what contradicts itself, and what cannot be resolved here."""
    found = [*missing_parts(loaded.workflow, loaded.places), *state_findings(loaded.workflow, loaded.places)]
    resolved = resolve(loaded, environ=environ, base_dir=base_dir)
    probes: list[Callable[[], object]] = [
        resolved.repository_url,
        resolved.readable_paths,
        lambda: resolved.workspace_root(home=home),
    ]
    if loaded.workflow.tracker.profile.in_this_build:
        probes.append(lambda: tracker_of(loaded, environ=environ, base_dir=base_dir))
    for probe in probes:
        try:
            probe()
        except ConfigError as error:
            place = error.place or str(loaded.path or loaded.places.place)
            found.append(Finding(error.category or INVALID, error.message, None, None, place, error.cure))
    return found


def refuse_unusable(loaded: LoadedWorkflow, *, environ: Mapping[str, str], base_dir: Path, home: Path) -> None:
    """Refuse a workflow that no run could succeed with.

    Raises:
        InvalidWorkflow: with every fault.
    """
    found = findings(loaded, environ=environ, base_dir=base_dir, home=home)
    faults = [finding for finding in found if finding.severity == "error"]
    if faults:
        raise InvalidWorkflow(faults)


def tracker_of(loaded: LoadedWorkflow, *, environ: Mapping[str, str], base_dir: Path) -> Tracker:
    """Open the tracker of a workflow that is not in the ledger.

    Raises:
        ConfigError: the adapter refuses its settings, or a secret is missing.
    """
    provider = resolve(loaded, environ=environ, base_dir=base_dir).tracker_provider()
    secrets = {name: secret.get_secret_value() for name, secret in provider.secrets.items()}
    tracker = loaded.workflow.tracker
    return open_tracker(
        provider.kind,
        {name: str(value) if isinstance(value, Path) else value for name, value in provider.values.items()} | secrets,
        active_states=tracker.active_states,
        terminal_states=tracker.terminal_states,
        base_dir=base_dir,
        environ=environ,
        authors=tracker.authors,
    )
