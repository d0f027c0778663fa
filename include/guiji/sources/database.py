"""Tables of front-end processor databases, read without harm to them: one read-only snapshot, the declared columns
only, a statement timeout, a comment that says who asks (F-72).

PostgreSQL and what speaks its protocol comes through ADBC (``database_postgres``), every other database as its own
text (``database_rows`` in ``database_session``, by ``database_query`` and ``dialects``). A long extraction may be read in ranges
that resume (``database_chunks``). Incremental reads ask for ``cursor >= watermark - lag`` or no cursor at all (F-02,
F-05, F-06); the new watermark is the largest cursor in the same snapshot that is not in the future
(F-03, F-07), as exact text (F-04).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from guiji.errors import CatalogError, DeliveryRefused, GuijiError, SourceRefused, SourceUnavailable
from guiji.masking import scrub
from guiji.records import Delivery, ReadReport, Window
from guiji.settings import failpoint
from guiji.sources.columns import (
    Expected,
    check_missing,
    check_undeclared,
    expected_columns,
    normalise_name,
    note_delivered,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import DatabaseSource, Resource
    from guiji.connections import Connection
    from guiji.settings import Settings


def _no_failpoint(_: str) -> None:
    return None


POSTGRES = ("postgres", "postgresql", "kingbase", "opengauss", "gaussdb")
_REFUSED_WORDS = (
    "password authentication failed",
    "no pg_hba.conf entry",
    "permission denied",
    "access denied",
    "does not exist",
    "no password supplied",
    "not permitted to log in",
    "certificate verify failed",
    "unknown database",
    "login failed",
    "insufficient privileges",
    "ora-01017",  # login
    "ora-01005",
    "ora-28000",  # locked account
    "ora-28001",
    "ora-01045",
    "code:-2501",  # 达梦: login
    "code:-5504",  # 达梦: no grant
)
#: PostgreSQL: an operator, order or aggregate that the type of a column does not have
_NO_SUCH_OPERATION = ("42883", "42804")
#: FreeTDS says "is unavailable or does not exist" of a server that is down
_DOWN_WORDS = ("unavailable or does not exist", "connection refused")

_NOT_ITS_TYPE = re.compile("invalid input syntax|out of range|invalid byte sequence|division by zero")
#: MySQL's and SQL Server's numbers for a value that does not fit its type
_UNREADABLE_VALUE = ("1264", "1265", "1292", "1366", "1406", "1411", "241", "242", "245", "248", "8114", "8115", "8134")
_UNREADABLE_IN_ORACLE = re.compile(r"ORA-0?(1722|1841|1843|1847|1858|1861|1830|6502|1476|1426)\b")


@dataclass(frozen=True)
class Reading:
    """What is to be read from one table."""

    resource: Resource
    source: DatabaseSource
    connection: Connection
    expected: Expected
    report: ReadReport
    now: datetime
    watermark: str | None
    window: Window | None  # only where just this window is to be read again
    span: Window | None = None  # the window of this run
    resume: Path | None = None  # where finished chunks are kept
    failpoint: Callable[[str], None] = _no_failpoint

    @property
    def what(self) -> str:
        return f"表 {self.source.table}"

    @property
    def comment(self) -> str:
        return f"/* guiji {self.resource.id} stage */"

    @property
    def is_incremental(self) -> bool:
        return self.source.cursor is not None and self.resource.model.load == "incremental"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.resource.model.time_zone)

    @property
    def timeout_seconds(self) -> int:
        return self.resource.department.statement_timeout_seconds


def open_table(
    resource: Resource,
    settings: Settings,
    window: Window,
    watermark: str | None,
    explicit: bool,
    resume: Path,
) -> Delivery:
    """A pull of one table; ``resume`` is where the finished ranges of a long extraction are kept.

    Raises DeliveryRefused for its column set, SourceRefused, SourceUnavailable."""
    reading = _prepare(resource, settings, window if explicit else None, watermark)
    reading = replace(reading, span=window, resume=resume, failpoint=partial(failpoint, settings))
    if is_postgres(reading.connection):
        from guiji.sources.database_postgres import read_postgres

        columns, batches = read_postgres(reading)
    else:
        from guiji.sources.database_rows import read_rows

        columns, batches = read_rows(reading)
    return Delivery(columns, batches, reading.report)


def _prepare(resource: Resource, settings: Settings, window: Window | None, watermark: str | None) -> Reading:
    from guiji.catalog.models import DatabaseSource
    from guiji.connections import get_connection

    source = resource.model.source
    assert isinstance(source, DatabaseSource)
    connection = get_connection(settings, source.connection)
    report = ReadReport(cursor_max=watermark)
    return Reading(resource, source, connection, expected_columns(resource), report, settings.now(), watermark, window)


def is_postgres(connection: Connection) -> bool:
    return connection.conn_type.lower() in POSTGRES


def probe_database(resource: Resource, settings: Settings) -> None:
    """Connects and compares the column set, reads no row."""
    _, batches = _read_nothing(_prepare(resource, settings, None, None))
    batches.close()


def _read_nothing(reading: Reading) -> tuple[tuple[str, ...], BatchStream]:
    if is_postgres(reading.connection):
        from guiji.sources.database_postgres import read_postgres

        return read_postgres(reading, limit_zero=True)
    from guiji.sources.database_rows import read_rows

    return read_rows(reading, limit_zero=True)


class BatchStream:
    """The batches of a query; owns the connection and closes it at the end, on an error and when it is dropped."""

    def __init__(self, batches: Iterator[pa.RecordBatch], close: object) -> None:
        self._batches = batches
        self._close = close

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> pa.RecordBatch:
        try:
            return next(self._batches)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._close is not None:
            close, self._close = self._close, None
            close()  # type: ignore[operator]

    def __del__(self) -> None:
        self.close()


def match_columns(reading: Reading, there: Mapping[str, str]) -> dict[str, str]:
    """source name -> column of the table. Raises DeliveryRefused for a column set the contract does not allow."""
    expected = reading.expected
    if not there:
        raise DeliveryRefused(
            f"{reading.what}：在前置库中找不到这张表，或无权查看。现有数据继续有效；请恢复该表（或更新资源目录）后重新提供。",
            rule_id="delivery.missing_table",
            connection=reading.connection.conn_id,
        )
    note_delivered(reading.report, list(there), list(there.values()))
    exact = {c: c for c in there if c in expected.fields}
    match = dict(exact)
    undeclared = []
    for column in there:
        if column in exact:
            continue
        source = expected.spellings.get(normalise_name(column))
        if source is not None and source not in match:
            match[source] = column
        elif column not in (reading.source.cursor, reading.source.chunk_key):
            undeclared.append(column)
    missing = [c for c in expected.columns if c not in match]
    if reading.is_incremental and reading.source.cursor not in there:
        raise DeliveryRefused(
            f"{reading.what}：缺少增量字段“{reading.source.cursor}”。现有数据继续有效；请恢复该列后重新提供。",
            rule_id="delivery.missing_column",
        )
    key = reading.source.chunk_key
    if key is not None and key not in there:
        raise DeliveryRefused(
            f"{reading.what}：缺少分段字段“{key}”。现有数据继续有效；请恢复该列（或更新资源目录）后重新提供。",
            rule_id="delivery.missing_column",
        )
    try:
        check_missing(expected, [c for c in missing if c in expected.required], undeclared, reading.what)
        check_undeclared(expected, undeclared, missing, reading.report, reading.what)
    except DeliveryRefused as error:
        error.context["delivered"] = list(reading.report.delivered)
        raise
    if missing:
        reading.report.notes.append(f"{reading.what}：未提供可选列 {'、'.join(missing)}")
    return match


def render_filter(reading: Reading, there: Mapping[str, str], dialect: str) -> str:
    """The declared filter, parsed by the catalog's allow-list, for ``dialect``; an empty text without one."""
    if not reading.source.filter:
        return ""
    from guiji.catalog.expressions import parse_expression

    try:
        return "(" + parse_expression(reading.source.filter, set(there)).sql(dialect=dialect, identify=True) + ")"
    except CatalogError:
        raise
    except Exception as exc:
        raise CatalogError(
            f"The filter of {reading.resource.id} can't be written for {dialect}. Nothing was read; simplify it."
        ) from exc


def local_text(moment: datetime, zone: ZoneInfo) -> str:
    """The moment as a naive timestamp of the resource's time zone (F-08)."""
    return moment.astimezone(zone).replace(tzinfo=None).isoformat(sep=" ")


def translate_error(reading: Reading, exc: Exception, sqlstate: str | None = None) -> GuijiError:
    """A driver's error in our tree, without password or personal value."""
    connection = reading.connection
    code = str(exc.args[0]) if exc.args else ""
    if sqlstate is None and (_NOT_ITS_TYPE.search(str(exc)) or _UNREADABLE_IN_ORACLE.search(str(exc))):
        sqlstate = "22000"  # while batches are fetched the driver tells the words only
    if (sqlstate or "")[:2] == "22" or code in _UNREADABLE_VALUE:
        # such a message quotes the value: it is not passed on
        return DeliveryRefused(
            f"{reading.what}：有值无法按其类型读出（数据库错误 {sqlstate or code}）。现有数据继续有效；"
            "请检查该表或视图中的类型转换，更正后重新提供。",
            rule_id="delivery.structure",
            connection=connection.conn_id,
        )
    words = str(exc)
    if any(isinstance(part, bytes) for part in exc.args):  # FreeTDS
        words = " ".join(p.decode(errors="replace") if isinstance(p, bytes) else str(p) for p in exc.args)
    if connection.password:
        words = words.replace(connection.password, "***")
    if sqlstate is None and connection.conn_type.lower() not in ("mysql", "mariadb"):
        # what is quoted may be a value of the table; MySQL has numbers for such messages
        words = re.sub(r'"[^"]*"', '"…"', words) if is_postgres(connection) else re.sub("'[^']*'", "'…'", words)
    words = " ".join(scrub(words).split("Query was:")[0].split())[:300]
    if sqlstate in _NO_SUCH_OPERATION:
        return CatalogError(
            f"{reading.resource.id}: {reading.what} can't be read as the catalog asks: {words}. Nothing was read; choose a "
            "cursor or chunk_key whose type can be compared, or correct the filter.",
            resource_id=reading.resource.id,
        )
    refused = (sqlstate or "")[:2] == "28" or sqlstate in ("42501", "3D000")
    lower = words.lower()
    if refused or (any(w in lower for w in _REFUSED_WORDS) and not any(w in lower for w in _DOWN_WORDS)):
        return SourceRefused(
            f"Connection {connection.conn_id} is refused by the database: {words}. Nothing was read, trying again "
            f"changes nothing; mend the login, password or grants of connection {connection.conn_id}.",
            connection=connection.conn_id,
        )
    return SourceUnavailable(
        f"Connection {connection.conn_id} can't be read: {words}. Nothing was staged; it will be tried again, "
        "check that the front-end processor is up and reachable.",
        connection=connection.conn_id,
    )
