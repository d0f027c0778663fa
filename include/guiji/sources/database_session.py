"""A connection to a database other than PostgreSQL: opened for nobody else, its cursors, and its errors in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.errors import GuijiError
from guiji.sources.database import Reading, translate_error
from guiji.sources.dialects import get_dialect
from guiji.sources.dialects.base import MARK, Dialect, Statement

if TYPE_CHECKING:
    from sqlalchemy import Engine

_DRIVERS = ("pymysql", "sqlite3", "oracledb", "pymssql", "dmPython")


@contextlib.contextmanager
def translated(reading: Reading) -> Iterator[None]:
    """What a driver raises, in our tree."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except GuijiError:
        raise
    except SQLAlchemyError as exc:
        raise translate_error(reading, getattr(exc, "orig", None) or exc) from None
    except Exception as exc:
        if type(exc).__module__.split(".")[0] in _DRIVERS or isinstance(exc, OSError):
            raise translate_error(reading, exc) from None
        raise


def make_engine(reading: Reading) -> Engine:
    """SQLAlchemy's engine. Raises UsageError for a database whose driver we use without SQLAlchemy."""
    import sqlalchemy as sa
    from sqlalchemy.engine import make_url

    connection, dialect = reading.connection, get_dialect(reading.connection)
    if "sqlalchemy_url" in connection.extra:
        url = make_url(str(connection.extra["sqlalchemy_url"]))
        if connection.password and not url.password:
            url = url.set(password=connection.password)
    else:
        url = dialect.make_url(connection)
    return sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=dialect.connect_arguments(reading))


def connect(dialect: Dialect, reading: Reading) -> tuple[Any, str]:
    """(the driver's own connection, its parameter style): nobody else uses it, and no pool shall tidy it up."""
    if dialect.connect is not None:
        return dialect.connect(reading)
    engine = make_engine(reading)
    positional, named = engine.dialect.create_connect_args(engine.url)
    connection = engine.dialect.connect(*positional, **{**named, **dialect.connect_arguments(reading)})
    return connection, engine.dialect.paramstyle


@dataclass
class RowSession:
    """One connection and its cursors; closes them."""

    dialect: Dialect
    reading: Reading
    connection: Any
    paramstyle: str
    _cursors: list[Any] = field(default_factory=list)

    def run(self, statement: Statement, cursor: Any = None) -> Any:
        """A cursor on which the statement ran; MARKs become the driver's own parameter style."""
        text, values = statement
        if cursor is None:
            cursor = self.connection.cursor()
            self._cursors.append(cursor)
        if not values:
            cursor.execute(text)
            return cursor
        cursor.execute(write_marks(text, self.paramstyle), list(values))
        return cursor

    def fetch(self, statement: Statement) -> list[tuple[Any, ...]]:
        cursor = self.run(statement)
        rows = [tuple(row) for row in cursor.fetchall()]
        self._drop(cursor)
        return rows

    def _drop(self, cursor: Any) -> None:
        self._cursors.remove(cursor)
        cursor.close()

    def close(self) -> None:
        for one in (*self._cursors, self.connection):
            with contextlib.suppress(Exception):  # it may be gone already
                one.close()


def write_marks(text: str, paramstyle: str) -> str:
    """``text`` with its MARKs in a driver's parameter style."""
    if paramstyle in ("format", "pyformat"):
        return text.replace("%", "%%").replace(MARK, "%s")
    if paramstyle == "qmark":
        return text.replace(MARK, "?")
    parts = text.split(MARK)
    return "".join(f"{part}:{i}" for i, part in enumerate(parts[:-1], 1)) + parts[-1]
