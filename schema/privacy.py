"""A person's data, as the API hands it over and erases it."""

from collections.abc import Sequence
from typing import Any

import strawberry

from resolvers import privacy, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.fields import UserError, batched, described, mutation
from schema.node import IDEMPOTENCY_KEY
from schema.users import User


@strawberry.type(description="All that is stored of a person.")
class PersonalData:
    json: str | None = described(
        "A JSON object: for each table the person's rows. Null where the idempotency key was used "
        "before. Others are in it by their ids alone, unreleased grades not at all."
    )

    @batched("The person.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [d.user_id for d in parents])


@strawberry.input(description="Whose data to hand over.")
class ExportPersonalDataInput:
    user_id: strawberry.ID | None = strawberry.field(
        default=None, description="Another person, by an admin; left out, oneself."
    )
    reason: str | None = strawberry.field(
        default=None, description="Why, for another person's; it stays in the audit log."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What exportPersonalData did.")
class ExportPersonalDataPayload:
    personal_data: PersonalData | None = described("The data; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Whose data to erase.")
class ErasePersonalDataInput:
    user_id: strawberry.ID = described("Who.")
    reason: str = described("Why, without naming them; it stays in the audit log.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What erasePersonalData did.")
class ErasePersonalDataPayload:
    user: User | None = described("What is left of the person; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class PrivacyMutations:
    export_personal_data = mutation(
        privacy.export_personal_data,
        permission=Permission.USER_EXPORT,
        input_type=ExportPersonalDataInput,
        payload=ExportPersonalDataPayload,
        noun="personal_data",
        about="User",
        load=privacy.load_exports,
        text="Hands over all that is stored of a person: oneself, or by an admin another.",
    )
    erase_personal_data = mutation(
        privacy.erase_personal_data,
        permission=Permission.USER_ERASE,
        input_type=ErasePersonalDataInput,
        payload=ErasePersonalDataPayload,
        noun="user",
        load=users.load_users,
        text="Erases a person's data for good: name, address, what they wrote and asked, what was "
        "written about it. Grades stay under an id that names nobody; audit log and ledgers still "
        "verify.",
    )


LOADERS: dict[str, Any] = {}
