"""Dirty keys into library rows: set-based SQL in the warehouse, one transaction per chunk.

A library row depends on the source rows that serve and on the library's strategies, on nothing else: resolving in
another order, twice, or after a crash gives the same rows. What didn't change isn't written. The first load of a
library is one INSERT … SELECT over all its sources; later only keys that a publish has marked are looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.errors import CatalogError, UsageError
from guiji.library.conflicts import record_conflicts
from guiji.library.feeds import Feed, feed_sql, join_feed
from guiji.library.link import follow_links, usable
from guiji.library.matching import propose_matches, withdraw_changed
from guiji.library.provenance import list_ordinals, register_feeds
from guiji.library.survivorship import chosen_sql, contested, fingerprint, handed_on, losers_sql, tied_sql
from guiji.library.tables import columns_sql, ensure_library_tables, library_table, pg_type
from guiji.library.transact import lock_table, retry, translate_errors, tune
from guiji.library.write import write_first, write_resolved
from guiji.settings import Settings, failpoint

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import LibraryModel

    Conn = Connection[dict[str, Any]]

CHUNK_KEYS = 50_000


@dataclass(frozen=True)
class ResolveRecord:
    """What one resolve did to a library."""

    library: str
    keys: int
    rows_new: int
    rows_changed: int
    rows_unchanged: int
    rows_deleted: int
    conflicts: int
    seconds: float

    def __add__(self, other: ResolveRecord) -> ResolveRecord:
        return ResolveRecord(
            self.library,
            self.keys + other.keys,
            self.rows_new + other.rows_new,
            self.rows_changed + other.rows_changed,
            self.rows_unchanged + other.rows_unchanged,
            self.rows_deleted + other.rows_deleted,
            self.conflicts + other.conflicts,
            self.seconds + other.seconds,
        )

    def __str__(self) -> str:
        return (
            f"{self.library}: {self.keys:,} keys resolved: {self.rows_new:,} new, {self.rows_changed:,} changed, "
            f"{self.rows_unchanged:,} unchanged, {self.rows_deleted:,} deleted; {self.conflicts:,} values disagree "
            f"({self.seconds:.1f} s)"
        )


def resolve(
    conn: Conn, settings: Settings, library: LibraryModel | str, catalog: Catalog, *, chunk_keys: int = CHUNK_KEYS
) -> ResolveRecord:
    """Resolves everything that is dirty in a library; commits chunk by chunk. Nothing dirty: answers at once."""
    if isinstance(library, str):
        if library not in catalog.libraries:
            raise UsageError(f"There is no library {library!r}. Libraries: {', '.join(sorted(catalog.libraries))}.")
        library = catalog.libraries[library]
    model = library
    start = time.perf_counter()
    total = ResolveRecord(model.name, 0, 0, 0, 0, 0, 0, 0.0)

    def once() -> ResolveRecord | None:
        with ledger.transaction(conn):
            record = _resolve_some(conn, settings, model, catalog, chunk_keys)
            failpoint(settings, "resolve.before_commit")
        return record

    _demand_sources(conn, model, catalog)
    with translate_errors(model.name, "resolve"):
        if model.matching is not None:
            retry(conn, lambda: _match(conn, settings, model, catalog, withdraw_changed))
        while (record := retry(conn, once)) is not None:
            total += record
        if model.matching is not None:
            retry(conn, lambda: _match(conn, settings, model, catalog, propose_matches))
    return total + ResolveRecord(model.name, 0, 0, 0, 0, 0, 0, time.perf_counter() - start)


def _demand_sources(conn: Conn, library: LibraryModel, catalog: Catalog) -> None:
    """Raises CatalogError when a source of the library can't be read from the catalog just now.

    To resolve without it would take its department's values out of the library because of a typing error. A source
    that left the catalog for good is another matter: it has no file any more.
    """
    if not catalog.broken_resources:
        return
    known = conn.execute(
        "/* guiji resolve */ SELECT DISTINCT resource_id FROM ops.library_source WHERE library = %s"
        " AND retired_at IS NULL AND resource_id = ANY(%s) ORDER BY 1",
        (library.name, sorted(catalog.broken_resources)),
    ).fetchall()
    conn.commit()
    if known:
        names = [str(r["resource_id"]) for r in known]
        problems = tuple(p for name in names for p in catalog.broken_resources[name])
        raise CatalogError(
            f"{', '.join(names)} feeds {library.name}, but its catalog file can't be used: {problems[0]} "
            "Nothing was resolved and the library goes on serving as it is; mend the file, then resolve again.",
            problems,
            library=library.name,
        )


def _match(conn: Conn, settings: Settings, library: LibraryModel, catalog: Catalog, step: Callable[..., int]) -> int:
    """One step of matching in a transaction of its own; nothing before the library is there."""
    with ledger.transaction(conn):
        lock_table(conn, f"library.{library.table}")
        feeds = usable(conn, library, register_feeds(conn, library, catalog, settings.now()))
        there = conn.execute(
            "/* guiji matching */ SELECT to_regclass(%s) IS NOT NULL AS there", (f'library."{library.table}"',)
        ).fetchone()
        return step(conn, settings, library, feeds) if there and there["there"] else 0


def _resolve_some(
    conn: Conn, settings: Settings, library: LibraryModel, catalog: Catalog, chunk_keys: int
) -> ResolveRecord | None:
    """One chunk in the caller's transaction; None when nothing is dirty."""
    lock_table(conn, f"library.{library.table}")
    tune(conn)
    now = settings.now()
    feeds = register_feeds(conn, library, catalog, now)
    ensure_library_tables(conn, library, list_ordinals(conn, library))
    live = usable(conn, library, feeds)
    if not live:
        return None
    mark, former = fingerprint(library, feeds), _former_fingerprint(conn, library)
    is_empty = _is_empty(conn, library)
    if is_empty and not (former != mark or _take_all_marks(conn, library)):
        return None
    if is_empty:
        _take_all_marks(conn, library)
        record = _resolve_first(conn, settings, library, live)
    else:
        n = _take_dirty(conn, library, live, chunk_keys, everything=former != mark)
        if n is None:
            return None
        if n == 0:  # marks by secondary keys that stand for no key
            return ResolveRecord(library.name, 0, 0, 0, 0, 0, 0, 0.0)
        record = _resolve_dirty(conn, settings, library, live, n, everything=former != mark)
    conn.execute(
        "/* guiji resolve */ INSERT INTO ops.library_state (library, fingerprint, resolved_at) VALUES (%s, %s, %s)"
        " ON CONFLICT (library) DO UPDATE SET fingerprint = excluded.fingerprint, resolved_at = excluded.resolved_at",
        (library.name, mark, now),
    )
    return record


def _resolve_first(conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]) -> ResolveRecord:
    _make_resolved(conn, library, feeds, dirty=False)
    n = write_first(conn, settings, library, feeds)
    conflicts = _compare_sources(conn, settings, library, feeds, everything=True)
    conn.execute("/* guiji resolve */ DROP TABLE guiji_resolved")
    return ResolveRecord(library.name, n, n, 0, 0, 0, conflicts, 0.0)


def _resolve_dirty(
    conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed], keys: int, *, everything: bool
) -> ResolveRecord:
    resolved = _make_resolved(conn, library, feeds, dirty=True)
    conn.execute("/* guiji resolve */ ANALYZE guiji_resolved")
    new, changed, deleted = write_resolved(conn, settings, library, feeds)
    conflicts = _compare_sources(conn, settings, library, feeds, everything=everything)
    conn.execute("/* guiji resolve */ DROP TABLE guiji_resolved, guiji_dirty")
    return ResolveRecord(library.name, keys, new, changed, resolved - new - changed, deleted, conflicts, 0.0)


def _make_resolved(conn: Conn, library: LibraryModel, feeds: Sequence[Feed], *, dirty: bool) -> int:
    """Fills ``guiji_resolved``; returns its rows. CREATE TABLE AS may join in parallel, INSERT … SELECT may not."""
    return conn.execute(
        sql.SQL("/* guiji {} resolve */ CREATE TEMP TABLE guiji_resolved ON COMMIT DROP AS {}").format(
            sql.SQL(library.name), resolved_sql(library, feeds, dirty=dirty)
        )
    ).rowcount


def _compare_sources(
    conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed], *, everything: bool
) -> int:
    """Records who disagrees over the resolved rows; nobody can where every field has one source. What was open when
    there were more is settled by the resolving of everything that follows such a change."""
    if not everything and not contested(library, feeds):
        return 0
    return record_conflicts(conn, settings, library, feeds, everything=everything)


def resolved_sql(library: LibraryModel, feeds: Sequence[Feed], *, dirty: bool) -> sql.Composed:
    """The library rows as they should be: keys, fields, ``_w_<field>`` winners, ``_batch_<n>``, ``_losers``,
    ``_ties``, ``_batch_id``, ``_row_hash`` and ``_pub``; of the keys in ``guiji_dirty`` (those with any source row), or of all."""
    keys = [k.name for k in library.key]
    aliases = [f.alias for f in feeds]
    inner: list[sql.Composable] = [
        sql.SQL("{} AS {}").format(
            sql.Identifier("d", k) if dirty else _coalesce([sql.Identifier(a, f"k_{k}") for a in aliases]),
            sql.Identifier(k),
        )
        for k in keys
    ]
    for field in library.fields:
        value, winner = chosen_sql(library, field, feeds)
        inner.append(sql.SQL("{} AS {}").format(value, sql.Identifier(field.name)))
        inner.append(sql.SQL("{} AS {}").format(winner, sql.Identifier(f"_w_{field.name}")))
    inner += handed_on(library, feeds)
    inner += [
        sql.SQL("{}._batch AS {}").format(sql.Identifier(f.alias), sql.Identifier(f"_batch_{f.ordinal}")) for f in feeds
    ]
    newest = _greatest([sql.SQL("{}._pub").format(sql.Identifier(a)) for a in aliases])
    inner += [
        sql.SQL("{} AS _pub").format(newest),
        sql.SQL("CASE {} {} END AS _batch_id").format(
            newest,
            sql.SQL(" ").join(sql.SQL("WHEN {0}._pub THEN {0}._batch").format(sql.Identifier(a)) for a in aliases),
        ),
        sql.SQL("{} AS _row_hash").format(
            sql.SQL(" # ").join(sql.SQL("COALESCE({}._hash, 0)").format(sql.Identifier(a)) for a in aliases)
        ),
    ]
    outer = [
        *keys,
        *(n for f in library.fields for n in (f.name, f"_w_{f.name}")),
        *(f"_batch_{f.ordinal}" for f in feeds),
        "_batch_id",
        "_row_hash",
        "_pub",
    ]
    # OFFSET 0 keeps the inner query whole: else the planner computes a winner anew wherever it is mentioned
    return sql.SQL("SELECT {}, {} AS _losers, {} AS _ties FROM (SELECT {} FROM {} OFFSET 0) r").format(
        columns_sql(outer, "r"),
        losers_sql(library, feeds),
        tied_sql(library, feeds),
        sql.SQL(", ").join(inner),
        _from(library, feeds, dirty),
    )


def _from(library: LibraryModel, feeds: Sequence[Feed], dirty: bool) -> sql.Composable:
    keys = [k.name for k in library.key]
    if dirty:
        joins = [join_feed(library, f) for f in feeds]
        anyone = sql.SQL(" OR ").join(sql.SQL("{}._batch IS NOT NULL").format(sql.Identifier(f.alias)) for f in feeds)
        return sql.SQL("guiji_dirty d {} WHERE {}").format(sql.SQL(" ").join(joins), anyone)
    text: sql.Composable = sql.SQL("({}) {}").format(feed_sql(library, feeds[0]), sql.Identifier(feeds[0].alias))
    for i, feed in enumerate(feeds[1:], 1):
        match = sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(
                _coalesce([sql.Identifier(f.alias, f"k_{k}") for f in feeds[:i]]), sql.Identifier(feed.alias, f"k_{k}")
            )
            for k in keys
        )
        text = sql.SQL("{} FULL JOIN ({}) {} ON {}").format(
            text, feed_sql(library, feed), sql.Identifier(feed.alias), match
        )
    return text


def _coalesce(values: Sequence[sql.Composable]) -> sql.Composable:
    return values[0] if len(values) == 1 else sql.SQL("COALESCE({})").format(sql.SQL(", ").join(values))


def _greatest(values: Sequence[sql.Composable]) -> sql.Composable:
    return values[0] if len(values) == 1 else sql.SQL("GREATEST({})").format(sql.SQL(", ").join(values))


# --- what is dirty -----------------------------------------------------------------------------------


def _take_dirty(
    conn: Conn, library: LibraryModel, feeds: Sequence[Feed], chunk_keys: int, *, everything: bool
) -> int | None:
    """Moves what is dirty into ``guiji_dirty`` and returns the number of keys; None when nothing was marked.

    A mark that commits later than this reading stays for the next chunk; what it marks is then resolved again.
    """
    keys = columns_sql(k.name for k in library.key)
    conn.execute(
        sql.SQL("/* guiji resolve */ CREATE TEMP TABLE guiji_dirty ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
            keys, library_table(library)
        )
    )
    typed = sql.SQL(", ").join(
        sql.SQL("key[{}]::{}").format(sql.SQL(str(i)), sql.SQL(pg_type(k.type))) for i, k in enumerate(library.key, 1)
    )
    marked = {
        r["resource_id"]
        for r in conn.execute(
            "/* guiji resolve */ DELETE FROM ops.dirty_library WHERE library = %s RETURNING resource_id",
            (library.name,),
        )
    }
    whole = everything or bool(marked)
    limit = sql.SQL("") if whole else sql.SQL(" LIMIT {}").format(sql.Literal(chunk_keys))
    conn.execute(
        sql.SQL(
            "/* guiji resolve */ CREATE TEMP TABLE guiji_mark ON COMMIT DROP AS"
            " SELECT key, link FROM ops.dirty_key LIMIT 0;"
            " WITH taken AS (DELETE FROM ops.dirty_key WHERE ctid = ANY(ARRAY("
            "SELECT ctid FROM ops.dirty_key WHERE library = {name}{limit})) RETURNING key, link)"
            " INSERT INTO guiji_mark SELECT key, link FROM taken GROUP BY key, link;"
            " INSERT INTO guiji_dirty SELECT {typed} FROM guiji_mark WHERE link IS NULL"
        ).format(name=sql.Literal(library.name), limit=limit, typed=typed)
    )
    sources = [f for f in feeds if everything or f.resource.id in marked]
    for feed in sources:
        inner = feed_sql(library, feed)
        named = sql.SQL(", ").join(sql.Identifier(f"k_{k.name}") for k in library.key)
        conn.execute(sql.SQL("/* guiji resolve */ INSERT INTO guiji_dirty SELECT {} FROM ({}) s").format(named, inner))
    if everything:
        conn.execute(
            sql.SQL("/* guiji resolve */ INSERT INTO guiji_dirty SELECT DISTINCT {} FROM {}").format(
                keys, library_table(library)
            )
        )
    linked = follow_links(conn, library, feeds, all_of=None if everything else marked)
    if whole or linked:
        conn.execute(
            sql.SQL(
                "/* guiji resolve */ CREATE TEMP TABLE guiji_dirty_once ON COMMIT DROP AS SELECT DISTINCT {} FROM guiji_dirty"
            ).format(keys)
        )
        conn.execute("/* guiji resolve */ DROP TABLE guiji_dirty")
        conn.execute("/* guiji resolve */ ALTER TABLE guiji_dirty_once RENAME TO guiji_dirty")
    conn.execute("/* guiji resolve */ ANALYZE guiji_dirty")
    row = conn.execute(
        "/* guiji resolve */ SELECT (SELECT count(*) FROM guiji_dirty) AS n, EXISTS (SELECT FROM guiji_mark) AS marks"
    ).fetchone()
    conn.execute("/* guiji resolve */ DROP TABLE guiji_mark")
    assert row is not None
    if not row["n"]:
        conn.execute("/* guiji resolve */ DROP TABLE guiji_dirty")
    return int(row["n"]) if row["n"] or row["marks"] or marked else None


def _take_all_marks(conn: Conn, library: LibraryModel) -> int:
    n = conn.execute("/* guiji resolve */ DELETE FROM ops.dirty_key WHERE library = %s", (library.name,)).rowcount
    return (
        n
        + conn.execute("/* guiji resolve */ DELETE FROM ops.dirty_library WHERE library = %s", (library.name,)).rowcount
    )


def _is_empty(conn: Conn, library: LibraryModel) -> bool:
    query = sql.SQL("/* guiji resolve */ SELECT 1 FROM {} LIMIT 1").format(library_table(library))
    return conn.execute(query).fetchone() is None


def _former_fingerprint(conn: Conn, library: LibraryModel) -> str | None:
    row = conn.execute(
        "/* guiji resolve */ SELECT fingerprint FROM ops.library_state WHERE library = %s", (library.name,)
    ).fetchone()
    return row["fingerprint"] if row else None
