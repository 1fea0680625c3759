"""What a board on Linear costs: read requests an issue, and the time and memory of polls on a big board.

    python -m benchmarks.linear [--issues 200] [--slots 50] [--big 10000 | --big 0]

The server is the tests' own, over real HTTP; its answers are as slow as Python is, so our processor time is given beside
the time that passed. The first part lives a board's life on the clock of the server, without waiting: it calls the adapter
as polls and stages do, while agents, people and landings take their time. The figures go to standard output as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from symphony.domain.issue import Issue, normalized_state
from symphony.trackers import open_tracker
from symphony.trackers.linear.adapter import LinearTracker
from tests.fakes.linear_server import LinearServer

ACTIVE = ("Todo", "In Progress", "Rework", "Merging")
STATES = (
    ("Backlog", "backlog"),
    ("Todo", "unstarted"),
    ("In Progress", "started"),
    ("Human Review", "started"),
    ("Rework", "started"),
    ("Merging", "started"),
    ("Done", "completed"),
)
POLL_S, AGENT_S, REVIEW_S, LAND_S = 30, 300, 300, 30
TURNS = 3
"""Of an issue's agent, for the reference's figure."""
ANSWERED = 0.2
"""The share of issues on which a person writes something while they are in review."""
WRITES = ("SymphonyMove", "SymphonyComment", "SymphonyIssueToMove")


def opened(url: str, key: str, slug_id: str) -> LinearTracker:
    """Open the adapter on a server."""
    tracker = open_tracker(
        "linear",
        {"endpoint": url, "api_key": key, "project_slug": slug_id},
        active_states=ACTIVE,
        terminal_states=("Done",),
        base_dir=Path(),
        environ={},
    )
    assert isinstance(tracker, LinearTracker)
    return tracker


@dataclass
class Life:
    """One board from its first issue to its last, poll after poll."""

    server: LinearServer
    tracker: LinearTracker
    slots: int
    now: float = 0.0
    polls: int = 0
    live: dict[str, tuple[str, float]] = field(default_factory=dict)
    """What is being done with each issue that has a run, and until when."""
    since: dict[str, datetime] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    reference: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, issues: int) -> None:
        """Live until every issue is done."""
        self.tracker.board.clock = lambda: self.now
        while len(self.over) < issues:
            self._poll()
            self._pass(POLL_S)

    def _poll(self) -> None:
        self.polls += 1
        board = self.tracker.fetch_board(ACTIVE, watched=set(self.live))
        seen = {issue.id: issue for issue in (*board.watched, *board.listed.issues)}
        self._count_reference(len(board.listed.issues))
        waiting = [seen[one] for one, (doing, _) in self.live.items() if doing == "review"]
        if waiting:
            self.tracker.fetch_new_comments([(issue, self.since[issue.id]) for issue in waiting])
        for issue in waiting:
            if normalized_state(issue.state) == "merging":
                self.live[issue.id] = ("landing", self.now + LAND_S)
        self._admit(list(board.listed.issues))

    def _admit(self, listed: list[Issue]) -> None:
        working = sum(doing == "agent" for doing, _ in self.live.values())
        free = [one for one in listed if one.dispatchable and one.id not in self.live | dict.fromkeys(self.over, None)]
        for issue in free[: self.slots - working]:
            self.live[issue.id] = ("agent", self.now + AGENT_S)
            self.reference += 1 + TURNS  # a look before the start, and one after each turn
            self.tracker.move(issue.id, "In Progress", allowed_from=["Todo"])

    def _count_reference(self, listed: int) -> None:
        """Count what a client of the reference's shape would send: pages of the active issues, and those at work by ids."""
        working = sum(doing == "agent" for doing, _ in self.live.values())
        self.reference += max(1, math.ceil(listed / 50)) + math.ceil(working / 50)

    def _pass(self, seconds: float) -> None:
        """Let time pass: agents end, people read and answer, changes land."""
        self.now += seconds
        self.server.world.clock.skew_ms += int(seconds * 1000)
        for issue_id, (doing, until) in list(self.live.items()):
            if until > self.now:
                continue
            if doing == "agent":
                self.tracker.comment(issue_id, key=f"{issue_id}/review", body="Please look.")
                self.tracker.move(issue_id, "Human Review", allowed_from=["In Progress"])
                self.since[issue_id] = datetime.fromtimestamp(self.server.world.clock.now() / 1000, UTC)
                self.live[issue_id] = ("review", self.now + REVIEW_S)
            elif doing == "review" and self.server.state_of(issue_id) == "Human Review":
                if self.dice.random() < ANSWERED:
                    self.server.comment(issue_id, "Looks good.")
                self.server.move(issue_id, "Merging")
            elif doing == "landing":
                self.tracker.move(issue_id, "Done", allowed_from=["Merging"])
                del self.live[issue_id]
                self.over.add(issue_id)


def requests_of_a_life(issues: int, slots: int) -> dict[str, Any]:
    """Count the requests of a board's life."""
    with LinearServer(states=STATES) as server:
        for number in range(issues):
            server.create_issue(f"Issue {number}", labels=["bug"], description="What to do. " * 50)
        server.world.clock.skew_ms += 3_600_000
        life = Life(server, opened(server.url, server.key, server.project.slug_id), slots)
        life.run(issues)
        reads = [request for request in server.requests if request.operation not in WRITES]
        return {
            "issues": issues,
            "slots": slots,
            "hours": round(life.now / 3600, 2),
            "polls": life.polls,
            "read_requests": len(reads),
            "read_requests_an_issue": round(len(reads) / issues, 3),
            "by_operation": {
                name: sum(one.operation == name for one in reads) for name in sorted({r.operation for r in reads})
            },
            "points_an_hour": round(sum(request.complexity for request in server.requests) / (life.now / 3600)),
            "requests_with_writes_an_issue": round(len(server.requests) / issues, 2),
            "simulated_reference_reads_an_issue": round(life.reference / issues, 2),
            "violations": server.violations,
        }


def serve(pipe: Connection, total: int, active: int) -> None:
    """Serve a big board in a process of its own, and do to it what is asked for."""
    with LinearServer(states=STATES) as server:
        then = server.world.clock.now() - 3_600_000
        for number in range(total):
            state = "Todo" if number < active else "Backlog" if number % 2 else "Done"
            text = "What to do. " * 100
            server.create_issue(f"Issue {number}", state=state, description=text, created_at=then, updated_at=then)
        todo = [write.entity_id for write in server.writes if write.kind == "Issue.create"][:active]
        pipe.send((server.url, server.key, server.project.slug_id))
        while (asked := pipe.recv()) is not None:
            for _ in range(asked):
                server.move(server.issue(random.choice(todo)), random.choice(("Todo", "In Progress")))
            pipe.send(len(server.requests))


def timed(of: Callable[[], Any]) -> tuple[float, float]:
    """Give the seconds that something took, and the processor time of ours in it."""
    began, spent = time.monotonic(), time.process_time()
    of()
    return round(time.monotonic() - began, 3), round(time.process_time() - spent, 3)


def polls_of_a_big_board(total: int, active: int, *, polls: int = 40) -> dict[str, Any]:
    """Time polls of a board, with changes between them and a sweep that comes due with every eighth."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, total, active), daemon=True)
    process.start()
    tracker = opened(*ours.recv())
    before = psutil.Process().memory_full_info().uss
    first = timed(lambda: tracker.fetch_board(ACTIVE, watched=[]))
    after_first = psutil.Process().memory_full_info().uss
    times, counts, requests = [], [], 0
    for number in range(polls):
        tracker.board.sweep_every_s = 0.0 if number % 8 == 0 else 1e9
        ours.send(5)
        requests = ours.recv()
        times.append(timed(lambda: tracker.fetch_board(ACTIVE, watched=[])))
        ours.send(0)
        counts.append(ours.recv() - requests)
    after_all = psutil.Process().memory_full_info().uss
    ours.send(None)
    process.join()
    return {
        "issues": total,
        "active": active,
        "first_poll_s": first[0],
        "first_poll_cpu_s": first[1],
        "poll_median_s": statistics.median(wall for wall, _ in times),
        "poll_longest_s": max(wall for wall, _ in times),
        "poll_median_cpu_s": statistics.median(cpu for _, cpu in times),
        "requests_a_poll": round(sum(counts) / len(counts), 2),
        "kept_mib": round((after_first - before) / 2**20, 1),
        "grown_in_later_polls_mib": round((after_all - after_first) / 2**20, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--issues", type=int, default=200)
    parser.add_argument("--slots", type=int, default=50)
    parser.add_argument("--big", type=int, default=10_000)
    chosen = parser.parse_args()
    figures = {"life": requests_of_a_life(chosen.issues, chosen.slots)}
    for active in (300, chosen.big) if chosen.big else ():
        figures[f"big board, {active} active"] = polls_of_a_big_board(chosen.big, active)
    print(json.dumps(figures, indent=2))
