"""Take in what children write: one capped file a child, and one prefixed stream for people.

Invariant: a child never waits for a reader. A full disk, a closed or a stuck terminal costs lines, not work. The
supervisor relies on it.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from pathlib import Path
from typing import IO, TextIO

_FILE_LIMIT = 10 * 1024 * 1024
_LINE_LIMIT = 16 * 1024
_QUEUED_LINES = 2000
_LAST_LINES = 5


class Terminal:
    """A stream that children share; lines that it is too slow for are left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUED_LINES)
        self._writer = threading.Thread(target=self._write, name="terminal", daemon=True)
        self._writer.start()

    def show(self, line: str) -> None:
        """Write the line soon, or never."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def close(self) -> None:
        """Write what is queued, but wait no longer than a second for it."""
        try:
            self._lines.put(None, timeout=0.5)
        except queue.Full:
            return
        self._writer.join(0.5)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # closed: the files still get everything
                continue


class ChildLog:
    """The log of one child across its restarts: `<folder>/<name>.log` and one older file."""

    def __init__(self, folder: Path, name: str, terminal: Terminal | None) -> None:
        self.path = folder / f"{name}.log"
        self._name = name
        self._terminal = terminal
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._writing = threading.Lock()

    def follow(self, output: IO[bytes]) -> None:
        """Read `output` in a thread of its own until it ends."""
        threading.Thread(target=self._read, args=(output,), name=f"log {self._name}", daemon=True).start()

    def last_words(self) -> str:
        """Return the last line that was written, or nothing."""
        return self._last[-1] if self._last else ""

    def write(self, line: bytes) -> None:
        """Keep one line, given without its end."""
        text = line.decode("utf-8", "replace")
        self._last.append(text)
        if self._terminal:
            self._terminal.show(f"{self._name} | {text}")
        with self._writing:
            try:
                with self.path.open("ab") as file:
                    file.write(line + b"\n")
                    is_full = file.tell() > _FILE_LIMIT
                if is_full:
                    self.path.replace(self.path.with_suffix(".log.1"))
            except OSError:
                return

    def _read(self, output: IO[bytes]) -> None:
        with output:
            while line := output.readline(_LINE_LIMIT):
                self.write(line.rstrip(b"\r\n"))
