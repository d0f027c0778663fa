"""The columns of each delivery, as delivered, and what changed since the batch that was published before (F-16).

Names, order and types make a fingerprint that is kept with the batch. What differs is told in words: silent NULLs
come from columns that were renamed or dropped without anybody saying so.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from guiji.masking import scrub, show_name
from guiji.settings import TIME_ZONE

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]

#: (name, type) in the order of the delivery; the type is empty where the form of supply has none
Columns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Drift:
    """How the columns of a delivery differ from those of the batch before it."""

    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()  # (before, now), by likeness: a guess that only words rest on
    retyped: tuple[tuple[str, str, str], ...] = ()  # (name, before, now)
    reordered: bool = False

    @property
    def is_change(self) -> bool:
        """More than the order changed."""
        return bool(self.added or self.dropped or self.retyped)


def fingerprint_columns(columns: Columns) -> str:
    """sha256 over names, order and types."""
    return hashlib.sha256(json.dumps([list(c) for c in columns], ensure_ascii=False).encode()).hexdigest()


def compare_columns(before: Columns, now: Columns) -> Drift:
    """What changed from one delivery to the next."""
    old, new = dict(before), dict(now)
    added = [c for c in new if c not in old]
    dropped = [c for c in old if c not in new]
    renamed: list[tuple[str, str]] = []
    for name in dropped:
        if near := difflib.get_close_matches(name, [a for a in added if a not in dict(renamed).values()], 1, 0.5):
            renamed.append((name, near[0]))
    kept = [c for c in old if c in new]
    # a form without types says nothing about them
    retyped = [(c, old[c], new[c]) for c in kept if old[c] and new[c] and old[c] != new[c]]
    return Drift(tuple(added), tuple(dropped), tuple(renamed), tuple(retyped), kept != [c for c in new if c in old])


def describe_drift(drift: Drift, declared: Collection[str] = ()) -> str:
    """The difference in Chinese; an empty text where there is none. A column that is not among the ``declared`` may be
    called by a person's name: it is masked then."""
    said = []

    def show(column: str) -> str:
        return column if column in declared else show_name(column)

    if drift.added:
        said.append("多了列" + "、".join(f"“{show(c)}”" for c in drift.added))
    if drift.dropped:
        said.append("少了列" + "、".join(f"“{show(c)}”" for c in drift.dropped))
    said += [f"“{show(before)}”可能已改名为“{show(now)}”" for before, now in drift.renamed]
    said += [f"列“{show(c)}”的类型由 {before} 变为 {now}" for c, before, now in drift.retyped]
    if drift.reordered:
        said.append("列的顺序有变（按列名读取，不影响采集）")
    return "，".join(said)


def describe_change(conn: Conn, resource: Resource, columns: Columns) -> tuple[str | None, str, Drift]:
    """(batch that was published last, the difference of ``columns`` from its columns in words, the difference)."""
    row = conn.execute(
        "/* guiji ledger schema */ SELECT s.batch_id, s.columns, b.published_at FROM ops.batch_schema s"
        " JOIN ops.batch b USING (batch_id) WHERE s.resource_id = %s AND b.status = 'published'"
        " ORDER BY b.published_at DESC, b.batch_no DESC LIMIT 1",
        (resource.id,),
    ).fetchone()
    if row is None or not columns:
        return None, "", Drift()
    drift = compare_columns([(name, kind) for name, kind in row["columns"]], columns)
    declared = {c for f in resource.model.fields for c in (f.source_column, f.title, *f.aliases)}
    said = describe_drift(drift, declared)
    if not said:
        return row["batch_id"], "", drift
    at = row["published_at"].astimezone(TIME_ZONE)
    return row["batch_id"], scrub(f"与上次（{at.year}年{at.month}月{at.day}日入库）相比，{said}。"), drift


def record_schema(conn: Conn, resource: Resource, batch_id: str, columns: Columns, at: datetime) -> None:
    """Keeps the columns of a batch with what differs from the one before, in the caller's transaction."""
    from psycopg.types.json import Jsonb

    if not columns:
        return
    before, said, drift = describe_change(conn, resource, columns)
    conn.execute(
        """/* guiji ledger schema */
        INSERT INTO ops.batch_schema
          (batch_id, resource_id, fingerprint, columns, compared_with, difference, is_drift, recorded_at)
        VALUES (%(batch_id)s, %(resource_id)s, %(fingerprint)s, %(columns)s, %(before)s, %(said)s, %(drift)s, %(at)s)
        ON CONFLICT (batch_id) DO UPDATE SET fingerprint = excluded.fingerprint, columns = excluded.columns,
          compared_with = excluded.compared_with, difference = excluded.difference, is_drift = excluded.is_drift,
          recorded_at = excluded.recorded_at""",
        {
            "batch_id": batch_id,
            "resource_id": resource.id,
            "fingerprint": fingerprint_columns(columns),
            "columns": Jsonb([list(c) for c in columns]),
            "before": before,
            "said": said or None,
            "drift": drift.is_change,
            "at": at,
        },
    )


def get_difference(conn: Conn, batch_id: str, *, drift_only: bool = False) -> str | None:
    """What the columns of a batch differ in from the batch before, in words; None where they don't."""
    row = conn.execute(
        "/* guiji ledger schema */ SELECT difference, is_drift FROM ops.batch_schema WHERE batch_id = %s", (batch_id,)
    ).fetchone()
    return None if row is None or (drift_only and not row["is_drift"]) else row["difference"]
