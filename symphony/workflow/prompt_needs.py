"""What a prompt of compatible mode seems to count on, told from its words: there the agent does by itself what elsewhere
Symphony does. Advice for people; nothing hangs on it. `symphony check` prints it.
"""

from __future__ import annotations

import re

_NEEDS = (
    (r"\blinear_graphql\b|\blinear\b.{0,40}\b(tool|mcp|graphql)\b", "a tool that speaks to Linear for it"),
    (r"\bgh (pr|api|auth|run|issue)\b|\bgithub cli\b", "the program gh, signed in"),
    (r"\bgit push\b|\bpush (the|your) branch\b|\bopen (a|the) (pr|pull request)\b", "git with the right to push"),
    (r"\.(codex|claude)/skills\b|\bskills?\b.{0,30}\b(land|pull|push|commit)\b", "the skills that it names"),
    (r"\b(move|transition|set|update)\b.{0,40}\b(issue|ticket|state|status)\b", "to move the issue by itself"),
    (r"\bworkpad\b|\bcomment\b", "to write comments by itself"),
)  # fmt: skip


def prompt_needs(template: str) -> list[str]:
    """Name what a prompt seems to need of its agent and its environment."""
    return [need for pattern, need in _NEEDS if re.search(pattern, template, re.IGNORECASE)]
