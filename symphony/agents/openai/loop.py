"""The agent of kind `openai`: a model that works through tools, step by step, in a conversation that outlives its worker.

Invariants: an item is a row before anything follows from it; a call that may change things is written down as begun before
it runs and is never run twice; the tree that the model believes in is the one that lies in the workspace, or it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any
from uuid import UUID

from symphony.agents.openai import compaction
from symphony.agents.openai.asking import Asking, OverBudget
from symphony.agents.openai.conversation import Conversation, Outcome, call_output
from symphony.agents.openai.model import Broken, ContextFull, Item, Reply, Request
from symphony.agents.openai.progress import Progress
from symphony.agents.openai.tools import Desk, Result, Tool, call, schema
from symphony.agents.openai.transcript import Transcript
from symphony.agents.protocol import Asked, Finished, Stopped, Turn
from symphony.domain.errors import Transient
from symphony.telemetry.log import get_logger
from symphony.telemetry.redaction import redact

_READERS = 4
_MOST_NUDGES = 3
_NUDGE = (
    "If everything is done, call `finish`; if only a person can decide, call `ask_human`; else go on with the next step."
)
_ENDED_BEFORE = "Not run: the work ended with an earlier call."
_OUT_OF_TIME = "Not run: one answer of yours and its calls together take at most {}. Make it again if you still want it."
_CUT = "Your last answer was cut off because it was too long. Go on in smaller steps."
_GO_ON = (
    "You had ended your work, but the issue is still yours. Go on from the present state of the workspace and of the "
    "issue; when nothing is left that you can do, call `finish`."
)
_TREE_LOST = (
    "The workspace is as it was after an earlier step: the worker that ran you was lost, or the work begins anew. The "
    "changes of these later calls are gone; make them again if you still want them:\n\n"
)
_TREE_OTHER = (
    "The workspace is not as you last saw it: a call that was interrupted may have changed it, or it was made anew from "
    "the newest state that was kept. Look at the files before you go on."
)

log = get_logger()


@dataclass(frozen=True, slots=True)
class Trees:
    """The workspace's tree: `take` gives its id, None where that cannot be had now; `keep` makes it safe as a commit."""

    take: Callable[[], str | None]
    keep: Callable[[], str | None]


@dataclass
class OpenAIAgent:
    """One turn of one run; `opening` is the conversation's first message, `news` what must be said when it goes on."""

    run_id: UUID
    conversation: Conversation
    asking: Asking
    tools: Mapping[str, Tool[Any]]
    desk: Desk
    trees: Trees
    instructions: str
    effort: str
    cache_key: str
    transcript: Transcript
    images: Sequence[str] = ()
    progress: Progress = field(default_factory=Progress)
    _tree: str | None = None
    _nudges: int = 0

    def turn(self, opening: str, news: str | None) -> Turn:
        """Work until the agent has finished, asks, or is stopped.

        Raises:
            Transient: the turn failed; another attempt goes on in the same conversation.
            Rejected, ConfigError, Poisoned: as the model's endpoint said.
            Fenced: the run has another owner.
        """
        try:
            self._begin(opening, news)
            while True:
                ended = self._step()
                if ended is not None:
                    return ended
        except OverBudget as error:
            return Asked(str(error))
        except Broken:
            return Stopped()
        finally:
            self.desk.sessions.close()

    def _begin(self, opening: str, news: str | None) -> None:
        """Bring the conversation to a point from which it can go on."""
        conversation = self.conversation
        conversation.load(self.run_id)
        self._tree = self.trees.take()
        if not conversation.items:
            self._say("\n\n".join(filter(None, (opening, news))), self.images)
            return
        conversation.mend()
        if (told := self._about_the_tree()) is not None:
            self._say(told)
        if news is None and conversation.is_resumed:
            self._say(_GO_ON)
        if news is not None and not conversation.said_since_end(news):
            self._say(news)

    def _say(self, text: str, images: Sequence[str] = ()) -> None:
        self.transcript.told(text)
        self.conversation.say(text, images=images, tree_sha=self._tree)

    def _about_the_tree(self) -> str | None:
        """Say how the workspace differs from what the model last saw; None where it does not."""
        items = self.conversation.items
        seen = [place for place, item in enumerate(items) if item.tree_sha is not None]
        if not seen or self._tree is None or items[seen[-1]].tree_sha == self._tree:
            return None
        same = [place for place in seen if items[place].tree_sha == self._tree]
        if not same:
            return _TREE_OTHER
        changed: list[str] = []
        before: str | None = self._tree
        for place in seen[seen.index(same[-1]) + 1 :]:
            item = items[place]
            if item.tree_sha != before and item.kind == "result":
                changed.append(f"- {self.conversation.describe(item.call_id)}")
            before = item.tree_sha or before
        return _TREE_LOST + "\n".join(changed) if changed else _TREE_OTHER

    def _step(self) -> Turn | None:
        """Make one request and run its calls; give the end of the turn, if this is it."""
        reason = self.asking.watch.stop_reason()
        if reason is not None:
            return Stopped()
        self.conversation.hear()
        self.progress.requested(self._tree)
        reply = self._ask()
        if reply.refusal is not None and not reply.calls:
            return Asked(f"The model refuses to go on: {redact(reply.refusal)}")
        if reply.cut == "content_filter":
            return Asked(
                "The provider's content filter stopped the model's answer. Word the issue differently, or take it over."
            )
        if not reply.calls:
            return self._nudge(reply)
        ended = self._run(reply.calls)
        if ended is not None:
            return ended
        self._nudges = 0
        if (hopeless := self.progress.end()) is not None:
            return Asked(hopeless)
        if (warning := self.progress.warning()) is not None:
            self._say(warning)
        return None

    def _ask(self) -> Reply:
        last = self.asking.last
        if last is not None and last.input_tokens > compaction.COMPACT_AT:
            self._compact()
        try:
            reply = self.asking.ask(self._request)
        except ContextFull:
            if not self._compact():
                raise Transient("the conversation is too long and cannot be cut", category="context_full") from None
            reply = self.asking.ask(self._request)
        for item in reply.items:
            self.transcript.item(item)
        return reply

    def _request(self) -> Request:
        return self._request_of(self.conversation.payloads)

    def _request_of(self, items: Sequence[Item]) -> Request:
        asking = self.asking
        return Request(asking.name, self.effort, self.instructions, items, schema(self.tools), self.cache_key)

    def _nudge(self, reply: Reply) -> Turn | None:
        """Ask once for a proper end; an answer without any call after that is the end, and the proof decides."""
        if reply.cut is None and reply.text and self._nudges:
            return Finished(redact(reply.text))
        self._nudges += 1
        if self._nudges > _MOST_NUDGES:
            raise Transient("the model answers with nothing, again and again", category="model_empty")
        self._say(_CUT if reply.cut else _NUDGE)
        return None

    def _run(self, calls: Sequence[Item]) -> Turn | None:
        """Run calls: reads at once, what may change things one after another, outputs in the order of the calls."""
        ended: Turn | None = None
        waiting = list(calls)
        while waiting and ended is None:
            if self.asking.watch.stop_reason() is not None:
                return Stopped()
            if self.desk.step.is_over and len(waiting) < len(calls):
                break
            reads = list(takewhile(self._only_reads, waiting))
            if reads:
                ended = self._read(reads)
                waiting = waiting[len(reads) :]
            else:
                ended = self._change(waiting.pop(0))
        if waiting:
            why = _OUT_OF_TIME.format(self.desk.step) if ended is None else _ENDED_BEFORE
            self._finish([(one, Result(why)) for one in waiting])
        return ended

    def _only_reads(self, made: Item) -> bool:
        tool = self.tools.get(made["name"])
        return tool is None or not tool.changes

    def _read(self, calls: Sequence[Item]) -> Turn | None:
        with ThreadPoolExecutor(min(len(calls), _READERS), thread_name_prefix="tool") as pool:
            results = list(pool.map(self._call, calls))
        self._finish(list(zip(calls, results, strict=True)))
        return next((result.ending for result in results if result.ending is not None), None)

    def _change(self, made: Item) -> Turn | None:
        self.conversation.begin_call(made["call_id"])
        result = self._call(made)
        tree = self.trees.take()
        head = None
        if tree is not None and tree != self._tree:
            self._tree = tree
            head = self.trees.keep()
        self._finish([(made, result)], tree, head)
        return result.ending

    def _call(self, made: Item) -> Result:
        self.asking.watch.heard(made["name"])
        return call(self.tools, made["name"], made["arguments"], self.desk)

    def _finish(self, done: Sequence[tuple[Item, Result]], tree: str | None = None, head: str | None = None) -> None:
        outcomes = []
        for made, result in done:
            self.progress.called(made["name"], made["arguments"], result.text)
            self.transcript.answered(made["name"], result.text)
            output = call_output(made["call_id"], result.text, result.images)
            outcomes.append(Outcome(made["call_id"], output, tree, head, result.also))
        self.conversation.finish_calls(outcomes)

    def _compact(self) -> bool:
        """Replace the older part of the conversation by the model's own notes; False where nothing can be cut yet."""
        items = self.conversation.items
        place = compaction.first_kept(items)
        if place is None:
            return False
        log.info("conversation cut", run=str(self.run_id), items=len(items), kept=len(items) - place)
        start = items[place].ordinal
        notes = self._notes(start) or compaction.plain_notes(items[1:place])
        kept = next(item for item in self.conversation.items if item.ordinal >= start)  # its reasoning may be gone now
        self.conversation.compact(kept, notes)
        self.asking.last = None
        return True

    def _notes(self, before: int) -> str:
        def request() -> Request:
            conversation = self.conversation
            older = [conversation.payload_of(item) for item in conversation.items if item.ordinal < before]
            return self._request_of([*older, {"role": "user", "content": compaction.ASK}])

        try:
            return self.asking.ask(request, kind="compaction").text
        except ContextFull:
            return ""
