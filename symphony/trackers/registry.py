"""The adapters by kind, and the one way to open one.

Invariant: an adapter's module is imported only when a workflow names its kind, so one that needs a heavy client costs
the others nothing. A new adapter is a line in `_ADAPTERS` and a module with `open_adapter(Scope) -> Tracker`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from symphony.domain.errors import ConfigError
from symphony.trackers.protocol import Tracker
from symphony.trackers.quota import OwnQuota, QuotaOf

_ADAPTERS = {"files": "symphony.trackers.files", "linear": "symphony.trackers.linear"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What an adapter is built from; states are None where the workflow leaves them to the adapter's default."""

    provider: Mapping[str, Any]
    active_states: tuple[str, ...] | None
    terminal_states: tuple[str, ...] | None
    base_dir: Path
    environ: Mapping[str, str]
    authors: Mapping[str, Any]
    quota_of: QuotaOf


def kinds() -> tuple[str, ...]:
    """Give the supported values of `tracker.kind`."""
    return tuple(sorted(_ADAPTERS))


def open_tracker(
    kind: str,
    provider: Mapping[str, Any],
    *,
    active_states: Sequence[str] | None,
    terminal_states: Sequence[str] | None,
    base_dir: Path,
    environ: Mapping[str, str],
    authors: Mapping[str, Any] | None = None,
    quota_of: QuotaOf | None = None,
) -> Tracker:
    """Build the adapter for a workflow; `base_dir` is the folder that relative paths start from.

    Raises: ConfigError (`unsupported_tracker_kind`, `invalid_tracker_config`, `missing_tracker_secret`).
    """
    module = _ADAPTERS.get(kind)
    if module is None:
        raise ConfigError(
            f"there is no tracker of kind {kind!r}",
            place="tracker.kind",
            cure=f"use one of: {', '.join(kinds())}",
            category="unsupported_tracker_kind",
        )
    scope = Scope(
        provider=provider,
        active_states=tuple(active_states) if active_states is not None else None,
        terminal_states=tuple(terminal_states) if terminal_states is not None else None,
        base_dir=base_dir,
        environ=environ,
        authors=authors or {},
        quota_of=quota_of or (lambda _: OwnQuota()),
    )
    return cast("Tracker", import_module(module).open_adapter(scope))
