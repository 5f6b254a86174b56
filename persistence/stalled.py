"""Ends transactions whose process stopped answering, so that the rows they locked are free.

A process that stalls (SIGSTOP, a frozen machine) between two statements is ended by PostgreSQL's
`idle_in_transaction_session_timeout`. One that stalls between the parts of a statement is not:
asyncpg prepares with a Flush and no Sync, so its backend is `active` while it reads the rest,
that timeout does not run, and the cancel of `statement_timeout` waits for a command that never
comes. `transaction_timeout` would end it, from PostgreSQL 17 on.
"""

from sqlalchemy import text

from persistence.database import Connection

STALLED_SECONDS = 15.0  # above every timeout of a living process: statement 8 s, direct call 10 s

_END = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
AND application_name LIKE 'assay%' AND xact_start IS NOT NULL
AND wait_event IN ('ClientRead', 'ClientWrite')
AND state_change < clock_timestamp() - make_interval(secs => :seconds)
""")


async def end_stalled(connection: Connection, seconds: float = STALLED_SECONDS) -> int:
    """Ends Assay's backends that wait for their process inside a transaction; how many."""
    return len((await connection.execute(_END, {"seconds": seconds})).all())
