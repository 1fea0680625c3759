"""When an agent is said to get nowhere."""

from __future__ import annotations

from symphony.agents.openai.progress import IDLE_END, Progress


def test_steps_count_as_idle_only_where_the_tree_is_known() -> None:
    """Rule: without a repository nobody knows what changes, so long work there is no lack of progress."""
    unknown, still = Progress(), Progress()
    for number in range(IDLE_END + 1):
        for progress, tree in ((unknown, None), (still, "a" * 40)):
            progress.requested(tree)
            progress.called("shell", f"step {number}", "done")
    assert unknown.end() is None
    assert "nothing in its workspace changed" in str(still.end())
