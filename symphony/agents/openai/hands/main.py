"""Where the program begins that works on a workspace's files: `python -I -S main.py OPERATION`, the request on its input.

Invariant: nothing is imported but what the operation needs of this room and of the standard library, so that it starts
at once; its folder is the workspace; it answers with one JSON object, also when it refuses.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def main() -> None:
    """Put the folder that holds `symphony` on the path, do what is asked, and print the answer."""
    sys.path.insert(0, os.path.abspath(__file__).rsplit("/", 5)[0])  # noqa: PTH100 -- pathlib costs more than the rest
    from symphony.agents.openai.hands.paths import Refused

    operation, request = sys.argv[1], json.load(sys.stdin)
    try:
        answer = _work(operation)(**request)
    except (Refused, OSError) as error:
        answer = {"text": str(error)}
    json.dump(answer, sys.stdout)


def _work(operation: str) -> Callable[..., dict[str, Any]]:
    match operation:
        case "read":
            from symphony.agents.openai.hands.reading import read

            return read
        case "list":
            from symphony.agents.openai.hands.listing import listing

            return listing
        case "search":
            from symphony.agents.openai.hands.searching import search

            return search
        case "patch":
            from symphony.agents.openai.hands.patching import patch

            return patch
        case unknown:
            raise ValueError(unknown)


if __name__ == "__main__":
    main()
