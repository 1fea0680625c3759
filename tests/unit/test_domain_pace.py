"""The shared pace of a key, on a simulated clock: nobody stampedes, everybody's turn comes, nobody overtakes."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.domain.pace import LEAST_PER_SECOND, LONGEST_PAUSE_S, MOST_PER_SECOND, START_PER_SECOND, Pace

LOOK_AGAIN_S = 1.0


@dataclass
class Server:
    """Lets `rate` requests through in any second; refusals say when to come back, where `says_when`."""

    rate: int
    says_when: bool = True
    let_through: deque[float] = field(default_factory=deque)
    sent: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def ask(self, now: float) -> float | None:
        """Give None for a request that is let through, else the seconds to wait."""
        self.sent.append(now)
        while self.let_through and self.let_through[0] <= now - 1:
            self.let_through.popleft()
        if len(self.let_through) < self.rate:
            self.let_through.append(now)
            return None
        self.refused.append(now)
        return self.let_through[0] + 1 - now


def play(server: Server, agents: int, *, requests: int = 1, latency_s: float = 0.2, seed: int = 1) -> float:
    """Let agents that start at once make their requests; give the seconds that it took. Raises when it does not end."""
    draw = random.Random(seed)
    pace = Pace(served_at=0.0)
    left = [requests] * agents
    events: list[tuple[float, int, int, str, float]] = [(draw.random() * 0.05, n, n, "queue", 0.0) for n in range(agents)]
    heapq.heapify(events)
    order, now = agents, 0.0
    while events:
        now, _, agent, what, value = heapq.heappop(events)
        assert now < 3600, "nobody gets through"
        if what == "queue":
            pace = pace.reserved(now)
            what, value = "wait", pace.issued
        if what == "wait":
            wait = pace.wait_s(value, now)
            if wait > 0:
                follow = (now + min(wait, LOOK_AGAIN_S * draw.uniform(0.5, 1)), "wait", value)
            else:
                answer = server.ask(now)
                delay = latency_s * draw.uniform(0.5, 1.5)
                follow = (now + delay, "let through", 0.0) if answer is None else (now + delay, f"refused {now}", answer)
        elif what == "let through":
            pace = pace.accepted(now)
            left[agent] -= 1
            follow = (now, "queue", 0.0)
            if not left[agent]:
                continue
        else:
            sent_at = float(what.split()[1])
            pace = pace.limited(now, sent_at=sent_at, pause_s=value if server.says_when else None)
            follow = (now, "queue", 0.0)
        order += 1
        heapq.heappush(events, (follow[0], order, agent, follow[1], follow[2]))
    assert left == [0] * agents
    return now


def most_in_a_second(instants: list[float]) -> int:
    """Count the most of these in any one second."""
    return max(sum(1 for other in instants[n:] if other < at + 1) for n, at in enumerate(instants))


@pytest.mark.parametrize("says_when", [True, False])
@pytest.mark.parametrize("rate", [1, 5, 20, 60, 500])
def test_two_hundred_agents_do_not_stampede(rate: int, says_when: bool) -> None:
    """Rule: 200 agents against a server that allows so many requests a second: all get through, few are refused."""
    server = Server(rate, says_when)
    took = play(server, 200, requests=3)
    assert len(server.sent) - len(server.refused) == 600
    assert len(server.refused) <= 90, "refusals are how the pace finds the limit, not how agents live"
    assert most_in_a_second(server.sent) <= 2 * max(START_PER_SECOND, rate)
    assert took <= 600 / rate * 2.5 + 25


def test_the_pace_comes_near_to_what_the_server_allows() -> None:
    """Rule: slowing down is not for ever."""
    server = Server(20)
    assert play(server, 200, requests=10) <= 2000 / 20 / 0.65
    assert len(server.refused) <= 0.03 * 2000


def test_a_lone_agent_hardly_waits() -> None:
    """Rule: whoever is alone is not slowed down by what many would need."""
    assert play(Server(1000), 1, requests=100, latency_s=0.5) <= 100 * 0.5 * 1.1


def test_turns_are_apart_after_silence_too() -> None:
    """Rule: turns that nobody wanted are lost; a burst after an hour is paced like any."""
    pace, waits = Pace(served_at=0.0), []
    for _ in range(5):
        pace = pace.reserved(3600.0)
        waits.append(pace.wait_s(pace.issued, 3600.0))
    assert waits == pytest.approx([n / START_PER_SECOND for n in range(5)], abs=1e-6)


def test_a_pause_holds_those_who_wait_already() -> None:
    """Rule: in a pause nobody's turn comes, and after it the turns are apart, in their order."""
    pace, tickets = Pace(served_at=0.0), []
    for _ in range(40):
        pace = pace.reserved(0.0)
        tickets.append(pace.issued)
    assert pace.wait_s(tickets[-1], 0.0) == pytest.approx(39 / 20)
    pace = pace.limited(1.0, sent_at=0.9, pause_s=10)
    assert pace.wait_s(tickets[20], 1.0) >= 10
    assert [ticket for ticket in tickets if pace.wait_s(ticket, 10.99) == 0] == []
    assert pace.wait_s(tickets[19], 11.0) == 0, "whose turn had come before the pause"
    waits = [pace.wait_s(ticket, 11.0) for ticket in tickets[20:]]
    gaps = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert gaps == pytest.approx([0.1] * len(gaps)), "at half of the pace"


def test_one_event_slows_down_once() -> None:
    """Rule: what was sent before the last slowing down does not slow down again; what was sent after does."""
    pace = Pace(served_at=0.0)
    for _ in range(180):
        pace = pace.limited(1.0, sent_at=0.5, pause_s=2)
    assert (pace.per_second, pace.paused_until) == (START_PER_SECOND / 2, 3.0)
    pace = pace.limited(2.0, sent_at=1.5, pause_s=None)
    assert (pace.per_second, pace.paused_until) == (START_PER_SECOND / 2, 3.0), "sent before the pause was over"
    pace = pace.limited(3.4, sent_at=3.2, pause_s=1)
    assert (pace.per_second, pace.paused_until) == (START_PER_SECOND / 4, 4.4)
    for later in (4.41, 4.42, 4.43):
        pace = pace.limited(later, sent_at=later, pause_s=0)
    assert pace.per_second == START_PER_SECOND / 8, "a storm of refusals is one event"


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    """Rule: the longest pause that was asked for holds; none lasts for ever."""
    pace = Pace(served_at=0.0).limited(0.0, sent_at=0.0, pause_s=30).limited(1.0, sent_at=0.5, pause_s=1)
    assert pace.paused_until == 30
    assert Pace(served_at=0.0).limited(0.0, sent_at=0.0, pause_s=10**9).paused_until == LONGEST_PAUSE_S
    assert Pace(served_at=0.0).limited(5.0, sent_at=5.0, pause_s=-3).paused_until == 5.0


def test_the_pace_grows_only_where_somebody_waits() -> None:
    """Rule: a pace that was never used says nothing of what the server allows."""
    pace = Pace(served_at=0.0).reserved(1.0)
    assert pace.accepted(1.1) is pace
    waited_for = pace.reserved(1.1).reserved(1.1).reserved(1.1)
    assert waited_for.accepted(1.1).per_second == pytest.approx(START_PER_SECOND + 0.5)
    limited = waited_for.limited(1.1, sent_at=1.1, pause_s=0)
    assert limited.accepted(1.1).per_second == pytest.approx(START_PER_SECOND / 2 + 0.05)


steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "accept", "limit", "limit long ago"]),
        st.floats(0, 100),
        st.none() | st.floats(0, 100),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_turns_go_forward_and_the_pace_stays_in_bounds(
    steps: list[tuple[str, float, float | None]],
) -> None:
    """Rule: nobody overtakes, no turn that has come goes away, and no wait is endless."""
    pace, now, tickets = Pace(served_at=0.0), 0.0, []
    come: set[float] = set()
    for what, later, pause_s in steps:
        now += later
        match what:
            case "reserve":
                pace = pace.reserved(now)
                tickets.append(pace.issued)
            case "accept":
                pace = pace.accepted(now)
            case "limit":
                pace = pace.limited(now, sent_at=now, pause_s=pause_s)
            case _:
                pace = pace.limited(now, sent_at=now - 50, pause_s=pause_s)
        assert LEAST_PER_SECOND <= pace.per_second <= MOST_PER_SECOND
        served = pace.served_by(now)
        come |= {ticket for ticket in tickets if ticket <= served + 1e-6}
        assert all(ticket <= served + 1e-3 for ticket in come)
        waits = [pace.wait_s(ticket, now) for ticket in tickets]
        assert waits == sorted(waits)
        assert all(wait <= LONGEST_PAUSE_S + len(tickets) / LEAST_PER_SECOND for wait in waits)
