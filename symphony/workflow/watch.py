"""A WORKFLOW.md that is read again when its content changes, keeping the last good version (specification 6.2).

Content decides, not the clock of the file system, so no change is missed; a file that breaks is reported once and the
version before it stays in force. The process that was given the path polls; nobody else reads the file.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from symphony.workflow.findings import InvalidWorkflow
from symphony.workflow.loader import LoadedWorkflow, from_bytes, read

_SETTLE_S = 0.02
_SETTLE_TRIES = 10


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The file has a new valid version, or is valid again."""

    workflow: LoadedWorkflow


@dataclass(frozen=True, slots=True)
class Broken:
    """The file cannot be used; the last good version still is."""

    error: InvalidWorkflow


class WatchedFile:
    """A workflow file under watch; `current` is the last good version, `error` what is wrong with the file now."""

    def __init__(self, path: Path, *, place: str | None = None) -> None:
        """Read the file for the first time.

        Raises:
            InvalidWorkflow: there is no good version to begin with.
        """
        self._path = path
        self._place = place
        content = read(path, place=place)
        self._seen: bytes | None = content
        self.current = from_bytes(content, path=path, place=place)
        self.error: InvalidWorkflow | None = None

    def poll(self) -> Reloaded | Broken | None:
        """Read the file and tell once what is new since the last poll."""
        try:
            content = self._settled()
        except InvalidWorkflow as error:
            repeated = self._seen is None and str(self.error) == str(error)
            self._seen, self.error = None, error
            return None if repeated else Broken(error)
        if content == self._seen:
            return None
        self._seen = content
        try:
            self.current = from_bytes(content, path=self._path, place=self._place)
        except InvalidWorkflow as error:
            self.error = error
            return Broken(error)
        self.error = None
        return Reloaded(self.current)

    def _settled(self) -> bytes:
        """Read until two readings agree, so that a file being written is seldom taken for a version."""
        content = read(self._path, place=self._place)
        for _ in range(_SETTLE_TRIES):
            if content == self._seen:
                break
            time.sleep(_SETTLE_S)
            before, content = content, read(self._path, place=self._place)
            if content == before:
                break
        return content
