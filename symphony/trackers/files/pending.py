"""What a write that is under way leaves on the disk, so that no edit is lost when its process is killed.

Invariant: what an exchange brings out of an issue's file lies in a swap file, whose name says what went in (the
candidate) and what was expected to come out; any other content is an edit that a person saved meanwhile. A swap file
appears whole, and after the text that it was made from. Used by the writer, under its lock.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from symphony.telemetry.log import get_logger
from symphony.trackers.files.document import Malformed, split
from symphony.trackers.files.exchange import create_like
from symphony.trackers.files.folder import read_file


@dataclass(frozen=True, slots=True)
class Edit:
    """A version of an issue's file that is not in its place, and the one that it was made from."""

    base: bytes
    content: bytes


class Pending:
    """The folder of one issue's writes below `.symphony/pending`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, everything: Path, name: str) -> Pending:
        """Give the place for writes to an issue's file."""
        return cls(everything / _digest(name.encode()))

    @classmethod
    def all(cls, everything: Path) -> list[Pending]:
        """Give what writes have left."""
        return [cls(folder) for folder in sorted(everything.iterdir())] if everything.exists() else []

    def exists(self) -> bool:
        """Tell whether a write is under way or left something."""
        return self._folder.exists()

    def begin(self, name: str) -> None:
        """Say which issue is written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "issue").exists():
            written = self._folder / "issue.written"
            written.write_text(name, encoding="utf-8")
            written.rename(self._folder / "issue")

    def name(self) -> str:
        """Give what `begin` said."""
        return (self._folder / "issue").read_text(encoding="utf-8")

    def add(self, candidate: bytes, *, expected: bytes, like: Path) -> Path:
        """Write the next swap file, with the attributes of the file that it will become."""
        number = max((_number(swap) for swap in self._swaps()), default=0) + 1
        (self._folder / f"{number}.base").write_bytes(expected)
        written = self._folder / "written"
        written.unlink(missing_ok=True)
        create_like(written, candidate, like)
        return written.rename(self._folder / f"{number}.{_digest(candidate)}.{_digest(expected)}")

    def edits(self) -> list[Edit]:
        """Give what people saved into the middle of a write, oldest first; what is no issue's is set aside for them.

        Raises: Transient while somebody still writes to it.
        """
        edits = []
        for swap in self._swaps():
            content = read_file(swap, settled=True).data
            if _digest(content) in swap.name.split("."):
                continue
            try:
                split(content.decode(errors="surrogateescape"))
            except Malformed:
                self._set_aside(swap)
            else:
                edits.append(Edit((self._folder / f"{_number(swap)}.base").read_bytes(), content))
        return edits

    def forget_all_but(self, last: Path) -> None:
        """Forget what has been merged; the last swap file stays, should somebody still write to what came out."""
        for swap in self._swaps():
            if swap != last:
                swap.unlink()
                (self._folder / f"{_number(swap)}.base").unlink()

    def end(self) -> None:
        """Forget everything; the edits first, since without the rest they could not be understood."""
        for swap in self._swaps():
            swap.unlink()
        shutil.rmtree(self._folder)

    def _swaps(self) -> list[Path]:
        for kept in self._folder.glob("*.kept"):
            # An exchange by links was cut off: the link is what came out, or was not needed yet.
            kept.unlink() if kept.with_suffix("").exists() else kept.rename(kept.with_suffix(""))
        return sorted((path for path in self._folder.iterdir() if path.name.count(".") == 2), key=_number)

    def _set_aside(self, swap: Path) -> None:
        folder = self._folder.parent.with_name("kept")
        folder.mkdir(exist_ok=True)
        kept = swap.rename(folder / f"{_digest(swap.read_bytes())[:8]}-{self.name()}")
        get_logger().warning("tracker_edit_set_aside", path=str(kept), reason="it was saved during a write, unreadable")


def _number(swap: Path) -> int:
    return int(swap.name.partition(".")[0])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
