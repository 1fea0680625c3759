"""What of Symphony's environment a subprocess of the workflow may see.

Invariant: with `agent_environment` a name reaches an agent, a hook or a check only because it stands in a list, so a
credential that nobody thought of stays behind; Symphony's own addresses pass in no mode. Stages build environments here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from symphony.domain.errors import ConfigError

BUILT_IN = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "COLORTERM", "TZ", "TMPDIR"})
NEVER = frozenset({"SYMPHONY_DATABASE_URL", "SYMPHONY_BROKER_URL"})
_LOCALE = "LC_"


def agent_environment(
    passthrough: Sequence[str], environ: Mapping[str, str], *, secrets: Collection[str] = ()
) -> dict[str, str]:
    """Give the built-in few and the names in `passthrough`, as far as they are set.

    Raises:
        ConfigError: when `passthrough` names one of `secrets` (the names that adapters declared) or Symphony's own.
    """
    for name in passthrough:
        if name in NEVER or name in secrets:
            raise ConfigError(
                f"{name} is a credential of Symphony and is not handed to agents",
                place="sandbox.env",
                cure="take it out of the list; give the agent a credential of its own under another name",
                category="secret_passed",
            )
    allowed = (BUILT_IN | set(passthrough)) - NEVER - set(secrets)
    return {name: value for name, value in environ.items() if name in allowed or name.startswith(_LOCALE)}


def inherited_environment(environ: Mapping[str, str], *, secrets: Collection[str]) -> dict[str, str]:
    """Give the whole environment without the declared secret names: compatible mode only."""
    return {name: value for name, value in environ.items() if name not in NEVER and name not in secrets}
