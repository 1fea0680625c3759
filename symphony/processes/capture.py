"""What a command wrote, kept within bounds: the head, the tail, and how much was left out between them.

Invariant: memory never exceeds head + 2 × tail + one chunk, whatever the command writes and however long its lines are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Captured:
    """The kept part of an output; `dropped` bytes are missing between `head` and `tail`."""

    head: bytes
    tail: bytes
    dropped: int

    def text(self) -> str:
        """Return it for people, with a line that says how much was left out."""
        if not self.dropped:
            return (self.head + self.tail).decode(errors="replace")
        gap = f"\n[… {self.dropped} bytes left out …]\n"
        return self.head.decode(errors="replace") + gap + self.tail.decode(errors="replace")


class Capture:
    """Collects chunks of an output and keeps its first `head` and last `tail` bytes."""

    def __init__(self, head: int, tail: int) -> None:
        self._head_room = head
        self._tail_room = tail
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, chunk: bytes) -> None:
        """Take the next piece of output."""
        self._total += len(chunk)
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        if len(self._tail) > 2 * self._tail_room:
            self._trim()

    def _trim(self) -> None:
        del self._tail[: max(0, len(self._tail) - self._tail_room)]

    def result(self) -> Captured:
        """Return what was kept so far."""
        self._trim()
        return Captured(bytes(self._head), bytes(self._tail), self._total - len(self._head) - len(self._tail))
