"""The command `symphony`, run in the test's process, with what it said and its exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from symphony.cli.main import run


@dataclass
class Said:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


class Command:
    """Runs commands; a traceback would be an exception here."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        """Run one."""
        self._capsys.readouterr()
        code = run([*arguments])
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)
