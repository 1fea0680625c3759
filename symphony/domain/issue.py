"""The issue as every tracker must describe it, and the names derived from it.

Shapes follow the Symphony specification, sections 4.1.1, 4.2 and 11.3. Adapters build these values, the engine and
the prompt read them; nothing here knows a provider.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from symphony.domain.errors import InvariantViolated

_DISALLOWED = re.compile(r"[^A-Za-z0-9._-]")
_DIGEST_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Blocker:
    """An issue that must end before another one may start; every field is best effort."""

    id: str | None = None
    identifier: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on an issue; `id` is stable within the tracker."""

    id: str
    author: str | None
    body: str
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Issue:
    """A normalised issue; `id` is the opaque dispatch identity, `identifier` what people say."""

    id: str
    identifier: str
    title: str
    state: str
    dispatchable: bool
    description: str | None = None
    priority: int | None = None
    branch_name: str | None = None
    url: str | None = None
    assignee_id: str | None = None
    labels: tuple[str, ...] = ()
    blocked_by: tuple[Blocker, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    native_ref: dict[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        """Refuse a record without the required fields.

        Raises:
            InvariantViolated: when `id`, `identifier`, `title` or `state` is empty.
        """
        for name in ("id", "identifier", "title", "state"):
            if not getattr(self, name).strip():
                raise InvariantViolated(f"an issue needs a non-empty {name}")

    def as_json(self) -> dict[str, Any]:
        """Give a JSON-safe snapshot; instants are RFC 3339 strings."""
        snapshot = asdict(self)
        for name in ("created_at", "updated_at"):
            instant = snapshot[name]
            snapshot[name] = instant.isoformat() if instant is not None else None
        snapshot["labels"] = list(self.labels)
        snapshot["blocked_by"] = [asdict(blocker) for blocker in self.blocked_by]
        return snapshot

    @classmethod
    def from_json(cls, snapshot: dict[str, Any]) -> Issue:
        """Rebuild an issue from `as_json`; keys that this version does not know are dropped."""
        known = {name: snapshot[name] for name in (f.name for f in fields(cls)) if name in snapshot}
        for name in ("created_at", "updated_at"):
            if known.get(name) is not None:
                known[name] = datetime.fromisoformat(known[name])
        known["labels"] = tuple(known.get("labels") or ())
        known["blocked_by"] = tuple(Blocker(**blocker) for blocker in known.get("blocked_by") or ())
        return cls(**known)


def normalized_state(name: str) -> str:
    """Give the form in which state names are compared (specification 4.2)."""
    return name.strip().lower()


def normalized_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Trim, lowercase, drop blanks and repetitions, keep the order (specification 11.3)."""
    return tuple(dict.fromkeys(label.strip().lower() for label in labels if label.strip()))


def workspace_key(identifier: str) -> str:
    """Give the directory name of an issue's workspace (specification 4.2, 9.5).

    An identifier that needed replacement, and the two names that are no directories, carry 64 bits of its digest.
    """
    key = _DISALLOWED.sub("_", identifier)
    if key == identifier and key not in {".", ".."}:
        return key
    return f"{key}-{hashlib.sha256(identifier.encode()).hexdigest()[:_DIGEST_CHARACTERS]}"
