"""The API's comparators: what `{in: […]}`, `{gte: …}`, `{eqIgnoreCase: …}` and the like say of one value.

Invariant: equality is exact, case and all, unless a comparator's name says otherwise; a missing value equals nothing and is
neither before nor after anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.linear_errors import invalid
from tests.fakes.linear_time import moment_or_duration

_TEXT: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda have, want: want in have,
    "containsIgnoreCase": lambda have, want: want.casefold() in have.casefold(),
    "containsIgnoreCaseAndAccent": lambda have, want: want.casefold() in have.casefold(),
    "notContains": lambda have, want: want not in have,
    "notContainsIgnoreCase": lambda have, want: want.casefold() not in have.casefold(),
    "startsWith": lambda have, want: have.startswith(want),
    "startsWithIgnoreCase": lambda have, want: have.casefold().startswith(want.casefold()),
    "notStartsWith": lambda have, want: not have.startswith(want),
    "endsWith": lambda have, want: have.endswith(want),
    "notEndsWith": lambda have, want: not have.endswith(want),
    "eqIgnoreCase": lambda have, want: have.casefold() == want.casefold(),
    "neqIgnoreCase": lambda have, want: have.casefold() != want.casefold(),
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda have, want: have > want,
    "gte": lambda have, want: have >= want,
    "lt": lambda have, want: have < want,
    "lte": lambda have, want: have <= want,
}


def compare(have: Any, comparator: Mapping[str, Any], *, now: int) -> bool:
    """Tell whether a value satisfies all that a comparator says; times are compared in milliseconds.

    Raises: GraphQLError for a comparison that is not played here, or a time that is none.
    """
    return all(_holds(have, name, want, now) for name, want in comparator.items() if want is not None)


def _holds(have: Any, name: str, want: Any, now: int) -> bool:
    if name == "null":
        return (have is None) == want
    if name in ("in", "nin"):
        return (have in [_read(one, have, now) for one in want]) == (name == "in")
    if name in ("eq", "neq"):
        return (have == _read(want, have, now)) == (name == "eq")
    if name in _ORDER:
        return have is not None and _ORDER[name](have, _read(want, have, now))
    if name in _TEXT:
        return isinstance(have, str) and _TEXT[name](have, want)
    raise invalid(f"The comparison {name} is not played by this server.")


def _read(want: Any, have: Any, now: int) -> Any:
    """Read a wanted time where the value is one; every number of a record that is compared with text is a time."""
    if isinstance(want, str) and isinstance(have, int) and not isinstance(have, bool):
        return moment_or_duration(want, now=now)
    return want
