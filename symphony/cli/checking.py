"""`symphony check`: everything that is wrong with a WORKFLOW.md at once, then whether what it names answers from here."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from symphony.cli.app import app
from symphony.cli.connection import AsJson
from symphony.cli.formatting import document, line
from symphony.cli.harness import report
from symphony.cli.probes import Probe, make_states, probe_all
from symphony.engine import preflight
from symphony.settings import Settings, load
from symphony.workflow.audit import not_enforced
from symphony.workflow.findings import Finding, InvalidWorkflow
from symphony.workflow.loader import LoadedWorkflow, workflow_path
from symphony.workflow.loader import load as load_file
from symphony.workflow.prompt import validate_template
from symphony.workflow.prompt_needs import prompt_needs

_TRACKER_FAULTS = frozenset({"missing_tracker_secret", "invalid_tracker_config", "unsupported_tracker_kind"})
_MARKS = {"error": "error  ", "warning": "warning"}
_FINE = "ok     "


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(metavar="[WORKFLOW.md|DIR]", help="Default: ./WORKFLOW.md.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="With --harness: seconds for each command.")] = 600,
    *,
    harness: Annotated[
        bool, typer.Option("--harness", help="Audit a repository instead: how well can agents work in it? Takes a DIR.")
    ] = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="With --harness: execute nothing of the repository.")] = False,
    create_states: Annotated[
        bool, typer.Option("--create-states", help="First make the states that the file names and the tracker lacks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Validate a WORKFLOW.md and probe what it names; exit 0 or 2."""
    if harness and create_states:
        raise typer.BadParameter("an audit of a repository makes no states: leave out --harness or --create-states")
    if harness:
        report(path or Path(), timeout_s=timeout, runs=not no_run, as_json=as_json)
        return
    settings = load()
    file = workflow_path(path, cwd=Path.cwd())
    place = str(path) if path is not None else file.name
    try:
        loaded = load_file(file, place=place)
    except InvalidWorkflow as error:
        raise typer.Exit(_report(None, list(error.findings), [], as_json=as_json)) from None
    found = _findings(loaded, file, place, settings)
    is_openable = not _TRACKER_FAULTS & {finding.category for finding in found}
    base = file.absolute().parent
    probes = _states(loaded, base, found) if create_states else []
    probes += probe_all(loaded, base, settings, ask_tracker=is_openable)
    raise typer.Exit(_report(loaded, found, probes, as_json=as_json))


def _states(loaded: LoadedWorkflow, base: Path, found: list[Finding]) -> list[Probe]:
    """Make states, unless what the file says of its tracker has a fault: a name may be it."""
    if any(finding.severity == "error" and (finding.key or "").startswith("tracker") for finding in found):
        return [Probe("states", ok=False, message="none was made, for `tracker` has errors", cure="mend them first")]
    return make_states(loaded, base)


def _findings(loaded: LoadedWorkflow, file: Path, place: str, settings: Settings) -> list[Finding]:
    base = file.absolute().parent
    found = [
        *preflight.findings(loaded, environ=os.environ, base_dir=base, home=settings.home),
        *not_enforced(loaded.workflow, loaded.places),
        *validate_template(loaded.prompt_template, place=place, first_line=loaded.prompt_line),
        *loaded.warnings,
    ]
    return sorted(found, key=lambda finding: (finding.severity != "error", finding.line or 0))


def _report(loaded: LoadedWorkflow | None, found: list[Finding], probes: list[Probe], *, as_json: bool) -> int:
    is_fine = not any(finding.severity == "error" for finding in found) and all(probe.ok for probe in probes)
    if as_json:
        document(_as_document(loaded, found, probes, is_fine=is_fine))
    else:
        _write(loaded, found, probes)
        line("ready" if is_fine else "not ready: mend the errors above")
    return 0 if is_fine else 2


def _as_document(
    loaded: LoadedWorkflow | None, found: list[Finding], probes: list[Probe], *, is_fine: bool
) -> dict[str, Any]:
    workflow = loaded.workflow if loaded else None
    return {
        "ok": is_fine,
        "workflow": workflow.name if workflow else None,
        "compatible_mode": workflow.is_compatible_mode if workflow else None,
        "prompt_needs": prompt_needs(loaded.prompt_template) if loaded and loaded.workflow.is_compatible_mode else [],
        "stages": [str(stage) for stage in workflow.stages] if workflow else [],
        "findings": [asdict(finding) for finding in found],
        "probes": [asdict(probe) for probe in probes],
    }


def _write(loaded: LoadedWorkflow | None, found: list[Finding], probes: list[Probe]) -> None:
    if loaded is not None:
        stages = " -> ".join(loaded.workflow.stages)
        line(f"{loaded.workflow.name}: {loaded.workflow.tracker.kind} -> {stages}")
        if loaded.workflow.is_compatible_mode:
            line(
                "compatible mode: neither repository, agent.kind nor agent.model is named. The agent is codex, moves and "
                "comments by itself, inherits the environment without the tracker's secrets; nothing is proved or landed."
            )
            if needs := prompt_needs(loaded.prompt_template):
                line(f"its prompt seems to need: {'; '.join(needs)}")
    for finding in found:
        line(f"{_MARKS[finding.severity]} {finding}")
    for probe in probes:
        cure = f" ({probe.cure})" if probe.cure else ""
        mark = _MARKS["error"] if not probe.ok else _MARKS["warning"] if probe.is_warning else _FINE
        line(f"{mark} {probe.name}: {probe.message}{cure}")
