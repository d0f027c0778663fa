"""Keys that become dirty by way of a secondary key: rows without the key itself, and keys that share a secondary key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.library.feeds import Feed, list_links, through_table
from guiji.library.tables import SUSPECT, columns_sql, pg_type

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryModel, Link

    Conn = Connection[dict[str, Any]]


def usable(conn: Conn, library: LibraryModel, feeds: Sequence[Feed]) -> list[Feed]:
    """The feeds that can be read now: those whose source table is there, without links that lead nowhere yet.

    When the resource that a link goes through comes, its keys are dirty, and with them what they link. Brings tables that an older guiji made up to what resolving reads.
    """
    there = [f for f in feeds if _has_table(conn, f.resource.model.table)]
    missing = {
        link.name for link in list_links(library, there) if not _has_table(conn, link.through.replace(".", "__"))
    }
    there = [f for f in (_without(f, missing) for f in there) if f.mapping.key or f.mapping.by]
    for feed in there:
        _ensure_column(conn, feed)
    for link in list_links(library, there):
        name = f"{link.through.replace('.', '__')[:30]}_{'_'.join(link.fields)}"[:52] + "_link_idx"
        conn.execute(
            sql.SQL("/* guiji link */ CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
                sql.Identifier(name), through_table(link), columns_sql(link.fields)
            )
        )
        _ensure_row_indexes(conn, link, there)
    return there


def follow_links(conn: Conn, library: LibraryModel, feeds: Sequence[Feed], *, all_of: Collection[str] | None) -> bool:
    """Adds to ``guiji_dirty``: the keys that marks of ``guiji_mark`` by a secondary key stand for, and every key that
    shares a secondary key, now or formerly, with a dirty one (what was ambiguous may be clear now, and the reverse).

    ``all_of``: the resources all of whose keys are dirty already; None for all. True when it may have added a key.
    """
    links = list_links(library, feeds)
    if all_of is None:
        return False
    for link in links:
        table = through_table(link)
        typed = sql.SQL(", ").join(
            sql.SQL("t.{}::{}").format(sql.Identifier(k), sql.SQL(pg_type(spec.type)))
            for k, spec in zip(link.key, library.key, strict=True)
        )
        present = sql.SQL(" AND ").join(sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(k)) for k in link.key)
        conn.execute(
            sql.SQL(
                "/* guiji {} link */ INSERT INTO guiji_dirty SELECT {} FROM guiji_mark m JOIN {} t ON {}"
                " WHERE m.link = {} AND {}"
            ).format(
                sql.SQL(library.name),
                typed,
                table,
                sql.SQL(" AND ").join(
                    sql.SQL("t.{}::text = m.key[{}]").format(sql.Identifier(f), sql.SQL(str(n)))
                    for n, f in enumerate(link.fields, 1)
                ),
                sql.Literal(link.name),
                present,
            )
        )
        same_key = sql.SQL(" AND ").join(
            sql.SQL("o.{} = d.{}").format(sql.Identifier(k), sql.Identifier(spec.name))
            for k, spec in zip(link.key, library.key, strict=True)
        )
        if link.through in all_of:
            continue
        shares = sql.SQL(" AND ").join(sql.SQL("t.{0} = o.{0}").format(sql.Identifier(f)) for f in link.fields)
        for former in ("", "__history"):
            conn.execute(
                sql.SQL(
                    "/* guiji {} link */ INSERT INTO guiji_dirty SELECT {} FROM guiji_dirty d JOIN {} o ON {}"
                    " JOIN {} t ON {} WHERE {}"
                ).format(
                    sql.SQL(library.name),
                    typed,
                    sql.Identifier("source", link.through.replace(".", "__") + former),
                    same_key,
                    table,
                    shares,
                    present,
                )
            )
    return bool(links)


def _without(feed: Feed, links: set[str]) -> Feed:
    left = {name: fields for name, fields in feed.mapping.by.items() if name not in links}
    return feed if left == feed.mapping.by else replace(feed, mapping=feed.mapping.model_copy(update={"by": left}))


def _ensure_row_indexes(conn: Conn, link: Link, feeds: Sequence[Feed]) -> None:
    """By which rows that have the secondary key only are found."""
    for feed in feeds:
        fields = feed.mapping.by.get(link.name)
        if fields and fields != list(feed.resource.model.key[: len(fields)]):
            table = feed.resource.model.table
            conn.execute(
                sql.SQL("/* guiji link */ CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
                    sql.Identifier(f"{table[:30]}_{'_'.join(fields)}"[:54] + "_by_idx"),
                    sql.Identifier("source", table),
                    columns_sql(fields),
                )
            )


def _ensure_column(conn: Conn, feed: Feed) -> None:
    table = feed.resource.model.table
    row = conn.execute(
        "/* guiji link */ SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
        (f'source."{table}"', SUSPECT),
    ).fetchone()
    if row is None:
        conn.execute(
            sql.SQL("/* guiji link */ ALTER TABLE {} ADD COLUMN {} text[]").format(
                sql.Identifier("source", table), sql.Identifier(SUSPECT)
            )
        )


def _has_table(conn: Conn, table: str) -> bool:
    row = conn.execute(
        "/* guiji resolve */ SELECT to_regclass(%s) IS NOT NULL AS there", (f'source."{table}"',)
    ).fetchone()
    return bool(row and row["there"])
