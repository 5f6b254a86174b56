"""Enrolling from a CSV file, as the API shows it."""

from collections.abc import Sequence
from typing import Any

import strawberry
from strawberry.file_uploads import Upload

from resolvers import enrollment_imports
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.enrollment_imports import RowOutcome
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.node import IDEMPOTENCY_KEY

described_enum(
    RowOutcome,
    "What becomes of a row.",
    ENROLLED="The person is enrolled, again if they had left.",
    ALREADY="Nothing changes: enrolled, invited or finished already, or on a line above.",
    CREATED="The person is made known to the organization and enrolled.",
    INVALID="The row cannot be read; `message` says why.",
    UNKNOWN="Nobody of the organization has this address.",
)


@strawberry.type(description="A row of the file and what becomes of it.")
class ImportedEnrollment:
    line: int = described("The line of the file it begins on; the header is line 1.")
    email: str = described("The address; of an invalid one the first 100 characters.")
    outcome: RowOutcome = described("What becomes of it.")
    message: str | None = described("More about it, for the person who sent the file.")


@strawberry.type(description="What importEnrollments found and did.")
class EnrollmentImport:
    written: bool | None = described(
        "Whether it was written: not in a dry run, nor where a row is INVALID or UNKNOWN. Null "
        "where the idempotency key was used before."
    )
    rows: list[ImportedEnrollment] | None = described(
        "Every row of the file in its order, with what becomes of it once written. Null where the "
        "idempotency key was used before."
    )

    @batched(
        "How many rows come to an outcome; null where the idempotency key was used before.",
        outcome="The outcome.",
    )
    async def count(
        parents: Sequence[Any], context: RequestContext, outcome: RowOutcome
    ) -> Sequence[int | None]:
        return await enrollment_imports.get_counts(parents, context, outcome)


@strawberry.input(description="A CSV file of people to be enrolled as students.")
class ImportEnrollmentsInput:
    course_id: strawberry.ID = described("The course.")
    file: Upload = described(
        "CSV in UTF-8 with commas, semicolons or tabs, up to 10,000 rows and 4 MB. The first line "
        "names the columns: email, and name for people to be made known. Others are passed over."
    )
    dry_run: bool = strawberry.field(
        default=False, description="Whether to tell what would become of each row and write none."
    )
    create_missing: bool = strawberry.field(
        default=False,
        description="Whether to make unknown people known to the organization; needs user:create.",
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What importEnrollments did.")
class ImportEnrollmentsPayload:
    enrollment_import: EnrollmentImport | None = described("Row by row; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was not.")


@strawberry.type
class EnrollmentImportMutations:
    import_enrollments = mutation(
        enrollment_imports.import_enrollments,
        permission=Permission.ENROLMENT_WRITE,
        input_type=ImportEnrollmentsInput,
        payload=ImportEnrollmentsPayload,
        noun="enrollment_import",
        about="Enrollment",
        load=enrollment_imports.load_import,
        text="Enrols the people of a CSV file as students. Every row is judged first: with a wrong "
        "one among them nobody is enrolled, and the rows say what to mend.",
    )


LOADERS: dict[str, Any] = {}
