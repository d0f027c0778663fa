"""SQLite files, opened read-only; a transaction is a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji.sources.dialects.base import Dialect

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from guiji.connections import Connection


def _make_url(connection: Connection) -> URL:
    from sqlalchemy.engine import URL

    path = connection.schema or connection.host or ""
    return URL.create("sqlite", database=f"file:{path}?mode=ro", query={"uri": "true"})


DIALECT = Dialect(
    name="sqlite", title="SQLite", grammar="sqlite", make_url=_make_url, begin=lambda reading: [("BEGIN", ())]
)
