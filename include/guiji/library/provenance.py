"""Who supplied what: the registry of a library's sources, and the departments that disagree (多源比对)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.library.feeds import Feed
from guiji.masking import mask
from guiji.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import LibraryModel

    Conn = Connection[dict[str, Any]]

#: between the parts of a key of several columns, where it is one text
KEY_SEPARATOR = "|"


def register_feeds(conn: Conn, library: LibraryModel, catalog: Catalog, now: datetime) -> list[Feed]:
    """The library's feeds with their ordinals, new ones registered; an ordinal is never used again for another source.

    The registry also tells ``trace`` the names of departments and resources, so that it needs no catalog.
    """
    from psycopg.types.json import Jsonb

    known = {
        (r["resource_id"], r["mapping"]): r
        for r in conn.execute("/* guiji feeds */ SELECT * FROM ops.library_source WHERE library = %s", (library.name,))
    }
    highest = max((r["ordinal"] for r in known.values()), default=0)
    feeds, wanted = [], {}
    for resource_id in sorted(catalog.resources):
        resource = catalog.resources[resource_id]
        mine = [m for m in resource.model.mappings if m.library == library.name]
        for position, mapping in enumerate(mine):
            former = known.get((resource_id, position))
            if former is None:
                highest += 1
            feed = Feed(former["ordinal"] if former else highest, resource, mapping)
            feeds.append(feed)
            wanted[resource_id, position] = {
                "library": library.name,
                "ordinal": feed.ordinal,
                "resource_id": resource_id,
                "mapping": position,
                "department_id": resource.model.department_id,
                "department_name": resource.department.name,
                "resource_name": resource.model.name,
                "source_key": list(mapping.key),
                "fields": dict(mapping.fields),
                "retired_at": None,
            }
    for place, row in wanted.items():
        if known.get(place) != row:
            conn.execute(
                """/* guiji feeds */
                INSERT INTO ops.library_source (library, ordinal, resource_id, mapping, department_id, department_name,
                  resource_name, source_key, fields)
                VALUES (%(library)s, %(ordinal)s, %(resource_id)s, %(mapping)s, %(department_id)s, %(department_name)s,
                  %(resource_name)s, %(source_key)s, %(fields)s)
                ON CONFLICT (library, ordinal) DO UPDATE SET department_name = excluded.department_name,
                  resource_name = excluded.resource_name, source_key = excluded.source_key, fields = excluded.fields,
                  retired_at = NULL""",
                {**row, "fields": Jsonb(row["fields"])},
            )
    retired = [r["ordinal"] for place, r in known.items() if place not in wanted and r["retired_at"] is None]
    if retired:
        conn.execute(
            "/* guiji feeds */ UPDATE ops.library_source SET retired_at = %s WHERE library = %s AND ordinal = ANY(%s)",
            (now, library.name, retired),
        )
    return sorted(feeds, key=lambda f: f.ordinal)


def list_ordinals(conn: Conn, library: LibraryModel) -> list[int]:
    """Every ordinal the library ever had; the provenance keeps a column for each."""
    rows = conn.execute(
        "/* guiji feeds */ SELECT ordinal FROM ops.library_source WHERE library = %s ORDER BY ordinal", (library.name,)
    )
    return [r["ordinal"] for r in rows]


def key_text(values: Iterable[object]) -> str:
    """A library key as one text, as ``trace`` takes it."""
    return KEY_SEPARATOR.join(str(v) for v in values)


def record_conflicts(
    conn: Conn,
    settings: Settings,
    library: LibraryModel,
    feeds: Sequence[Feed],
    *,
    everything: bool,
) -> int:
    """Writes who disagrees with whom over ``guiji_resolved`` and settles what is agreed now; returns how many differ.

    ``everything``: what it doesn't hold is settled as well; else only what concerns the keys of ``guiji_dirty``. Keys
    are kept as keyed hashes and masked texts, values not at all.
    """
    from guiji.library.load import copy_batches

    conn.execute(
        "/* guiji conflicts */ CREATE TEMP TABLE guiji_conflict (key_hmac text, key_masked text, field text, winner text,"
        " loser text) ON COMMIT DROP"
    )
    names = ("key_hmac", "key_masked", "field", "winner", "loser")
    # read in whole before COPY begins: one connection can't do both at once
    batches = list(_conflict_batches(conn, settings, library, feeds))
    n = copy_batches(conn, sql.Identifier("guiji_conflict"), names, iter(batches), who=f"{library.name} conflicts")
    conn.execute("/* guiji conflicts */ ANALYZE guiji_conflict")
    now = settings.now()
    open_ones = conn.execute(
        "/* guiji conflicts */ SELECT 1 FROM ops.conflict WHERE library = %s AND settled_at IS NULL LIMIT 1",
        (library.name,),
    ).fetchone()
    if open_ones:
        concerned = sql.SQL("true")
        if not everything:
            _hash_dirty(conn, settings, library)
            concerned = sql.SQL("c.key_hmac IN (SELECT key_hmac FROM guiji_dirty_hmac)")
        conn.execute(
            sql.SQL(
                "/* guiji conflicts */ UPDATE ops.conflict c SET settled_at = %(now)s WHERE c.library = %(library)s"
                " AND c.settled_at IS NULL AND {} AND NOT EXISTS (SELECT FROM guiji_conflict n"
                " WHERE n.key_hmac = c.key_hmac AND n.field = c.field AND n.loser = c.loser)"
            ).format(concerned),
            {"now": now, "library": library.name},
        )
        conn.execute("/* guiji conflicts */ DROP TABLE IF EXISTS guiji_dirty_hmac")
    if n:
        conn.execute(
            """/* guiji conflicts */
            INSERT INTO ops.conflict AS c (library, key_hmac, key_masked, field, winner, loser, first_seen, last_seen)
            SELECT DISTINCT ON (key_hmac, field, loser) %(library)s, key_hmac, key_masked, field, winner, loser,
              %(now)s::timestamptz, %(now)s::timestamptz FROM guiji_conflict ORDER BY key_hmac, field, loser, winner
            ON CONFLICT (library, key_hmac, field, loser) DO UPDATE SET winner = excluded.winner,
              last_seen = excluded.last_seen, settled_at = NULL,
              first_seen = CASE WHEN c.settled_at IS NULL THEN c.first_seen ELSE excluded.first_seen END""",
            {"library": library.name, "now": now},
        )
    conn.execute("/* guiji conflicts */ DROP TABLE guiji_conflict")
    if n > 1000:
        # else the planner takes a table that has just grown for small, and compares every pair
        conn.execute("/* guiji conflicts */ ANALYZE ops.conflict (library, key_hmac)")
    return n


def _conflict_batches(
    conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]
) -> Iterator[pa.RecordBatch]:
    """One row per key, field and resource whose value lost."""
    import pyarrow as pa

    from guiji.secrets import hmac_key

    resources = {f.ordinal: f.resource.id for f in feeds}
    keys = [k.name for k in library.key]
    shown = [k.sensitivity >= 3 for k in library.key]
    query = sql.SQL(
        "/* guiji {} conflicts */ SELECT {}, _losers, {} FROM guiji_resolved WHERE _losers IS NOT NULL"
    ).format(
        sql.SQL(library.name),
        sql.SQL(", ").join(sql.SQL("{0}::text AS {0}").format(sql.Identifier(k)) for k in keys),
        sql.SQL(", ").join(sql.Identifier(f"_w_{f.name}") for f in library.fields),
    )
    names = ["key_hmac", "key_masked", "field", "winner", "loser"]
    for rows in _chunks(conn, query):
        found: list[tuple[str, str, str, str, str]] = []
        for row in rows:
            values = [row[k] for k in keys]
            digest = hmac_key(settings, key_text(values))
            masked = key_text(mask(v) if secret else v for v, secret in zip(values, shown, strict=True))
            for field, losers in row["_losers"].items():
                winner = resources.get(row[f"_w_{field}"], "")
                found += [(digest, masked, field, winner, resources.get(int(o), o)) for o in losers]
        yield pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in zip(*found, strict=True)], names=names)


def _hash_dirty(conn: Conn, settings: Settings, library: LibraryModel) -> None:
    """The keyed hashes of the keys in ``guiji_dirty``, as a temporary table."""
    import pyarrow as pa

    from guiji.library.load import copy_batches
    from guiji.secrets import hmac_key

    conn.execute("/* guiji conflicts */ CREATE TEMP TABLE guiji_dirty_hmac (key_hmac text) ON COMMIT DROP")
    query = sql.SQL("/* guiji conflicts */ SELECT {} FROM guiji_dirty").format(
        sql.SQL(", ").join(sql.SQL("{0}::text AS {0}").format(sql.Identifier(k.name)) for k in library.key)
    )
    for rows in _chunks(conn, query):
        hashes = [hmac_key(settings, key_text(row[k.name] for k in library.key)) for row in rows]
        batch = pa.RecordBatch.from_arrays([pa.array(hashes, pa.string())], names=["key_hmac"])
        copy_batches(conn, sql.Identifier("guiji_dirty_hmac"), ("key_hmac",), iter([batch]), who="conflicts")
    conn.execute("/* guiji conflicts */ ANALYZE guiji_dirty_hmac")


def _chunks(conn: Conn, query: sql.Composed, size: int = 20_000) -> Iterator[list[dict[str, Any]]]:
    """The rows of a query by a server-side cursor, in bounded memory."""
    with conn.cursor(name="guiji_rows") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(size):
            yield rows
