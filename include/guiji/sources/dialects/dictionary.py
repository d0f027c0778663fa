"""The data dictionary of Oracle, which DM8 has too: which columns a table has, their types, comments and key."""

# ruff: noqa: S608 - fixed text, values are bound
from __future__ import annotations

from typing import TYPE_CHECKING

from guiji.sources.dialects.base import Statement

if TYPE_CHECKING:
    from guiji.sources.database import Reading

_HERE = "UPPER(COALESCE(\x00, SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA')))"


def list_columns(reading: Reading) -> Statement:
    """(owner, table, column, type) of the table in any letter case, in order."""
    return (
        f"{reading.comment} SELECT owner, table_name, column_name, data_type FROM all_tab_columns "
        f"WHERE UPPER(owner) = {_HERE} AND UPPER(table_name) = UPPER(\x00) ORDER BY owner, table_name, column_id",
        (reading.source.schema_, reading.source.table),
    )


def describe_columns(reading: Reading, owner: str, table: str) -> Statement:
    """(column, type, precision, scale, comment, nullable Y or N) of the table as it is spelt, in order."""
    return (
        f"{reading.comment} SELECT c.column_name, c.data_type, c.data_precision, c.data_scale, m.comments, c.nullable "
        "FROM all_tab_columns c LEFT JOIN all_col_comments m ON m.owner = c.owner AND m.table_name = c.table_name "
        "AND m.column_name = c.column_name WHERE c.owner = \x00 AND c.table_name = \x00 ORDER BY c.column_id",
        (owner, table),
    )


def describe_key(reading: Reading, owner: str, table: str) -> Statement:
    """(column) of the primary key, in its order."""
    return (
        f"{reading.comment} SELECT k.column_name FROM all_constraints p JOIN all_cons_columns k ON k.owner = p.owner "
        "AND k.constraint_name = p.constraint_name WHERE p.constraint_type = 'P' AND p.owner = \x00 "
        "AND p.table_name = \x00 ORDER BY k.position",
        (owner, table),
    )


def describe_comment(reading: Reading, owner: str, table: str) -> Statement:
    """(comment) of the table."""
    return (
        f"{reading.comment} SELECT comments FROM all_tab_comments WHERE owner = \x00 AND table_name = \x00",
        (owner, table),
    )


def spell_type(kind: str, precision: int | None, scale: int | None) -> str:
    """The type as it is declared: ``NUMBER(12,2)``; types whose length says nothing of their values stand alone."""
    base = kind.upper().strip()
    if "(" in base or base not in ("NUMBER", "NUMERIC", "DECIMAL", "DEC") or precision is None:
        return base
    return f"{base}({int(precision)},{int(scale or 0)})"
