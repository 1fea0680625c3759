"""The keeper of leases: renews all runs of a worker process in one statement, and tells the guardian.

Rules: the trust of a run ends 5/6 of a TTL after its last good renewal was *sent*. A thread of its own speaks to the
guardian about every second, also while the renewing one hangs on a database that does not answer: the guardian then
freezes what is no longer trusted, instead of taking this worker for dead. A run whose token has moved is killed and its
stage told. The same beat is the heartbeat of the process's row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from symphony.domain.errors import Transient
from symphony.ledger import leases, processes
from symphony.ledger.database import Database, Transaction
from symphony.ledger.leases import Renewed
from symphony.processes.guardian import Guardian
from symphony.settings import Settings
from symphony.stages.lease import STOPPING_REQUESTS, Lease, boottime
from symphony.telemetry.log import get_logger

TRUSTED_SHARE = 5 / 6
LAST_GRACE = timedelta(seconds=15)
"""What a stage that ends itself when its drain is over gets for its last snapshot."""
_WORD_EVERY_S = 1.0
_ANSWER_S = 2.0  # a renewal that takes longer means that the database is away,
_SHARE_OF_SLACK = 1 / 3  # or that takes this much of the time left between a missed renewal and the end of trust
_STOP_S = 5.0

log = get_logger()


class LeaseKeeper:
    """Renews leases until `stop`; `database` is its own, with a connection that nobody else waits for."""

    def __init__(
        self,
        database: Database,
        guardian: Guardian,
        settings: Settings,
        process_id: UUID,
        on_guardian_lost: Callable[[], None],
    ) -> None:
        self._database = database
        self._guardian = guardian
        self._settings = settings
        self._process_id = process_id
        self._on_guardian_lost = on_guardian_lost
        self._leases: dict[UUID, Lease] = {}
        self._kills: dict[UUID, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._drains = 0
        self._every_s = settings.lease_renewal.total_seconds()
        # The guardian kills what has no trust unless it has heard by then that the database is away.
        slack_s = (settings.lease_ttl.total_seconds() * TRUSTED_SHARE - self._every_s) * _SHARE_OF_SLACK
        self._answer_s, self._word_every_s = min(_ANSWER_S, slack_s), min(_WORD_EVERY_S, slack_s)
        self._reached_at = boottime()
        self._renewer = threading.Thread(target=self._keep_renewing, name="lease-keeper", daemon=True)
        self._speaker = threading.Thread(target=self._keep_speaking, name="guardian-word", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._renewer.start()
        self._speaker.start()

    def stop(self) -> None:
        """Stop renewing; leases that are still held run out."""
        self._stopping = True
        self._wake.set()
        self._renewer.join(timeout=_STOP_S)
        self._speaker.join(timeout=_STOP_S)

    def hold(self, lease: Lease, kill: Callable[[], None]) -> None:
        """Renew this lease from now on; `kill` ends the attempt's whole process tree."""
        with self._lock:
            self._leases[lease.attempt_id] = lease
            self._kills[lease.attempt_id] = kill
            drains = self._drains
        for _ in range(drains):  # claimed just before: it has no more time than the others
            lease.drain(self._settings.drain)

    def release(self, lease: Lease) -> None:
        """Renew this lease no longer."""
        with self._lock:
            self._leases.pop(lease.attempt_id, None)
            self._kills.pop(lease.attempt_id, None)

    def held(self) -> list[Lease]:
        """List the leases that are kept now."""
        with self._lock:
            return list(self._leases.values())

    def drain(self) -> None:
        """Ask every stage of this process to come to an end by itself; from now on it claims nothing."""
        with self._lock:
            self._drains += 1
            held = list(self._leases.values())
        for lease in held:
            lease.drain(self._settings.drain)
        self._wake.set()

    @property
    def is_draining(self) -> bool:
        """Tell whether this process was asked to come to an end."""
        return self._drains > 0

    def renew_now(self) -> None:
        """Renew at once instead of at the next beat."""
        self._wake.set()

    def _keep_renewing(self) -> None:
        while not self._stopping:
            sent = boottime()
            is_complete = self._renew(sent)
            self._wake.wait(max(sent + (self._every_s if is_complete else self._word_every_s) - boottime(), 0.0))
            self._wake.clear()

    def _keep_speaking(self) -> None:
        while not self._stopping:
            if self._guardian.lost.is_set():
                self._give_up()
                return
            self._end_overdrawn()
            reachable = boottime() - self._reached_at < self._every_s + self._answer_s
            trusts = {name: lease.trust_until for lease in self.held() for name in (lease.tree_name, *lease.side_trees)}
            self._guardian.renew(trusts, database_reachable=reachable)
            self._guardian.lost.wait(self._word_every_s)

    def _renew(self, sent: float) -> bool:
        """Renew once; False where it must be tried again soon: the database is away, or somebody had a row locked."""
        held = self.held()
        ttl = self._settings.lease_ttl

        def body(transaction: Transaction) -> tuple[list[Renewed], dict[UUID, int]]:
            processes.beat(transaction, self._process_id, len(held))
            if self._drains:
                processes.drain(transaction, self._process_id)
            if not held:
                return [], {}
            renewed = leases.renew_if_token_matches(transaction, [lease.progress() for lease in held], ttl)
            missing = {lease.held.run_id for lease in held} - {answer.run_id for answer in renewed}
            return renewed, leases.tokens_of(transaction, list(missing)) if missing else {}

        try:
            renewed, tokens = self._database.transact(body)
        except Transient as error:
            log.warning("leases not renewed", reason=str(error))
            return False
        except Exception as error:
            log.error("leases not renewed", exc_info=error)
            return False
        self._reached_at = boottime()
        is_complete = True
        answers = {(answer.run_id, answer.token): answer for answer in renewed}
        trust_until = sent + ttl.total_seconds() * TRUSTED_SHARE
        for lease in held:
            answer = answers.get((lease.held.run_id, lease.held.token))
            if answer is not None:
                lease.renewed(trust_until, answer.request, answer.request_reason)
            elif tokens.get(lease.held.run_id) != lease.held.token:
                self._lose(lease)
            else:
                is_complete = False
            if answer is not None and answer.request in STOPPING_REQUESTS:
                self._kill(lease)
        return is_complete

    def _end_overdrawn(self) -> None:
        """Kill what a drain should have ended by now; its attempt is handed back as interrupted."""
        for lease in self.held():
            grace = LAST_GRACE if lease.ends_itself else timedelta()
            if lease.is_drain_over(grace):
                self._kill(lease)
            elif lease.is_drain_over():
                lease.remind()

    def _lose(self, lease: Lease) -> None:
        if any(lease is kept for kept in self.held()):
            log.warning("lease lost", run=str(lease.held.run_id), token=lease.held.token)
            lease.lose()
            self._kill(lease)

    def _kill(self, lease: Lease) -> None:
        kill = self._kills.get(lease.attempt_id)
        if kill is not None:
            threading.Thread(target=kill, name=f"kill-{lease.tree_name}", daemon=True).start()

    def _give_up(self) -> None:
        log.error("the guardian is gone; giving up the leases")
        for lease in self.held():
            lease.lose()
        self._on_guardian_lost()
