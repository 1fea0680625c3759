"""Add what trackers on the network need: shared limits, further effects, webhooks seen, sessions of agents.

A webhook only rings the poll, so of a delivery nothing is kept but that it came. A session is a conversation that the
tracker itself shows; what is said there is an effect like any other.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EFFECTS = """
ALTER TABLE effects DROP CONSTRAINT effects_kind_check,
  ADD CONSTRAINT effects_kind_check CHECK (kind IN ('move', 'comment', 'progress', 'attach', 'activity'));
ALTER TABLE workflows ADD COLUMN tells_progress boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN workflows.tells_progress IS 'Whether issues carry a comment that says how their run is getting on';
"""

LIMITS = """
CREATE TABLE tracker_limits (
  key text NOT NULL,
  resource text NOT NULL,
  allowed double precision NOT NULL,
  remaining double precision NOT NULL,
  reset_at timestamptz NOT NULL,
  noted_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (key, resource)
) WITH (fillfactor = 70);
COMMENT ON TABLE tracker_limits IS 'What a tracker still allows a key, as its answers said last; keys are digests';

CREATE TABLE tracker_pauses (
  key text PRIMARY KEY,
  closed_until timestamptz NOT NULL
);
COMMENT ON TABLE tracker_pauses IS 'Until when a tracker that refused a key for its limits is sent nothing by anybody';
"""

WEBHOOKS = """
CREATE TABLE webhook_deliveries (
  source text NOT NULL,
  delivery text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (source, delivery)
);
CREATE INDEX webhook_deliveries_at ON webhook_deliveries (at);
ALTER TABLE workflows ADD COLUMN quiet_until timestamptz;
COMMENT ON COLUMN workflows.quiet_until IS 'Before this no webhook makes the poll due, so that polls keep apart';
COMMENT ON TABLE webhook_deliveries IS 'Which deliveries have rung already: a doubled or replayed one rings once';
"""

SESSIONS = """
CREATE TABLE agent_sessions (
  id text PRIMARY KEY,
  tracker_id text NOT NULL,
  candidates uuid[] NOT NULL,
  workflow_id uuid REFERENCES workflows ON DELETE CASCADE,
  state text NOT NULL DEFAULT 'opened' CHECK (state IN ('opened', 'greeted', 'closed')),
  tries int NOT NULL DEFAULT 0,
  due_at timestamptz NOT NULL DEFAULT now(),
  error text,
  opened_at timestamptz NOT NULL DEFAULT now(),
  spoken_at timestamptz,
  CHECK (state <> 'greeted' OR workflow_id IS NOT NULL)
);
CREATE INDEX agent_sessions_open ON agent_sessions (tracker_id) WHERE state <> 'closed';
COMMENT ON TABLE agent_sessions IS 'Conversations that a tracker opened with the agent of an issue';
COMMENT ON COLUMN agent_sessions.tracker_id IS 'The issue; empty for a conversation about none';
COMMENT ON COLUMN agent_sessions.candidates IS 'The workflows whose webhook told of it';
COMMENT ON COLUMN agent_sessions.workflow_id IS 'The one that has';
COMMENT ON COLUMN agent_sessions.opened_at IS 'When it was opened, or spoken in again by a person when nobody listened';
COMMENT ON COLUMN agent_sessions.spoken_at IS 'When we said something last: silence for too long reads as a dead agent';
"""

PARTS = (EFFECTS, LIMITS, WEBHOOKS, SESSIONS)


def upgrade() -> None:
    """Add the tables."""
    for part in PARTS:
        op.execute(part)
