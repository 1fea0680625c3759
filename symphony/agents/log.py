"""The agent's log: what it wrote, redacted, up to a limit.

Invariant: each issue of each workflow has a file of its own, which everybody finds by `log_path`. Nothing is written
before the line that it belongs to has been seen whole, so that a secret which comes in two pieces is recognised; a line
longer than `_LONGEST` is written in pieces all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from symphony.domain.issue import workspace_key
from symphony.telemetry.redaction import redact

LIMIT = 16 << 20
_LONGEST = 65_536
_KEY_BEGINS, _KEY_ENDS = b"-----BEGIN ", b"-----END "


class AgentLog:
    """Takes output in chunks as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pending = b""
        self._taken = 0

    def add(self, chunk: bytes) -> None:
        """Take the next piece of output; what is beyond the limit is dropped."""
        if self._taken >= LIMIT:
            return
        self._taken += len(chunk)
        self._pending += chunk
        end = self._end_of_whole_lines() if self._taken < LIMIT and len(self._pending) <= _LONGEST else len(self._pending)
        self._write(end)

    def close(self) -> None:
        """Write what is left, an unfinished line."""
        self._write(len(self._pending))

    def _end_of_whole_lines(self) -> int:
        """Find where the last whole line ends; a private key is one line in this."""
        end = self._pending.rfind(b"\n") + 1
        key = self._pending.rfind(_KEY_BEGINS, 0, end)
        is_open = key >= 0 and self._pending.find(_KEY_ENDS, key, end) < 0
        return key if is_open else end

    def _write(self, end: int) -> None:
        if end:
            text = self._pending[:end].decode(errors="surrogateescape")
            self._file.write(redact(text).encode(errors="surrogateescape"))
            self._file.flush()
        self._pending = self._pending[end:]


def log_path(home: Path, workflow: str, identifier: str) -> Path:
    """Give the log of an issue's agents."""
    return home / "logs" / "agents" / workspace_key(workflow) / f"{workspace_key(identifier)}.log"


@contextmanager
def agent_log(path: Path) -> Iterator[AgentLog]:
    """Append to the log at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        log = AgentLog(file)
        try:
            yield log
        finally:
            log.close()
