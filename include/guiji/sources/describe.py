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

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from guiji.catalog.models import Resource
    from guiji.settings import Settings


@dataclass(frozen=True)
class DescribedColumn:
    name: str
    type: str  # the database's word, such as NUMERIC(12, 2)
    comment: str | None
    nullable: bool


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
    try:
        engine = _make_engine(reading)
        with contextlib.closing(_Disposing(engine)):
            return _describe(engine, reading)
    except GuijiError:
        raise
    except Exception as exc:
        raise translate_error(reading, getattr(exc, "orig", None) or exc, getattr(exc, "sqlstate", None)) from None


class _Disposing:
    def __init__(self, engine: Engine) -> None:
        self.close = engine.dispose


def _make_engine(reading: Reading) -> Engine:
    if not is_postgres(reading.connection):
        from guiji.sources import database_rows

        return database_rows._make_engine(reading)
    import psycopg
    import sqlalchemy as sa

    from guiji.sources.database_postgres import make_url

    timeout = f"-c statement_timeout={reading.timeout_seconds * 1000} -c default_transaction_read_only=on"
    url = make_url(reading.connection, f"guiji {reading.resource.id}", timeout)
    return sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))


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
        raise DeliveryRefused(
            f"{reading.what}：在前置库中找不到这张表，或无权查看。现有数据继续有效；请核对连接、模式和表名后重试。",
            rule_id="delivery.missing_table",
            connection=reading.connection.conn_id,
        )
    key: tuple[str, ...] = ()
    comment = None
    with contextlib.suppress(NotImplementedError, NoSuchTableError):
        key = tuple(inspector.get_pk_constraint(table, schema=schema).get("constrained_columns") or ())
    with contextlib.suppress(NotImplementedError, NoSuchTableError):
        comment = (inspector.get_table_comment(table, schema=schema) or {}).get("text")
    found = tuple(
        DescribedColumn(str(c["name"]), _type_word(c["type"]), c.get("comment"), bool(c.get("nullable", True)))
        for c in columns
    )
    return TableDescription(found, key, comment)


def _type_word(kind: object) -> str:
    try:
        return str(kind).upper()
    except Exception:  # a type that the dialect can't spell
        return type(kind).__name__.upper()
