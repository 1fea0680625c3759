"""What is told of a prompt in compatible mode."""

from __future__ import annotations

import pytest

from symphony.workflow.prompt_needs import prompt_needs


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("Use the `linear_graphql` tool.", "Linear"),
        ("Run gh pr view and merge.", "gh"),
        ("Commit, then git push.", "push"),
        ("Open `.codex/skills/land/SKILL.md`.", "skills"),
        ("Move the issue to Human Review.", "move"),
        ("Keep one workpad comment.", "comments"),
    ],
)
def test_words_tell_what_a_prompt_needs(prompt: str, word: str) -> None:
    assert len(prompt_needs(prompt)) == 1
    assert word in prompt_needs(prompt)[0]


def test_a_plain_prompt_needs_nothing() -> None:
    assert prompt_needs("Work on {{ issue.identifier }}: {{ issue.title }}") == []
