"""The names of the log events that stand around every commit, ring and push: one list.

A worker that is killed at any of them must lose nothing and do nothing twice; the kill test is parametrised over this
list and demands that each stage passes some.
"""

from __future__ import annotations

from enum import StrEnum


class Label(StrEnum):
    """A point that a process passes, as it stands in the log."""

    CLAIMING = "claim.committing"
    CLAIMED = "claim.committed"
    SETTLING = "settle.committing"
    SETTLED = "settle.committed"
    RINGING = "ring.publishing"
    RUNG = "ring.published"
    ADMITTING = "admit.committing"
    ADMITTED = "admit.committed"
    POLL_RECORDING = "poll.committing"
    POLL_RECORDED = "poll.committed"
    PROVISIONING = "provision.recording"
    PROVISIONED = "provision.recorded"
    SNAPSHOT_PUSHING = "snapshot.pushing"
    SNAPSHOT_PUSHED = "snapshot.pushed"
    SNAPSHOT_RECORDED = "snapshot.recorded"
    PROOF_RECORDING = "proof.recording"
    PROOF_RECORDED = "proof.recorded"
    LANDING_INTENDING = "landing.intending"
    LANDING_INTENDED = "landing.intended"
    LANDING_PUSHING = "landing.pushing"
    LANDING_PUSHED = "landing.pushed"
    PUBLISHING = "branch.pushing"
    PUBLISHED = "branch.pushed"
    EFFECT_WRITING = "effect.writing"
    EFFECT_WRITTEN = "effect.written"
    EFFECT_RECORDED = "effect.recorded"
