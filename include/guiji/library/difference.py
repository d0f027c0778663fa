# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""What a batch changes, found outside the database by comparing Parquet with Parquet (design §3.6).

The key of a rejected row counts as present: its last good row goes on serving. A snapshot's deletions are held back
altogether while a rejected row's key can't be read. A guard holds a batch that deletes, shrinks or grows more than
the resource's declared band, or moves the values of a code field (``distribution``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import (
    JUDGED_ON_KEY,
    NULLS_PREFIX,
    RAW_HASHES,
    ROW_HASH,
    SIGNATURE_KEY,
    cache_directory,
    copy_to_parquet,
    count_rows,
    open_engine,
    quote_identifier,
    render_expression,
    scan_parquet,
)
from guiji.errors import AccountingError, GuijiError
from guiji.library.distribution import (
    Counts,
    count_values,
    explain_shifts,
    keep_values,
    kept_columns,
    list_guarded,
    value_column,
)
from guiji.records import CheckedBatch, Difference, StagedBatch
from guiji.settings import Settings

__all__ = ["GONE", "Current", "StaleCarry", "cache_directory", "compare", "remembers"]

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource, ResourceModel


#: marks a row that serves no more and is kept for its time: nothing older may bring it back
GONE = "_gone"


def remembers(model: ResourceModel) -> bool:
    """Whether deletions have a time, so that a row which arrives late can be older than one (F-36)."""
    return model.load == "incremental" and bool(model.order) and model.tombstone is not None


@dataclass(frozen=True)
class Current:
    """The rows that serve now, soft-deleted ones excluded.

    ``path``: Parquet with the key columns, ``_row_hash`` and the order columns (typed as in the source table);
    None where nothing serves. ``complete``: True when it holds every serving row (snapshots), False when only the
    rows whose keys the batch has (incremental look-up). ``rows``: how many rows serve in the whole table.
    A snapshot cache written by ``compare`` may be given as it is; it has further columns. ``values``: how often each
    value of the guarded fields serves, where ``path`` can't say it. Of a resource that remembers its deletions
    (``remembers``), ``path`` holds deleted rows too, marked by ``GONE``.
    """

    path: str | None
    rows: int
    complete: bool
    values: Mapping[str, Counts] | None = None


class StaleCarry(GuijiError):
    """Rows were carried from a snapshot cache that no longer stands for what serves; the batch must be checked again."""

    retryable = True
    cause = "stale_carry"


def compare(
    resource: Resource, settings: Settings, staged: StagedBatch, checked: CheckedBatch, current: Current
) -> Difference:
    """The difference between what the batch brings and what serves; its counts add up to the rows read.

    Raises AccountingError when they don't, StaleCarry when the check carried rows from another cache than ``current``.
    """
    carries = checked.rows_carried > 0
    if carries and (current.path is None or checked.cache is None or not _is_same(checked.cache, current.path)):
        raise StaleCarry(
            f"Batch {checked.batch_id} of {resource.id} was checked against rows that no longer serve. "
            "Nothing was published; check the batch again.",
            batch_id=checked.batch_id,
        )
    with open_engine(settings, time_zone=resource.model.time_zone) as con:
        difference = _Comparison(con, resource, settings, checked, current, carries).run()
    _demand_equation(checked, difference)
    return difference


class _Comparison:
    """One comparison: the tables ``accepted`` and ``serving`` as views of its engine, and what is made of them."""

    def __init__(
        self,
        con: DuckDBPyConnection,
        resource: Resource,
        settings: Settings,
        checked: CheckedBatch,
        current: Current,
        carries: bool,
    ) -> None:
        self.con, self.resource, self.settings = con, resource, settings
        self.checked, self.current, self.carries = checked, current, carries
        self.model: ResourceModel = resource.model
        self.directory = Path(checked.directory)
        self.keys = [quote_identifier(k) for k in self.model.key]
        self.using = ", ".join(self.keys)

    def run(self) -> Difference:
        self._open_tables()
        ops = self._decide()
        changes = self._write_changes(ops)
        gone, notes = self._write_deleted(ops)
        new, changed = ops.get("new", 0), ops.get("changed", 0)
        unchanged = ops.get("unchanged", 0) + self.checked.rows_carried
        tombstones = self._write_tombstones(ops)
        deleted = self.directory / "deleted.parquet"
        cache = self._write_cache(deleted, new, changed, gone)
        reasons = (*self._guard(gone), *self._guard_values(cache))
        return Difference(
            changes=str(changes),
            deleted=str(deleted),
            tombstones=tombstones,
            cache=cache,
            rows_new=new,
            rows_changed=changed,
            rows_unchanged=unchanged,
            rows_superseded=ops.get("superseded", 0),
            rows_tombstone=ops.get("tombstone", 0),
            rows_deleted=gone,
            current_rows=self.current.rows,
            held_reasons=reasons,
            notes=notes,
        )

    def _open_tables(self) -> None:
        """``accepted``: rows that may serve. ``serving``: rows that serve and that the batch does not simply repeat."""
        accepted = scan_parquet(self.checked.accepted)
        tombstone = "false"
        if self.model.tombstone:
            tombstone = (
                f"coalesce({render_expression(self.model.tombstone, [f.name for f in self.model.fields])}, false)"
            )
        self.con.execute(f"CREATE TEMP VIEW accepted AS SELECT *, {tombstone} AS _tomb FROM {accepted}")
        columns = ", ".join([*self.keys, *self._order(), ROW_HASH])
        if self.current.path is None:
            self.con.execute(
                f"CREATE TEMP VIEW serving AS SELECT {columns}, false AS {GONE} FROM {accepted} WHERE false"
            )
        elif self.carries:
            assert self.checked.absent is not None
            self.con.execute(
                f"CREATE TEMP VIEW serving AS SELECT {columns}, false AS {GONE} "
                f"FROM {scan_parquet(self.current.path, row_number=True)} "
                f"WHERE file_row_number IN (SELECT _cache_row FROM {scan_parquet(self.checked.absent)})"
            )
        else:
            gone = GONE if remembers(self.model) else f"false AS {GONE}"
            self.con.execute(
                f"CREATE TEMP VIEW serving AS SELECT {columns}, {gone} FROM {scan_parquet(self.current.path)}"
            )

    def _order(self) -> list[str]:
        """The order fields beside the key, quoted."""
        return [quote_identifier(o) for o in self.model.order if o not in self.model.key]

    def _decide(self) -> dict[str, int]:
        """What each accepted row is: new, changed, unchanged, superseded or tombstone; rows per kind.

        Leaves the table ``decided`` (``_row_no``, ``op``, ``serves``) unless every row is new.
        """
        if self.current.path is None and not self.model.tombstone:
            return {"new": self.checked.rows_accepted}
        older = self._is_older("a", "s")
        match = " AND ".join(f"a.{k} = s.{k}" for k in self.keys)
        self.con.execute(
            f"""/* guiji {self.resource.id} compare */ CREATE TEMP TABLE decided AS
            SELECT a._row_no, s.{ROW_HASH} IS NOT NULL AND NOT s.{GONE} AS serves,
              CASE WHEN s.{ROW_HASH} IS NOT NULL AND {older} THEN 'superseded'
                   WHEN a._tomb THEN 'tombstone'
                   WHEN s.{ROW_HASH} IS NULL OR s.{GONE} THEN 'new'
                   WHEN s.{ROW_HASH} = a.{ROW_HASH} THEN 'unchanged'
                   ELSE 'changed' END AS op
            FROM accepted a LEFT JOIN serving s ON {match}"""
        )
        counted = self.con.execute("SELECT op, count(*) FROM decided GROUP BY op").fetchall()
        return {str(op): int(n) for op, n in counted}

    def _is_older(self, a: str, s: str) -> str:
        """The condition that ``a`` is older than ``s`` by the order fields, null being oldest; incremental loads only:
        a snapshot says what is, whatever its order fields say."""
        if self.model.load != "incremental" or not self.model.order:
            return "false"
        condition = "false"
        for name in reversed(self.model.order):
            x, y = f"{a}.{quote_identifier(name)}", f"{s}.{quote_identifier(name)}"
            less = f"(({x} IS NULL AND {y} IS NOT NULL) OR coalesce({x} < {y}, false))"
            condition = f"({less} OR ({x} IS NOT DISTINCT FROM {y} AND {condition}))"
        return condition

    def _write_changes(self, ops: dict[str, int]) -> Path:
        """The accepted rows that are new or changed, with ``_op``; the accepted file itself when all are new."""
        if ops.get("new", 0) == self.checked.rows_accepted:
            return Path(self.checked.accepted)
        path = self.directory / "changes.parquet"
        copy_to_parquet(
            self.con,
            "SELECT a.* EXCLUDE (_op, _tomb), d.op AS _op FROM accepted a "
            "JOIN (SELECT _row_no, op FROM decided WHERE op IN ('new', 'changed')) d USING (_row_no)",
            path,
            comment=f"{self.resource.id} changes",
        )
        return path

    def _write_deleted(self, ops: dict[str, int]) -> tuple[int, tuple[str, ...]]:
        """The keys that stop serving: disappeared from a snapshot, or marked by a tombstone; their number, and notes."""
        notes: tuple[str, ...] = ()
        parts = []
        if ops.get("tombstone"):
            parts.append(
                f"SELECT {self.using} FROM accepted JOIN decided USING (_row_no) WHERE op = 'tombstone' AND serves"
            )
        if self._deletes_what_is_missing():
            missing = (
                f"SELECT {self.using} FROM serving ANTI JOIN accepted USING ({self.using}) "
                f"ANTI JOIN (SELECT {self.using} FROM {scan_parquet(self.checked.present_keys)}) p USING ({self.using})"
            )
            if self.checked.unreadable_keys:
                held = count_rows(self.con, missing)
                notes = (
                    f"有{self.checked.unreadable_keys}行被拒数据的主键无法读出，"
                    f"无法判断本次未出现的{held}个主键是否确已删除，暂不删除；待这些行更正后再行处理。",
                )
            else:
                parts.append(missing)
        path = self.directory / "deleted.parquet"
        nothing = f"SELECT {self.using} FROM serving WHERE false"
        gone = copy_to_parquet(
            self.con, " UNION ALL ".join(parts) or nothing, path, comment=f"{self.resource.id} deleted"
        )
        return gone, notes

    def _write_tombstones(self, ops: dict[str, int]) -> str | None:
        """The keys that are deleted by a marker, with the marker's order fields; None where deletions have no time."""
        if not ops.get("tombstone") or not remembers(self.model):
            return None
        path = self.directory / "tombstones.parquet"
        columns = ", ".join([*self.keys, *self._order()])
        marked = f"SELECT {columns} FROM accepted JOIN decided USING (_row_no) WHERE op = 'tombstone'"
        copy_to_parquet(self.con, marked, path, comment=f"{self.resource.id} tombstones")
        return str(path)

    def _deletes_what_is_missing(self) -> bool:
        return (
            self.model.load == "snapshot"
            and self.model.delete_mode == "soft"
            and self.current.complete
            and self.current.path is not None
        )

    def _guard(self, gone: int) -> tuple[str, ...]:
        """Why a person must decide before this difference is published; empty when it is within the band."""
        tolerance, before = self.model.tolerance, self.current.rows
        if not before:
            return ()
        reasons = []
        if gone / before > tolerance.deleted:
            reasons.append(
                f"本次将有{gone}个主键消失，占现有{before}行的{gone / before:.1%}，超过允许的{tolerance.deleted:.1%}，"
                "请核实是否确需删除。"
            )
        if self.model.load == "snapshot" and self.current.complete:
            delivered = self.checked.rows_read - self.checked.rows_duplicate
            change = (delivered - before) / before
            if -change > tolerance.shrink:
                reasons.append(
                    f"本次提供{delivered}行，比现有{before}行减少{-change:.1%}，超过允许的{tolerance.shrink:.1%}，"
                    "可能只提供了部分数据，请核实。"
                )
            if change > tolerance.grow:
                reasons.append(
                    f"本次提供{delivered}行，比现有{before}行增加{change:.1%}，超过允许的{tolerance.grow:.1%}，请核实。"
                )
        return tuple(reasons)

    def _guard_values(self, cache: str | None) -> tuple[str, ...]:
        """Why a person must decide about the distribution of a guarded code field; empty within the band."""
        columns = kept_columns(self.model)
        if not columns or self.current.path is None or cache == self.current.path:
            return ()
        if cache is None:
            if self.current.values is None:
                return ()
            own = {n: quote_identifier(n) for n in columns}
            now = count_values(self.con, "(SELECT * FROM accepted WHERE NOT _tomb)", own)
            return explain_shifts(self.model, self.current.values, now, changes=True)
        if not self._keeps_values():
            return ()
        then = count_values(self.con, scan_parquet(self.current.path), columns)
        return explain_shifts(self.model, then, count_values(self.con, scan_parquet(cache), columns), changes=False)

    def _keeps_values(self) -> bool:
        """Whether what serves is known with the values of every guarded field."""
        if self.current.path is None:
            return True
        have = _columns_of(self.con, scan_parquet(self.current.path))
        return {value_column(n) for n in list_guarded(self.model)} <= set(have)

    # --- the cache ------------------------------------------------------------------------------------

    def _write_cache(self, deleted: Path, new: int, changed: int, gone: int) -> str | None:
        """The snapshot cache that agrees with what serves once this difference is published; None for increments."""
        if self.model.load != "snapshot" or not self.current.complete:
            return None
        holds = self.checked.cache is not None and self.current.path is not None
        holds = holds and _is_same(str(self.checked.cache), str(self.current.path))
        if holds and not (new or changed or gone):
            return self.current.path
        directory = cache_directory(self.settings, self.resource.id)
        for folder in (directory.parent, directory):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.chmod(folder, 0o700)
        path = directory / f"{self.checked.batch_id}.parquet"
        accepted = _columns_of(self.con, scan_parquet(self.checked.accepted))
        nulls = [c for c in accepted if c.startswith(NULLS_PREFIX)]
        order = self._order()
        values = list(kept_columns(self.model).values()) if self._keeps_values() else []
        columns = ", ".join([*self.keys, *order, ROW_HASH, *RAW_HASHES, *nulls, *values])
        fresh = ", ".join(["*", *keep_values(self.model)])
        taken = f"SELECT {columns} FROM (SELECT {fresh} FROM accepted WHERE NOT _tomb)"
        parts = [taken]
        if self.current.path is not None:
            # rows of another cache, or of none, keep no raw hash: it was made under other rules
            kept = columns if holds else ", ".join([*self.keys, *order, ROW_HASH, *values])
            parts.append(
                f"SELECT {kept} FROM {scan_parquet(self.current.path)} c ANTI JOIN accepted USING ({self.using}) "
                f"ANTI JOIN (SELECT {self.using} FROM {scan_parquet(deleted)}) d USING ({self.using})"
            )
        rows = copy_to_parquet(
            self.con,
            " UNION ALL BY NAME ".join(parts),
            path,
            {SIGNATURE_KEY: self.checked.signature, JUDGED_ON_KEY: self.checked.judged_on},
            comment=f"{self.resource.id} cache",
        )
        serving = self.current.rows + new - gone
        if rows != serving:
            path.unlink()
            raise AccountingError(
                f"Batch {self.checked.batch_id} of {self.resource.id}: {serving} rows should serve after it, but the "
                f"comparison counts {rows}. Nothing was published; please report this.",
                batch_id=self.checked.batch_id,
            )
        return str(path)


def _columns_of(con: DuckDBPyConnection, table: str) -> Sequence[str]:
    return [str(row[0]) for row in con.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()]


def _is_same(a: str, b: str) -> bool:
    return Path(a).resolve() == Path(b).resolve()


def _demand_equation(checked: CheckedBatch, d: Difference) -> None:
    """Every row read is one thing and one thing only (F-54)."""
    accounted = (
        checked.rows_rejected
        + checked.rows_duplicate
        + d.rows_superseded
        + d.rows_tombstone
        + d.rows_new
        + d.rows_changed
        + d.rows_unchanged
    )
    if accounted != checked.rows_read:
        raise AccountingError(
            f"Batch {checked.batch_id}: {checked.rows_read} rows were read, but {accounted} accounted for "
            f"({checked.rows_rejected} rejected, {checked.rows_duplicate} duplicate, {d.rows_superseded} superseded, "
            f"{d.rows_tombstone} tombstone, {d.rows_new} new, {d.rows_changed} changed, {d.rows_unchanged} unchanged). "
            "Nothing was published; please report this.",
            batch_id=checked.batch_id,
        )
