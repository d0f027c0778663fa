"""The departments that disagree (多源比对): rows of ``ops.conflict``, and a word to those who are to look at them.

A conflict is a key, a field and a resource whose value was not taken and differs. It is open from ``first_seen`` until
``settled_at``; ``last_seen`` is when resolving met it last. Keys are kept as keyed hashes and masked texts, values
masked by the field's level. ``tied``: nothing but the order of departments decided, so nobody is told to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.library.feeds import Feed
from guiji.library.measured import unit_of, with_unit
from guiji.library.provenance import key_text
from guiji.library.strategies import STRATEGIES
from guiji.library.survivorship import contested
from guiji.masking import mask, scrub
from guiji.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

    from guiji.catalog.models import LibraryField, LibraryModel

    Conn = Connection[dict[str, Any]]

_COLUMNS = ("key_hmac", "key_masked", "field", "winner", "loser", "winner_value", "loser_value", "strategy", "tied")
_LONGEST_VALUE = 60


def record_conflicts(
    conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed], *, everything: bool
) -> int:
    """Writes who disagrees with whom over ``guiji_resolved`` and settles what is agreed now; returns how many differ.

    ``everything``: what it doesn't hold is settled as well; else only what concerns the keys of ``guiji_dirty``.
    Departments with new disagreements get an event in the outbox, unless one waits there already.
    """
    from guiji.library.load import copy_batches

    conn.execute(
        "/* guiji conflicts */ CREATE TEMP TABLE guiji_conflict ON COMMIT DROP AS SELECT key_hmac, key_masked, field,"
        " winner, loser, winner_value, loser_value, strategy, tied FROM ops.conflict LIMIT 0"
    )
    n = 0
    for batch in _conflict_batches(conn, settings, library, feeds):
        n += copy_batches(
            conn, sql.Identifier("guiji_conflict"), _COLUMNS, iter([batch]), who=f"{library.name} conflicts"
        )
    conn.execute("/* guiji conflicts */ ANALYZE guiji_conflict")
    now = settings.now()
    open_ones = conn.execute(
        "/* guiji conflicts */ SELECT 1 FROM ops.conflict WHERE library = %s AND settled_at IS NULL"
        " AND scope = 'departments' LIMIT 1",
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
                " AND c.settled_at IS NULL AND c.scope = 'departments' AND {} AND NOT EXISTS (SELECT FROM guiji_conflict n"
                " WHERE n.key_hmac = c.key_hmac AND n.field = c.field AND n.loser = c.loser)"
            ).format(concerned),
            {"now": now, "library": library.name},
        )
        conn.execute("/* guiji conflicts */ DROP TABLE IF EXISTS guiji_dirty_hmac")
    if n:
        _tell_departments(conn, settings, library)
        conn.execute(
            """/* guiji conflicts */
            INSERT INTO ops.conflict AS c (library, key_hmac, key_masked, field, winner, loser, winner_department,
              loser_department, winner_value, loser_value, strategy, tied, first_seen, last_seen)
            SELECT DISTINCT ON (key_hmac, field, loser) %(library)s, key_hmac, key_masked, field, winner, loser,
              split_part(winner, '.', 1), split_part(loser, '.', 1), winner_value, loser_value, strategy, tied,
              %(now)s::timestamptz, %(now)s::timestamptz FROM guiji_conflict ORDER BY key_hmac, field, loser, winner
            ON CONFLICT (library, key_hmac, field, loser, scope) DO UPDATE SET winner = excluded.winner,
              winner_department = excluded.winner_department, loser_department = excluded.loser_department,
              winner_value = excluded.winner_value, loser_value = excluded.loser_value, strategy = excluded.strategy,
              tied = excluded.tied, last_seen = excluded.last_seen, settled_at = NULL,
              first_seen = CASE WHEN c.settled_at IS NULL THEN c.first_seen ELSE excluded.first_seen END""",
            {"library": library.name, "now": now},
        )
    conn.execute("/* guiji conflicts */ DROP TABLE guiji_conflict")
    if n > 1000:
        # else the planner takes a table that has just grown for small, and compares every pair
        conn.execute("/* guiji conflicts */ ANALYZE ops.conflict (library, key_hmac)")
    return n


def _tell_departments(conn: Conn, settings: Settings, library: LibraryModel) -> None:
    """An event for each resource with a disagreement that was not open before; of a tie, for both parties.

    The event says which library only: the mail counts what is open when it is written.
    """
    found = conn.execute(
        """/* guiji conflicts tell */
        WITH fresh AS (SELECT winner, loser, bool_or(tied) AS tied FROM guiji_conflict n WHERE NOT EXISTS (
            SELECT FROM ops.conflict c WHERE c.library = %(library)s AND c.key_hmac = n.key_hmac AND c.field = n.field
              AND c.loser = n.loser AND c.scope = 'departments' AND c.settled_at IS NULL) GROUP BY 1, 2)
        SELECT DISTINCT resource_id FROM (
          SELECT loser AS resource_id FROM fresh UNION ALL SELECT winner FROM fresh WHERE tied) x
        WHERE resource_id <> '' AND NOT EXISTS (SELECT FROM ops.outbox o WHERE o.resource_id = x.resource_id
            AND o.kind = 'conflict' AND o.payload->>'library' = %(library)s AND o.mail_id IS NULL
            AND o.sent_at IS NULL AND o.dead_at IS NULL)
        ORDER BY 1""",
        {"library": library.name},
    ).fetchall()
    for row in found:
        resource_id = str(row["resource_id"])
        ledger.add_event(
            conn,
            settings,
            resource_id.split(".")[0],
            "conflict",
            "conflict",
            resource_id=resource_id,
            payload={"library": library.name},
        )


def _conflict_batches(
    conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]
) -> Iterator[pa.RecordBatch]:
    """One row per key, field and resource whose value lost; what was joined disagrees with nobody."""
    import pyarrow as pa

    from guiji.secrets import make_hasher

    resources = {f.ordinal: f.resource.id for f in feeds}
    fields = {f.name: f for f, _ in contested(library, feeds) if not STRATEGIES[f.strategy].joins}
    keys = [k.name for k in library.key]
    secret = [k.sensitivity >= 3 for k in library.key]
    query = sql.SQL(
        "/* guiji {} conflicts */ SELECT {}, _losers, _ties FROM guiji_resolved WHERE _losers IS NOT NULL"
    ).format(
        sql.SQL(library.name),
        sql.SQL(", ").join(
            [
                *(sql.SQL("{0}::text AS {0}").format(sql.Identifier(k)) for k in keys),
                *(sql.SQL("{} AS {}").format(_shown(library, f), sql.Identifier(f.name)) for f in fields.values()),
                *(sql.Identifier(f"_w_{name}") for name in fields),
            ]
        ),
    )
    hash_text = make_hasher(settings)
    for rows in read_chunks(conn, query):
        found: list[tuple[str, str, str, str, str, str, str, str, bool]] = []
        for row in rows:
            losers = {name: values for name, values in row["_losers"].items() if name in fields}
            if not losers:
                continue
            digest = hash_text(key_text(row[k] for k in keys))
            masked = key_text(mask(row[k]) if hide else row[k] for k, hide in zip(keys, secret, strict=True))
            ties = row["_ties"] or ()
            for name, values in losers.items():
                field = fields[name]
                winner, won = resources.get(row[f"_w_{name}"], ""), mask_value(field, row[name])
                found += [
                    (
                        digest,
                        masked,
                        name,
                        winner,
                        resources.get(int(o), o),
                        won,
                        mask_value(field, value),
                        field.strategy,
                        f"{name}:{o}" in ties,
                    )
                    for o, value in values.items()
                ]
        if found:
            *texts, tied = zip(*found, strict=True)
            arrays = [*(pa.array(c, pa.string()) for c in texts), pa.array(tied, pa.bool_())]
            yield pa.RecordBatch.from_arrays(arrays, names=list(_COLUMNS))


def _shown(library: LibraryModel, field: LibraryField) -> sql.Composable:
    column = sql.Identifier(field.name)
    if field.type == "geometry":
        return sql.SQL("'md5:' || md5({})").format(column)
    unit = unit_of(library, field)
    return with_unit(column, sql.Identifier(unit.name) if unit else None)


def mask_value(field: LibraryField, value: object) -> str:
    if field.type == "geometry":
        return "图形"
    if field.sensitivity >= 3:
        return mask(value)
    text = scrub(str(value))
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def _hash_dirty(conn: Conn, settings: Settings, library: LibraryModel) -> None:
    """The keyed hashes of the keys in ``guiji_dirty``, as a temporary table."""
    import pyarrow as pa

    from guiji.library.load import copy_batches
    from guiji.secrets import make_hasher

    conn.execute("/* guiji conflicts */ CREATE TEMP TABLE guiji_dirty_hmac (key_hmac text) ON COMMIT DROP")
    query = sql.SQL("/* guiji conflicts */ SELECT {} FROM guiji_dirty").format(
        sql.SQL(", ").join(sql.SQL("{0}::text AS {0}").format(sql.Identifier(k.name)) for k in library.key)
    )
    hash_text = make_hasher(settings)
    for rows in read_chunks(conn, query):
        hashes = [hash_text(key_text(row[k.name] for k in library.key)) for row in rows]
        batch = pa.RecordBatch.from_arrays([pa.array(hashes, pa.string())], names=["key_hmac"])
        copy_batches(conn, sql.Identifier("guiji_dirty_hmac"), ("key_hmac",), iter([batch]), who="conflicts")
    conn.execute("/* guiji conflicts */ ANALYZE guiji_dirty_hmac")


def read_chunks(conn: Conn, query: sql.Composed, size: int = 20_000) -> Iterator[list[dict[str, Any]]]:
    """The rows of a query by a server-side cursor, in bounded memory; other statements may run between two chunks."""
    with conn.cursor(name="guiji_rows") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(size):
            yield rows
