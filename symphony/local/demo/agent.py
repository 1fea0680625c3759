"""The demo's agent: a small scripted program in the place of a coding agent; no model is asked.

Symphony runs it as `agent.kind: command`: it stands in a real workspace, reads a real prompt on its standard input,
and ends with 0 (finished) or 75 (blocked, the question on its last line). What it will write is decided beforehand;
when it writes what depends on what it finds in the workspace and in the prompt, as with any agent. It needs nothing
but Python and no other file of Symphony.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

BLOCKED = 75
_LANGUAGE = re.compile(r'"(\w+)": "(\w+)"')
_SLOW_S = 40.0


def main() -> int:
    """Work on the issue that the environment names and give the exit code."""
    issue, attempt = os.environ["SYMPHONY_ISSUE"], int(os.environ["SYMPHONY_ATTEMPT"])
    prompt = sys.stdin.read()
    say(f"scripted agent, pid {os.getpid()}: {issue}, attempt {attempt}, {len(prompt)} characters of prompt")
    return SCRIPTS[issue](prompt, attempt)


def slug(_prompt: str, _attempt: int) -> int:
    """Do it right at once."""
    work("writing words/slugs.py", 1.0)
    return write(
        "slugs",
        'import re\n\n\ndef slug(title):\n    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))\n',
        "slug",
        'slug("Hello, big World!"), "hello-big-world"',
    )


def shorten(_prompt: str, _attempt: int) -> int:
    """Do it right at once."""
    work("writing words/shortening.py", 1.0)
    return write(
        "shortening",
        'def shorten(text, width):\n    return text if len(text) <= width else text[: width - 1] + "…"\n',
        "shorten",
        'shorten("a long story", 7), "a long…"',
    )


def initials(prompt: str, _attempt: int) -> int:
    """Forget the capitals first; with the failed test quoted in the prompt, mend what it shows."""
    code = 'def initials(name):\n    return "".join(word[0] for word in name.split())\n'
    if "What must be better than last time" in prompt:
        failure = re.search(r"AssertionError: '(\w+)' != '(\w+)'", prompt)
        if failure is None:
            say("the prompt quotes no failed assertion")
            return 1
        got, expected = failure.groups()
        say(f"the test got {got!r} and wants {expected!r}")
        if got.upper() == expected:
            code = code.replace("word[0]", "word[0].upper()")
    work("writing words/initials.py", 0.8)
    return write("initials", code, "initials", 'initials("ada lovelace"), "AL"')


def greet_in(code: str, word: str) -> Callable[[str, int], int]:
    """Make the script of an issue that adds a language to the one line which another issue changes, too."""

    def script(_prompt: str, _attempt: int) -> int:
        path = Path("words/greeting.py")
        text = path.read_text(encoding="utf-8")
        languages = dict(_LANGUAGE.findall(text)) | {code: word}
        if "<<<<<<<" in text:
            say("main has moved on: words/greeting.py has conflict markers; keeping the languages of both sides")
            text = re.sub(r"<{7}.*?>{7}[^\n]*\n", "GREETINGS = {}\n", text, flags=re.DOTALL)
        work(f"teaching words/greeting.py to say {word}", 2.5)
        entries = ", ".join(f'"{key}": "{value}"' for key, value in languages.items())
        path.write_text(re.sub(r"GREETINGS = \{.*?\}", f"GREETINGS = {{{entries}}}", text), encoding="utf-8")
        return test(f"greeting_{code}", "greeting", "greeting", f'greeting("Ada", "{code}"), "{word}, Ada!"')

    return script


def reverse(_prompt: str, attempt: int) -> int:
    """Die half-way through the file the first time; go on from what is there the next time."""
    path = Path("words/reversing.py")
    if attempt == 1:
        work("writing words/reversing.py", 0.8)
        path.write_text("def reverse(text):\n", encoding="utf-8")
        say("crashing now")
        os.kill(os.getpid(), signal.SIGKILL)
    say(f"found half of words/reversing.py: {path.read_text(encoding='utf-8')!r}" if path.exists() else "found nothing")
    work("writing the rest", 0.8)
    return write("reversing", "def reverse(text):\n    return text[::-1]\n", "reverse", 'reverse("stressed"), "desserts"')


def count(_prompt: str, attempt: int) -> int:
    """Take long the first time: long enough for the demo to kill the worker under it."""
    work("writing words/counting.py", _SLOW_S if attempt == 1 else 0.5)
    return write("counting", "def count(text):\n    return len(text.split())\n", "count", 'count("one two three"), 3')


def price(prompt: str, _attempt: int) -> int:
    """Ask what only a person knows; with an answer in the prompt, go on."""
    answer = re.search(r"\b(EUR|USD)\b", prompt.partition("## The answer")[2])
    if answer is None:
        work("looking for a currency in the repository", 0.8)
        say("Which currency shall prices have: EUR or USD?")
        return BLOCKED
    code = f'def price(cents):\n    return f"{{cents / 100:.2f}} {answer[1]}"\n'
    return write("pricing", code, "price", f'price(1250), "12.50 {answer[1]}"')


def link(_prompt: str, _attempt: int) -> int:
    """Build on the work of two other issues, which must be there."""
    missing = [name for name in ("slugs", "shortening") if not Path(f"words/{name}.py").is_file()]
    if missing:
        say(f"cannot begin: {', '.join(missing)} is not in the workspace")
        return 1
    work("writing words/linking.py", 0.8)
    return write(
        "linking",
        "from words.shortening import shorten\nfrom words.slugs import slug\n\n\n"
        'def link(title):\n    return f"[{shorten(title, 9)}](/{slug(title)})"\n',
        "link",
        'link("Hello, World!"), "[Hello, W…](/hello-world)"',
    )


def swap_case(_prompt: str, _attempt: int) -> int:
    """Do it right at once."""
    work("writing words/casing.py", 0.8)
    return write("casing", "def swap_case(text):\n    return text.swapcase()\n", "swap_case", 'swap_case("Ada"), "aDA"')


SCRIPTS: dict[str, Callable[[str, int], int]] = {
    "DEMO-1": slug,
    "DEMO-2": shorten,
    "DEMO-3": initials,
    "DEMO-4": greet_in("fr", "Bonjour"),
    "DEMO-5": greet_in("de", "Hallo"),
    "DEMO-6": reverse,
    "DEMO-7": count,
    "DEMO-8": price,
    "DEMO-9": link,
    "DEMO-10": swap_case,
}


def write(module: str, code: str, function: str, case: str) -> int:
    """Write a module and its test; give the exit code."""
    Path(f"words/{module}.py").write_text(code, encoding="utf-8")
    return test(module, module, function, case)


def test(name: str, module: str, function: str, case: str) -> int:
    """Write a test of one case, `got, expected`; give the exit code."""
    title = name.title().replace("_", "")
    Path(f"tests/test_{name}.py").write_text(
        f"import unittest\n\nfrom words.{module} import {function}\n\n\nclass {title}(unittest.TestCase):\n"
        f"    def test_{function}(self):\n        self.assertEqual({case})\n",
        encoding="utf-8",
    )
    return 0


def work(what: str, seconds: float) -> None:
    """Take time, with a sign of life twice a second."""
    until = time.monotonic() + seconds
    say(what)
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(0.5, left))
        say("…")


def say(text: str) -> None:
    """Write a line to the agent's log, whatever the locale."""
    sys.stdout.buffer.write(f"{text}\n".encode())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
