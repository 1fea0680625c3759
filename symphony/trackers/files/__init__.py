"""The tracker `files`, built from a workflow's settings.

Invariant: a setting that cannot work is refused here, with its place and its cure; whether the folder exists is asked
by `check` and by each poll, for it may come later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from symphony.domain.errors import ConfigError
from symphony.trackers.files.adapter import FilesSettings, FilesTracker
from symphony.trackers.protocol import Tracker
from symphony.trackers.registry import Scope

ACTIVE_STATES = ("Todo", "In Progress", "Rework", "Merging")
TERMINAL_STATES = ("Done", "Closed", "Canceled", "Cancelled", "Duplicate")

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def open_adapter(scope: Scope) -> Tracker:
    """Build the adapter. Raises: ConfigError (`invalid_tracker_config`)."""
    provider = scope.provider
    board = FilesSettings(
        path=_path(provider.get("path"), scope.base_dir, scope.environ),
        active_states=scope.active_states if scope.active_states is not None else ACTIVE_STATES,
        terminal_states=scope.terminal_states if scope.terminal_states is not None else TERMINAL_STATES,
        assignees=_assignees(provider.get("assignee")),
        unknown_keys=tuple(sorted(str(key) for key in provider if key not in {"path", "assignee"})),
    )
    return FilesTracker(board)


def _path(value: Any, base_dir: Path, environ: Mapping[str, str]) -> Path:
    place = "tracker.provider.path"
    if value is None:
        value = "issues"
    if isinstance(value, Path):  # the workflow room has resolved it
        return base_dir.absolute() / value
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise _invalid("the path of the issues must be a text", place, "write for example `path: issues`")

    def resolve(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not environ.get(name):
            raise _invalid(f"${name} is not set", place, f"set {name}, or write the path itself")
        return environ[name]

    path = _VARIABLE.sub(resolve, value)
    if path == "~" or path.startswith("~/"):
        path = str(environ.get("HOME") or Path.home()) + path[1:]
    return base_dir.absolute() / path


def _assignees(value: Any) -> frozenset[str]:
    names = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise _invalid("`assignee` must be a name or a list of names", "tracker.provider.assignee", "or leave it out")
    return frozenset(name.strip().casefold() for name in names)


def _invalid(message: str, place: str, cure: str) -> ConfigError:
    return ConfigError(message, place=place, cure=cure, category="invalid_tracker_config")
