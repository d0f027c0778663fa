"""SQLite files, opened read-only; a transaction is a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guiji.sources.dialects.base import Dialect, Undecoded

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from guiji.connections import Connection
    from guiji.sources.database import Reading


def _make_url(connection: Connection) -> URL:
    from sqlalchemy.engine import URL

    path = connection.schema or connection.host or ""
    return URL.create("sqlite", database=f"file:{path}?mode=ro", query={"uri": "true"})


def _prepare_connection(connection: Any, reading: Reading) -> None:
    """A text may hold any bytes: what is no UTF-8 costs its row, not the table (F-28)."""
    connection.text_factory = _decode


def _decode(raw: bytes) -> str | Undecoded:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Undecoded(raw)


DIALECT = Dialect(
    name="sqlite",
    title="SQLite",
    grammar="sqlite",
    make_url=_make_url,
    prepare_connection=_prepare_connection,
    begin=lambda reading: [("BEGIN", ())],
    timed=frozenset(),  # it has no such type: the values tell
    is_text=lambda kind: True,
)
