"""A change of the queue wakes who takes such jobs, instead of everybody who takes any.

A worker of before this version is not woken any more; it looks every 2 s.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

NOTIFY = """
CREATE OR REPLACE FUNCTION fn_pgqueuer_changed() RETURNS TRIGGER AS $$
DECLARE
    kind TEXT;
BEGIN
    FOR kind IN SELECT DISTINCT entrypoint FROM changed LOOP
        PERFORM pg_notify(
            'ch_pgqueuer_' || kind,
            json_build_object(
                'channel', 'ch_pgqueuer_' || kind,
                'operation', lower(TG_OP),
                'sent_at', NOW(),
                'table', TG_TABLE_NAME,
                'type', 'table_changed_event'
            )::text
        );
    END LOOP;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql
"""
NOTIFY_ALL = """
CREATE OR REPLACE FUNCTION fn_pgqueuer_changed() RETURNS TRIGGER AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        PERFORM pg_notify(
            'ch_pgqueuer',
            json_build_object(
                'channel', 'ch_pgqueuer',
                'operation', lower(TG_OP),
                'sent_at', NOW(),
                'table', TG_TABLE_NAME,
                'type', 'table_changed_event'
            )::text
        );
    END IF;
    RETURN NULL;
END;
$$ LANGUAGE plpgsql
"""
CHANGES = {"INSERT": "NEW", "DELETE": "OLD"}


def upgrade() -> None:
    op.execute("DROP TRIGGER tg_pgqueuer_changed ON pgqueuer")
    op.execute(NOTIFY)
    for change, rows in CHANGES.items():
        op.execute(
            f"CREATE TRIGGER tg_pgqueuer_{change.lower()} AFTER {change} ON pgqueuer"
            f" REFERENCING {rows} TABLE AS changed EXECUTE FUNCTION fn_pgqueuer_changed()"
        )


def downgrade() -> None:
    for change in CHANGES:
        op.execute(f"DROP TRIGGER tg_pgqueuer_{change.lower()} ON pgqueuer")
    op.execute(NOTIFY_ALL)
    op.execute(
        "CREATE TRIGGER tg_pgqueuer_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE"
        " ON pgqueuer EXECUTE FUNCTION fn_pgqueuer_changed()"
    )
