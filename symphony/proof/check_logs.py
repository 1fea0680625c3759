"""Where the full logs of checks lie on a node, and how they are written.

Invariant: a log is within the limit of what was captured, holds no secret, and lies where `symphony logs --check` and
`symphony clean` look: `<home>/logs/proofs/<run>/<attempt>-<check>.log`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from symphony.telemetry.log import get_logger

_LONGEST = 150

log = get_logger()


@dataclass(frozen=True, slots=True)
class CheckLogs:
    """The logs of one attempt; `kind` tells its further runs apart (`target`, `again`)."""

    folder: Path
    attempt: str

    @classmethod
    def of(cls, home: Path, run_id: object, attempt_id: object) -> CheckLogs:
        """Give the logs of an attempt."""
        return cls(home / "logs" / "proofs" / str(run_id), str(attempt_id))

    def path(self, check: str, kind: str = "") -> Path:
        """Give where the log of a check lies."""
        return self.folder / f"{self.attempt}-{_as_file_name(check)}{f'@{kind}' if kind else ''}.log"

    def write(self, check: str, text: str, kind: str = "") -> None:
        """Keep what a check wrote; a node that cannot write it has said so in its own log."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path(check, kind).write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            log.warning("log of a check not kept", check=check, reason=str(error))


def _as_file_name(check: str) -> str:
    name = check.replace("/", "_")
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name.encode()[:_LONGEST].decode(errors='ignore')}-{hashlib.sha256(check.encode()).hexdigest()[:8]}"
