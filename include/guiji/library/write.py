"""Resolved rows into a library's tables: what is new, what changed, what is gone; superseded versions into history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.library.feeds import Feed
from guiji.library.survivorship import json_object
from guiji.library.tables import columns_sql, library_table, match_sql
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryModel

    Conn = Connection[dict[str, Any]]


def write_first(conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]) -> int:
    """Fills an empty library from ``guiji_resolved``, keys afterwards; returns the rows.

    Both tables are truncated in this transaction, so that the server needn't log what it writes to them.
    """
    table, companion = library_table(library), library_table(library, "__provenance")
    keys, identity = [k.name for k in library.key], _identity(library)
    fields = [f.name for f in library.fields]
    batches = [f"_batch_{f.ordinal}" for f in feeds]
    parts = {
        "who": sql.SQL(library.name),
        "table": table,
        "companion": companion,
        "keys": columns_sql(keys),
        "fields": columns_sql(fields),
        "batches": columns_sql(batches),
        "winners": columns_sql(f"_w_{f}" for f in fields),
        "now": sql.Literal(settings.now()),
        "vintage": sql.SQL(", _vintage") if library.vintages else sql.SQL(""),
        "vintages": sql.SQL(", _vintage, _published_at") if library.vintages else sql.SQL(""),
        "first": sql.SQL(", 1") if library.vintages else sql.SQL(""),
        "firsts": sql.SQL(", 1, _pub") if library.vintages else sql.SQL(""),
    }
    for name in (table, companion):
        conn.execute(sql.SQL("/* guiji resolve */ TRUNCATE {}").format(name))
    _drop_keys(conn, library)
    done = conn.execute(
        sql.SQL(
            "/* guiji {who} first_load */ INSERT INTO {table} ({keys}, {fields}, _batch_id, _row_hash, _resolved_at{vintages})"
            " SELECT {keys}, {fields}, _batch_id, _row_hash, {now}{firsts} FROM guiji_resolved"
        ).format(**parts)
    ).rowcount
    conn.execute(
        sql.SQL(
            "/* guiji {who} first_load */ INSERT INTO {companion} ({keys}{vintage}, {fields}, {batches}, _losers)"
            " SELECT {keys}{first}, {winners}, {batches}, _losers FROM guiji_resolved"
        ).format(**parts)
    )
    for name, suffix in ((table, ""), (companion, "__provenance")):
        conn.execute(
            sql.SQL("/* guiji resolve */ ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
                name, sql.Identifier(f"{library.table}{suffix}_pkey"), columns_sql(identity)
            )
        )
        # the rest can wait for autovacuum
        conn.execute(sql.SQL("/* guiji resolve */ ANALYZE {} ({})").format(name, columns_sql(keys)))
    return done


def write_resolved(
    conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]
) -> tuple[int, int, int]:
    """Brings ``guiji_resolved`` into the library for the keys of ``guiji_dirty``; returns new, changed, deleted."""
    if library.vintages:
        return _write_vintages(conn, settings, library, feeds)
    keys, fields = [k.name for k in library.key], [f.name for f in library.fields]
    parts = {
        "who": sql.SQL(library.name),
        "table": library_table(library),
        "history": library_table(library, "__history"),
        "companion": library_table(library, "__provenance"),
        "keys": columns_sql(keys),
        "fields": columns_sql(fields),
        "match": match_sql(keys, "l", "r"),
        "match_dirty": match_sql(keys, "l", "d"),
        "match_gone": match_sql(keys, "d", "r"),
        "match_companion": match_sql(keys, "p", "l"),
        "match_former": match_sql(keys, "p", "r"),
        # a version is what trace shows: the values, who supplied them and who disagreed
        "differs": sql.SQL("({} OR ({}, p._losers) IS DISTINCT FROM ({}, r._losers))").format(
            _differs(fields, "l", "r"), columns_sql(fields, "p"), columns_sql((f"_w_{f}" for f in fields), "r")
        ),
        "set_fields": _assign(fields, "r"),
        "now": sql.Literal(settings.now()),
        "provenance": _provenance_json(library, feeds),
        "versions": columns_sql([*keys, *fields, "_batch_id", "_row_hash"]),
        "l_versions": columns_sql([*keys, *fields, "_batch_id", "_row_hash"], "l"),
    }
    conn.execute(
        sql.SQL(
            "/* guiji {who} history */ INSERT INTO {history} ({versions}, valid_from, valid_to, _provenance, _losers)"
            " SELECT {l_versions}, l._resolved_at, {now}, {provenance}, p._losers"
            " FROM guiji_dirty d JOIN {table} l ON {match_dirty} LEFT JOIN {companion} p ON {match_companion}"
            " LEFT JOIN guiji_resolved r ON {match}"
            " WHERE l._deleted_at IS NULL AND (r._batch_id IS NULL OR {differs})"
        ).format(**parts)
    )
    changed = conn.execute(
        sql.SQL(
            "/* guiji {who} changed */ UPDATE {table} l SET {set_fields}, _batch_id = r._batch_id, _row_hash = r._row_hash,"
            " _resolved_at = {now}, _deleted_at = NULL FROM guiji_resolved r LEFT JOIN {companion} p ON {match_former}"
            " WHERE {match} AND (l._deleted_at IS NOT NULL OR {differs})"
        ).format(**parts)
    ).rowcount
    new = conn.execute(
        sql.SQL(
            "/* guiji {who} new */ INSERT INTO {table} ({keys}, {fields}, _batch_id, _row_hash, _resolved_at)"
            " SELECT {keys}, {fields}, _batch_id, _row_hash, {now} FROM guiji_resolved r"
            " WHERE NOT EXISTS (SELECT FROM {table} l WHERE {match}) ORDER BY {keys}"
        ).format(**parts)
    ).rowcount
    deleted = conn.execute(
        sql.SQL(
            "/* guiji {who} deleted */ UPDATE {table} l SET _deleted_at = {now} FROM guiji_dirty d"
            " WHERE {match_dirty} AND l._deleted_at IS NULL"
            " AND NOT EXISTS (SELECT FROM guiji_resolved r WHERE {match_gone})"
        ).format(**parts)
    ).rowcount
    _write_provenance(conn, library, feeds)
    return new, changed, deleted


def _write_provenance(conn: Conn, library: LibraryModel, feeds: Sequence[Feed]) -> None:
    keys, fields = [k.name for k in library.key], [f.name for f in library.fields]
    batches = [f"_batch_{f.ordinal}" for f in feeds]
    pairs = [*((f, f"_w_{f}") for f in fields), *((b, b) for b in batches), ("_losers", "_losers")]
    parts = {
        "who": sql.SQL(library.name),
        "companion": library_table(library, "__provenance"),
        "keys": columns_sql(keys),
        "targets": columns_sql(t for t, _ in pairs),
        "values": columns_sql(v for _, v in pairs),
        "assign": sql.SQL(", ").join(
            sql.SQL("{} = r.{}").format(sql.Identifier(t), sql.Identifier(v)) for t, v in pairs
        ),
        "differs": sql.SQL("({}) IS DISTINCT FROM ({})").format(
            columns_sql((t for t, _ in pairs), "p"), columns_sql((v for _, v in pairs), "r")
        ),
        "match": match_sql(keys, "p", "r"),
    }
    conn.execute(
        sql.SQL(
            "/* guiji {who} provenance */ UPDATE {companion} p SET {assign} FROM guiji_resolved r WHERE {match} AND {differs}"
        ).format(**parts)
    )
    conn.execute(
        sql.SQL(
            "/* guiji {who} provenance */ INSERT INTO {companion} ({keys}, {targets}) SELECT {keys}, {values}"
            " FROM guiji_resolved r WHERE NOT EXISTS (SELECT FROM {companion} p WHERE {match}) ORDER BY {keys}"
        ).format(**parts)
    )


def _write_vintages(
    conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]
) -> tuple[int, int, int]:
    """Every changed value is a further row; nothing that was published is overwritten."""
    keys, fields = [k.name for k in library.key], [f.name for f in library.fields]
    batches = [f"_batch_{f.ordinal}" for f in feeds]
    companions = [*((f, f"_w_{f}") for f in fields), *((b, b) for b in batches), ("_losers", "_losers")]
    parts = {
        "who": sql.SQL(library.name),
        "table": library_table(library),
        "companion": library_table(library, "__provenance"),
        "keys": columns_sql(keys),
        "r_keys": columns_sql(keys, "r"),
        "fields": columns_sql(fields),
        "r_fields": columns_sql(fields, "r"),
        "winners": columns_sql((f"_w_{f}" for f in fields), "r"),
        "batches": columns_sql(batches),
        "r_batches": columns_sql(batches, "r"),
        "match": match_sql(keys, "l", "r"),
        "match_dirty": match_sql(keys, "l", "d"),
        "match_gone": match_sql(keys, "d", "r"),
        "differs": _differs(fields, "c", "r"),
        "set_companion": sql.SQL(", ").join(
            sql.SQL("{} = r.{}").format(sql.Identifier(t), sql.Identifier(v)) for t, v in companions
        ),
        "differs_companion": sql.SQL("({}) IS DISTINCT FROM ({})").format(
            columns_sql((t for t, _ in companions), "l"), columns_sql((v for _, v in companions), "r")
        ),
        "now": sql.Literal(settings.now()),
    }
    conn.execute(
        sql.SQL(
            "/* guiji {who} vintages */ CREATE TEMP TABLE guiji_vintage ON COMMIT DROP AS"
            " SELECT r.*, c._vintage AS _former, c._deleted_at AS _was_deleted,"
            " c._vintage IS NULL OR {differs} AS _is_new FROM guiji_resolved r LEFT JOIN LATERAL"
            " (SELECT * FROM {table} l WHERE {match} ORDER BY _vintage DESC LIMIT 1) c ON true"
        ).format(**parts)
    )
    conn.execute(
        sql.SQL(
            "/* guiji {who} vintages */ INSERT INTO {table} ({keys}, {fields}, _vintage, _published_at, _batch_id, _row_hash,"
            " _resolved_at) SELECT {keys}, {fields}, coalesce(_former, 0) + 1, _pub, _batch_id, _row_hash, {now}"
            " FROM guiji_vintage WHERE _is_new ORDER BY {keys}"
        ).format(**parts)
    )
    conn.execute(
        sql.SQL(
            "/* guiji {who} vintages */ INSERT INTO {companion} ({keys}, _vintage, {fields}, {batches}, _losers)"
            " SELECT {r_keys}, coalesce(r._former, 0) + 1, {winners}, {r_batches}, r._losers FROM guiji_vintage r WHERE r._is_new"
        ).format(**parts)
    )
    # who supplies and who disagrees can change while the value stays
    conn.execute(
        sql.SQL(
            "/* guiji {who} vintages */ UPDATE {companion} l SET {set_companion} FROM guiji_vintage r"
            " WHERE {match} AND l._vintage = r._former AND NOT r._is_new AND {differs_companion}"
        ).format(**parts)
    )
    # a value that disappeared and returns unchanged is the same vintage, alive again; the gap stays known
    conn.execute(
        sql.SQL(
            "/* guiji {who} vintages */ UPDATE {table} l SET _absent = COALESCE(l._absent, '{{}}')"
            " + tstzmultirange(tstzrange(l._deleted_at, {now})), _deleted_at = NULL FROM guiji_vintage r"
            " WHERE {match} AND l._vintage = r._former AND NOT r._is_new AND l._deleted_at IS NOT NULL"
        ).format(**parts)
    )
    deleted = conn.execute(
        sql.SQL(
            "/* guiji {who} vintages */ UPDATE {table} l SET _deleted_at = {now} FROM guiji_dirty d"
            " WHERE {match_dirty} AND l._deleted_at IS NULL"
            " AND l._vintage = (SELECT max(_vintage) FROM {table} l WHERE {match_dirty})"
            " AND NOT EXISTS (SELECT FROM guiji_resolved r WHERE {match_gone})"
        ).format(**parts)
    ).rowcount
    row = conn.execute(
        "/* guiji vintages */ SELECT count(*) FILTER (WHERE _is_new AND _former IS NULL) AS new,"
        " count(*) FILTER (WHERE (_is_new AND _former IS NOT NULL) OR (NOT _is_new AND _was_deleted IS NOT NULL)) AS changed"
        " FROM guiji_vintage"
    ).fetchone()
    conn.execute("/* guiji vintages */ DROP TABLE guiji_vintage")
    assert row is not None
    return int(row["new"]), int(row["changed"]), deleted


def _drop_keys(conn: Conn, library: LibraryModel) -> None:
    for suffix in ("", "__provenance"):
        conn.execute(
            sql.SQL("/* guiji resolve */ ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
                library_table(library, suffix), sql.Identifier(f"{library.table}{suffix}_pkey")
            )
        )


def _identity(library: LibraryModel) -> list[str]:
    return [*(k.name for k in library.key), *(["_vintage"] if library.vintages else [])]


def _differs(names: Sequence[str], a: str, b: str) -> sql.Composed:
    return sql.SQL("({}) IS DISTINCT FROM ({})").format(columns_sql(names, a), columns_sql(names, b))


def _assign(names: Sequence[str], source: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Identifier(source, n)) for n in names)


def _provenance_json(library: LibraryModel, feeds: Sequence[Feed]) -> sql.Composable:
    """{field: [ordinal, batch]} of the provenance row ``p``."""
    batch = sql.SQL(" ").join(
        sql.SQL("WHEN {} THEN p.{}").format(sql.SQL(str(f.ordinal)), sql.Identifier(f"_batch_{f.ordinal}"))
        for f in feeds
    )
    return sql.SQL("jsonb_strip_nulls({})").format(
        json_object(
            [
                (
                    f.name,
                    sql.SQL("CASE WHEN p.{0} IS NOT NULL THEN jsonb_build_array(p.{0}, CASE p.{0} {1} END) END").format(
                        sql.Identifier(f.name), batch
                    ),
                )
                for f in library.fields
            ]
        )
    )
