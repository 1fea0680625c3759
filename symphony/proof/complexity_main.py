"""The child process that measures complexity: a request on standard input, the answer on standard output, both JSON.

Invariant: it is given texts and touches no file; whoever started it ends it when it takes too long or too much.
"""

from __future__ import annotations

import json
import sys

from symphony.proof.functions import Limits, compare


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    found = compare(request["base"], request["candidate"], Limits(**request["limits"]))
    json.dump(found.as_json(), sys.stdout)


if __name__ == "__main__":
    main()
