"""Boards that the tracker suites run over: a real adapter, and a person's hands on the same tracker.

Invariant: whatever a board's person does is done past the adapter, as its users would do it. A new adapter joins by
adding its board to `BOARDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from symphony.trackers import Tracker, open_tracker
from tests.fakes.linear_people import STATES
from tests.fakes.linear_records import Label, User
from tests.fakes.linear_server import LinearServer, wait_until


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

    def close(self) -> None:
        """End what was started for the board."""


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

    def close(self) -> None:
        """A folder needs no end."""


def _flow(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


class LinearBoard:
    """A project of a played Linear and people who use it; issues are called as the tests call them."""

    def __init__(self, tmp_path: Path) -> None:
        self.base = tmp_path
        self.server = LinearServer(team="A", states=(*STATES, ("todo", "unstarted"), ("Review", "started")))
        self.server.__enter__()
        self._born = self.server.world.clock.now()
        self._ids: dict[str, str] = {}

    def open(self, **provider: object) -> Tracker:
        if "assignee" in provider:
            provider["assignee"] = self._user(str(provider["assignee"]).lower()).id
        own = {"endpoint": self.server.url, "api_key": self.server.key, "project_slug": self.server.project.slug_id}
        return open_tracker(
            "linear",
            {**own, **provider},
            active_states=("Todo", "In Progress"),
            terminal_states=("Done",),
            base_dir=self.base,
            environ={},
        )

    def create(self, name: str, state: str, **fields: object) -> str:
        self._born += 1  # two issues of one millisecond would have no order
        values: dict[str, Any] = {"created_at": self._born, "updated_at": self._born, "title": "A title"}
        values["description"] = fields.pop("body", "What to do.\n")
        blockers: Sequence[str] = ()
        raw: dict[str, object] = {}
        for key, value in fields.items():
            match key, value:
                case "labels", list():
                    values["label_ids"] = tuple(self._label(label, -age) for age, label in enumerate(value))
                case "blocked_by", list():
                    blockers = value
                case "assignee", str() if value.isalpha():
                    values["assignee_id"] = self._user(value).id
                case ("priority", int()) | ("title" | "url", str()):
                    values[key] = value
                case _:
                    raw[_API_NAMES[key]] = value
        issue = self.server.create_issue(state=state, **values)
        with self.server.world.lock:
            self.server.world.save(replace(issue, identifier=name, raw=raw or None), by=self.server._hand())
        self._ids[name] = issue.id
        for blocker in blockers:
            self.server.block(issue, by=self._ids.get(blocker) or self.server.create_issue("Elsewhere", project_id=None))
        return issue.id

    def person_moves(self, issue_id: str, state: str) -> None:
        self.server.move(issue_id, state)

    def person_comments(self, issue_id: str, text: str) -> None:
        now = self.server.world.clock.now
        before = now()
        wait_until(lambda: now() > before)  # two comments of one millisecond would have no order
        self.server.comment(issue_id, text)
        after = now()
        wait_until(lambda: now() > after)

    def person_deletes(self, issue_id: str) -> None:
        self.server.delete(issue_id)

    def person_breaks(self, issue_id: str) -> None:
        self.server.break_record(issue_id, title=None)

    def goes_away(self) -> None:
        self.close()

    def close(self) -> None:
        self.server.__exit__()

    def _label(self, name: str, age: int) -> str:
        fresh = self.server.world.fresh() | {"created_at": self._born + age}  # the newest is answered first
        label = Label(**fresh, name=name.strip("'"))
        return self.server.world.save(label, by=self.server._hand()).id

    def _user(self, name: str) -> User:
        known = self.server.world.board.get(User, name)
        return known or self.server.add_user(name, id=name)


_API_NAMES = {"priority": "priority", "labels": "labels", "blocked_by": "inverseRelations"}
_API_NAMES |= {"assignee": "assignee", "created": "createdAt"}

BOARDS: dict[str, Callable[[Path], Board]] = {"files": FilesBoard, "linear": LinearBoard}
