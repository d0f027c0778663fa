"""One version of one library row, now or as it was at a moment, and the source row that a value came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.errors import UsageError
from guiji.library.feeds import age_sql
from guiji.library.tables import columns_sql, library_table, pg_type
from guiji.settings import TIME_ZONE

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryModel

    Conn = Connection[dict[str, Any]]


@dataclass(frozen=True)
class Version:
    """``winners``: field -> (ordinal, batch); ``losers``: field -> ordinal -> value; ``valid_to`` of a former one."""

    row: Mapping[str, Any]
    winners: Mapping[str, tuple[int, str | None]]
    losers: Mapping[str, Mapping[str, str]]
    valid_to: datetime | None


@dataclass(frozen=True)
class SourceRow:
    batch_id: str | None
    at: datetime | None  # when the batch was published
    locator: str | None  # file:line or table:position


def end_of(as_of: date | datetime | None) -> datetime | None:
    """The end of a day, or the moment itself."""
    if as_of is None:
        return None
    if isinstance(as_of, datetime):
        return as_of if as_of.tzinfo else as_of.replace(tzinfo=TIME_ZONE)
    return datetime.combine(as_of + timedelta(days=1), time.min, TIME_ZONE) - timedelta(microseconds=1)


def find_version(conn: Conn, library: LibraryModel, values: Sequence[str], moment: datetime | None) -> Version | None:
    """What the library said of a key at the moment, or says now; None when it said nothing.

    Raises UsageError for values that can't be a key.
    """
    import psycopg

    try:
        if library.vintages:
            return _find_vintage(conn, library, values, moment)
        return _find_current(conn, library, values, moment) or _find_former(conn, library, values, moment)
    except psycopg.DataError:
        conn.rollback()
        raise UsageError(
            f"The key doesn't fit the key columns of {library.name}: {', '.join(k.title for k in library.key)}. "
            "Nothing was looked up."
        ) from None


def _key_is(library: LibraryModel, values: Sequence[str], alias: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}::{}").format(sql.Identifier(alias, k.name), sql.Literal(v), sql.SQL(pg_type(k.type)))
        for k, v in zip(library.key, values, strict=True)
    )


def _find_current(
    conn: Conn,
    library: LibraryModel,
    values: Sequence[str],
    moment: datetime | None,
    extra: sql.Composable | None = None,
) -> Version | None:
    joined = sql.SQL(" AND ").join(
        sql.SQL("p.{0} = l.{0}").format(sql.Identifier(n))
        for n in (*(k.name for k in library.key), *(["_vintage"] if library.vintages else []))
    )
    absent: sql.Composable = sql.SQL("false")
    if library.vintages and moment:
        absent = sql.SQL("COALESCE({}::timestamptz <@ (to_jsonb(l)->>'_absent')::tstzmultirange, false)").format(
            sql.Literal(moment)
        )
    row = conn.execute(
        sql.SQL(
            "/* guiji trace */ SELECT l.*, to_jsonb(p) AS _p, {} AS _was_absent FROM {} l LEFT JOIN {} p ON {} WHERE {}{}"
        ).format(
            absent,
            library_table(library),
            library_table(library, "__provenance"),
            joined,
            _key_is(library, values, "l"),
            extra or sql.SQL(""),
        )
    ).fetchone()
    if row is None or (moment and (row["_resolved_at"] > moment or row["_was_absent"])):
        return None
    if moment and row["_deleted_at"] and row["_deleted_at"] <= moment:
        return None
    provenance = row["_p"] or {}
    winners = {
        f.name: (provenance[f.name], provenance.get(f"_batch_{provenance[f.name]}"))
        for f in library.fields
        if provenance.get(f.name) is not None
    }
    return Version(row, winners, provenance.get("_losers") or {}, None)


def _find_former(conn: Conn, library: LibraryModel, values: Sequence[str], moment: datetime | None) -> Version | None:
    if moment is None:
        return None
    row = conn.execute(
        sql.SQL(
            "/* guiji trace */ SELECT h.*, h.valid_from AS _resolved_at, NULL AS _deleted_at"
            " FROM {} h WHERE {} AND h.valid_from <= {} AND h.valid_to > {} ORDER BY h.valid_from DESC LIMIT 1"
        ).format(
            library_table(library, "__history"),
            _key_is(library, values, "h"),
            sql.Literal(moment),
            sql.Literal(moment),
        )
    ).fetchone()
    if row is None:
        return None
    winners = {name: (pair[0], pair[1]) for name, pair in (row["_provenance"] or {}).items()}
    return Version(row, winners, row.get("_losers") or {}, row["valid_to"])


def _find_vintage(conn: Conn, library: LibraryModel, values: Sequence[str], moment: datetime | None) -> Version | None:
    """The last vintage that was known at the moment."""
    until = sql.SQL(" AND l._resolved_at <= {}").format(sql.Literal(moment)) if moment else sql.SQL("")
    last = sql.SQL("{} ORDER BY l._vintage DESC LIMIT 1").format(until)
    return _find_current(conn, library, values, moment, last)


# --- where a value came from -------------------------------------------------------------------------


def locate(
    conn: Conn,
    library: LibraryModel,
    source: Mapping[str, Any],
    values: Sequence[str],
    batch_id: str | None,
    moment: datetime | None,
    told: Mapping[str, Any],
) -> SourceRow:
    """The source row behind values: the one that the batch brought, or of a moment in the past one published until
    then; of several, the one that said all that was told, served at the moment, and was the newest.

    ``source``: row of ``ops.library_source``; ``told``: library field -> value. Falls back to the batch alone where
    the row is gone.
    """
    conditions: list[sql.Composable] = [sql.SQL("x._batch_id = {}").format(sql.Literal(batch_id))]
    if moment is not None:
        conditions = [sql.SQL("x._published_at <= {}").format(sql.Literal(moment))]
    types = {f.name: f.type for f in library.fields}
    conditions += [
        sql.SQL("x.{}::{} = {}").format(
            sql.Identifier(source["fields"][name]), sql.SQL(pg_type(types[name])), sql.Literal(value)
        )
        for name, value in told.items()
    ]
    table = source["resource_id"].replace(".", "__")
    # a deleted row bears the batch that deleted it; what it was before stands in the history
    tables: list[tuple[sql.Composable, str]] = [
        (sql.SQL("(SELECT * FROM {} WHERE _deleted_at IS NULL)").format(sql.Identifier("source", table)), "NULL"),
        (sql.Identifier("source", f"{table}__history"), "x._superseded_at"),
    ]
    served = (
        sql.SQL("COALESCE(s._gone > {}, true)").format(sql.Literal(moment)) if moment else sql.SQL("s._gone IS NULL")
    )
    # to look for confirmed matches means to look through the whole source: only where nothing else leads to the row
    for ways in (_ways_to_rows(library, source, values, moment), _ways_by_match(library, source, values)):
        parts = [
            sql.SQL(
                "SELECT x._batch_id, x._published_at, x._origin, x._line, {}::timestamptz AS _gone, {} AS _at,"
                " ARRAY[{}]::text[] AS _key FROM {} x WHERE {} AND {}"
            ).format(
                sql.SQL(gone),
                age_sql(source["newest_by"]),
                columns_sql(source["row_key"] or [], "x"),
                t,
                keys,
                sql.SQL(" AND ").join(conditions),
            )
            for keys in ways
            for t, gone in tables
        ]
        row = (
            parts
            and conn.execute(
                sql.SQL(
                    "/* guiji trace */ SELECT s.*, b.published_at AS _told_at FROM ({}) s LEFT JOIN ops.batch b"
                    " ON b.batch_id = s._batch_id ORDER BY {} DESC, s._at DESC, s._published_at DESC, s._key LIMIT 1"
                ).format(sql.SQL(" UNION ALL ").join(parts), served)
            ).fetchone()
        )
        if row:
            at = row["_told_at"] or row["_published_at"]
            return SourceRow(row["_batch_id"], at, f"{row['_origin']}:{row['_line']}")
    batch = conn.execute(
        "/* guiji trace */ SELECT published_at FROM ops.batch WHERE batch_id = %s", (batch_id,)
    ).fetchone()
    return SourceRow(batch_id, batch["published_at"] if batch else None, None)


def _ways_to_rows(
    library: LibraryModel, source: Mapping[str, Any], values: Sequence[str], moment: datetime | None
) -> list[sql.Composable]:
    """Conditions on ``x`` that find a key's rows: by the key itself, by a secondary key; of the moment, by what stood for
    the secondary key then."""
    ways: list[sql.Composable] = []
    keyless: sql.Composable = sql.SQL("true")
    if source["source_key"]:
        ways.append(_equal("x", source["source_key"], values))
        keyless = sql.SQL("({})").format(
            sql.SQL(" OR ").join(sql.SQL("x.{} IS NULL").format(sql.Identifier(k)) for k in source["source_key"])
        )
    for link in library.links:
        fields = (source["by_link"] or {}).get(link.name)
        if not fields:
            continue
        table = link.through.replace(".", "__")
        stood: list[tuple[str, sql.Composable]] = [(table, sql.SQL("t._deleted_at IS NULL"))]
        if moment:
            until = sql.SQL("t._published_at <= {}").format(sql.Literal(moment))
            since = sql.SQL("t._superseded_at > {}").format(sql.Literal(moment))
            stood = [
                (table, sql.SQL("t._deleted_at IS NULL AND {}").format(until)),
                (f"{table}__history", sql.SQL("{} AND {}").format(until, since)),
            ]
        ways += [
            sql.SQL("{} AND ({}) IN (SELECT {} FROM {} t WHERE {} AND {})").format(
                keyless,
                columns_sql(fields, "x"),
                columns_sql(link.fields, "t"),
                sql.Identifier("source", through),
                _equal("t", link.key, values),
                condition,
            )
            for through, condition in stood
        ]
    return ways


def _ways_by_match(library: LibraryModel, source: Mapping[str, Any], values: Sequence[str]) -> list[sql.Composable]:
    if library.matching is None:
        return []
    return [
        sql.SQL(
            "EXISTS (SELECT FROM ops.match_proposal c WHERE c.library = {} AND c.resource_id = {}"
            " AND c.status = 'confirmed' AND c.key = {}::text[] AND c.row_key ="
            " (SELECT array_agg(to_jsonb(x)->>u.k ORDER BY u.n) FROM unnest({}::text[]) WITH ORDINALITY u (k, n)))"
        ).format(
            sql.Literal(library.name),
            sql.Literal(source["resource_id"]),
            sql.Literal(list(values)),
            sql.Literal(source["row_key"] or []),
        )
    ]


def _equal(alias: str, columns: Sequence[str], values: Sequence[str]) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} = {}").format(sql.Identifier(alias), sql.Identifier(c), sql.Literal(v))
        for c, v in zip(columns, values, strict=True)
    )
