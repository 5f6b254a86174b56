"""A person's data: all of it read, all of it erased, as the register says."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text

from persistence.database import Connection
from persistence.register import TABLES

_WORKING = text("""
SELECT EXISTS (
    SELECT 1 FROM grading_task t JOIN submission s ON s.id = t.submission_id
    WHERE s.student_id = :person AND t.state NOT IN (
        'PROPOSED', 'NEEDS_HUMAN', 'FAILED', 'SKIPPED', 'CANCELLED')
)
""")
_VALUES = text("""
DELETE FROM personal_value v USING audit_event e
WHERE v.event_id = e.id AND v.organization_id = :organization AND (
    e.actor_id = :person
    OR e.changes::text LIKE '%"' || :shown || '"%'
    OR (cardinality(e.object_ids) = 1 AND e.object_ids[1] = ANY(:own))
    OR v.value ~* :named
    OR (v.path ~ '(^|[.])name$' AND EXISTS (
        SELECT 1 FROM personal_value o WHERE o.event_id = v.event_id
        AND o.path = regexp_replace(v.path, 'name$', 'email') AND lower(trim(o.value)) = :email))
)
""")
# A worker records a model's answer while it holds the message: wait for it, and keep others out.
_HELD = text("""
SELECT m.id FROM message m JOIN study_session s ON s.id = m.session_id
WHERE s.user_id = :person FOR UPDATE OF m
""")
_OWN = text("""
SELECT id FROM role_grant WHERE user_id = :person OR observed_student_id = :person
UNION ALL SELECT id FROM enrollment WHERE user_id = :person
UNION ALL SELECT id FROM invitation WHERE user_id = :person
UNION ALL SELECT id FROM submission WHERE student_id = :person
UNION ALL SELECT id FROM grade WHERE student_id = :person
UNION ALL SELECT id FROM api_token WHERE user_id = :person
""")


async def export(connection: Connection, person: UUID) -> Mapping[str, list[dict[str, Any]]]:
    """What is stored of a person, by table, in JSON's terms."""
    found: dict[str, list[dict[str, Any]]] = {}
    for table, store in TABLES.items():
        if store.exported is None:
            continue
        rows = await connection.execute(
            text(
                f"SELECT to_jsonb(t) - cast(:hidden AS text[]) FROM {table} t "  # noqa: S608 - of the register
                f"WHERE {store.exported}"
            ),
            {"person": person, "hidden": list(store.hidden)},
        )
        found[table] = list(rows.scalars())
    return found


async def is_being_graded(connection: Connection, person: UUID) -> bool:
    """Whether a run still works, or may work, on something of the person's."""
    return bool((await connection.execute(_WORKING, {"person": person})).scalar_one())


async def erase(
    connection: Connection,
    organization_id: UUID,
    person: UUID,
    *,
    shown_id: str,
    names: Mapping[str, str],
) -> None:
    """Erases a person's data. `names` are those they are known by; `shown_id` the API's id."""
    own = list((await connection.execute(_OWN, {"person": person})).scalars())
    known = "|".join(re.escape(name) for name in names.values())
    await connection.execute(
        _VALUES,
        {
            "organization": organization_id,
            "person": person,
            "shown": shown_id,
            "own": [person, *own],
            "email": names["email"],
            "named": rf"(^|\W)({known})($|\W)",
        },
    )
    await connection.execute(_HELD, {"person": person})
    for table, store in TABLES.items():
        if store.erased is None:
            continue
        if store.values is None:
            statement = f"DELETE FROM {table} WHERE {store.erased}"  # noqa: S608 - of the register
        else:
            sets = ", ".join(f"{column} = {value}" for column, value in store.values.items())
            statement = f"UPDATE {table} SET {sets} WHERE {store.erased}"  # noqa: S608 - as above
        await connection.execute(text(statement), {"person": person})
