"""What the demo tells: ten issues, what happens to each, and the state in which each must end.

The recorded model's side of it is `recorded_issues`. The demo's checks compare the ledger and the repository with what
stands here.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOTS = 6
WORKERS = 2
REWORKED, FRENCH, GERMAN, FAILING, KILLED, ASKING, DEPENDENT = (
    "DEMO-3", "DEMO-4", "DEMO-5", "DEMO-6", "DEMO-7", "DEMO-8", "DEMO-9",
)  # fmt: skip
QUESTION = "Which currency shall prices have: EUR or USD?"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryIssue:
    """An issue of the board, with what the story makes of it: by itself, or only with the recorded model."""

    identifier: str
    title: str
    text: str
    happens: str
    priority: int = 2
    blocked_by: tuple[str, ...] = ()
    ends_in: str = "Done"
    run_ends: str = "landed"
    with_any_model: bool = False


STORY = (
    StoryIssue(
        identifier="DEMO-1",
        title="Make slugs of titles",
        text="`slug(title)` gives lower-case words joined by hyphens.",
        happens="a plain success",
    ),
    StoryIssue(
        identifier="DEMO-2",
        title="Shorten long texts",
        text="`shorten(text, width)` cuts what is too long and ends it with an ellipsis.",
        happens="a plain success beside it",
    ),
    StoryIssue(
        identifier=REWORKED,
        title="Initials of a name",
        text="`initials(name)` gives the capital initials: AL for ada lovelace.",
        happens="its first proof fails; the agent reads the failed test and mends it",
        priority=1,
    ),
    StoryIssue(
        identifier=FRENCH,
        title="Greet in French",
        text="`greeting(name, 'fr')` says Bonjour.",
        happens=f"changes the same line as {GERMAN} ...",
        priority=1,
    ),
    StoryIssue(
        identifier=GERMAN,
        title="Greet in German",
        text="`greeting(name, 'de')` says Hallo.",
        happens=f"... as {FRENCH}: whoever comes second resolves the conflict",
        priority=1,
    ),
    StoryIssue(
        identifier=FAILING,
        title="Reverse a text",
        text="`reverse(text)` gives the characters from last to first.",
        happens="the model's endpoint fails half-way; the next attempt goes on in the same conversation",
        priority=1,
    ),
    StoryIssue(
        identifier=KILLED,
        title="Count words",
        text="`count(text)` gives the number of words.",
        happens="the worker process under its agent is killed with SIGKILL",
        priority=1,
        with_any_model=True,
    ),
    StoryIssue(
        identifier=ASKING,
        title="Show prices",
        text="`price(cents)` shows a price with its currency. If nothing in the repository says which, ask a person.",
        happens="ends blocked: its agent asks what only a person knows",
        ends_in="Blocked",
        run_ends="blocked",
    ),
    StoryIssue(
        identifier=DEPENDENT,
        title="Link to a title",
        text="`link(title)` gives a Markdown link, made of `slug` and `shorten`.",
        happens="begins when DEMO-1 and DEMO-2 have landed (blocked_by)",
        blocked_by=("DEMO-1", "DEMO-2"),
        with_any_model=True,
    ),
    StoryIssue(
        identifier="DEMO-10",
        title="Swap upper and lower case",
        text="`swap_case(text)` turns capitals into small letters and the other way round.",
        happens="the least urgent: waits for a free slot",
        priority=3,
    ),
)
