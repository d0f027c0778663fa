"""The record of one dialect, and what holds where it says nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from guiji.sources.cursor_bounds import Column, is_text

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from guiji.connections import Connection
    from guiji.sources.database import Reading

#: stands for a bound value in SQL text until the driver's own mark is known
MARK = "\x00"
Statement = tuple[str, tuple[Any, ...]]


class Undecoded(bytes):
    """A text that is none in the encoding of its database."""


@dataclass(frozen=True)
class TableThere:
    """A table as the database spells it; ``columns`` are name -> type in order, empty where there is no such table."""

    schema: str | None
    name: str
    columns: Mapping[str, str]


def make_plain_url(driver: str, port: int | None = None) -> Callable[[Connection], URL]:
    """URLs of the usual form: login, password, host, port, database in the path."""

    def make(connection: Connection) -> URL:
        from sqlalchemy.engine import URL

        host = connection.host or "127.0.0.1"
        return URL.create(
            driver, connection.login, connection.password, host, connection.port or port, connection.schema
        )

    return make


def select_plain(column: str, kind: str) -> str:
    return column


def bind_plain(kind: str) -> str:
    return MARK


def limit_offset(rows: int) -> str:
    """After an ORDER BY: the ``rows``-th row alone."""
    return f" LIMIT 1 OFFSET {rows - 1:d}"


def offset_fetch(rows: int) -> str:
    """The same in the standard's words (SQL:2008)."""
    return f" OFFSET {rows - 1:d} ROWS FETCH NEXT 1 ROWS ONLY"


def quote_double(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Dialect:
    """What has to be known of a database to read it exactly and without harm."""

    name: str
    title: str
    grammar: str  # sqlglot's name, for the declared filter
    make_url: Callable[[Connection], URL]
    modules: tuple[str, ...] = ()  # Python modules of its driver
    extra: str = ""  # the optional extra of guiji that brings them
    quote: Callable[[str], str] = quote_double
    #: (connection, parameter style) of a driver that is used without SQLAlchemy
    connect: Callable[[Reading], tuple[Any, str]] | None = None
    connect_arguments: Callable[[Reading], dict[str, Any]] = field(default=lambda reading: {})
    prepare_connection: Callable[[Any, Reading], None] = field(default=lambda connection, reading: None)
    #: statements of a fresh session: read-only, time zone, formats
    prepare: Callable[[Reading], list[Statement]] = field(default=lambda reading: [])
    #: the same for what only some versions know: one that fails is passed over
    try_prepare: Callable[[Reading], list[Statement]] = field(default=lambda reading: [])
    #: begin one consistent read-only snapshot
    begin: Callable[[Reading], list[Statement]] = field(default=lambda reading: [])
    #: query and values that list (schema, table, column, type) of a table in any letter case, in order; None: SQLAlchemy's
    columns_query: Callable[[Reading], Statement] | None = None
    #: whether it has Oracle's data dictionary (``dictionary.py``), by which a table is described
    has_dictionary: bool = False
    #: expression that gives a column of a type as exact text; takes the quoted column
    select: Callable[[str, str], str] = select_plain
    #: expression of a bound value that is compared with a column of a type
    bind: Callable[[str], str] = bind_plain
    #: types that hold a moment or day, in lower case
    timed: frozenset[str] = frozenset({"date", "datetime", "timestamp"})
    nth_row: Callable[[int], str] = limit_offset
    #: expression, true where the text the database gives is not what it holds; None where that can't be
    select_lossy: Callable[[Mapping[str, str]], str | None] = field(default=lambda columns: None)

    #: whether a day may be 0000-00-00
    has_zero_dates: bool = False

    #: whether a type holds an instant that is written in the session's zone, without an offset
    is_instant: Callable[[str], bool] = field(default=lambda kind: "local time zone" in kind.lower())

    def is_timed(self, kind: str) -> bool:
        return re.split(r"[ (]", kind.lower())[0] in self.timed

    #: whether a type may hold a text
    is_text: Callable[[str], bool] = is_text
    #: function that gives the length of a text in characters
    length: str = "LENGTH"

    def is_absent(self, column: str, kind: str) -> str:
        """The condition that a cursor has no value: no comparison with a moment finds such a row (F-06)."""
        blank = f" OR {Column(column, column, False).blank}" if self.is_text(kind) else ""
        zero = f" OR {column} = 0" if self.has_zero_dates and self.is_timed(kind) else ""
        return f"{column} IS NULL{blank}{zero}"


def generic_dialect(name: str) -> Dialect:
    """Any other database with an SQLAlchemy driver, by ``extra.sqlalchemy_url``: no snapshot, the driver's values."""

    def refuse(connection: Connection) -> URL:
        raise AssertionError("its URL is given")

    return Dialect(name, name, name, refuse)
