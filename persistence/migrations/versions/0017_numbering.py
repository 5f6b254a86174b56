"""Events are numbered in one call: nobody can stall between the lock and the numbers.

Every statement of a VOLATILE function has a snapshot of its own, so the one that numbers sees all
that was committed before the lock was got. The lock ("seq" in ASCII) is that of the versions
before, which may number beside this one; a row of NULLs says that another has it.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

NUMBER_EVENTS = """
CREATE FUNCTION number_events(most INTEGER)
RETURNS TABLE (stream_id UUID, seq BIGINT, events BIGINT) VOLATILE AS $$
#variable_conflict use_column
BEGIN
    IF NOT pg_try_advisory_xact_lock(7562609) THEN
        RETURN QUERY SELECT NULL::UUID, NULL::BIGINT, NULL::BIGINT;
        RETURN;
    END IF;
    RETURN QUERY
    WITH pending AS MATERIALIZED (
        SELECT id, stream_id FROM stream_event WHERE seq IS NULL ORDER BY id LIMIT most
    ), heads AS MATERIALIZED (
        SELECT s.stream_id, coalesce(
            (SELECT max(e.seq) FROM stream_event e WHERE e.stream_id = s.stream_id), 0
        ) AS seq
        FROM (SELECT DISTINCT stream_id FROM pending) s
    ), numbered AS (
        UPDATE stream_event e SET seq = n.seq
        FROM (
            SELECT p.id, h.seq + row_number() OVER (PARTITION BY p.stream_id ORDER BY p.id) AS seq
            FROM pending p JOIN heads h USING (stream_id)
        ) n
        WHERE e.id = n.id
        RETURNING e.stream_id, e.seq
    )
    SELECT stream_id, max(seq), count(*) FROM numbered GROUP BY stream_id;
END;
$$ LANGUAGE plpgsql
"""


def upgrade() -> None:
    op.execute(NUMBER_EVENTS)


def downgrade() -> None:
    op.execute("DROP FUNCTION number_events(INTEGER)")
