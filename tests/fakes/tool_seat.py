"""A desk in an empty workspace, at which tools are called as a model does."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from symphony.agents.openai.tools import Desk, Result, Sessions, call, for_run
from symphony.processes.guardian import Tree

TOOLS = for_run()


@dataclass
class Seat:
    """A desk in an empty workspace, and what its owner hears and says."""

    workspace: Path
    tree: Tree
    heard: list[str] = field(default_factory=list)
    stop: str | None = None
    sessions: Sessions = field(default_factory=Sessions)
    path: str = os.environ["PATH"]

    def call(self, tool: str, **arguments: object) -> Result:
        """Call a tool as a model does."""
        return self.raw(tool, json.dumps(arguments))

    def raw(self, tool: str, arguments: str) -> Result:
        """Call a tool with what need not be JSON."""
        return call(TOOLS, tool, arguments, self.desk())

    def desk(self) -> Desk:
        """Give the desk."""
        return Desk(
            workspace=self.workspace,
            tree=self.tree,
            environment={"PATH": self.path},
            artifacts=self.workspace.parent / "artifacts",
            stop_reason=lambda: self.stop,
            heard=self.heard.append,
            sessions=self.sessions,
        )

    def text(self, tool: str, **arguments: object) -> str:
        """Call a tool and give what the model reads."""
        return self.call(tool, **arguments).text

    def patch(self, body: str) -> str:
        """Apply a patch with this body."""
        return self.text("apply_patch", patch=f"*** Begin Patch\n{body}\n*** End Patch")

    def write(self, path: str, content: str | bytes) -> Path:
        """Put a file into the workspace."""
        place = self.workspace / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def repository(self) -> None:
        """Make the workspace a repository."""
        subprocess.run(["git", "init", "-q", "--template="], cwd=self.workspace, check=True)


def session_of(text: str) -> str:
    """Give the session that a text names."""
    found = re.search(r'session "(\w+)"', text)
    assert found, text
    return found[1]
