"""Whether an agent gets anywhere: the same call with the same answer again and again, or a tree that stays as it is.

Pure bookkeeping over what the loop tells; a warning first, then the end of the turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SAME_WARNING, SAME_END = 4, 8
_SHOWN = 500
IDLE_WARNING, IDLE_END = 40, 80  # requests without a change of the tree


@dataclass
class Progress:
    """What was seen since the turn began."""

    _call: tuple[str, str, str] | None = None
    _repeated: int = 0
    _tree: str | None = None
    _idle: int = field(default=0)

    def called(self, name: str, arguments: str, output: str) -> None:
        """Note a call and what came of it."""
        seen = (name, arguments, output)
        self._repeated = self._repeated + 1 if seen == self._call else 1
        self._call = seen

    def requested(self, tree: str | None) -> None:
        """Note a request, made while the workspace had this tree; None where that is not known: it may change."""
        self._idle = self._idle + 1 if tree is not None and tree == self._tree else 0
        self._tree = tree

    def warning(self) -> str | None:
        """Say to the model that it goes round in circles, once each time a threshold is reached."""
        if self._repeated == SAME_WARNING:
            return f"The same call of `{self._name}` gave the same answer {self._repeated} times. Try something else."
        if self._idle == IDLE_WARNING:
            return (
                f"Nothing in the workspace has changed for {self._idle} steps. Make the change now, call `finish` with "
                "what there is, or call `ask_human` and say what is in the way."
            )
        return None

    def end(self) -> str | None:
        """Say to a person why the turn ends here; None while there is hope."""
        if self._repeated >= SAME_END:
            return (
                f"The agent made no progress: the same call of `{self._name}` gave the same answer {self._repeated} times. "
                f"The answer: {(self._call or ('', '', ''))[2][:_SHOWN]}"
            )
        if self._idle >= IDLE_END:
            return f"The agent made no progress: nothing in its workspace changed for {self._idle} steps."
        return None

    @property
    def _name(self) -> str:
        return self._call[0] if self._call else "?"
