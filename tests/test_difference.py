"""The comparison against a plain Python oracle, and the guards that stand before a publish."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from staged_package import make_resource, make_settings, read_rows, stage_rows

from guiji.catalog.models import Resource
from guiji.errors import AccountingError
from guiji.library.difference import GONE, Current, StaleCarry, cache_directory, compare
from guiji.quality import check_batch
from guiji.records import CheckedBatch, Difference
from guiji.settings import Settings

FIELDS = [{"name": "id"}, {"name": "value", "type": "int64"}]
LOOSE = {"deleted": 1, "shrink": 1, "grow": 1000, "min_rows": 0}
NOTHING = Current(None, 0, complete=True)


class Table:
    """What serves, kept by publishing difference after difference; plain Python."""

    def __init__(self, home: Path, resource: Resource) -> None:
        self.settings: Settings = make_settings(home)
        self.resource = resource
        self.current = NOTHING
        self.rows: dict[Any, Any] = {}
        self.gone: dict[Any, Any] = {}
        self.turns = 0

    def deliver(self, rows: Sequence[Mapping[str, Any]], *, carry: bool = True) -> tuple[CheckedBatch, Difference]:
        """Checks, compares and publishes one delivery; what a publish would do to the table is done to ``rows``."""
        self.turns += 1
        staged = stage_rows(self.settings, self.resource, rows, batch_id=f"t{self.turns}")
        cache = self.current.path if carry and self.resource.model.load == "snapshot" else None
        checked = check_batch(self.resource, self.settings, staged, carry_cache=cache)
        current = self.current if self.resource.model.load == "snapshot" else self._look_up(checked)
        difference = compare(self.resource, self.settings, staged, checked, current)
        for row in read_rows(difference.changes):
            assert row["_op"] == ("changed" if row["id"] in self.rows else "new"), row
            self.rows[row["id"]] = {k: v for k, v in row.items() if k in self.fields | {"_row_hash"}}
            self.gone.pop(row["id"], None)
        for row in read_rows(difference.deleted):
            del self.rows[row["id"]]
        for row in read_rows(difference.tombstones) if difference.tombstones else []:
            self.gone[row["id"]] = row | {"_row_hash": 0}
        self.current = Current(difference.cache, len(self.rows), complete=difference.cache is not None)
        return checked, difference

    @property
    def fields(self) -> set[str]:
        return {f.name for f in self.resource.model.fields}

    def serving(self) -> dict[Any, Any]:
        return {k: v["value"] for k, v in self.rows.items()}

    def _look_up(self, checked: CheckedBatch) -> Current:
        """As fetch_current does for an increment: the rows of the accepted keys, the deleted ones marked."""
        if not self.rows and not self.gone:
            return Current(None, 0, complete=True)
        keys = {r["id"] for r in read_rows(checked.accepted)}
        schema = pq.read_schema(checked.accepted)
        columns = ["id", *self.resource.model.order, "_row_hash"]
        table = pa.Table.from_pylist(
            [
                {c: row[c] for c in columns} | {GONE: rows is self.gone}
                for rows in (self.rows, self.gone)
                for k, row in rows.items()
                if k in keys
            ],
            schema=pa.schema([*(schema.field(c) for c in columns), pa.field(GONE, pa.bool_())]),
        )
        path = Path(checked.directory) / "current.parquet"
        pq.write_table(table, path)
        return Current(str(path), len(self.rows), complete=False)


def rows_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"id": k, "value": None if v is None else str(v)} for k, v in values.items()]


# --- the oracle ----------------------------------------------------------------------------------------

Cell = tuple[str | None, str]
CELLS = st.lists(
    st.tuples(st.sampled_from([*"abcdefgh", "a\u200b", None, " "]), st.sampled_from(["1", "2", "3", "bad"])),
    max_size=14,
)


def judge_plainly(
    serving: dict[str, int], delivery: Sequence[Cell]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """(what should serve, counts, operations per kind): the rules of design §5 and §6, row by row."""
    versions: dict[str, list[int]] = {}
    rejected, unreadable, present = 0, 0, set()
    for cell, value in delivery:
        key = (cell or "").replace("\u200b", "").strip()
        if not key or value == "bad":
            rejected += 1
            unreadable += not key
            present |= {key} if key else set()
            continue
        versions.setdefault(key, []).append(int(value))
    after, counts = dict(serving), {"new": 0, "changed": 0, "unchanged": 0, "deleted": 0, "duplicate": 0}
    for key, values in versions.items():
        winner = values[-1]
        rejected += len(set(values) - {winner})
        counts["duplicate"] += len(values) - len(set(values))
        counts["new" if key not in serving else "unchanged" if serving[key] == winner else "changed"] += 1
        after[key] = winner
    if not unreadable:
        for key in set(serving) - set(versions) - present:
            del after[key]
            counts["deleted"] += 1
    return after, counts, {"rejected": rejected, "unreadable": unreadable}


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=CELLS, second=CELLS, third=CELLS, carry=st.booleans())
def test_snapshots_agree_with_a_plain_oracle(
    tmp_path_factory: pytest.TempPathFactory, first: list[Cell], second: list[Cell], third: list[Cell], carry: bool
) -> None:
    table = Table(tmp_path_factory.mktemp("d"), make_resource(FIELDS, tolerance=LOOSE))
    serving: dict[str, int] = {}
    for delivery in (first, second, third):
        checked, difference = table.deliver([{"id": k, "value": v} for k, v in delivery], carry=carry)
        serving, counts, others = judge_plainly(serving, delivery)
        assert table.serving() == serving
        assert {
            "new": difference.rows_new,
            "changed": difference.rows_changed,
            "unchanged": difference.rows_unchanged,
            "deleted": difference.rows_deleted,
            "duplicate": checked.rows_duplicate,
        } == counts
        assert (checked.rows_rejected, checked.unreadable_keys) == (others["rejected"], others["unreadable"])
        assert difference.cache is not None
        cached = {r["id"]: r["_row_hash"] for r in read_rows(difference.cache)}
        assert cached == {k: v["_row_hash"] for k, v in table.rows.items()}


STEPS = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([None, "1", "2", "3"]), st.sampled_from("xyD")), max_size=6
    ),
    min_size=1,
    max_size=4,
)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_increments_agree_with_a_plain_oracle(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[tuple[str, str | None, str]]]
) -> None:
    """Older versions are superseded, delete markers delete, whatever the order of arrival (F-36)."""
    resource = make_resource(
        [{"name": "id"}, {"name": "at", "type": "int64"}, {"name": "value"}],
        load="incremental",
        order=["at"],
        tombstone="value = 'D'",
        tolerance=LOOSE,
    )
    table = Table(tmp_path_factory.mktemp("d"), resource)
    serving: dict[str, tuple[int, str]] = {}
    deleted: dict[str, int] = {}
    for step in steps:
        checked, difference = table.deliver([{"id": k, "at": at, "value": v} for k, at, v in step])
        counts = {"superseded": 0, "tombstone": 0, "deleted": 0, "unchanged": 0, "new": 0, "changed": 0}
        winners: dict[str, tuple[int, str]] = {}
        for key in {k for k, _, _ in step}:
            versions = [(int(at) if at else -1, n, v) for n, (k, at, v) in enumerate(step) if k == key]
            at, _, value = max(versions)
            winners[key] = (at, value)
        for key, (at, value) in winners.items():
            old = serving.get(key)
            if at < (old[0] if old else deleted.get(key, -1)):
                counts["superseded"] += 1
            elif value == "D":
                counts["tombstone"] += 1
                counts["deleted"] += old is not None
                serving.pop(key, None)
                deleted[key] = at
            else:
                deleted.pop(key, None)
                counts["new" if old is None else "unchanged" if old == (at, value) else "changed"] += 1
                serving[key] = (at, value)
        assert {k: v["value"] for k, v in table.rows.items()} == {k: v for k, (_, v) in serving.items()}
        assert {k: getattr(difference, f"rows_{k}") for k in counts} == counts
        assert difference.cache is None
        assert checked.rows_read == len(step)


# --- statements ----------------------------------------------------------------------------------------


def test_the_key_of_a_rejected_row_goes_on_serving_its_last_good_row(tmp_path: Path) -> None:
    table = Table(tmp_path, make_resource(FIELDS, tolerance=LOOSE))
    table.deliver(rows_of({"a": 1, "b": 2, "c": 3}))
    _, difference = table.deliver(rows_of({"a": 1, "b": "bad"}))
    assert table.serving() == {"a": 1, "b": 2}
    assert (difference.rows_deleted, difference.rows_unchanged) == (1, 1)


def test_an_unreadable_key_holds_every_deletion_back_and_says_so(tmp_path: Path) -> None:
    table = Table(tmp_path, make_resource(FIELDS, tolerance={"deleted": 0.5, "min_rows": 0}))
    table.deliver(rows_of({"a": 1, "b": 2, "c": 3, "d": 4}))
    _, held = table.deliver([{"id": None, "value": "9"}, *rows_of({"a": 1, "b": 2, "c": 5})])
    assert table.serving() == {"a": 1, "b": 2, "c": 5, "d": 4}
    assert held.rows_deleted == 0
    assert held.notes == (
        "有1行被拒数据的主键无法读出，无法判断本次未出现的1个主键是否确已删除，暂不删除；待这些行更正后再行处理。",
    )
    assert held.held_reasons == ()
    _, mended = table.deliver(rows_of({"a": 1, "b": 2, "c": 5}))
    assert (mended.rows_deleted, mended.notes) == (1, ())


def test_f10_deletions_within_the_band_pass_and_beyond_it_are_held(tmp_path: Path) -> None:
    table = Table(tmp_path, make_resource(FIELDS, tolerance={"shrink": 1}))
    many = {str(n): n for n in range(100)}
    table.deliver(rows_of(many))
    _, few = table.deliver(rows_of({k: v for k, v in many.items() if v >= 5}))
    assert (few.rows_deleted, few.held_reasons) == (5, ())
    _, most = table.deliver(rows_of({k: v for k, v in many.items() if v >= 60}))
    assert most.rows_deleted == 55
    assert most.held_reasons == ("本次将有55个主键消失，占现有95行的57.9%，超过允许的20.0%，请核实是否确需删除。",)


@pytest.mark.parametrize(("rows", "held"), [(100, False), (89, False), (60, True), (300, False), (301, True)])
def test_f12_a_snapshot_outside_its_band_is_held(tmp_path: Path, rows: int, held: bool) -> None:
    table = Table(tmp_path, make_resource(FIELDS, tolerance={"deleted": 1}, delete_mode="keep"))
    table.deliver(rows_of({str(n): n for n in range(100)}))
    _, difference = table.deliver(rows_of({str(n): n for n in range(rows)}))
    assert bool(difference.held_reasons) is held
    assert difference.rows_deleted == 0
    assert len(table.rows) == max(100, rows)


def test_an_increment_deletes_by_marker_only_and_too_many_markers_are_held(tmp_path: Path) -> None:
    table = Table(
        tmp_path,
        make_resource([*FIELDS, {"name": "state"}], load="incremental", tombstone="state = 'D'"),
    )
    table.deliver(rows_of({str(n): n for n in range(10)}))
    _, one = table.deliver([{"id": "1", "state": "D"}, {"id": "99", "state": "D"}])
    assert (one.rows_tombstone, one.rows_deleted, one.held_reasons) == (2, 1, ())
    _, many = table.deliver([{"id": str(n), "state": "D"} for n in range(2, 6)])
    assert len(many.held_reasons) == 1


def test_a_first_load_is_not_written_twice_and_its_cache_is_the_owners_alone(tmp_path: Path) -> None:
    table = Table(tmp_path, make_resource(FIELDS))
    checked, difference = table.deliver(rows_of({"a": 1, "b": 2}))
    assert difference.changes == checked.accepted
    assert {(r["id"], r["_op"]) for r in read_rows(difference.changes)} == {("a", "new"), ("b", "new")}
    directory = cache_directory(table.settings, "ab.things")
    assert difference.cache == str(directory / "t1.parquet")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(difference.cache).stat().st_mode) == 0o600


def test_a_batch_checked_against_rows_that_no_longer_serve_is_not_compared(tmp_path: Path) -> None:
    table = Table(tmp_path, make_resource(FIELDS))
    table.deliver(rows_of({"a": 1, "b": 2}))
    staged = stage_rows(table.settings, table.resource, rows_of({"a": 1, "b": 2}), batch_id="late")
    checked = check_batch(table.resource, table.settings, staged, carry_cache=table.current.path)
    assert checked.rows_carried == 2
    other = Path(checked.directory) / "rebuilt.parquet"
    pq.write_table(pq.read_table(table.current.path).select(["id", "_row_hash"]), other)
    rebuilt = Current(str(other), 2, complete=True)
    with pytest.raises(StaleCarry, match="check the batch again"):
        compare(table.resource, table.settings, staged, checked, rebuilt)
    again = check_batch(table.resource, table.settings, staged, carry_cache=None)
    difference = compare(table.resource, table.settings, staged, again, rebuilt)
    assert (difference.rows_unchanged, difference.rows_deleted) == (2, 0)
    assert difference.cache is not None
    assert {r["_raw_hash_1"] is not None for r in read_rows(difference.cache)} == {True}


def test_f54_counts_that_do_not_add_up_stop_the_comparison(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource(FIELDS)
    staged = stage_rows(settings, resource, rows_of({"a": 1, "b": 2}))
    checked = check_batch(resource, settings, staged)
    table = pq.read_table(checked.accepted)
    pq.write_table(table.slice(0, 1), checked.accepted)
    current = Path(checked.directory) / "current.parquet"
    pq.write_table(table.select(["id", "_row_hash"]), current)
    with pytest.raises(AccountingError):
        compare(resource, settings, staged, checked, Current(str(current), 2, complete=True))
    with pytest.raises(AccountingError):
        compare(resource, settings, staged, replace(checked, rows_rejected=1), NOTHING)
