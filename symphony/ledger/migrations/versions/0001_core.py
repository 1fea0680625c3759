"""Create the ledger: workflows, issues, runs, attempts, events, effects, proofs, landings, processes, ticks.

The rules that must hold whatever the code does are here: CHECKs make impossible rows impossible, partial unique
indexes are the concurrency rules, and `run_events` refers to the table of allowed transitions.
"""

from __future__ import annotations

from alembic import op

from symphony.domain.run import TRANSITIONS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORKFLOWS = """
CREATE TABLE workflows (
  id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE,
  source_kind text NOT NULL CHECK (source_kind IN ('file', 'git')),
  source text NOT NULL,
  version_id uuid,
  served_until timestamptz,
  paused_at timestamptz,
  load_error text,
  poll_seq bigint NOT NULL DEFAULT 0,
  listed_seq bigint NOT NULL DEFAULT 0,
  poll_due_at timestamptz NOT NULL DEFAULT now(),
  poll_started_at timestamptz,
  poll_process_id uuid,
  polled_at timestamptz,
  poll_error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT polling_has_a_start CHECK (poll_process_id IS NULL OR poll_started_at IS NOT NULL)
);
COMMENT ON TABLE workflows IS 'A registered WORKFLOW.md, and the lock under which its slots are given out';
COMMENT ON COLUMN workflows.served_until IS 'Null: served for ever; else while an up that reads the file keeps moving it';
COMMENT ON COLUMN workflows.poll_seq IS 'Counts polls begun; only the newest may write snapshots';
COMMENT ON COLUMN workflows.listed_seq IS 'The newest poll that ended well: issues that carry it are on the board';

CREATE TABLE workflow_versions (
  id uuid PRIMARY KEY,
  workflow_id uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
  digest text NOT NULL,
  base_dir text NOT NULL,
  content text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (workflow_id, id)
);
COMMENT ON TABLE workflow_versions IS 'Valid contents of a WORKFLOW.md; references to the environment stay unresolved';
ALTER TABLE workflows ADD FOREIGN KEY (id, version_id) REFERENCES workflow_versions (workflow_id, id)
  DEFERRABLE INITIALLY DEFERRED;
"""

PROCESSES = """
CREATE TABLE processes (
  id uuid PRIMARY KEY,
  node text NOT NULL,
  pid int NOT NULL,
  queues text[] NOT NULL,
  slots int NOT NULL CHECK (slots >= 0),
  busy int NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL DEFAULT now(),
  heartbeat_at timestamptz NOT NULL DEFAULT now(),
  draining_at timestamptz,
  stopped_at timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE processes IS 'Worker processes; a node lives while one of its processes has a fresh heartbeat';

CREATE TABLE ticks (
  name text NOT NULL,
  slot bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (name, slot)
);
COMMENT ON TABLE ticks IS 'Who inserts first sends the tick: several beats are one';

CREATE TABLE sweeps (
  id int PRIMARY KEY CHECK (id = 1),
  swept_at timestamptz,
  blameless_until timestamptz
);
INSERT INTO sweeps (id) VALUES (1);
COMMENT ON COLUMN sweeps.blameless_until IS 'After a gap in sweeping nobody is blamed before this instant';
"""

ISSUES = """
CREATE TABLE issues (
  id uuid PRIMARY KEY,
  workflow_id uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
  tracker_id text NOT NULL,
  identifier text NOT NULL,
  state text NOT NULL,
  snapshot jsonb NOT NULL,
  poll_seq bigint NOT NULL,
  listed_seq bigint NOT NULL,
  active boolean NOT NULL,
  eligible boolean NOT NULL,
  priority_rank smallint NOT NULL,
  opened_at timestamptz,
  changed_at timestamptz,
  epoch int NOT NULL CHECK (epoch >= 0),
  consumed_epoch int NOT NULL DEFAULT 0,
  state_entry int NOT NULL DEFAULT 1,
  moved_at timestamptz,
  last_number int NOT NULL DEFAULT 0,
  deliverer uuid,
  deliver_until timestamptz,
  UNIQUE (workflow_id, tracker_id),
  CHECK (active OR NOT eligible),
  CHECK (consumed_epoch <= epoch)
) WITH (fillfactor = 80);
COMMENT ON COLUMN issues.epoch IS 'Grows when the issue enters the active states from outside, or on a retry';
COMMENT ON COLUMN issues.consumed_epoch IS 'The newest epoch that a run ended for good';
COMMENT ON COLUMN issues.state_entry IS 'Counts entries into a state, so that each is acted on once';
COMMENT ON COLUMN issues.moved_at IS 'When our last move was applied; polls that began before are stale for this issue';
CREATE INDEX issues_candidates ON issues (workflow_id, priority_rank, opened_at, identifier)
  WHERE eligible AND epoch > consumed_epoch;
CREATE INDEX issues_active ON issues (workflow_id) WHERE active;
CREATE INDEX issues_identifier ON issues (identifier);
"""

RUNS = """
CREATE TABLE runs (
  id uuid PRIMARY KEY,
  workflow_id uuid NOT NULL REFERENCES workflows,
  issue_id uuid NOT NULL REFERENCES issues,
  number int NOT NULL CHECK (number >= 1),
  epoch int NOT NULL,
  state text NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing',
    'landed', 'failed', 'cancelled', 'released')),
  stage text NOT NULL CHECK (stage IN ('provision', 'agent', 'proof', 'land')),
  token bigint NOT NULL DEFAULT 0,
  process_id uuid REFERENCES processes,
  attempt_id uuid,
  lease_until timestamptz,
  node text,
  due_at timestamptz NOT NULL DEFAULT now(),
  queued_at timestamptz NOT NULL DEFAULT now(),
  waiting_for text,
  request text CHECK (request IN ('cancel', 'release', 'hand_over', 'rework')),
  request_reason text,
  request_clean boolean NOT NULL DEFAULT false,
  failures int NOT NULL DEFAULT 0,
  crashes int NOT NULL DEFAULT 0,
  crashes_in_row int NOT NULL DEFAULT 0,
  rework_rounds int NOT NULL DEFAULT 0,
  sessions int NOT NULL DEFAULT 0,
  handled_entry int NOT NULL DEFAULT 0,
  feedback text,
  question text,
  error text,
  approved_at timestamptz,
  heard_at timestamptz,
  target text,
  branch text,
  base_sha text,
  head_sha text,
  published_sha text,
  landed_sha text,
  rung_at timestamptz,
  rings int NOT NULL DEFAULT 0,
  last_event_at timestamptz,
  last_event text,
  session_id text,
  turns int NOT NULL DEFAULT 0,
  input_tokens bigint NOT NULL DEFAULT 0,
  output_tokens bigint NOT NULL DEFAULT 0,
  clean_due boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  UNIQUE (issue_id, number),
  CONSTRAINT running_is_held CHECK ((state = 'running') =
    (lease_until IS NOT NULL AND process_id IS NOT NULL AND attempt_id IS NOT NULL)),
  CONSTRAINT ended_has_an_end CHECK ((state IN ('landed', 'failed', 'cancelled', 'released')) = (finished_at IS NOT NULL)),
  CONSTRAINT waiting_says_for_what CHECK ((state = 'waiting') = (waiting_for IS NOT NULL)),
  CONSTRAINT landed_names_its_commit CHECK ((state = 'landed') = (landed_sha IS NOT NULL)),
  CONSTRAINT land_has_a_target CHECK (stage <> 'land' OR target IS NOT NULL),
  CONSTRAINT ended_has_no_request CHECK (request IS NULL OR finished_at IS NULL)
) WITH (fillfactor = 60);
COMMENT ON COLUMN runs.token IS 'Grows with every change of owner; a writer that holds an older one is fenced';
COMMENT ON COLUMN runs.node IS 'Where the workspace is; only the agent stage follows it';
COMMENT ON COLUMN runs.handled_entry IS 'The last entry of the issue into a state that this run has acted on';
COMMENT ON COLUMN runs.heard_at IS 'Comments up to here are known to the run';
COMMENT ON COLUMN runs.target IS 'Repository and branch to land on: one lander each';
COMMENT ON COLUMN runs.clean_due IS 'The workspace is to be removed on its node';

CREATE UNIQUE INDEX one_live_run_per_issue ON runs (issue_id)
  WHERE state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing');
CREATE UNIQUE INDEX one_end_per_epoch ON runs (issue_id, epoch) WHERE state IN ('landed', 'failed', 'cancelled');
CREATE UNIQUE INDEX one_lander_per_target ON runs (target) WHERE state = 'running' AND stage = 'land';
CREATE INDEX runs_live ON runs (workflow_id, state, stage)
  WHERE state IN ('queued', 'running', 'waiting', 'blocked', 'reviewing');
CREATE INDEX runs_land_queue ON runs (target, queued_at) WHERE state = 'queued' AND stage = 'land';
CREATE INDEX runs_clean_due ON runs (node) WHERE clean_due;

CREATE TABLE attempts (
  id uuid PRIMARY KEY,
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  stage text NOT NULL,
  number int NOT NULL,
  token bigint NOT NULL,
  node text NOT NULL,
  process_id uuid NOT NULL,
  version_id uuid NOT NULL REFERENCES workflow_versions,
  sandbox text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  outcome text,
  error text,
  turns int NOT NULL DEFAULT 0,
  input_tokens bigint NOT NULL DEFAULT 0,
  output_tokens bigint NOT NULL DEFAULT 0,
  UNIQUE (run_id, stage, number),
  UNIQUE (run_id, token),
  CHECK ((finished_at IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX one_open_attempt_per_run ON attempts (run_id) WHERE finished_at IS NULL;

CREATE TABLE run_transitions (
  before text NOT NULL,
  kind text NOT NULL,
  after text NOT NULL,
  PRIMARY KEY (before, kind, after)
);
COMMENT ON TABLE run_transitions IS 'The state machine of a run; ''-'' stands before it exists';

CREATE TABLE run_events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  kind text NOT NULL,
  before text NOT NULL,
  after text NOT NULL,
  stage text NOT NULL,
  token bigint NOT NULL,
  data jsonb NOT NULL DEFAULT '{}',
  FOREIGN KEY (before, kind, after) REFERENCES run_transitions
);
CREATE INDEX run_events_run ON run_events (run_id, id);
COMMENT ON TABLE run_events IS 'Every change of a run''s state, written with the change';
"""

EFFECTS = """
CREATE TABLE effects (
  id uuid PRIMARY KEY,
  issue_id uuid NOT NULL REFERENCES issues ON DELETE CASCADE,
  run_id uuid REFERENCES runs ON DELETE CASCADE,
  seq bigint NOT NULL,
  kind text NOT NULL CHECK (kind IN ('move', 'comment')),
  payload jsonb NOT NULL,
  state text NOT NULL DEFAULT 'pending'
    CHECK (state IN ('pending', 'applied', 'superseded', 'overruled', 'refused')),
  tries int NOT NULL DEFAULT 0,
  due_at timestamptz NOT NULL DEFAULT now(),
  error text,
  created_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz,
  UNIQUE (issue_id, seq),
  CHECK ((state = 'pending') = (settled_at IS NULL))
);
CREATE INDEX effects_pending ON effects (issue_id, seq) WHERE state = 'pending';
COMMENT ON TABLE effects IS 'What Symphony wants written to the tracker, in order for each issue, applied once';
"""

PROOFS = """
CREATE TABLE proofs (
  id uuid PRIMARY KEY,
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  base_sha text NOT NULL,
  head_sha text NOT NULL,
  merge_sha text NOT NULL,
  tree_sha text NOT NULL,
  verdict text NOT NULL CHECK (verdict IN ('passed', 'failed')),
  checks jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX proofs_run ON proofs (run_id, created_at);
COMMENT ON TABLE proofs IS 'Check results bound to one tree: the candidate merged with its target';

CREATE TABLE landings (
  id uuid PRIMARY KEY,
  run_id uuid NOT NULL REFERENCES runs,
  proof_id uuid NOT NULL REFERENCES proofs,
  target text NOT NULL,
  base_sha text NOT NULL,
  head_sha text NOT NULL,
  merge_sha text NOT NULL,
  tree_sha text NOT NULL,
  state text NOT NULL DEFAULT 'intended' CHECK (state IN ('intended', 'landed', 'abandoned')),
  intended_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz,
  CHECK ((state = 'intended') = (settled_at IS NULL))
);
CREATE UNIQUE INDEX one_intent_per_target ON landings (target) WHERE state = 'intended';
CREATE UNIQUE INDEX one_landing_per_run ON landings (run_id) WHERE state = 'landed';
COMMENT ON TABLE landings IS 'The point of no return: written before the push, resolved forward after a crash';
"""

PARTS = (WORKFLOWS, PROCESSES, ISSUES, RUNS, EFFECTS, PROOFS)


def upgrade() -> None:
    """Create everything and fill the table of transitions from the domain's."""
    for part in PARTS:
        op.execute(part)
    rows = [
        f"('{before or '-'}', '{event}', '{after}')"
        for event, moves in TRANSITIONS.items()
        for before, after in moves.items()
    ]
    op.execute(f"INSERT INTO run_transitions VALUES {', '.join(rows)}")
