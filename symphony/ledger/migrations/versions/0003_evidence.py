"""Add what a proof shows beside its checks, and what an agent says and leaves at its end.

A proof's verdict stays that of its checks; what was found with the target's protected files is kept apart, because a
person may decide against it. The names of tests are kept by tree, so that a change of the next one can be compared.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PROOFS = """
ALTER TABLE proofs
  ADD COLUMN key text CHECK (key ~ '^[0-9a-f]{32}$'),
  ADD COLUMN flaky text[] NOT NULL DEFAULT '{}',
  ADD COLUMN protected jsonb CHECK (protected ->> 'verdict' IN ('passed', 'failed')),
  ADD COLUMN lost_tests jsonb,
  ADD COLUMN complexity jsonb,
  ADD COLUMN walkthrough jsonb,
  ADD COLUMN cases jsonb;
CREATE INDEX proofs_tree ON proofs (tree_sha, created_at);
COMMENT ON COLUMN proofs.key IS 'The name by which the landing that it was made for mentions it';
COMMENT ON COLUMN proofs.flaky IS 'Checks that were red and then green on the same tree';
COMMENT ON COLUMN proofs.protected IS 'The second run, with the target''s versions of protected files; null: not needed';
COMMENT ON COLUMN proofs.cases IS 'Names of tests by outcome, where reports tell them; only of what passed';
"""

RUNS = """
ALTER TABLE runs ADD COLUMN account jsonb, ADD COLUMN artifacts jsonb;
COMMENT ON COLUMN runs.account IS 'What the agent said of its work when it finished last, not yet compared with the change';
COMMENT ON COLUMN runs.artifacts IS 'What the agent left for people, as it is kept on its node';
"""

PARTS = (PROOFS, RUNS)


def upgrade() -> None:
    """Add the columns."""
    for part in PARTS:
        op.execute(part)
