"""One kind of repository as a detector describes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """What a folder is, and the commands that belong to it; `tests` best first."""

    title: str
    language: str
    setup: str | None = None
    cache: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    further: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    programs: str = ""
    """Where the setup puts the programs that tests call by name, from the top of the checkout."""
    is_build: bool = False
    """Whether it builds by itself, and does not only call another kind's tools."""

    def speaks(self, language: str) -> bool:
        """Tell whether a language is this kind's own."""
        related = {"JavaScript": {"TypeScript"}, "Java": {"Kotlin"}, "C#": {"F#"}, "C": {"C++"}, "C++": {"C"}}
        return language == self.language or language in related.get(self.language, set())
