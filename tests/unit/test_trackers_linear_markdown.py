"""Texts for Linear: folded sections in its own way, and nothing that others wrote taken for one."""

from __future__ import annotations

from symphony.proof.markdown import block, folded
from symphony.trackers.linear.markdown import in_linears


def test_folded_sections_are_linears_own() -> None:
    text = f"**Landed**\n\n{folded('Proof passed', 'all well')}\n\nend"
    assert in_linears(text) == "**Landed**\n\n+++ Proof passed\n\nall well\n\n+++\n\nend"


def test_what_stands_in_code_stays() -> None:
    inner = "</details>\n<details><summary>x</summary>\n```\n+++ b/file\n</details>"
    text = folded("Output", block(inner, 1_000))
    assert inner in in_linears(text)
    assert [line for line in in_linears(text).splitlines() if line.startswith("+++")] == ["+++ Output", "+++ b/file", "+++"]


def test_a_text_without_sections_is_the_same() -> None:
    for text in ("", "plain", "a\n\n```\n<details>", "``` not closed\n</details>", "<details>open"):
        assert in_linears(text) == text
