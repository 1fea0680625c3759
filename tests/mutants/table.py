"""Which planted fault is caught by which test, and by which words of it: the one list."""

from __future__ import annotations

from dataclasses import dataclass

_FENCING = "tests/integration/test_ledger_fencing.py"
_FENCES = "tests/acceptance/test_fences.py"
_QUEUE = "tests/acceptance/test_landing_queue.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch beside this file; `test` must pass without it, and fail with it saying `words`."""

    name: str
    test: str
    words: str


MUTANTS = (
    Mutant("token_check_dropped", f"{_FENCING}::test_a_stale_token_writes_nothing", "DID NOT RAISE"),
    Mutant(
        "token_tested_in_a_sub_select",
        f"{_FENCING}::test_a_stale_write_beside_an_uncommitted_change_of_owner_writes_nothing[note]",
        "AssertionError",
    ),
    Mutant(
        "token_not_bumped",
        "tests/integration/test_ledger_leases.py::test_only_a_dead_process_is_a_crash[True]",
        "assert run.token > held.run.token",
    ),
    Mutant(
        "rung_before_the_commit", f"{_FENCES}::test_a_doorbell_is_rung_after_its_row_is_committed", "rung before the commit"
    ),
    Mutant(
        "effects_unordered", "tests/integration/test_engine_effects.py::test_effects_arrive_in_order", "tracker.journal"
    ),
    Mutant("lease_trusted_too_long", f"{_FENCES}::test_trust_ends_before_the_lease", "trusted beyond the lease"),
    Mutant(
        "forced_push",
        "tests/integration/test_forge_git.py::test_an_intruder_before_the_push_makes_the_lease_stale",
        "DID NOT RAISE",
    ),
    Mutant(
        "landing_row_after_the_push",
        f"{_QUEUE}::test_without_an_intruder_every_sound_change_lands",
        "the target was moved before the landing was written",
    ),
    Mutant(
        "rewound_target_restored",
        f"{_QUEUE}::test_what_was_taken_out_of_the_target_does_not_come_back",
        "a landing brought back what had been removed",
    ),
    Mutant("failed_proof_landed", f"{_FENCING}::test_only_a_passed_proof_of_the_run_may_be_landed", "is None"),
    Mutant("fenced_swallowed", f"{_FENCING}::test_settling_twice_settles_once", "isinstance(answer, Fenced)"),
    Mutant("lost_lease_overlooked", f"{_FENCES}::test_trust_ends_before_the_lease", "DID NOT RAISE"),
    Mutant(
        "slots_counted_without_the_lock",
        "tests/integration/test_engine_slots.py::test_eight_admitting_processes_never_exceed_the_slots",
        "the limit is reached and never exceeded",
    ),
    Mutant(
        "epoch_ignored",
        "tests/integration/test_engine_poll.py::test_which_ends_consume_the_epoch",
        'assert len(board.runs("A-1")) == (1 if consumes else 2)',
    ),
    Mutant(
        "trust_ignored_by_the_guardian",
        "tests/integration/test_guardian_deaths.py::test_a_worker_that_is_stopped_keeps_its_tree_until_the_trust_ends",
        "< 3.0",
    ),
    Mutant(
        "deadline_ignored_by_the_guardian",
        f"{_FENCES}::test_a_tree_ends_at_its_deadline",
        "the deadline was ignored",
    ),
    Mutant(
        "second_run_skipped",
        "tests/security/test_cheating_agent.py::test_a_makefile_that_does_nothing_is_put_to_a_person",
        "(RunState.REVIEWING, before)",
    ),
    Mutant(
        "limit_met_once_believed",
        "tests/integration/test_proof_again.py::test_a_check_that_ran_too_long_once_passes_alone_and_is_flaky",
        "(Stage.LAND, 0)",
    ),
    Mutant(
        "kept_setup_shared",
        "tests/integration/test_proof_setup.py::test_a_candidate_writes_into_its_own_copy_only",
        'land_next(work, "DEMO-2"',
    ),
    Mutant(
        "webhook_rung_again",
        "tests/integration/test_webhooks.py::test_a_replay_answers_200_and_rings_nothing[alone]",
        "{'rung': 1}",
    ),
    Mutant(
        "said_under_a_new_id",
        "tests/integration/test_linear_sessions_faults.py::test_a_lost_answer_says_nothing_twice[small-fault0]",
        "len(talk.said(session)) == 1",
    ),
)
