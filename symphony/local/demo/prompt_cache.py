"""How many tokens a prompt has, and how many of them a server of models would find in its cache.

Invariant: what is counted depends on the prompts alone, never on time: a prefix that was read once under a key is cached
from then on. Four characters are a token; cached is the longest prefix of whole blocks that was seen, if it is long enough
(OpenAI's guide "Prompt caching": at least 1,024 tokens, in steps of 128). The replay server and the tests' model server
rely on it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHARACTERS_A_TOKEN = 4
BLOCK_TOKENS = 128
LEAST_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Counted:
    """The tokens of a prompt; those `cached` and those newly `written` to the cache are among those `read`."""

    read: int
    cached: int
    written: int


class PromptCache:
    """The prefixes of all prompts so far, by `prompt_cache_key`; used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[bytes] = set()

    def count(self, key: str, prompt: str) -> Counted:
        """Count a prompt and remember its prefixes."""
        read = tokens(prompt)
        prefixes = _prefixes(key, prompt)
        with self._lock:
            known = sum(prefix in self._known for prefix in prefixes)
            self._known.update(prefixes)
        if len(prefixes) * BLOCK_TOKENS < LEAST_TOKENS:
            return Counted(read, 0, 0)
        cached = known * BLOCK_TOKENS if known * BLOCK_TOKENS >= LEAST_TOKENS else 0
        return Counted(read, cached, len(prefixes) * BLOCK_TOKENS - cached)


def tokens(text: str) -> int:
    """Count the tokens of a text."""
    return -(-len(text) // CHARACTERS_A_TOKEN)


def prompt_of(request: Mapping[str, Any]) -> str:
    """Give what a model reads of a request, in the order in which it reads it: tools, instructions, conversation."""
    conversation = request.get("input", request.get("messages", []))
    items = conversation if isinstance(conversation, list) else [conversation]
    parts = [request.get("model"), *(request.get("tools") or []), request.get("instructions"), *items]
    return "\n".join(json.dumps(part, ensure_ascii=False) for part in parts if part is not None)


def _prefixes(key: str, prompt: str) -> list[bytes]:
    """Give a digest of each prefix of whole blocks."""
    step = BLOCK_TOKENS * CHARACTERS_A_TOKEN
    digest = hashlib.blake2b(key.encode(), digest_size=16)
    found = []
    for start in range(0, len(prompt) // step * step, step):
        digest.update(prompt[start : start + step].encode())
        found.append(digest.copy().digest())
    return found
