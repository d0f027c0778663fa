"""Files of one resource and one business date that say different things of one key.

A later date revises an earlier one, and a file that comes again under its name corrects itself: both are vintages. Two
files of the same date under different names are neither: nobody has said which of them holds. The value that came
last serves, as it must, but it is no silent winner: the disagreement is a row of ``ops.conflict`` (``scope`` files),
told to the department, open until one of the two files comes again and agrees, or a file of a later date has the key.
Of libraries with vintages only; the former value stays in the source's history and in its vintage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.library.conflicts import mask_value, read_chunks
from guiji.library.feeds import Feed, compile_condition
from guiji.library.load import copy_batches, read_batches
from guiji.library.measured import unit_of, with_unit
from guiji.library.provenance import key_text
from guiji.library.survivorship import differs_sql
from guiji.library.tables import columns_sql, match_sql, pg_type, source_history, source_table
from guiji.masking import mask, scrub

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa
    from psycopg import Connection

    from guiji.catalog.models import LibraryField, LibraryModel, Resource
    from guiji.records import CheckedBatch, StagedBatch
    from guiji.settings import Settings

    Conn = Connection[dict[str, Any]]

_FILE_KINDS = ("sftp", "ftp", "files")
_COLUMNS = ("key_hmac", "key_masked", "field", "winner_value", "loser_value", "files")
_LONGEST_NAME = 40


@dataclass(frozen=True)
class _Place:
    """One mapping of a resource into a library with vintages, on the day of a batch."""

    conn: Conn
    settings: Settings
    resource: Resource
    library: LibraryModel
    feed: Feed
    day: date

    @property
    def fields(self) -> list[LibraryField]:
        return [f for f in self.library.fields if f.unit_of is None and self.feed.supplies(f)]


def record_rivals(
    conn: Conn, settings: Settings, resource: Resource, staged: StagedBatch, checked: CheckedBatch
) -> int:
    """Compares what a published batch says with the other files of its day, in the transaction of the publish; returns
    how many values differ. ``guiji_change`` holds what was new or changed."""
    from datetime import date

    model = resource.model
    days = {f.business_date for f in staged.files if f.business_date}
    if model.load != "incremental" or model.source.kind not in _FILE_KINDS or model.order or len(days) != 1:
        return 0
    day = date.fromisoformat(days.pop())
    places = list(_places(conn, settings, resource, day))
    if not places or not _remember(conn, resource, staged, checked, day):
        return 0
    others = _list_files(conn, resource, staged, day)
    opened = conn.execute(
        "/* guiji rivals */ SELECT 1 FROM ops.conflict WHERE loser = %s AND settled_at IS NULL AND scope = 'files' LIMIT 1",
        (resource.id,),
    ).fetchone()
    found = 0
    if others or opened:
        _list_keys(conn, resource, whole=opened is not None)
        for place in places:
            found += _compare_files(place, staged)
        conn.execute("/* guiji rivals */ DROP TABLE guiji_rival_key")
    conn.execute("/* guiji rivals */ DROP TABLE guiji_told, guiji_said")
    return found


def _remember(conn: Conn, resource: Resource, staged: StagedBatch, checked: CheckedBatch, day: date) -> bool:
    """Keeps which rows the batch said, also those that changed nothing: another file of the day may contradict them.
    False for a day before the newest one. Leaves ``guiji_said``: keys and row hashes."""
    newest = conn.execute(
        "/* guiji rivals */ SELECT max(business_date) AS day FROM ops.file_said WHERE resource_id = %s", (resource.id,)
    ).fetchone()
    if newest and newest["day"] and newest["day"] > day:
        return False
    columns = [*resource.model.key, "_row_hash"]
    conn.execute(
        sql.SQL("/* guiji rivals */ CREATE TEMP TABLE guiji_said ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
            columns_sql(columns), source_table(resource)
        )
    )
    target = sql.Identifier("guiji_said")
    copy_batches(conn, target, columns, read_batches(checked.accepted, columns), who=f"{resource.id} rivals")
    conn.execute(
        "/* guiji rivals */ DELETE FROM ops.file_said WHERE resource_id = %s AND business_date < %s", (resource.id, day)
    )
    conn.execute(
        sql.SQL(
            "/* guiji rivals */ INSERT INTO ops.file_said (resource_id, business_date, batch_id, key_hash, row_hash)"
            " SELECT {}, {}, {}, {}, _row_hash FROM guiji_said x ON CONFLICT DO NOTHING"
        ).format(*map(sql.Literal, (resource.id, day, staged.batch_id)), _key_hash(resource))
    )
    return True


def _key_hash(resource: Resource) -> sql.Composed:
    return sql.SQL("hashtextextended(ROW({})::text, 0)").format(columns_sql(resource.model.key, "x"))


def _list_files(conn: Conn, resource: Resource, staged: StagedBatch, day: date) -> bool:
    """Fills ``guiji_told`` with the files of the day and the batches they came in; true when there are other names."""
    conn.execute(
        """/* guiji rivals */
        CREATE TEMP TABLE guiji_told ON COMMIT DROP AS SELECT path, batch_id, true AS latest FROM ops.file LIMIT 0""",
    )
    conn.execute(
        """/* guiji rivals */
        INSERT INTO guiji_told SELECT path, batch_id, n = 1 FROM (
          SELECT path, batch_id, row_number() OVER (PARTITION BY path ORDER BY at DESC, batch_id) AS n FROM (
            SELECT f.path, f.batch_id, b.published_at AS at FROM ops.file f JOIN ops.batch b USING (batch_id)
            WHERE f.resource_id = %(resource)s AND f.business_date = %(day)s AND b.status = 'published'
              AND b.rows_duplicate < b.rows_read AND f.batch_id <> %(batch)s
            UNION ALL SELECT path, %(batch)s, 'infinity' FROM unnest(%(paths)s::text[]) path) x) y""",
        {"resource": resource.id, "day": day, "batch": staged.batch_id, "paths": [f.path for f in staged.files]},
    )
    row = conn.execute(
        "/* guiji rivals */ SELECT EXISTS (SELECT FROM guiji_told WHERE path <> ALL(%s)) AS others",
        ([f.path for f in staged.files],),
    ).fetchone()
    return bool(row and row["others"])


def _list_keys(conn: Conn, resource: Resource, *, whole: bool) -> None:
    """``guiji_rival_key``: the keys to look at: what was changed, with ``whole`` everything that the batch brought."""
    conn.execute(
        sql.SQL(
            "/* guiji rivals */ CREATE TEMP TABLE guiji_rival_key ON COMMIT DROP AS SELECT DISTINCT {} FROM {}"
        ).format(columns_sql(resource.model.key), sql.Identifier("guiji_said" if whole else "guiji_change"))
    )
    conn.execute("/* guiji rivals */ ANALYZE guiji_rival_key")


def _places(conn: Conn, settings: Settings, resource: Resource, day: date) -> Iterator[_Place]:
    """The libraries with vintages that the resource feeds by keys of its own; one that can't be read is left alone."""
    from guiji.catalog.loader import find_library

    for mapping in resource.model.mappings:
        library = find_library(settings.catalog, mapping.library)
        if library is not None and library.vintages and mapping.key:
            yield _Place(conn, settings, resource, library, Feed(0, resource, mapping), day)


def _compare_files(place: _Place, staged: StagedBatch) -> int:
    conn = place.conn
    conn.execute(
        """/* guiji rivals */
        CREATE TEMP TABLE guiji_rival (key_hmac text, key_masked text, field text, winner_value text, loser_value text,
          files text) ON COMMIT DROP""",
    )
    conn.execute("/* guiji rivals */ CREATE TEMP TABLE guiji_brought (key_hmac text) ON COMMIT DROP")
    n = 0
    for batch in _read_rivals(place):
        n += copy_batches(conn, sql.Identifier("guiji_rival"), _COLUMNS, iter([batch]), who="rivals")
    for batch in _read_brought(place):
        copy_batches(conn, sql.Identifier("guiji_brought"), ("key_hmac",), iter([batch]), who="rivals")
    fresh = _write_conflicts(place, [f.path for f in staged.files])
    conn.execute("/* guiji rivals */ DROP TABLE guiji_rival, guiji_brought")
    if fresh:
        _tell(place)
    return n


def _said(place: _Place, table: sql.Composable, batch: sql.Composable, condition: sql.Composable) -> sql.Composed:
    """The library's view of source rows of the keys in question: source key, ``k<n>``, fields and units, origin."""
    resource, mapping = place.resource, place.feed.mapping
    columns: list[sql.Composable] = [columns_sql(resource.model.key, "x")]
    columns += [
        sql.SQL("x.{}::{}::text AS {}").format(
            sql.Identifier(name), sql.SQL(pg_type(spec.type)), sql.Identifier(f"k{i}")
        )
        for i, (name, spec) in enumerate(zip(mapping.key, place.library.key, strict=True))
    ]
    for field in place.fields:
        columns.append(
            sql.SQL("{} AS {}").format(place.feed.value(place.library, field), sql.Identifier(f"f_{field.name}"))
        )
        if (unit := unit_of(place.library, field)) is not None:
            columns.append(
                sql.SQL("{} AS {}").format(place.feed.value(place.library, unit), sql.Identifier(f"f_{unit.name}"))
            )
    conditions = [condition]
    if mapping.where:
        conditions.append(sql.SQL("({})").format(compile_condition(resource, mapping.where)))
    return sql.SQL("SELECT {}, {} AS _batch_id, x._origin FROM {} JOIN guiji_rival_key k ON {} WHERE {}").format(
        sql.SQL(", ").join(columns),
        batch,
        table,
        match_sql(resource.model.key, "x", "k"),
        sql.SQL(" AND ").join(conditions),
    )


def _read_rivals(place: _Place) -> Iterator[pa.RecordBatch]:
    """A row per key and field where the value that serves came on this day and another file of the day says otherwise."""
    import pyarrow as pa

    from guiji.secrets import make_hasher

    library, fields = place.library, place.fields
    keys = [f"k{i}" for i in range(len(library.key))]
    columns: list[sql.Composable] = [columns_sql(keys, "n")]
    for field in fields:
        ours, theirs = (sql.Identifier(t, f"f_{field.name}") for t in ("n", "o"))
        unit = unit_of(library, field)
        differs = differs_sql(field, theirs, ours)
        shown = [
            with_unit(v, sql.Identifier(t, f"f_{unit.name}") if unit else None) for t, v in (("n", ours), ("o", theirs))
        ]
        if unit is not None:
            differs = sql.SQL("({0} IS NOT NULL AND {1} IS NOT NULL AND (n.{2} IS DISTINCT FROM o.{2} OR {3}))").format(
                ours, theirs, sql.Identifier(f"f_{unit.name}"), differs
            )
        columns += [
            sql.SQL("CASE WHEN {} THEN ARRAY[{}, {}] END AS {}").format(
                differs, *shown, sql.Identifier(f"d_{field.name}")
            )
        ]
    query = sql.SQL(
        "/* guiji {who} rivals */ SELECT {columns}, n._origin AS winner_file, o._origin AS loser_file,"
        " (SELECT string_agg(path, chr(31)) FROM guiji_told t WHERE t.batch_id IN (n._batch_id, o._batch_id)) AS files"
        " FROM ({now}) n JOIN ({then}) o ON {match}"
        " WHERE EXISTS (SELECT FROM guiji_told t WHERE t.batch_id = n._batch_id)"
        " AND NOT EXISTS (SELECT FROM guiji_told a JOIN guiji_told b USING (path)"
        " WHERE a.batch_id = n._batch_id AND b.batch_id = o._batch_id)"
    ).format(
        who=sql.SQL(place.resource.id),
        columns=sql.SQL(", ").join(columns),
        now=_said(
            place,
            sql.SQL("{} x").format(source_table(place.resource)),
            sql.SQL("x._batch_id"),
            sql.SQL("x._deleted_at IS NULL"),
        ),
        then=_said(
            place,
            sql.SQL(
                "{} x JOIN ops.file_said s ON s.row_hash = x._row_hash AND s.key_hash = {} AND s.batch_id IN"
                " (SELECT batch_id FROM guiji_told WHERE latest)"
            ).format(source_history(place.resource), _key_hash(place.resource)),
            sql.SQL("s.batch_id"),
            sql.SQL("true"),
        ),
        match=match_sql(place.resource.model.key, "n", "o"),
    )
    hash_text = make_hasher(place.settings)
    secret = [k.sensitivity >= 3 for k in library.key]
    for rows in read_chunks(place.conn, query):
        found: list[tuple[str, ...]] = []
        for row in rows:
            if any(row[k] is None for k in keys):
                continue
            digest = hash_text(key_text(row[k] for k in keys))
            masked = key_text(mask(row[k]) if hide else row[k] for k, hide in zip(keys, secret, strict=True))
            names = [scrub(str(row[n]))[:_LONGEST_NAME] for n in ("winner_file", "loser_file")]
            for field in fields:
                if row[f"d_{field.name}"] is not None:
                    values = [
                        f"{mask_value(field, v)}（{f}）" for v, f in zip(row[f"d_{field.name}"], names, strict=True)
                    ]
                    found.append((digest, masked, field.name, *values, row["files"]))
        if found:
            yield pa.RecordBatch.from_arrays(
                [pa.array(c, pa.string()) for c in zip(*found, strict=True)], names=list(_COLUMNS)
            )


def _read_brought(place: _Place) -> Iterator[pa.RecordBatch]:
    """The keyed hashes of the library keys in question."""
    import pyarrow as pa

    from guiji.secrets import make_hasher

    keys = [f"k{i}" for i in range(len(place.library.key))]
    hash_text = make_hasher(place.settings)
    said = _said(place, sql.SQL("{} x").format(source_table(place.resource)), sql.SQL("x._batch_id"), sql.SQL("true"))
    query = sql.SQL("/* guiji {} rivals */ SELECT {} FROM ({}) n").format(
        sql.SQL(place.resource.id), columns_sql(keys, "n"), said
    )
    for rows in read_chunks(place.conn, query):
        hashes = [hash_text(key_text(row[k] for k in keys)) for row in rows]
        yield pa.RecordBatch.from_arrays([pa.array(hashes, pa.string())], names=["key_hmac"])


def _write_conflicts(place: _Place, paths: Sequence[str]) -> bool:
    """Settles what the batch has put right and opens what it shows; true when something is open that was not before."""
    values = {
        "library": place.library.name,
        "resource": place.resource.id,
        "department": place.feed.department,
        "day": place.day,
        "paths": list(paths),
        "now": place.settings.now(),
    }
    place.conn.execute(
        """/* guiji rivals settle */
        UPDATE ops.conflict c SET settled_at = %(now)s WHERE c.library = %(library)s AND c.loser = %(resource)s
          AND c.scope = 'files' AND c.settled_at IS NULL
          AND (c.business_date < %(day)s OR (c.business_date = %(day)s AND c.files && %(paths)s::text[]))
          AND c.key_hmac IN (SELECT key_hmac FROM guiji_brought)
          AND NOT EXISTS (SELECT FROM guiji_rival r WHERE r.key_hmac = c.key_hmac AND r.field = c.field)""",
        values,
    )
    row = place.conn.execute(
        """/* guiji rivals */
        SELECT EXISTS (SELECT FROM guiji_rival r WHERE NOT EXISTS (SELECT FROM ops.conflict c
          WHERE c.library = %(library)s AND c.key_hmac = r.key_hmac AND c.field = r.field AND c.loser = %(resource)s
            AND c.scope = 'files' AND c.settled_at IS NULL)) AS fresh""",
        values,
    ).fetchone()
    place.conn.execute(
        """/* guiji rivals */
        INSERT INTO ops.conflict AS c (library, key_hmac, key_masked, field, winner, loser, winner_department,
          loser_department, winner_value, loser_value, strategy, tied, first_seen, last_seen, scope, business_date, files)
        SELECT %(library)s, key_hmac, min(key_masked), field, %(resource)s, %(resource)s, %(department)s, %(department)s,
          min(winner_value), min(loser_value), 'last_delivered', true, %(now)s::timestamptz, %(now)s::timestamptz, 'files',
          %(day)s, string_to_array(string_agg(DISTINCT files, chr(31)), chr(31))
        FROM guiji_rival GROUP BY key_hmac, field
        ON CONFLICT (library, key_hmac, field, loser, scope) DO UPDATE SET winner_value = excluded.winner_value,
          loser_value = excluded.loser_value, last_seen = excluded.last_seen, settled_at = NULL,
          business_date = excluded.business_date, files = excluded.files,
          first_seen = CASE WHEN c.settled_at IS NULL THEN c.first_seen ELSE excluded.first_seen END""",
        values,
    )
    return bool(row and row["fresh"])


def _tell(place: _Place) -> None:
    """An event for the department, unless one about this library waits already."""
    waits = place.conn.execute(
        "/* guiji rivals tell */ SELECT 1 FROM ops.outbox WHERE resource_id = %s AND kind = 'conflict'"
        " AND payload->>'library' = %s AND mail_id IS NULL AND sent_at IS NULL AND dead_at IS NULL LIMIT 1",
        (place.resource.id, place.library.name),
    ).fetchone()
    if waits is None:
        ledger.add_event(
            place.conn,
            place.settings,
            place.feed.department,
            "conflict",
            "conflict",
            resource_id=place.resource.id,
            payload={"library": place.library.name},
        )
