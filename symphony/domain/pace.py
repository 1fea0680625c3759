"""The pace at which all workers together may send requests with one key of a model's provider.

Turns are numbered tickets. The number up to which turns have come grows with the pace and stands still in a pause, so a
change of either moves everybody who waits, and nobody overtakes. Invariant: turns are at least `1 / per_second` seconds
apart, whoever asks and however long nobody did, and none comes in a pause. The pace grows only while it is what people
wait for: quickly until a limit is met, slowly after; a limit halves it, once for everything that was sent before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

START_PER_SECOND = 20.0
MOST_PER_SECOND = 1000.0
LEAST_PER_SECOND = 0.02
PAUSE_S = 1.0
"""The pause after a refusal that names none."""
LONGEST_PAUSE_S = 3600.0
_AT_ONCE_S = 0.0001  # waits that are shorter are errors of rounding
_ONE_EVENT_S = 1.0  # refusals that come nearer to each other than this are of one event
# What each accepted request adds to the pace, in requests a second; so a pace that is used up grows by that share of
# itself in a second: half of it until a limit is met, a twentieth after, and a very slow one by a tenth a request.
_GROWTH_UNLIMITED, _GROWTH_LIMITED, _GROWTH_SLOWEST = 0.5, 0.05, 0.10


@dataclass(frozen=True, slots=True)
class Pace:
    """The state of a key; instants are seconds of one clock.

    `served`: the ticket whose turn was due at `served_at`; `issued`: the last one given out; `limited_at`: when the pace
    was last reduced.
    """

    served_at: float
    per_second: float = START_PER_SECOND
    served: float = 1.0
    issued: float = 0.0
    paused_until: float | None = None
    limited_at: float | None = None

    def served_by(self, now: float) -> float:
        """Give the ticket up to which turns have come."""
        since = self.served_at if self.paused_until is None else max(self.served_at, self.paused_until)
        return self.served + self.per_second * max(now - since, 0.0)

    def wait_s(self, ticket: float, now: float) -> float:
        """Give the seconds until a ticket's turn comes as things stand; 0: it has come."""
        paused_s = 0.0 if self.paused_until is None else max(self.paused_until - now, 0.0)
        wait = max(ticket - self.served_by(now), 0.0) / self.per_second + paused_s
        return wait if wait >= _AT_ONCE_S else 0.0

    def reserved(self, now: float) -> Pace:
        """Give out the next ticket, which is `issued` then; turns that nobody wanted are lost."""
        return replace(self, issued=max(self.issued + 1, self.served_by(now)))

    def accepted(self, now: float) -> Pace:
        """Take in that a request was let through: the pace grows where somebody waits for it."""
        if self.issued <= self.served_by(now) or self.per_second >= MOST_PER_SECOND:
            return self
        growth = _GROWTH_UNLIMITED if self.limited_at is None else _GROWTH_LIMITED
        growth = min(growth, self.per_second * _GROWTH_SLOWEST)
        return replace(self._settled(now), per_second=min(self.per_second + growth, MOST_PER_SECOND))

    def limited(self, now: float, *, sent_at: float, pause_s: float | None) -> Pace:
        """Take in that a request was refused for its rate, and for how long the provider wants none."""
        pause = now + min(max(pause_s if pause_s is not None else PAUSE_S, 0.0), LONGEST_PAUSE_S)
        settled = self._settled(now)
        if self.limited_at is None or self._is_news(now, sent_at):
            slower = max(self.per_second / 2, LEAST_PER_SECOND)
            settled = replace(settled, per_second=slower, limited_at=now)
        return replace(settled, paused_until=max(self.paused_until or pause, pause))

    def _is_news(self, now: float, sent_at: float) -> bool:
        """Tell whether a refusal says more than the last one that reduced the pace did."""
        last = self.limited_at or 0.0
        return now >= last + _ONE_EVENT_S and sent_at > max(last, self.paused_until or 0.0)

    def _settled(self, now: float) -> Pace:
        """Count the turns so far, before the pace changes or stands still."""
        return replace(self, served=self.served_by(now), served_at=now)
