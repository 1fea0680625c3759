"""Add what agents on models need: conversations, requests with their usage, messages of people, limits of keys.

The rules that must hold whatever the code does are here, as in the first revision: a call is answered once, a request
is paid or refused, what a day and a run have cost outlives the requests that it was counted from.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REQUESTS = """
CREATE TABLE model_requests (
  id uuid PRIMARY KEY,
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  attempt_id uuid NOT NULL,
  token bigint NOT NULL,
  model text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('turn', 'compaction')),
  state text NOT NULL DEFAULT 'started' CHECK (state IN ('started', 'done', 'discarded', 'refused')),
  input_tokens bigint NOT NULL CHECK (input_tokens >= 0),
  cached_tokens bigint NOT NULL CHECK (cached_tokens >= 0),
  cache_write_tokens bigint NOT NULL CHECK (cache_write_tokens >= 0),
  output_tokens bigint NOT NULL CHECK (output_tokens >= 0),
  reasoning_tokens bigint NOT NULL CHECK (reasoning_tokens >= 0),
  cost_usd numeric NOT NULL CHECK (cost_usd >= 0 AND cost_usd < 'Infinity'),
  is_estimated boolean NOT NULL DEFAULT true,
  error text,
  started_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  CONSTRAINT cached_input_is_input CHECK (cached_tokens + cache_write_tokens <= input_tokens),
  CONSTRAINT reasoning_is_output CHECK (reasoning_tokens <= output_tokens),
  CONSTRAINT ended_request_has_an_end CHECK ((state = 'started') = (finished_at IS NULL)),
  CONSTRAINT started_request_is_estimated CHECK (state <> 'started' OR is_estimated),
  CONSTRAINT failed_request_says_why CHECK ((state IN ('discarded', 'refused')) = (error IS NOT NULL)),
  CONSTRAINT refused_request_is_free CHECK (state <> 'refused'
    OR (cost_usd = 0 AND input_tokens = 0 AND output_tokens = 0 AND NOT is_estimated))
);
CREATE INDEX model_requests_run ON model_requests (run_id, started_at);
CREATE INDEX model_requests_started ON model_requests (run_id) WHERE state = 'started';
COMMENT ON TABLE model_requests IS 'One row for each request to a model, written before it is sent';
COMMENT ON COLUMN model_requests.cost_usd IS 'While it is under way, and where its answer was lost, the estimate';
COMMENT ON COLUMN model_requests.state IS 'discarded: paid for and not used; refused: not paid for';

CREATE TABLE usage_days (
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  day date NOT NULL,
  model text NOT NULL,
  requests bigint NOT NULL,
  input_tokens bigint NOT NULL,
  cached_tokens bigint NOT NULL,
  cache_write_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  reasoning_tokens bigint NOT NULL,
  cost_usd numeric NOT NULL CHECK (cost_usd >= 0),
  estimated_usd numeric NOT NULL CHECK (estimated_usd BETWEEN 0 AND cost_usd),
  PRIMARY KEY (run_id, day, model)
) WITH (fillfactor = 70);
CREATE INDEX usage_days_day ON usage_days (day);
COMMENT ON TABLE usage_days IS 'Sums of model_requests by run, UTC day of their start, and model; kept as long as the run';
COMMENT ON COLUMN usage_days.estimated_usd IS 'The part of cost_usd that is an estimate';
"""

CONVERSATIONS = """
CREATE TABLE conversation_items (
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  seq bigint NOT NULL CHECK (seq >= 1),
  id uuid NOT NULL UNIQUE,
  ordinal bigint NOT NULL CHECK (ordinal >= seq),
  kind text NOT NULL CHECK (kind IN ('user', 'model', 'result')),
  payload json NOT NULL,
  request_id uuid REFERENCES model_requests,
  call_id text CHECK (call_id <> ''),
  changes boolean NOT NULL DEFAULT false,
  started_at timestamptz,
  tree_sha text,
  head_sha text,
  token bigint NOT NULL,
  dropped_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (run_id, seq),
  UNIQUE (run_id, ordinal),
  CONSTRAINT result_answers_a_call CHECK (kind <> 'result' OR call_id IS NOT NULL),
  CONSTRAINT only_calls_are_started CHECK (started_at IS NULL OR (kind = 'model' AND call_id IS NOT NULL)),
  CONSTRAINT the_model_leaves_no_tree CHECK (kind <> 'model' OR (tree_sha IS NULL AND head_sha IS NULL)),
  CONSTRAINT only_the_model_is_asked CHECK (request_id IS NULL OR kind = 'model')
);
COMMENT ON TABLE conversation_items IS 'What a run''s agent and its model said, one row an item, sent again as it is';
COMMENT ON COLUMN conversation_items.seq IS 'In the order of writing; never given twice';
COMMENT ON COLUMN conversation_items.id IS 'The writer''s, so that a repetition after a commit of unknown end is found';
COMMENT ON COLUMN conversation_items.ordinal IS 'Place in the conversation; compactions put theirs before what they keep';
COMMENT ON COLUMN conversation_items.payload IS 'As received: json keeps the order of keys, jsonb would not';
COMMENT ON COLUMN conversation_items.changes IS 'The call may change the tree, so it is never run again';
COMMENT ON COLUMN conversation_items.started_at IS 'Written before the call runs';
COMMENT ON COLUMN conversation_items.tree_sha IS 'The workspace''s tree after the call, or when we said this, where taken';
COMMENT ON COLUMN conversation_items.head_sha IS 'The commit of that tree which was pushed, if one was';
COMMENT ON COLUMN conversation_items.token IS 'The token of the writer; of a started call, of who started it';
COMMENT ON COLUMN conversation_items.dropped_at IS 'No longer sent: replaced by a compaction, or reasoning of another key';
CREATE UNIQUE INDEX one_result_per_call ON conversation_items (run_id, call_id) WHERE kind = 'result';
CREATE UNIQUE INDEX one_call_per_id ON conversation_items (run_id, call_id) WHERE kind = 'model';
CREATE INDEX conversation_items_open ON conversation_items (run_id, ordinal) WHERE dropped_at IS NULL;
CREATE INDEX conversation_items_pushed ON conversation_items (run_id, seq) WHERE head_sha IS NOT NULL;
CREATE INDEX conversation_items_request ON conversation_items (request_id) WHERE request_id IS NOT NULL;

CREATE TABLE run_messages (
  id uuid PRIMARY KEY,
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  source_id text NOT NULL,
  author text NOT NULL,
  body text NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  seen_seq bigint CHECK (seen_seq >= 1),
  UNIQUE (run_id, source_id)
);
COMMENT ON TABLE run_messages IS 'What people say to a run while it works';
COMMENT ON COLUMN run_messages.source_id IS 'The tracker''s id of the comment: each is told once';
COMMENT ON COLUMN run_messages.seen_seq IS 'The item by which the agent was told; null until then';
CREATE INDEX run_messages_unseen ON run_messages (run_id, at) WHERE seen_seq IS NULL;
"""

LIMITS = """
CREATE TABLE model_limits (
  key text PRIMARY KEY CHECK (key ~ '^[0-9a-f]{64}$'),
  per_second double precision NOT NULL CHECK (per_second > 0 AND per_second < 'Infinity'),
  served double precision NOT NULL DEFAULT 1,
  served_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  issued double precision NOT NULL DEFAULT 0,
  paused_until timestamptz,
  limited_at timestamptz,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE model_limits IS 'The pace of a key of a model''s provider, shared by all workers';
COMMENT ON COLUMN model_limits.key IS 'A SHA-256, never the secret';
COMMENT ON COLUMN model_limits.per_second IS 'Requests a second';
COMMENT ON COLUMN model_limits.served IS 'Tickets up to here were due at served_at; grows with per_second, not in a pause';
COMMENT ON COLUMN model_limits.issued IS 'The last ticket that was given out';
COMMENT ON COLUMN model_limits.limited_at IS 'When the pace was last reduced, so that one event reduces it once';
"""

PARTS = (REQUESTS, CONVERSATIONS, LIMITS)


def upgrade() -> None:
    """Create the tables, and allow the transitions that the domain has learned since the first revision."""
    for part in PARTS:
        op.execute(part)
    op.execute("INSERT INTO run_transitions VALUES ('queued', 'stranded', 'queued') ON CONFLICT DO NOTHING")
