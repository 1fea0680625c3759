"""The command `symphony` in a process whose issue files cannot be written while a file exists.

    failing_tracker.py FLAG VERB …

The fault sits where a full disk or a dead share would: in the one way in which the files adapter changes a folder.
"""

import os
import sys
from pathlib import Path
from typing import Any

from symphony.domain.errors import Transient
from symphony.trackers.files.writer import Writer

flag = Path(sys.argv.pop(1))
_rewrite = Writer.rewrite


def _failing(self: Writer, name: str, *arguments: Any, **more: Any) -> None:
    if flag.exists():
        with flag.open("a", encoding="utf-8") as told:
            told.write(f"{os.getpid()} {name}\n")
        raise Transient(f"{name} cannot be written now", category="tracker_request")
    _rewrite(self, name, *arguments, **more)


Writer.rewrite = _failing  # type: ignore[method-assign]

if __name__ == "__main__":
    from symphony.cli.main import main

    sys.exit(main())
