"""Why a resource's rows are more than the keys it feeds into a library: the equation between source layer and library.

rows that serve = left out by the mapping + without a key + older rows of the same key + keys. A row is without a key
where its own key is empty and no secondary key and no confirmed match finds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.library.feeds import Feed, compile_condition, feed_keys

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryMapping, LibraryModel, Resource

    Conn = Connection[dict[str, Any]]


@dataclass(frozen=True)
class FedRows:
    """The serving rows of a resource as one mapping sees them."""

    rows: int
    excluded: int  # the mapping's condition leaves them out
    unlinked: int  # no key is found for them
    repeated: int  # an older row of a key that has a newer one


NO_ROWS = FedRows(0, 0, 0, 0)


def count_fed_rows(conn: Conn, library: LibraryModel, feed: Feed, keys: int) -> FedRows:
    """The rows of the source layer behind the ``keys`` that the feed gives the library; reads only."""
    table, found = feed_keys(library, feed)
    return _count(conn, feed.resource, feed.mapping, table, found, keys)


def count_unfed_rows(conn: Conn, resource: Resource, mapping: LibraryMapping) -> FedRows:
    """The same of a mapping that finds no key at all yet: what its links go through has not come."""
    return _count(conn, resource, mapping, sql.Identifier("source", resource.model.table), [], 0)


def _count(
    conn: Conn,
    resource: Resource,
    mapping: LibraryMapping,
    table: sql.Composable,
    found: list[sql.Composable],
    keys: int,
) -> FedRows:
    chosen = compile_condition(resource, mapping.where) if mapping.where else sql.SQL("true")
    keyed = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(k) for k in found) if found else sql.SQL("false")
    row = conn.execute(
        sql.SQL(
            "/* guiji {} reconcile */ SELECT count(*) AS n, count(*) FILTER (WHERE NOT chosen) AS excluded,"
            " count(*) FILTER (WHERE chosen AND NOT keyed) AS unlinked"
            " FROM (SELECT ({}) IS TRUE AS chosen, ({}) AS keyed FROM {} x WHERE x._deleted_at IS NULL) s"
        ).format(sql.SQL(resource.id), chosen, keyed, table)
    ).fetchone()
    assert row is not None
    excluded, unlinked = int(row["excluded"]), int(row["unlinked"])
    return FedRows(int(row["n"]), excluded, unlinked, int(row["n"]) - excluded - unlinked - keys)
