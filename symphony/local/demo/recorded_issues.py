"""What the recorded model makes of each of the demo's ten issues.

What it will write is decided beforehand; when it writes what depends on what it reads in the workspace and is told. The
story's side of it is `story`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from symphony.local.demo.recorded import Files, Task, Turn, Wanted, blocked, next_turn
from symphony.local.demo.seen import Seen
from symphony.local.demo.story import QUESTION

_IDENTIFIER = re.compile(r"\bDEMO-\d+\b")
_LANGUAGE = re.compile(r'"(\w+)": "(\w+)"')
_CONFLICT = re.compile(r"<{7}.*?>{7}[^\n]*\n", re.DOTALL)
_ASSERTION = re.compile(r"AssertionError: '(\w+)' != '(\w+)'")
_SLOW = "sleep 40"
_COLLIDING_S = 2.5


def answer(seen: Seen) -> Turn:
    """Give the recorded model's next turn in a conversation."""
    found = _IDENTIFIER.search(seen.prompt)
    task = _TASKS.get(found[0]) if found else None
    if task is None:
        return blocked(
            "I am a recording and know the demo's ten issues only. With a key in OPENAI_API_KEY a real model works on this."
        )
    return next_turn(task, seen)


def _plain(title: str, module: str, function: str, code: str, case: str, *, reads: tuple[str, ...] = ()) -> Task:
    """Make a task that is done right at once."""
    wanted = _files_of(module, function, code, case)
    return Task(title=title, module=f"words/{module}.py", test=_test_path(module), write=lambda _, __: wanted, reads=reads)


def _initials() -> Task:
    """Forget the capitals first; with the failed test quoted, mend what it shows."""
    case = 'initials("ada lovelace"), "AL"'

    def write(seen: Seen, _: Files) -> Wanted | Turn:
        code = 'def initials(name):\n    return "".join(word[0] for word in name.split())\n'
        failure = _ASSERTION.search(seen.told)
        if failure is None and seen.round > 1:
            return blocked("I am to do better, but nothing that I was told quotes a failed assertion.")
        if failure is not None and failure[1].upper() == failure[2]:
            code = code.replace("word[0]", "word[0].upper()")
        return _files_of("initials", "initials", code, case)

    return Task(
        title="Initials of a name",
        module="words/initials.py",
        test=_test_path("initials"),
        write=write,
        is_careful=lambda seen: seen.round > 1,
    )


def _greeting(language: str, code: str, word: str) -> Task:
    """Add a language to the one line which another issue changes, too."""
    path, name = "words/greeting.py", f"greeting_{code}"

    def write(_: Seen, files: Files) -> Wanted | Turn:
        text = files[path]
        if text is None:
            return blocked(f"{path} is not there.")
        # Both sides of a conflict name languages: all of them are kept.
        languages = dict(_LANGUAGE.findall(text)) | {code: word}
        text = _CONFLICT.sub("GREETINGS = {}\n", text)
        entries = ", ".join(f'"{key}": "{value}"' for key, value in languages.items())
        wanted = {path: re.sub(r"GREETINGS = \{.*?\}", f"GREETINGS = {{{entries}}}", text)}
        return wanted | _test(name, "greeting", "greeting", f'greeting("Ada", "{code}"), "{word}, Ada!"')

    return Task(
        title=f"Greet in {language}",
        module=path,
        test=_test_path(name),
        write=write,
        marks="GREETINGS",
        seconds=_COLLIDING_S,
    )


def _reverse() -> Task:
    """Write half of it; go on from what is there when the endpoint has failed."""

    def write(_: Seen, files: Files) -> Wanted:
        begun = "def reverse(text):\n"
        if files["words/reversing.py"] is None:
            return {"words/reversing.py": begun}
        return _files_of("reversing", "reverse", f"{begun}    return text[::-1]\n", 'reverse("stressed"), "desserts"')

    return Task(
        title="Reverse a text",
        module="words/reversing.py",
        test=_test_path("reversing"),
        write=write,
        fails_after_first_patch=True,
    )


def _count() -> Task:
    """Run something long first: long enough for the worker under it to be killed."""
    wanted = _files_of("counting", "count", "def count(text):\n    return len(text.split())\n", 'count("one two three"), 3')
    slow = {"command": _SLOW, "wait_ms": 60_000, "session": None, "input": None}
    return Task(
        title="Count words",
        module="words/counting.py",
        test=_test_path("counting"),
        write=lambda _, __: wanted,
        look_first=(("shell", slow),),
    )


def _price() -> Task:
    """Ask what only a person knows; with an answer, go on."""

    def write(seen: Seen, _: Files) -> Wanted | Turn:
        currency = re.search(r"\b(EUR|USD)\b", seen.told.replace(QUESTION, ""))
        if currency is None:
            return Turn(
                thinks="Nothing in the repository says which currency: only a person can know.",
                calls=(("ask_human", {"question": QUESTION}),),
            )
        code = f'def price(cents):\n    return f"{{cents / 100:.2f}} {currency[1]}"\n'
        return _files_of("pricing", "price", code, f'price(1250), "12.50 {currency[1]}"')

    looking = {"pattern": "(?i)currency|EUR|USD", "path": None, "glob": None, "limit": None}
    return Task(
        title="Show prices",
        module="words/pricing.py",
        test=_test_path("pricing"),
        write=write,
        look_first=(("search", looking),),
    )


def _link() -> Task:
    """Build on the work of two other issues, which must be there."""
    needed = ("words/slugs.py", "words/shortening.py")
    code = (
        "from words.shortening import shorten\nfrom words.slugs import slug\n\n\n"
        'def link(title):\n    return f"[{shorten(title, 9)}](/{slug(title)})"\n'
    )

    def write(_: Seen, files: Files) -> Wanted | Turn:
        if missing := [path for path in needed if files[path] is None]:
            return blocked(f"I cannot begin: {', '.join(missing)} is not there.")
        return _files_of("linking", "link", code, 'link("Hello, World!"), "[Hello, W…](/hello-world)"')

    return Task(title="Link to a title", module="words/linking.py", test=_test_path("linking"), write=write, reads=needed)


def _files_of(module: str, function: str, code: str, case: str) -> Wanted:
    return {f"words/{module}.py": code} | _test(module, module, function, case)


def _test(name: str, module: str, function: str, case: str) -> Wanted:
    """Give a test of one case, `got, expected`."""
    title = name.title().replace("_", "")
    text = (
        f"import unittest\n\nfrom words.{module} import {function}\n\n\nclass {title}(unittest.TestCase):\n"
        f"    def test_{function}(self):\n        self.assertEqual({case})\n"
    )
    return {_test_path(name): text}


def _test_path(name: str) -> str:
    return f"tests/test_{name}.py"


_MAKERS: dict[str, Callable[[], Task]] = {
    "DEMO-1": lambda: _plain(
        "Make slugs of titles",
        "slugs",
        "slug",
        'import re\n\n\ndef slug(title):\n    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))\n',
        'slug("Hello, big World!"), "hello-big-world"',
    ),
    "DEMO-2": lambda: _plain(
        "Shorten long texts",
        "shortening",
        "shorten",
        'def shorten(text, width):\n    return text if len(text) <= width else text[: width - 1] + "…"\n',
        'shorten("a long story", 7), "a long…"',
    ),
    "DEMO-3": _initials,
    "DEMO-4": lambda: _greeting("French", "fr", "Bonjour"),
    "DEMO-5": lambda: _greeting("German", "de", "Hallo"),
    "DEMO-6": _reverse,
    "DEMO-7": _count,
    "DEMO-8": _price,
    "DEMO-9": _link,
    "DEMO-10": lambda: _plain(
        "Swap upper and lower case",
        "casing",
        "swap_case",
        "def swap_case(text):\n    return text.swapcase()\n",
        'swap_case("Ada"), "aDA"',
    ),
}
_TASKS = {identifier: make() for identifier, make in _MAKERS.items()}
