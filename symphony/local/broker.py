"""The broker that the environment names: whether it can be one, and whether it answers.

Invariant: nothing here waits for longer than a few seconds, and no message holds a password. `up`, `check` and the
processes of a deployment rely on it; those that run already wait for a broker that went away.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from symphony.domain.errors import ConfigError
from symphony.telemetry.redaction import redact

_PLACE = "SYMPHONY_BROKER_URL"
_SCHEMES = frozenset({"redis", "rediss"})
_PATIENCE_S = 5.0


def ensure_broker_url(url: str) -> None:
    """Refuse what names no Redis: Celery would look for another kind of broker there, for ever.

    Raises:
        ConfigError: it is no url of Redis or Valkey.
    """
    try:
        parts = urlsplit(url)
        is_known = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_known = False
    if not is_known:
        raise ConfigError("the broker URL does not name Redis or Valkey", place=_PLACE, cure="use redis://HOST:PORT/0")


def ensure_broker_answers(url: str) -> None:
    """Ask the broker once.

    Raises:
        ConfigError: it does not answer, refuses us, or the url names none.
    """
    import redis  # the processes of a deployment read this module for the other function

    ensure_broker_url(url)
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=_PATIENCE_S, socket_timeout=_PATIENCE_S) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise ConfigError(
            f"the broker does not answer: {redact(str(error)).rstrip('.')}",
            place=_PLACE,
            cure="start it, correct the URL, or unset it to use an embedded one",
        ) from error
