"""What the tables are built of: tenant keys, timestamps, text enums, exact numbers."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    MetaData,
    Numeric,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlmodel import Field, SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)

Points = Numeric(9, 3)
Moment = TIMESTAMP(timezone=True)
Json = JSONB


class Row(SQLModel):
    """A stored shape. Reads return plain rows that read like it; writes insert its values."""

    metadata = metadata


class Stamped(Row):
    """Rows that say when they came to be. `updated_at` is set by a trigger."""

    created_at: datetime = Field(
        default=None, sa_type=Moment, sa_column_kwargs={"server_default": text("now()")}
    )
    updated_at: datetime = Field(
        default=None, sa_type=Moment, sa_column_kwargs={"server_default": text("now()")}
    )


def one_of(column: str, values: type[StrEnum] | Sequence[str]) -> CheckConstraint:
    """A check constraint that holds a text column to an enum."""
    names = ", ".join(f"'{v}'" for v in values)
    return CheckConstraint(f"{column} IN ({names})", name=column)


def tenant_key() -> UniqueConstraint:
    """What a composite foreign key of the same organization refers to."""
    return UniqueConstraint("organization_id", "id")


def within_tenant(column: str, target: str, *, ondelete: str = "RESTRICT") -> ForeignKeyConstraint:
    """A foreign key that cannot leave the organization."""
    return ForeignKeyConstraint(
        ["organization_id", column],
        [f"{target}.organization_id", f"{target}.id"],
        ondelete=ondelete,
        name=None,
    )


def table_of(row: type[SQLModel]) -> Table:
    """The Core table behind a row class."""
    return cast(Table, cast(Any, row).__table__)
