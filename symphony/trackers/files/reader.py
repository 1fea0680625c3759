"""The issues of a folder as they are now, parsed again only when their file has changed.

Invariant: what is kept is small (no text of an issue) and only of files that exist; a file that changed within the
last moments is never believed from memory. Used by the files adapter, from several threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from symphony.domain.errors import Transient
from symphony.trackers.files.document import Document, Header, Malformed, split
from symphony.trackers.files.folder import Folder, Vanished, Version, identifier, is_fresh, pauses, version

Wanted = Callable[[Header], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was read: its header or its fault, and the body where it was wanted."""

    header: Header | None
    fault: Transient | None = None
    body: str | None = None
    status: os.stat_result | None = None

    @property
    def fresh(self) -> bool:
        """Tell whether the file changed so lately that it may be torn."""
        return self.status is not None and is_fresh(self.status)


class Reader:
    """Reads issue files and remembers headers by the version of their file."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Version | None, Header | Malformed]] = {}

    def scan(self, wanted: Wanted) -> dict[str, Found]:
        """Read the whole folder, in the order of names; bodies of wanted issues only. Raises: Transient."""
        listed = self._folder.names()
        # A name that was there a moment ago may be away only while an editor saves.
        missing = [name for name in list(self._known) if name not in listed]
        found = self.look([*listed, *missing], wanted, listed)
        self._known = {name: known for name, known in list(self._known.items()) if name in found}
        return dict(sorted(found.items()))

    def look(
        self, names: Iterable[str], wanted: Wanted, listed: Mapping[str, os.stat_result | None] | None = None
    ) -> dict[str, Found]:
        """Read these files; those that are certainly not there are left out. Raises: Transient."""
        found: dict[str, Found] = {}
        again = list(names)
        for _ in pauses():
            doubtful = []
            for name in again:
                seen = self._look(name, wanted, (listed or {}).get(name))
                if seen is not None:
                    found[name] = seen
                if seen is None or (seen.fault is not None and seen.fresh):
                    doubtful.append(name)
            listed = None
            again = [name for name in doubtful if name in found] if not self._folder.changed_lately() else doubtful
            if not again:
                break
        return found

    def _look(self, name: str, wanted: Wanted, status: os.stat_result | None) -> Found | None:
        known = self._known.get(name)
        if status is not None and known is not None and known[0] == version(status):
            if isinstance(known[1], Malformed):
                return Found(None, known[1], status=status)
            if not wanted(known[1]):
                return Found(known[1], status=status)
        return self._read(name, wanted)

    def _read(self, name: str, wanted: Wanted) -> Found | None:
        status = None
        try:
            if identifier(name) is None:
                raise Malformed("its name is blank, not UTF-8 or has control characters")
            content = self._folder.read(name)
            status = content.status
            known = self._known.get(name)
            if known is not None and known[0] == version(status) and isinstance(known[1], Header):
                header, body = known[1], split(content.text)[3]
            else:
                document = Document.parse(content.text)
                header, body = document.header, document.body
            self._remember(name, status, header)
        except Vanished:
            self._known.pop(name, None)
            return None
        except Malformed as fault:
            self._remember(name, status, Malformed(fault.message))
            return Found(None, fault, status=status)
        except Transient as fault:
            return Found(None, fault, status=status)
        return Found(header, body=body if wanted(header) else None, status=status)

    def _remember(self, name: str, status: os.stat_result | None, what: Header | Malformed) -> None:
        if status is not None:
            # Within one tick of the file system's clock a second change would leave the same version.
            self._known[name] = (None if is_fresh(status) else version(status), what)
