"""Where the program begins that works on a workspace's files: `python -I -S main.py OPERATION`, the request on its input.

Invariant: its folder is the workspace; it answers also when it refuses: the first line is an image as a data URL, or empty,
the rest a text. It is started for each call of a tool, so nothing is imported that the operation can do without: json,
dataclasses and pathlib cost more time than the work.
"""

from __future__ import annotations

import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Put the folder that holds `symphony` on the path, do what is asked, and print the answer."""
    sys.path.insert(0, __file__.rsplit("/", 5)[0])
    from symphony.agents.openai.hands.paths import Refused

    operation, request = sys.argv[1], marshal.load(sys.stdin.buffer)  # noqa: S302 -- the worker wrote it
    try:
        answer = _work(operation)(**request)
    except (Refused, OSError) as error:
        answer = str(error)
    text, image = answer if isinstance(answer, tuple) else (answer, "")
    sys.stdout.buffer.write(f"{image}\n{text}".encode("utf-8", "surrogateescape"))


def _work(operation: str) -> Callable[..., str | tuple[str, str]]:
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
