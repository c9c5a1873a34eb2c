"""Audit log and approvals."""

from alembic import op

revision = "0003"
down_revision = "0002"

# The log chains itself: whoever inserts, the trigger gives the row its number, its time, its predecessor's hash and
# its own. The one row of audit_head is the lock under which that happens (entries are rare, and a lock taken as the
# last step of a transaction is held for a moment), and it remembers the end: a tail cut off is missed.
# Whoever may alter tables can switch triggers off and rewrite it all; who only has the application's statements
# cannot, and what is changed in one place no longer fits the rest.
AUDIT = """
CREATE TABLE audit_log (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    entry json NOT NULL,  -- json, not jsonb: the text is kept to the byte, so its hash can be checked
    action text NOT NULL GENERATED ALWAYS AS (entry ->> 'action') STORED,
    subject text NOT NULL GENERATED ALWAYS AS (entry ->> 'subject') STORED,
    previous_hash text NOT NULL,
    hash text NOT NULL
);
CREATE INDEX audit_log_by_action ON audit_log (action, id);
CREATE INDEX audit_log_by_subject ON audit_log (subject, id);

CREATE TABLE audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id bigint NOT NULL,
    hash text NOT NULL
);
INSERT INTO audit_head (id, hash) VALUES (0, repeat('0', 64));

-- A function's inner query sees what was committed while it waited for the row, unlike a statement's own snapshot.
CREATE FUNCTION audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head audit_head;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    NEW.id := head.id + 1;
    NEW.at := clock_timestamp();
    NEW.previous_hash := head.hash;
    NEW.hash := encode(sha256(convert_to(
        NEW.previous_hash || E'\\n' || NEW.id || E'\\n'
        || to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || E'\\n'
        || CAST(NEW.entry AS text), 'UTF8')), 'hex');
    UPDATE audit_head SET id = NEW.id, hash = NEW.hash;
    RETURN NEW;
END
$$;
CREATE TRIGGER chained BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_chain();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever appended to: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- The head moves with the log, from inside its trigger, and no other way.
CREATE TRIGGER moved_by_the_log_alone BEFORE INSERT OR UPDATE OR DELETE ON audit_head
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_head FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# Which decisions wait is derived from the decisions themselves: nothing is stored of them that could get lost.
APPROVALS = """
CREATE TABLE approvals (
    run_id bigint PRIMARY KEY REFERENCES results (run_id),
    content_hash text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('approved', 'refused')),
    given_by text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER given_once BEFORE UPDATE OR DELETE OR TRUNCATE ON approvals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- The kind first: no other result's body is looked into when it is stored.
CREATE INDEX results_to_be_reviewed ON results (analyzed_at)
    WHERE kind = 'trading_decision' AND (body -> 'review' ->> 'required') = 'true';
"""


def upgrade() -> None:
    for block in (AUDIT, APPROVALS):
        op.execute(block)


def downgrade() -> None:
    op.execute("DROP INDEX results_to_be_reviewed")
    op.execute("DROP TABLE approvals, audit_log, audit_head")
    op.execute("DROP FUNCTION audit_chain, refuse_change")
