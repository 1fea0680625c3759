"""Boards that the tracker suites run over: a real adapter, and a person's hands on the same tracker.

Invariant: whatever a board's person does is done past the adapter, as its users would do it. A new adapter joins by
adding its board to `BOARDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from symphony.trackers import Tracker, open_tracker


class Board(Protocol):
    """A tracker with nothing in it, and what people do there."""

    def open(self, **provider: object) -> Tracker:
        """Open the adapter on this board, with the states Todo, In Progress active and Done terminal."""

    def create(self, name: str, state: str, **fields: object) -> str:
        """Create an issue (title, body, labels, priority, blocked_by, assignee) and give its id."""

    def person_moves(self, issue_id: str, state: str) -> None:
        """Change an issue's state by hand."""

    def person_comments(self, issue_id: str, text: str) -> None:
        """Comment by hand."""

    def person_deletes(self, issue_id: str) -> None:
        """Make an issue invisible."""

    def person_breaks(self, issue_id: str) -> None:
        """Make an issue's record malformed."""

    def goes_away(self) -> None:
        """Make the tracker unreachable."""


class FilesBoard:
    """A folder of issues and a person with an editor."""

    def __init__(self, tmp_path: Path) -> None:
        self.base = tmp_path
        self.folder = tmp_path / "issues"
        self.folder.mkdir()

    def open(self, **provider: object) -> Tracker:
        return open_tracker(
            "files",
            {"path": "issues", **provider},
            active_states=("Todo", "In Progress"),
            terminal_states=("Done",),
            base_dir=self.base,
            environ={},
        )

    def path(self, issue_id: str) -> Path:
        return self.folder / f"{issue_id}.md"

    def create(self, name: str, state: str, **fields: object) -> str:
        body = fields.pop("body", "What to do.\n")
        lines = [f"title: {fields.pop('title', 'A title')}", f"state: {state}"]
        lines += [f"{key}: {_flow(value)}" for key, value in fields.items()]
        self.path(name).write_text("\n".join(["---", *lines, "---", str(body)]))
        return name

    def person_moves(self, issue_id: str, state: str) -> None:
        text = self.path(issue_id).read_text()
        self.path(issue_id).write_text(re.sub(r"(?m)^state: .*$", f"state: {state}", text, count=1))

    def person_comments(self, issue_id: str, text: str) -> None:
        with self.path(issue_id).open("a") as file:
            file.write(f"\n{text}\n" if "## Comments" in self.path(issue_id).read_text() else f"\n## Comments\n\n{text}\n")

    def person_deletes(self, issue_id: str) -> None:
        self.path(issue_id).unlink()

    def person_breaks(self, issue_id: str) -> None:
        self.path(issue_id).write_text("---\ntitle: [\n---\n")

    def goes_away(self) -> None:
        self.folder.rename(self.base / "elsewhere")


def _flow(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


BOARDS: dict[str, Callable[[Path], Board]] = {"files": FilesBoard}
