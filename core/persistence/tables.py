"""The metadata that all tables hang on, and the column shapes they share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "%(table_name)s_pkey",
    }
)

SYSTEM_TENANT = "ten_system"
"""Owns what belongs to the deployment as a whole: the log's tree and its checkpoints."""


def tenant_column() -> Column[str]:
    return Column("tenant_id", Text, nullable=False)


def reference_column(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[bytes]:
    """Return a column for a 32-byte keyed reference."""
    return Column(name, LargeBinary(32), nullable=nullable and not primary_key, primary_key=primary_key)


def time_column(name: str, *, nullable: bool = False) -> Column[object]:
    """Return a time with zone; a required one defaults to the database's clock."""
    if nullable:
        return Column(name, DateTime(timezone=True), nullable=True)
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()"))


def json_column(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, JSONB, nullable=nullable)


def one_of(column: str, words: Iterable[StrEnum]) -> CheckConstraint:
    """Return a check that keeps an enumeration as its words, so that the database refuses any other."""
    listed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def page_of(session: Connection, table: Table, tenant_id: str, *, limit: int, before: str | None) -> list[Row[Any]]:
    """Return a tenant's rows of a table, newest first, as their identifiers tell; `before` is where the last page ended."""
    query = select(table).where(table.c.tenant_id == tenant_id)
    if before is not None:
        query = query.where(table.c.id < before)
    return list(session.execute(query.order_by(table.c.id.desc()).limit(limit)))


def among(column: Column[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """Return `column = ANY(values)`: one parameter however many values, where IN would run out of them at 65,535."""
    return column == func.any(literal(list(values), ARRAY(column.type)))
