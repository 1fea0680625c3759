"""WORKFLOW.md from a file or from a row: found, read, taken apart and validated (specification 5.1, 5.2, 6.3).

`load` and `parse` give the same value for the same text, so a process that reads the file and one that reads the
database see one workflow. Every fault of a file is told at once; a template's faults are not among them, since they
fail an attempt and not the workflow (specification 5.5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from symphony.domain.errors import InvariantViolated
from symphony.workflow.audit import warnings
from symphony.workflow.findings import Finding, InvalidWorkflow, Places
from symphony.workflow.front_matter import MAX_FILE_BYTES, decode, take_apart
from symphony.workflow.schema import Workflow
from symphony.workflow.source_name import name_from_folder
from symphony.workflow.validation import validate

MISSING_FILE = "missing_workflow_file"
FILE_NAME = "WORKFLOW.md"


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """One version of a workflow; `sha256` names the version, `prompt_line` is where the prompt begins."""

    workflow: Workflow
    config: dict[str, Any] = field(repr=False)
    prompt_template: str = field(repr=False)
    prompt_line: int
    text: str = field(repr=False)
    sha256: str
    warnings: tuple[Finding, ...]
    places: Places = field(repr=False)
    path: Path | None = None


def workflow_path(explicit: Path | None, *, cwd: Path) -> Path:
    """Give the file to load: the one that was named, else WORKFLOW.md in the working directory."""
    return explicit if explicit is not None else cwd / FILE_NAME


def load(path: Path, *, place: str | None = None) -> LoadedWorkflow:
    """Read and validate a file.

    Raises:
        InvalidWorkflow: with every fault; `category` is that of the first.
    """
    return from_bytes(read(path, place=place), path=path, place=place)


def read(path: Path, *, place: str | None = None) -> bytes:
    """Read a workflow file, never more than one byte beyond what is allowed.

    Raises:
        InvalidWorkflow: `missing_workflow_file`.
    """
    try:
        # A named pipe in the file's place would be waited for.
        if not path.is_file() and path.exists():
            raise _missing(path, place, "is not a file")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise _missing(path, place, "does not exist") from None
    except (OSError, ValueError) as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "not a path"
        raise _missing(path, place, f"cannot be read: {reason}") from None


def from_bytes(data: bytes, *, path: Path, place: str | None = None) -> LoadedWorkflow:
    """Validate a file's content.

    Raises:
        InvalidWorkflow: with every fault.
    """
    where = place or str(path)
    text = decode(data, place=where)
    path = _plain(path)
    return _parse(text, where, name_from_folder(path.parent), path, hashlib.sha256(data).hexdigest())


def parse(text: str, *, place: str, name: str | None = None) -> LoadedWorkflow:
    """Validate a text that a row keeps; `name` is used where the text gives none.

    Raises:
        InvalidWorkflow: with every fault.
    """
    return _parse(text, place, name, None, hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest())


def _parse(text: str, place: str, name: str | None, path: Path | None, sha256: str) -> LoadedWorkflow:
    document = take_apart(text, place=place)
    config = document.config
    named = {**config, "name": name} if name and config.get("name") is None else config
    workflow, faults = validate(named, document.places)
    found = [*document.faults, *faults]
    if found:
        raise InvalidWorkflow(found)
    if workflow is None:
        raise InvariantViolated("a front matter without faults has no typed view")
    notes = warnings(workflow, config, document.places)
    if not document.closed:
        notes.append(_never_closed(place))
    return LoadedWorkflow(
        workflow, config, document.prompt, document.prompt_line, text, sha256, tuple(notes), document.places, path
    )


def _plain(path: Path) -> Path:
    """Give one spelling of a file's place: it is the workflow's source, and its folder may be the name."""
    path = path.absolute()
    # Links stay as they were written: where they lead may change from release to release.
    return path.parent.resolve() / path.name if ".." in path.parts else path


def _never_closed(place: str) -> Finding:
    message = "the front matter is never closed, so the prompt is empty"
    cure = "close it with a line of three dashes"
    return Finding("front_matter_not_closed", message, None, 1, place, cure, "warning")


def _missing(path: Path, place: str | None, what: str) -> InvalidWorkflow:
    finding = Finding(MISSING_FILE, f"the workflow file {what}", None, None, place or str(path), _cure(path))
    return InvalidWorkflow([finding])


def _cure(path: Path) -> str:
    return (
        f"name the {FILE_NAME} in it"
        if path.is_dir()
        else f"name a {FILE_NAME}, or write one: docs/workflow.md has its keys"
    )
