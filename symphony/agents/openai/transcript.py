"""The agent's log for people: what it said, called and was answered, one readable entry each, within a limit.

Rows are the truth; this file is what `symphony logs` shows. It lies on the node where the agent worked.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from symphony.agents.openai.model import Item
from symphony.telemetry.redaction import redact

_LIMIT = 16 << 20  # bytes
_SHOWN = 4_000  # characters of an entry


class Transcript:
    """Appends to one file; a disk that is full costs the log and not the run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def told(self, text: str) -> None:
        """Note what we said to the model."""
        self._write("symphony", text)

    def item(self, item: Item) -> None:
        """Note an item of the model's."""
        match item.get("type"):
            case "message":
                parts = [part.get("text") or part.get("refusal") or "" for part in item.get("content", ())]
                self._write("agent", "\n".join(parts))
            case "reasoning":
                thoughts = [part.get("text", "") for part in item.get("summary") or ()]
                if any(thoughts):
                    self._write("thinks", "\n".join(thoughts))
            case "function_call":
                self._write("calls", f"{item['name']} {item['arguments']}")

    def answered(self, name: str, text: str) -> None:
        """Note what came of a call."""
        self._write(name, text)

    def _write(self, who: str, text: str) -> None:
        text = redact(text).strip()
        if len(text) > _SHOWN:
            text = f"{text[: _SHOWN // 2]}\n[… {len(text) - _SHOWN} characters left out …]\n{text[-_SHOWN // 2 :]}"
        body = text.replace("\n", "\n    ")
        line = f"{datetime.now(UTC):%H:%M:%S} {who}: {body}\n"
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", errors="replace") as log:
                if log.tell() < _LIMIT:
                    log.write(line)
