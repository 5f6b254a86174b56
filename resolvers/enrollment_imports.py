"""Enrolling a whole course from a CSV file: every row judged before anything is written."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from persistence import courses, users
from persistence.lifecycle.courses import EnrollmentState
from persistence.roles import Role
from persistence.visibility import Viewer
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.documents import UploadedFile
from resolvers.enrollment_sheets import MOST_BYTES, SheetRow, read_sheet
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.refusals import Refusal, RefusalCode

LONGEST_ECHO = 100


class RowOutcome(StrEnum):
    """What becomes of a row."""

    ENROLLED = "ENROLLED"
    ALREADY = "ALREADY"
    CREATED = "CREATED"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class ImportedRow:
    """A row of the file and what becomes of it."""

    line: int
    email: str
    outcome: RowOutcome
    message: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class EnrollmentImport:
    """What an import did or, for a dry run and where a row is wrong, would have done."""

    written: bool | None
    rows: Sequence[ImportedRow] | None


async def import_enrollments(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    file: UploadedFile,
    dry_run: bool,
    create_missing: bool,
) -> list[UUID]:
    """Enrols the people of a file as students: all, or with a wrong row among them nobody."""
    path = ("input", "courseId")
    course = key_of(course_id, "Course", path)
    viewer = context.require(Permission.ENROLMENT_WRITE, course)
    if create_missing:
        context.require(Permission.USER_CREATE)
    if not await courses.courses_by_id(transaction.connection, viewer, [course]):
        raise missing("course", path)
    if not isinstance(file, UploadedFile):  # JSON can put anything in an Upload's place
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "Send the file as a part of a multipart form.",
            ("input", "file"),
        )
    data = await file.read(MOST_BYTES + 1)
    checked = await asyncio.to_thread(lambda: [_checked(row) for row in read_sheet(data)])
    rows = await _judged(transaction, viewer, course, checked, create_missing=create_missing)
    wrong = {RowOutcome.INVALID, RowOutcome.UNKNOWN} & {row.outcome for row in rows}
    written = not dry_run and not wrong
    context.found = EnrollmentImport(written, rows)
    return await _written(transaction, viewer, course, rows) if written else []


def _checked(row: SheetRow) -> ImportedRow:
    """The row with its address in the usual form, ENROLLED for now; INVALID where it has none."""
    try:
        if row.broken is not None:
            raise checks.bad("file", row.broken)
        email = checks.email(row.email, "file")
    except Refusal as refusal:
        return ImportedRow(row.line, row.email[:LONGEST_ECHO], RowOutcome.INVALID, refusal.message)
    return ImportedRow(row.line, email, RowOutcome.ENROLLED, name=row.name)


async def _judged(
    transaction: Transaction,
    viewer: Viewer,
    course: UUID,
    rows: Sequence[ImportedRow],
    *,
    create_missing: bool,
) -> list[ImportedRow]:
    connection = transaction.connection
    emails = list({row.email for row in rows if row.outcome is RowOutcome.ENROLLED})
    people = await users.users_by_email(connection, viewer.organization_id, emails)
    ids = {person.email: person.id for person in people}
    held = await courses.enrollments_of(connection, course, list(ids.values()))
    states = {row.user_id: EnrollmentState(row.state) for row in held}
    first: dict[str, int] = {}
    judged = []
    for row in rows:
        if row.outcome is RowOutcome.INVALID:
            judged.append(row)
        elif (line := first.setdefault(row.email, row.line)) != row.line:
            judged.append(_as(row, RowOutcome.ALREADY, f"The address of line {line}."))
        elif row.email == viewer.email:
            judged.append(_as(row, RowOutcome.INVALID, "Nobody enrols themselves."))
        elif row.email in ids:
            judged.append(_known(row, states.get(ids[row.email])))
        else:
            judged.append(_unknown(row, create_missing=create_missing))
    return judged


def _known(row: ImportedRow, state: EnrollmentState | None) -> ImportedRow:
    if state in {None, EnrollmentState.INACTIVE, EnrollmentState.REMOVED}:
        return row
    said = None if state is EnrollmentState.ACTIVE else f"The enrolment is {state}."
    return _as(row, RowOutcome.ALREADY, said)


def _unknown(row: ImportedRow, *, create_missing: bool) -> ImportedRow:
    if not create_missing:
        return _as(row, RowOutcome.UNKNOWN, "Not known to this organization.")
    if row.name is None:
        return _as(row, RowOutcome.INVALID, "Not known to this organization, and without a name.")
    try:
        name = checks.line(row.name, "name")
    except Refusal as refusal:
        return _as(row, RowOutcome.INVALID, refusal.message)
    return ImportedRow(row.line, row.email, RowOutcome.CREATED, None, name)


def _as(row: ImportedRow, outcome: RowOutcome, message: str | None) -> ImportedRow:
    return ImportedRow(row.line, row.email, outcome, message)


async def _written(
    transaction: Transaction, viewer: Viewer, course: UUID, rows: Sequence[ImportedRow]
) -> list[UUID]:
    connection, organization_id = transaction.connection, viewer.organization_id
    new = {row.email: row.name or "" for row in rows if row.outcome is RowOutcome.CREATED}
    if new:
        await users.add_users(connection, organization_id, new)
    wanted = [r.email for r in rows if r.outcome in {RowOutcome.CREATED, RowOutcome.ENROLLED}]
    if not wanted:
        return []
    known = await users.users_by_email(connection, organization_id, wanted)
    return await courses.enrol(
        connection,
        organization_id=organization_id,
        course_id=course,
        user_ids=[person.id for person in known],
        role=Role.STUDENT,
    )


async def load_import(context: RequestContext, ids: Sequence[UUID]) -> list[EnrollmentImport]:  # noqa: ARG001 - a loader's shape
    """What this operation did; empty when its idempotency key was used before."""
    found = context.found
    return [found if isinstance(found, EnrollmentImport) else EnrollmentImport(None, None)]


async def get_counts(
    parents: Sequence[EnrollmentImport],
    context: RequestContext,  # noqa: ARG001 - a batch function's shape
    outcome: RowOutcome,
) -> list[int | None]:
    """How many rows of each import come to an outcome."""
    return [
        None if each.rows is None else sum(row.outcome == outcome.value for row in each.rows)
        for each in parents
    ]
