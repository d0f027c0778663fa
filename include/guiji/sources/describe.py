"""What a database says about one of its tables: columns with types and comments, key, comment. No row is read."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused, GuijiError
from guiji.records import ReadReport
from guiji.sources.columns import expected_columns
from guiji.sources.database import Reading, is_postgres, translate_error
from guiji.sources.dialects import dictionary, get_dialect
from guiji.sources.dialects.types import propose_type

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from guiji.catalog.models import Resource
    from guiji.settings import Settings
    from guiji.sources.database_session import RowSession
    from guiji.sources.dialects.base import Dialect


@dataclass(frozen=True)
class DescribedColumn:
    name: str
    type: str  # the database's word, such as NUMERIC(12, 2)
    comment: str | None
    nullable: bool
    proposed: str | None = None  # the type of ours that it stands for; None where only values can tell


@dataclass(frozen=True)
class TableDescription:
    columns: tuple[DescribedColumn, ...]
    key: tuple[str, ...]  # the primary key; empty without one
    comment: str | None


def describe_table(resource: Resource, settings: Settings) -> TableDescription:
    """What the database knows of ``resource.source.table``. Raises DeliveryRefused where there is no such table,
    SourceRefused, SourceUnavailable."""
    from guiji.catalog.models import DatabaseSource
    from guiji.connections import get_connection

    source = resource.model.source
    assert isinstance(source, DatabaseSource)
    connection = get_connection(settings, source.connection)
    now: datetime = settings.now()
    reading = Reading(resource, source, connection, expected_columns(resource), ReadReport(), now, None, None)
    if is_postgres(connection):
        from guiji.sources.describe_postgres import describe_postgres

        return describe_postgres(reading)
    dialect = get_dialect(connection)
    if dialect.has_dictionary:
        return _describe_by_dictionary(dialect, reading)
    from guiji.sources.database_session import make_engine

    try:
        engine = make_engine(reading)
        with contextlib.closing(_Disposing(engine)):
            return _describe(engine, reading)
    except GuijiError:
        raise
    except Exception as exc:
        raise translate_error(reading, getattr(exc, "orig", None) or exc, getattr(exc, "sqlstate", None)) from None


class _Disposing:
    def __init__(self, engine: Engine) -> None:
        self.close = engine.dispose


def _describe_by_dictionary(dialect: Dialect, reading: Reading) -> TableDescription:
    """By the statements of ``dialects/dictionary.py``, over the driver's own connection that also reads the table."""
    from guiji.sources.database_session import RowSession, connect, translated

    with translated(reading):
        session = RowSession(dialect, reading, *connect(dialect, reading))
        try:
            dialect.prepare_connection(session.connection, reading)
            return describe_by_dictionary(session)
        finally:
            session.close()
    raise AssertionError


def describe_by_dictionary(session: RowSession) -> TableDescription:
    """The table that the session's reading names, by Oracle's data dictionary. Raises DeliveryRefused."""
    from guiji.sources.database_rows import find_table

    reading = session.reading
    places = {(str(row[0]), str(row[1])) for row in session.fetch(dictionary.list_columns(reading))}
    place = find_table(places, reading.source)
    if place is None:
        raise refuse_missing(reading)
    found = tuple(
        _column(reading, str(name), dictionary.spell_type(str(kind), precision, scale), comment, str(nullable) != "N")
        for name, kind, precision, scale, comment, nullable in session.fetch(
            dictionary.describe_columns(reading, *place)
        )
    )
    key = tuple(str(row[0]) for row in session.fetch(dictionary.describe_key(reading, *place)))
    comments = session.fetch(dictionary.describe_comment(reading, *place))
    return TableDescription(found, key, comments[0][0] if comments else None)


def _column(reading: Reading, name: str, word: str, comment: str | None, nullable: bool) -> DescribedColumn:
    return DescribedColumn(name, word, comment, nullable, propose_type(reading.connection.conn_type, word))


def refuse_missing(reading: Reading) -> DeliveryRefused:
    return DeliveryRefused(
        f"{reading.what}：在前置库中找不到这张表，或无权查看。现有数据继续有效；请核对连接、模式和表名后重试。",
        rule_id="delivery.missing_table",
        connection=reading.connection.conn_id,
    )


def _describe(engine: Engine, reading: Reading) -> TableDescription:
    import sqlalchemy as sa
    from sqlalchemy.exc import NoSuchTableError

    inspector: Any = sa.inspect(engine)
    table, schema = reading.source.table, reading.source.schema_
    try:
        columns = inspector.get_columns(table, schema=schema)
    except NoSuchTableError:
        columns = []
    if not columns:
        raise refuse_missing(reading)
    key: tuple[str, ...] = ()
    comment = None
    with contextlib.suppress(NotImplementedError, NoSuchTableError):
        key = tuple(inspector.get_pk_constraint(table, schema=schema).get("constrained_columns") or ())
    with contextlib.suppress(NotImplementedError, NoSuchTableError):
        comment = (inspector.get_table_comment(table, schema=schema) or {}).get("text")
    found = tuple(
        _column(reading, str(c["name"]), _type_word(c["type"]), c.get("comment"), bool(c.get("nullable", True)))
        for c in columns
    )
    return TableDescription(found, key, comment)


def _type_word(kind: object) -> str:
    try:
        return str(kind).upper()
    except Exception:  # a type that the dialect can't spell
        return type(kind).__name__.upper()
