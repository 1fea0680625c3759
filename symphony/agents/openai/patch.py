"""The format of `apply_patch`: what a patch says, and what the files are after it.

Invariant: pure; nothing is decided twice and nothing is guessed: a patch that can be understood in two ways is refused
with its line. Operations take effect in order, each on what the one before left. Standard library only: it runs in the
workspace's tree. Relied on by `hands.patching`.
"""

from __future__ import annotations

from symphony.agents.openai.fitting import Hunk, Misfit, fit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BEGIN, _END = "*** Begin Patch", "*** End Patch"
_ADD, _DELETE, _UPDATE, _MOVE = "*** Add File:", "*** Delete File:", "*** Update File:", "*** Move to:"
_LAST = "*** End of File"
_NO_NEWLINE = "\\ No newline at end of file"


class PatchError(Exception):
    """Why a patch cannot be applied, and what would help, said to the model."""


class Add:
    """A new file."""

    def __init__(self, path: str, content: str) -> None:
        self.path = path
        self.content = content


class Delete:
    """A file that goes."""

    def __init__(self, path: str) -> None:
        self.path = path


class Update:
    """A file that changes, and perhaps its name."""

    def __init__(self, path: str, hunks: Sequence[Hunk], move_to: str | None) -> None:
        self.path = path
        self.hunks = hunks
        self.move_to = move_to


Operation = Add | Delete | Update


class Change:
    """What a path holds after the patch, None for nothing; its mode is that of `like`, a path before the patch."""

    def __init__(self, path: str, content: bytes | None, like: str | None) -> None:
        self.path = path
        self.content = content
        self.like = like


class Plan:
    """The changes of a patch, and a line of account for each operation."""

    def __init__(self, changes: Sequence[Change], account: Sequence[str]) -> None:
        self.changes = changes
        self.account = account


def parse(text: str) -> list[Operation]:
    """Read a patch. Raises: PatchError."""
    return _Parser(text).operations()


def plan(operations: Sequence[Operation], read: Callable[[str], bytes | None]) -> Plan:
    """Work out what the files are after the patch; `read` gives a file as it is, None where there is none.

    Raises: PatchError that names every operation that does not fit; nothing is to be written then.
    """
    planning = _Planning(read)
    troubles = []
    for operation in operations:
        try:
            planning.take(operation)
        except (PatchError, Misfit) as error:
            troubles.append(str(error))
    if troubles:
        raise PatchError("\n\n".join(troubles))
    return planning.plan()


class _Planning:
    """The files as they are after the operations so far."""

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        self._read = read
        self._before: dict[str, bytes | None] = {}
        self._now: dict[str, tuple[bytes | None, str | None]] = {}
        self._account: list[str] = []

    def take(self, operation: Operation) -> None:
        """Let an operation take effect. Raises: PatchError, Misfit."""
        path = operation.path
        match operation:
            case Add(content=content):
                if self._content(path) is not None:
                    raise PatchError(f"{path}: it exists already; change it with *** Update File, or delete it first.")
                self._now[path] = (content.encode(), None)
                self._account.append(f"added {path}")
            case Delete():
                self._existing(path)
                self._now[path] = (None, None)
                self._account.append(f"deleted {path}")
            case Update():
                self._update(operation)

    def _update(self, update: Update) -> None:
        content = self._existing(update.path)
        fitted, account = fit(update.path, content, update.hunks)
        like = self._now.get(update.path, (None, update.path))[1]
        target = update.move_to or update.path
        if target != update.path:
            if self._content(target) is not None:
                raise PatchError(f"{update.path}: it cannot be moved to {target}, which exists already.")
            self._now[update.path] = (None, None)
        self._now[target] = (fitted, like)
        moved = f", moved to {target}" if target != update.path else ""
        self._account.append(f"updated {update.path}{moved}" + (f" ({account})" if account else ""))

    def _existing(self, path: str) -> bytes:
        content = self._content(path)
        if content is None:
            gone = path in self._now and self._before.get(path) is not None
            raise PatchError(f"{path}: it {'is gone by an earlier part of this patch' if gone else 'does not exist'}.")
        return content

    def _content(self, path: str) -> bytes | None:
        if path in self._now:
            return self._now[path][0]
        if path not in self._before:
            self._before[path] = self._read(path)
        return self._before[path]

    def plan(self) -> Plan:
        """Give what is left to be written."""
        changes = [
            Change(path, content, like)
            for path, (content, like) in self._now.items()
            if content is not None or self._before.get(path) is not None
        ]
        return Plan(changes, self._account)


class _Parser:
    """Reads a patch line by line."""

    def __init__(self, text: str) -> None:
        self._lines = [line.removesuffix("\r") for line in text.strip().split("\n")]
        self._place = 0

    def operations(self) -> list[Operation]:
        """Give what the patch says. Raises: PatchError."""
        if self._lines[0].strip() != _BEGIN:
            raise PatchError(f"line 1: a patch begins with the line {_BEGIN!r}.")
        if self._lines[-1].strip() != _END:
            last = _short(self._lines[-1])
            raise PatchError(
                f"line {len(self._lines)}: a patch ends with the line {_END!r}, this one with {last}: is it cut off?"
            )
        del self._lines[-1]
        self._place = 1
        operations: list[Operation] = []
        while self._place < len(self._lines):
            if self._lines[self._place].strip():
                operations.append(self._operation())
            else:
                self._place += 1
        if not operations:
            raise PatchError("The patch is empty: it names no file.")
        return operations

    def _operation(self) -> Operation:
        line = self._lines[self._place]
        for head, read in ((_ADD, self._add), (_DELETE, self._delete), (_UPDATE, self._update)):
            if line.startswith(head):
                path = self._path(line.removeprefix(head))
                self._place += 1
                return read(path)
        raise self._error(f"{_short(line)} is not expected here: a file begins with {_ADD!r}, {_UPDATE!r} or {_DELETE!r}.")

    def _add(self, path: str) -> Add:
        lines = []
        for line in self._block():
            if line and not line.startswith("+"):
                raise self._error(f"each line of the new file {path} begins with +, not {_short(line)}.")
            lines.append(line[1:] + "\n")
        return Add(path, "".join(lines))

    def _delete(self, path: str) -> Delete:
        for line in self._block():
            raise self._error(f"nothing follows the deletion of {path}, but here is {_short(line)}.")
        return Delete(path)

    def _update(self, path: str) -> Update:
        move_to = None
        if self._place < len(self._lines) and self._lines[self._place].startswith(_MOVE):
            move_to = self._path(self._lines[self._place].removeprefix(_MOVE))
            self._place += 1
        hunks: list[Hunk] = []
        while self._goes_on():
            hunks.append(self._hunk(path, len(hunks) + 1))
        if not hunks and move_to is None:
            raise self._error(f"the update of {path} has no hunk.")
        return Update(path, hunks, move_to)

    def _hunk(self, path: str, number: int) -> Hunk:
        first = self._place + 1
        headers = []
        while self._goes_on() and self._lines[self._place].startswith("@@"):
            headers.append(_header(self._lines[self._place]))
            self._place += 1
        lines: list[tuple[str, str]] = []
        for line in self._block(until="@@"):
            if line == _NO_NEWLINE:
                continue
            if line and line[0] not in " -+":
                raise self._error(
                    f"a line of hunk {number} of {path} begins with a space, - or +, not {_short(line)}; a hunk with @@."
                )
            lines.append((line[:1] or " ", line[1:]))
        at_end = self._place < len(self._lines) and self._lines[self._place].rstrip() == _LAST
        if at_end:
            self._place += 1
        if not any(sign in "+-" for sign, _ in lines):
            raise PatchError(f"line {first}: hunk {number} of {path} neither adds nor removes a line.")
        return Hunk(number, [header for header in headers if header], lines, at_end=at_end)

    def _goes_on(self) -> bool:
        """Whether what follows still belongs to the same file; empty lines in between only separate."""
        ahead = self._place
        while ahead < len(self._lines) and not self._lines[ahead]:
            ahead += 1
        if ahead == len(self._lines) or self._lines[ahead].startswith("*** "):
            return False
        self._place = ahead
        return True

    def _block(self, *, until: str = "*** ") -> list[str]:
        """Take the lines up to the next part; empty ones at the end only separate."""
        start = self._place
        while self._place < len(self._lines) and not self._lines[self._place].startswith((until, "*** ")):
            self._place += 1
        end = self._place
        while end > start and not self._lines[end - 1]:
            end -= 1
        return self._lines[start:end]

    def _path(self, told: str) -> str:
        path = told.strip().removeprefix("./")
        parts = path.split("/")
        if not path or path.startswith("/") or ".." in parts or "" in parts or "." in parts:
            raise self._error(f"{_short(told.strip())} is no path of a file relative to the workspace.")
        if any(part.casefold() == ".git" for part in parts):
            raise self._error(f"{path} is inside of .git, which is not yours to change.")
        return path

    def _error(self, message: str) -> PatchError:
        return PatchError(f"line {self._place + 1}: {message}")


def _header(line: str) -> str:
    """Give what stands behind @@; the line numbers of other formats are no help."""
    told = line.removeprefix("@@")
    if told.startswith(" -") and " @@" in told:
        told = told.partition(" @@")[2]
    return told.removeprefix(" ").rstrip()


def _short(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}…")
