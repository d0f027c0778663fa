"""The warehouse: connections to it, and its numbered DDL."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from guiji.errors import UsageError, WarehouseUnavailable
from guiji.masking import scrub
from guiji.settings import Settings

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

    Connection = psycopg.Connection[dict[str, Any]]

T = TypeVar("T")
DDL = Path(__file__).parent / "library" / "ddl"
_MIGRATION_LOCK = 0x6775696A  # "guij"
_migrated: set[str] = set()
#: what a server says that is just starting, stopping or recovering
_PASSING = re.compile(
    r"starting up|recovery|shutting down|not yet accepting|closed the connection|refused|reset by peer"
)
_guard = threading.Lock()


def warehouse_url(settings: Settings) -> str:
    """A libpq URL of the warehouse: ``GUIJI_WAREHOUSE``, else the embedded server, started when needed."""
    if settings.warehouse is None:
        from guiji import postgres

        return postgres.server_url(settings)
    # SQLAlchemy's way of naming a driver means nothing to libpq
    url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", settings.warehouse)
    if not url.startswith("postgresql://"):
        raise UsageError(
            "GUIJI_WAREHOUSE must be a URL such as postgresql://user@host:5432/guiji. Nothing was done; "
            "correct it, or unset it to use the embedded server."
        )
    return url


def connect(settings: Settings, *, autocommit: bool = False) -> Connection:
    """A connection whose rows are dicts and whose session time zone is Asia/Shanghai, on a migrated warehouse.

    The first connection of a process applies what is missing of the DDL. Raises WarehouseUnavailable.
    """
    conn, url = _reach(settings, lambda url: _open(url, autocommit))
    if url not in _migrated:
        with _guard:
            if url not in _migrated:
                try:
                    with _open(url, autocommit=False) as migrating:
                        migrate(migrating)
                except BaseException:
                    conn.close()
                    raise
                _migrated.add(url)
    return conn


def _reach(settings: Settings, open_url: Callable[[str], T]) -> tuple[T, str]:
    """A connection to the warehouse and its URL; goes on trying while the embedded server is started again (F-55)."""
    deadline = time.monotonic() + 60
    while True:
        url = warehouse_url(settings)
        try:
            return open_url(url), url
        except Exception as exc:
            if settings.warehouse is None and time.monotonic() < deadline and _PASSING.search(str(exc)):
                time.sleep(0.05)
                continue
            raise


def _open(url: str, autocommit: bool) -> Connection:
    import psycopg
    from psycopg.rows import dict_row

    try:
        return psycopg.connect(
            url,
            autocommit=autocommit,
            row_factory=dict_row,
            connect_timeout=15,
            application_name="guiji",
            options="-c timezone=Asia/Shanghai",
            keepalives_idle=30,
        )
    except psycopg.OperationalError as exc:
        raise WarehouseUnavailable(
            f"The warehouse can't be reached: {scrub(str(exc)).strip()} "
            "Nothing was published; check GUIJI_WAREHOUSE or run ./guiji doctor, then run the command again."
        ) from exc


def migrate(conn: Connection) -> list[str]:
    """Applies the numbered DDL that the warehouse lacks, in order, one transaction; returns the names applied.

    Two processes that migrate at once take turns. A warehouse that a newer guiji has migrated is refused.
    """
    known = sorted(DDL.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    if (done := _applied(conn)) is not None and _missing(known, done) == []:
        conn.rollback()
        return []
    conn.execute("/* guiji migrate */ SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
    conn.execute("/* guiji migrate */ CREATE SCHEMA IF NOT EXISTS ops")
    conn.execute(
        "/* guiji migrate */ CREATE TABLE IF NOT EXISTS ops.migration ("
        "name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    todo = _missing(known, _applied(conn) or set())
    for file in todo:
        text = file.read_bytes()
        conn.execute(text)
        conn.execute(
            "/* guiji migrate */ INSERT INTO ops.migration (name, sha256) VALUES (%s, %s)",
            (file.name, hashlib.sha256(text).hexdigest()),
        )
    conn.commit()
    return [file.name for file in todo]


def _applied(conn: Connection) -> set[str] | None:
    """Names of the DDL files that were applied; None in a database that guiji has never seen."""
    there = conn.execute("/* guiji migrate */ SELECT to_regclass('ops.migration') IS NOT NULL AS there").fetchone()
    if there is None or not there["there"]:
        return None
    return {row["name"] for row in conn.execute("/* guiji migrate */ SELECT name FROM ops.migration")}


def _missing(known: Sequence[Path], done: set[str]) -> list[Path]:
    if unknown := sorted(done - {file.name for file in known}):
        raise UsageError(
            f"The warehouse was migrated by a newer guiji ({', '.join(unknown)} unknown here). "
            "Nothing was changed; use that version."
        )
    return [file for file in known if file.name not in done]


@contextlib.contextmanager
def read_arrow(settings: Settings, sql: str, params: Sequence[object] = ()) -> Iterator[pa.RecordBatchReader]:
    """Streams a query as Arrow record batches (ADBC), in a read-only transaction; placeholders are ``$1``, ``$2`` …

    Raises WarehouseUnavailable when the warehouse can't be reached.
    """
    import adbc_driver_postgresql.dbapi as adbc
    from adbc_driver_manager import OperationalError

    try:
        conn, _ = _reach(settings, adbc.connect)
    except OperationalError as exc:
        raise WarehouseUnavailable(
            f"The warehouse can't be reached: {scrub(str(exc)).strip()} Nothing was changed; run ./guiji doctor."
        ) from exc
    with conn, conn.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Shanghai'")
        cursor.execute(sql, tuple(params) or None)
        yield cursor.fetch_record_batch()
