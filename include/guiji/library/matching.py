"""Rows without any key that may be one of the library's: proposals for a person, never merges.

What is compared with what is bounded by the library's ``matching.block``: only rows whose block fields are equal, at
most ``MOST_CANDIDATES`` library rows for each. A row is compared once, and again when it changes or when library rows
of its block are new. A confirmed match holds for the values it was confirmed on: when they change, it is withdrawn.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.library.feeds import Feed, compile_condition, keyed_rows, row_key
from guiji.library.tables import columns_sql, library_table, pg_type, source_table
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryModel, Matching

    Conn = Connection[dict[str, Any]]

log = logging.getLogger(__name__)

MOST_CANDIDATES = 2_000
#: proposals for one row
MOST_PROPOSALS = 3
#: likeness of a field where one side has no value
UNKNOWN = 50.0
_PAIRS_AT_ONCE = 20_000


def withdraw_changed(conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]) -> int:
    """Withdraws matches and proposals whose row says something else now or serves no more; marks their keys dirty."""
    withdrawn = 0
    for feed in (f for f in feeds if f.is_matched(library)):
        withdrawn += conn.execute(
            sql.SQL(
                "/* guiji {who} matching */ WITH gone AS (UPDATE ops.match_proposal c SET status = 'withdrawn',"
                " decided_at = {now}, decided_by = 'guiji', why = '数据已变化' WHERE c.library = {library}"
                " AND c.resource_id = {resource} AND c.status IN ('proposed', 'confirmed') AND NOT EXISTS ("
                "SELECT FROM {table} y WHERE {same} AND y._deleted_at IS NULL AND {evidence} = c.evidence)"
                " RETURNING c.key)"
                " INSERT INTO ops.dirty_key (library, key, batch_id, marked_at) SELECT {library}, key, 'link', {now}"
                " FROM gone"
            ).format(
                who=sql.SQL(library.name),
                now=sql.Literal(settings.now()),
                library=sql.Literal(library.name),
                resource=sql.Literal(feed.resource.id),
                table=source_table(feed.resource),
                same=_same_row(feed),
                evidence=_evidence(library, feed),
            )
        ).rowcount
    return withdrawn


def propose_matches(conn: Conn, settings: Settings, library: LibraryModel, feeds: Sequence[Feed]) -> int:
    """Compares rows without a key with the library and writes what is alike to ``ops.match_proposal``; returns how many."""
    rule = library.matching
    matched = [f for f in feeds if f.is_matched(library)]
    if rule is None or not matched:
        return 0
    _ensure_index(conn, library, rule)
    return sum(_propose(conn, settings, library, feed, rule) for feed in matched)


def _propose(conn: Conn, settings: Settings, library: LibraryModel, feed: Feed, rule: Matching) -> int:
    names = {"library": sql.Literal(library.name), "resource": sql.Literal(feed.resource.id)}
    now = settings.now()
    rows = conn.execute(
        sql.SQL("/* guiji {} matching */ CREATE TEMP TABLE guiji_keyless ON COMMIT DROP AS {}").format(
            sql.SQL(library.name), _keyless_rows(library, feed, rule)
        )
    ).rowcount
    last = conn.execute(
        "/* guiji matching */ SELECT matched_at FROM ops.match_run WHERE library = %s AND resource_id = %s",
        (library.name, feed.resource.id),
    ).fetchone()
    found = 0
    if rows:
        conn.execute("/* guiji matching */ ANALYZE guiji_keyless")
        for chunk in _pairs(conn, library, rule, last["matched_at"] if last else None):
            found += _keep(conn, library, feed, rule, chunk, now)
        conn.execute(
            sql.SQL(
                "/* guiji matching */ INSERT INTO ops.match_seen (library, resource_id, row_key, evidence)"
                " SELECT {library}, {resource}, row_key, evidence FROM guiji_keyless WHERE NOT seen"
                " ON CONFLICT (library, resource_id, row_key) DO UPDATE SET evidence = excluded.evidence"
            ).format(**names)
        )
    conn.execute("/* guiji matching */ DROP TABLE guiji_keyless")
    conn.execute(
        "/* guiji matching */ INSERT INTO ops.match_run (library, resource_id, matched_at) VALUES (%s, %s, %s)"
        " ON CONFLICT (library, resource_id) DO UPDATE SET matched_at = excluded.matched_at",
        (library.name, feed.resource.id, now),
    )
    return found


def _keyless_rows(library: LibraryModel, feed: Feed, rule: Matching) -> sql.Composable:
    """The feed's rows that belong to no key: ``row_key``, ``evidence``, ``seen``, ``b_<n>``, ``c_<n>``."""
    mapping = feed.mapping
    block = [mapping.fields[n] for n in rule.block]
    compare = [mapping.fields[n] for n in rule.compare]
    conditions: list[sql.Composable] = [
        sql.SQL("x._deleted_at IS NULL"),
        *(sql.SQL("x.{} IS NULL").format(sql.Identifier(f"_k_{k.name}")) for k in library.key[:1]),
        *(sql.SQL("x.{} IS NOT NULL").format(sql.Identifier(b)) for b in block),
    ]
    if mapping.where:
        conditions.append(sql.SQL("({})").format(compile_condition(feed.resource, mapping.where)))
    types = {f.name: pg_type(f.type) for f in library.fields}
    return sql.SQL(
        "SELECT {key} AS row_key, {evidence} AS evidence, COALESCE(s.evidence = {evidence}, false) AS seen, {block},"
        " {compare} FROM {rows} x LEFT JOIN ops.match_seen s ON s.library = {library} AND s.resource_id = {resource}"
        " AND s.row_key = {key} WHERE {conditions}"
    ).format(
        key=row_key(feed, "x"),
        evidence=_evidence(library, feed, "x"),
        block=sql.SQL(", ").join(
            sql.SQL("x.{}::{} AS {}").format(sql.Identifier(b), sql.SQL(types[n]), sql.Identifier(f"b_{i}"))
            for i, (n, b) in enumerate(zip(rule.block, block, strict=True))
        ),
        compare=sql.SQL(", ").join(
            sql.SQL("x.{}::text AS {}").format(sql.Identifier(c), sql.Identifier(f"c_{i}"))
            for i, c in enumerate(compare)
        ),
        rows=keyed_rows(library, feed),
        library=sql.Literal(library.name),
        resource=sql.Literal(feed.resource.id),
        conditions=sql.SQL(" AND ").join(conditions),
    )


def _pairs(conn: Conn, library: LibraryModel, rule: Matching, matched_at: Any) -> Iterator[list[dict[str, Any]]]:
    """Rows not compared yet with every library row of their block, the others with those that are new since."""
    key = sql.SQL("ARRAY[{}]").format(
        sql.SQL(", ").join(sql.SQL("l.{}::text").format(sql.Identifier(k.name)) for k in library.key)
    )
    texts = sql.SQL(", ").join(
        sql.SQL("l.{}::text AS {}").format(sql.Identifier(n), sql.Identifier(f"l_{i}"))
        for i, n in enumerate(rule.compare)
    )
    same = sql.SQL(" AND ").join(
        sql.SQL("l.{} = x.{}").format(sql.Identifier(n), sql.Identifier(f"b_{i}")) for i, n in enumerate(rule.block)
    )
    parts = {
        "key": key,
        "texts": texts,
        "table": library_table(library),
        "same": same,
        "order": columns_sql([k.name for k in library.key], "l"),
        "most": sql.SQL(str(MOST_CANDIDATES)),
        "since": sql.Literal(matched_at),
    }
    query = sql.SQL(
        "/* guiji matching */ SELECT x.*, l.* FROM guiji_keyless x CROSS JOIN LATERAL (SELECT {key} AS key, {texts}"
        " FROM {table} l WHERE {same} AND l._deleted_at IS NULL ORDER BY {order} LIMIT {most}) l WHERE NOT x.seen"
    ).format(**parts)
    if matched_at is not None:
        query += sql.SQL(
            " UNION ALL SELECT x.*, {key} AS key, {texts} FROM guiji_keyless x JOIN {table} l ON {same}"
            " WHERE x.seen AND l._deleted_at IS NULL AND l._resolved_at >= {since}::timestamptz"
        ).format(**parts)
    with conn.cursor(name="guiji_pairs") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(_PAIRS_AT_ONCE):
            yield rows


def _keep(
    conn: Conn, library: LibraryModel, feed: Feed, rule: Matching, pairs: Sequence[dict[str, Any]], now: Any
) -> int:
    """Writes the likest pairs; what a person has decided on the same values stays decided."""
    scores = score_pairs(rule, pairs)
    best: dict[tuple[str, ...], list[tuple[float, tuple[str, ...], str]]] = {}
    for pair, score in zip(pairs, scores, strict=True):
        if score >= rule.threshold:
            best.setdefault(tuple(pair["row_key"]), []).append((score, tuple(pair["key"]), pair["evidence"]))
    chosen = [
        (library.name, feed.resource.id, list(row), list(key), round(score, 2), evidence, now)
        for row, candidates in best.items()
        for score, key, evidence in sorted(candidates, key=lambda c: (-c[0], c[1]))[:MOST_PROPOSALS]
    ]
    if not chosen:
        return 0
    with conn.cursor() as cursor:
        cursor.executemany(
            """/* guiji matching */
            INSERT INTO ops.match_proposal AS c (library, resource_id, row_key, key, score, evidence, proposed_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (library, resource_id, row_key, key) DO UPDATE SET score = excluded.score,
              evidence = excluded.evidence, status = 'proposed', proposed_at = excluded.proposed_at, decided_at = NULL,
              decided_by = NULL, why = NULL WHERE c.evidence <> excluded.evidence OR c.status = 'withdrawn'""",
            chosen,
        )
        return cursor.rowcount


def score_pairs(rule: Matching, pairs: Sequence[dict[str, Any]]) -> list[float]:
    """Likeness of each pair, 0 to 100: the weighted mean over the compared fields, half a likeness where one is unknown."""
    import numpy as np
    from rapidfuzz.fuzz import ratio
    from rapidfuzz.process import cpdist

    total = np.zeros(len(pairs))
    for i, weight in enumerate(rule.compare.values()):
        ours = [p[f"c_{i}"] or "" for p in pairs]
        theirs = [p[f"l_{i}"] or "" for p in pairs]
        known = np.array([bool(a and b) for a, b in zip(ours, theirs, strict=True)], np.bool_)
        total += weight * np.where(known, cpdist(ours, theirs, scorer=ratio), UNKNOWN)
    scores: list[float] = (total / sum(rule.compare.values())).tolist()
    return scores


def _evidence(library: LibraryModel, feed: Feed, alias: str = "y") -> sql.Composable:
    """A hash of what is compared."""
    assert library.matching is not None
    names = [feed.mapping.fields[n] for n in (*library.matching.block, *library.matching.compare)]
    return sql.SQL("md5(ROW({})::text)").format(columns_sql(names, alias))


def _same_row(feed: Feed) -> sql.Composable:
    model = feed.resource.model
    return sql.SQL(" AND ").join(
        sql.SQL("y.{} = c.row_key[{}]::{}").format(
            sql.Identifier(k), sql.SQL(str(n)), sql.SQL(pg_type(model.field(k).type))
        )
        for n, k in enumerate(model.key, 1)
    )


def _ensure_index(conn: Conn, library: LibraryModel, rule: Matching) -> None:
    conn.execute(
        sql.SQL("/* guiji matching */ CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
            sql.Identifier(f"{library.table[:40]}_match_idx"),
            library_table(library),
            columns_sql([*rule.block, *(k.name for k in library.key)]),
        )
    )
