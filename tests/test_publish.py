"""Publish: one transaction whose counts are PostgreSQL's, whose equation holds, and which can be run twice."""

from __future__ import annotations

import random
import resource as limits
import shutil
import threading
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packages import START, Bad, compare, deliver, hash_row, make_resource, serving, stage
from psycopg import sql

from guiji import ledger
from guiji.errors import AccountingError, CatalogError, LeaseLost, UsageError, WarehouseUnavailable
from guiji.library import transact
from guiji.library.hold import approve_held, list_held, reject_held, show_held
from guiji.library.load import copy_batches
from guiji.library.publish import fetch_current, publish, publish_redelivered
from guiji.records import DeliveredFile
from guiji.secrets import unseal
from guiji.settings import Settings
from guiji.warehouse import connect

Rows = list[dict[str, object]]


def people(*numbers: int, name: str = "张三") -> Rows:
    return [{"id_no": f"{n:04}", "name": f"{name}{n}", "amount": Decimal(n) / 4} for n in numbers]


def as_set(rows: Rows) -> set[tuple[object, ...]]:
    return {tuple(r.values()) for r in rows}


def test_a_first_load_serves_every_row(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    rows = people(1, 2, 3)
    record = deliver(conn, settings, resource, rows)
    assert (record.status, record.outcome, record.rows_read, record.rows_new) == ("published", "passed", 3, 3)
    assert serving(conn, resource) == as_set(rows)


def test_a_second_snapshot_brings_only_its_difference(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2, 3))
    rows = [*people(1), *people(2, name="李四"), *people(4)]
    record = deliver(conn, settings, resource, rows, day=2)
    assert (record.rows_new, record.rows_changed, record.rows_unchanged, record.rows_deleted) == (1, 1, 1, 1)
    assert serving(conn, resource) == as_set(rows)
    history = conn.execute('SELECT id_no, name FROM source."gaj__person__history" ORDER BY 1').fetchall()
    assert history == [{"id_no": "0002", "name": "张三2"}, {"id_no": "0003", "name": "张三3"}]


def test_a_deleted_key_that_returns_is_new(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2))
    deliver(conn, settings, resource, people(1), day=2)
    record = deliver(conn, settings, resource, people(1, 2, name="王五"), day=3)
    assert (record.rows_new, record.rows_changed, record.rows_deleted) == (1, 1, 0)
    assert serving(conn, resource) == as_set(people(1, 2, name="王五"))


def test_a_published_batch_is_returned_as_it_is(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    first = deliver(conn, settings, resource, people(1, 2), bad=[Bad(("name.blank",), "0009")])
    again = deliver(conn, settings, resource, people(1, 2), bad=[Bad(("name.blank",), "0009")])
    assert again == first
    kept = conn.execute("SELECT count(*) AS n FROM ops.rejected_row").fetchone()
    assert kept["n"] == 1


# --- counts ------------------------------------------------------------------------------------------


def drop_row(path: str) -> None:
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)


@pytest.mark.parametrize("lost", ["changes", "deleted", "rejected"])
def test_f54_a_row_lost_between_the_steps_is_noticed_and_nothing_is_published(
    conn: Any, settings: Settings, lost: str
) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2, 3))
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    package = stage(conn, settings, resource, people(1, 4), day=2, bad=[Bad(("a.x",), "0009")])
    difference = compare(conn, settings, resource, package)
    drop_row({"rejected": package.checked.rejected}.get(lost) or getattr(difference, lost))
    with pytest.raises(AccountingError, match="Nothing was published"):
        publish(conn, resource, settings, package.staged, package.checked, package.quality, difference, token)
    assert serving(conn, resource) == as_set(people(1, 2, 3))
    record = ledger.get_batch(conn, package.staged.batch_id)
    assert record is not None
    assert record.status == "staged"


def test_f54_counts_that_do_not_add_up_are_refused_in_sql(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    package = stage(conn, settings, resource, people(1, 2))
    difference = compare(conn, settings, resource, package)
    with pytest.raises(AccountingError, match="don't add up"):
        publish(
            conn,
            resource,
            settings,
            package.staged,
            replace(package.checked, rows_read=3),
            package.quality,
            difference,
            token,
        )


def test_f17_a_key_twice_in_the_changes_publishes_nothing(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    package = stage(conn, settings, resource, [*people(1), *people(1)])
    difference = compare(conn, settings, resource, package)
    with pytest.raises(AccountingError, match="a key twice") as caught:
        publish(conn, resource, settings, package.staged, package.checked, package.quality, difference, token)
    assert "0001" not in str(caught.value)
    there = conn.execute("SELECT to_regclass('source.gaj__person') AS t").fetchone()
    assert there["t"] is None


def test_f10_a_row_whose_key_was_rejected_goes_on_serving(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2))
    record = deliver(conn, settings, resource, people(1), day=2, bad=[Bad(("a.x",), "0002")])
    assert (record.rows_deleted, record.rows_rejected, record.outcome) == (0, 1, "warning")
    assert serving(conn, resource) == as_set(people(1, 2))


def test_f11_f12_a_held_batch_changes_nothing_until_it_is_approved(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(*range(1, 11)))
    held = deliver(
        conn,
        settings,
        resource,
        people(1),
        day=2,
        outcome="held",
        bad=[Bad(("a.x",), "0002")],
        duplicates=3,
        batch="b2",
    )
    assert (held.status, held.rows_held, held.rows_rejected, held.rows_duplicate) == ("held", 1, 1, 3)
    assert serving(conn, resource) == as_set(people(*range(1, 11)))
    assert [h["batch_id"] for h in list_held(conn)] == ["b2"]
    assert show_held(conn, "b2")["would"]["rows_deleted"] == 8

    approved = approve(
        conn, settings, resource, people(1), day=2, bad=[Bad(("a.x",), "0002")], duplicates=3, batch="b2"
    )
    assert (approved.status, approved.rows_held, approved.rows_unchanged, approved.rows_deleted) == (
        "published",
        0,
        1,
        8,
    )
    assert serving(conn, resource) == as_set(people(1, 2))
    audit = conn.execute("SELECT actor, detail FROM ops.audit WHERE action = 'batch.approved'").fetchone()
    assert (audit["actor"], audit["detail"]["why"], audit["detail"]["former"]["rows_held"]) == ("wang", "核实无误", 1)
    kept = conn.execute("SELECT count(*) AS n FROM ops.rejected_row").fetchone()
    assert kept["n"] == 1
    kinds = [e["kind"] for e in conn.execute("SELECT kind FROM ops.outbox ORDER BY event_id")]
    assert kinds == ["held"]


def approve(conn: Any, settings: Settings, resource: Any, rows: Rows, **options: Any) -> Any:
    package = stage(conn, settings, resource, rows, **options)
    token = ledger.acquire_lease(conn, settings, resource.id, "approve")
    difference = compare(conn, settings, resource, package)
    return approve_held(
        conn,
        resource,
        settings,
        package.staged,
        package.checked,
        replace(package.quality, outcome="held"),
        difference,
        token,
        who="wang",
        why="核实无误",
    )


def test_a_held_snapshot_older_than_what_serves_can_only_be_rejected(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2))
    deliver(conn, settings, resource, people(1), day=2, outcome="held", batch="b2")
    deliver(conn, settings, resource, people(1, 2, 3), day=3)
    with pytest.raises(UsageError, match="older state"):
        approve(conn, settings, resource, people(1), day=2, batch="b2")
    assert serving(conn, resource) == as_set(people(1, 2, 3))
    record = reject_held(conn, settings, "b2", who="wang", why="旧数据")
    assert record.status == "refused"
    assert list_held(conn) == []
    with pytest.raises(UsageError, match="is not held but refused"):
        reject_held(conn, settings, "b2", who="wang", why="again")


def test_f35_a_redelivered_batch_is_all_duplicates(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    first = deliver(conn, settings, resource, people(1, 2))
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    package = stage(conn, settings, resource, people(1, 2), day=2, batch="again")
    staged = replace(package.staged, redelivered_of=first.batch_id)
    for _ in range(2):
        record = publish_redelivered(conn, resource, settings, staged, token)
        assert (record.status, record.rows_read, record.rows_duplicate, record.rows_new) == ("published", 2, 2, 0)
    assert serving(conn, resource) == as_set(people(1, 2))


FILES = {"kind": "sftp", "connection": "c", "directory": "/", "pattern": "x"}


def daily(day: int) -> tuple[DeliveredFile, ...]:
    return (DeliveredFile(f"d{day}.csv", 1, START, f"{day}" * 64, f"2026-10-{day:02}"),)


def test_f36_an_older_snapshot_file_does_not_overwrite_a_newer_one(conn: Any, settings: Settings) -> None:
    resource = make_resource(source=FILES)
    deliver(conn, settings, resource, people(1, 2, name="三"), day=3, files=daily(3))
    late = deliver(conn, settings, resource, people(1, 9, name="一"), day=3, files=daily(1))
    assert (late.status, late.rows_superseded, late.rows_new, late.rows_deleted) == ("published", 2, 0, 0)
    late = deliver(conn, settings, resource, people(1, name="二"), day=3, files=daily(2))
    assert late.rows_superseded == 1
    assert serving(conn, resource) == as_set(people(1, 2, name="三"))
    assert ledger.get_watermark(conn, resource.id).batch_id != late.batch_id  # type: ignore[union-attr]


def test_f36_days_3_1_2_of_changes_end_with_the_newest_of_each_key(conn: Any, settings: Settings) -> None:
    resource = make_resource(source=FILES, load="incremental")
    by_day = {1: people(1, 2, 3, name="一"), 2: people(2, 3, name="二"), 3: people(3, name="三")}
    for day in (3, 1, 2):
        record = deliver(conn, settings, resource, by_day[day], day=5, files=daily(day))
        assert record.status == "published"
    assert serving(conn, resource) == as_set([*people(1, name="一"), *people(2, name="二"), *people(3, name="三")])
    superseded = conn.execute("SELECT sum(rows_superseded) AS n FROM ops.batch").fetchone()
    assert superseded["n"] == 2


# --- values ------------------------------------------------------------------------------------------


@hypothesis.settings(max_examples=30, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12) | st.none(),
            st.decimals(min_value=-(10**13), max_value=10**13, places=4) | st.none(),
            st.floats(allow_nan=False) | st.none(),
            st.integers(-(2**63), 2**63 - 1) | st.none(),
            st.dates() | st.none(),
            st.binary(max_size=6) | st.none(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_f27_every_value_comes_back_equal(conn: Any, values: list[tuple[Any, ...]]) -> None:
    types = {
        "t": pa.string(),
        "n": pa.decimal128(18, 4),
        "f": pa.float64(),
        "i": pa.int64(),
        "d": pa.date32(),
        "g": pa.binary(),
    }
    batch = pa.RecordBatch.from_arrays(
        [pa.array(c, t) for c, t in zip(zip(*values, strict=True), types.values(), strict=True)], names=list(types)
    )
    with conn.transaction(force_rollback=True):
        conn.execute("CREATE TEMP TABLE v (t text, n numeric(18,4), f float8, i bigint, d date, g bytea, at serial)")
        assert copy_batches(conn, sql.Identifier("v"), list(types), iter([batch]), who="test") == len(values)
        found = [tuple(r.values()) for r in conn.execute("SELECT t, n, f, i, d, g FROM v ORDER BY at")]
    assert found == values


def test_f28_a_nul_that_slips_through_publishes_nothing(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    with pytest.raises(psycopg.DataError):
        deliver(conn, settings, resource, [{"id_no": "1", "name": "a\x00b", "amount": None}])
    conn.rollback()
    assert conn.execute("SELECT to_regclass('source.gaj__person') AS t").fetchone()["t"] is None


def test_f32_columns_carry_the_chinese_name_as_comment(conn: Any, settings: Settings) -> None:
    deliver(conn, settings, make_resource(), people(1))
    comments = conn.execute(
        "SELECT a.attname, col_description(a.attrelid, a.attnum) AS c, collname FROM pg_attribute a"
        " LEFT JOIN pg_collation l ON l.oid = a.attcollation"
        " WHERE attrelid = 'source.gaj__person'::regclass AND attnum IN (1, 2) ORDER BY attnum"
    ).fetchall()
    assert comments == [
        {"attname": "id_no", "c": "id_no标题", "collname": "C"},
        {"attname": "name", "c": "name标题", "collname": "default"},
    ]


def test_a_field_the_catalog_gains_becomes_a_column_and_one_that_changes_type_is_refused(
    conn: Any, settings: Settings
) -> None:
    deliver(conn, settings, make_resource(), people(1))
    wider = make_resource(
        fields={"id_no": "string", "name": "string", "amount": "decimal128(18,4)", "phone": "string"}, fingerprint="f2"
    )
    rows: Rows = [{**r, "phone": "138"} for r in people(1, 2)]
    deliver(conn, settings, wider, rows, day=2)
    assert serving(conn, wider) == as_set(rows)
    other = make_resource(fields={"id_no": "string", "name": "int64", "amount": "decimal128(18,4)"})
    with pytest.raises(CatalogError, match=r"source.gaj__person.name is text .* Nothing was changed"):
        deliver(conn, settings, other, [{"id_no": "1", "name": 1, "amount": None}], day=3)
    assert serving(conn, wider) == as_set(rows)


def test_rejected_rows_are_sealed_and_their_keys_hashed(conn: Any, settings: Settings) -> None:
    raw = '{"身份证号": "110105199001010017"}'
    deliver(conn, settings, make_resource(), people(1), bad=[Bad(("a.x", "b.y"), "110105199001010017", raw)])
    kept = conn.execute("SELECT * FROM ops.rejected_row").fetchone()
    assert unseal(settings, kept["sealed"]).decode() == raw
    assert kept["rules"] == ["a.x", "b.y"]
    assert "110105199001010017" not in str(kept).replace("\\", "")
    found = conn.execute("SELECT locator, rule_id, verdict, indicator FROM ops.finding ORDER BY rule_id").fetchall()
    assert [tuple(f.values()) for f in found] == [
        ("public.t:2", "a.x", "rejected", "0301"),
        ("public.t:2", "b.y", "rejected", "0301"),
    ]


# --- the cache ---------------------------------------------------------------------------------------


def test_the_snapshot_cache_is_used_while_it_agrees_and_rebuilt_when_it_does_not(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(1, 2), cache=True)
    package = stage(conn, settings, resource, people(1), day=2)
    cached = fetch_current(conn, resource, settings, package.checked)
    assert cached.path is not None
    assert Path(cached.path).parent.parent.name == "cache"
    Path(cached.path).unlink()
    rebuilt = fetch_current(conn, resource, settings, package.checked)
    assert rebuilt.path is not None
    assert Path(rebuilt.path).name == "current.parquet"
    assert {(r["id_no"], r["_row_hash"]) for r in pq.read_table(rebuilt.path).to_pylist()} == {
        (r["id_no"], hash_row(r)) for r in people(1, 2)
    }
    assert (cached.rows, rebuilt.rows) == (2, 2)


def test_an_incremental_batch_looks_up_its_own_keys_only(conn: Any, settings: Settings) -> None:
    resource = make_resource(load="incremental")
    deliver(conn, settings, resource, people(*range(1, 20)))
    package = stage(conn, settings, resource, people(3, 99), day=2)
    current = fetch_current(conn, resource, settings, package.checked)
    assert current.path is not None
    assert [r["id_no"] for r in pq.read_table(current.path).to_pylist()] == ["0003"]
    assert (current.rows, current.complete) == (19, False)


# --- others at the same time -------------------------------------------------------------------------


def test_f50_concurrent_publishers_of_one_table_all_succeed(conn: Any, settings: Settings) -> None:
    """Four writers of one source table, 30 rounds, keys in different orders: no deadlock, every row right."""
    resource = make_resource(load="incremental")
    deliver(conn, settings, resource, people(0))
    errors: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            with connect(settings) as own:
                for n in range(30):
                    keys = list(range(1, 9))
                    random.Random(writer * 100 + n).shuffle(keys)
                    with ledger.transaction(own):
                        transact.lock_table(own, "source.gaj__person")
                        own.execute("SET LOCAL deadlock_timeout = '50ms'")
                        for key in keys:
                            own.execute(
                                "INSERT INTO source.gaj__person (id_no, name, _batch_id, _row_hash, _published_at)"
                                " VALUES (%s, %s, 'b', 1, now()) ON CONFLICT (id_no) DO UPDATE SET name = excluded.name",
                                (f"{key:04}", f"{writer}.{n}"),
                            )
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=write, args=(w,)) for w in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert len(serving(conn, resource)) == 9


def test_f50_a_writer_that_got_in_the_way_is_waited_for(conn: Any, settings: Settings) -> None:
    tries = []

    def once() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise psycopg.errors.DeadlockDetected
        return "done"

    assert transact.retry(conn, once) == "done"


def test_f52_a_zombie_with_an_old_token_publishes_nothing(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    old = ledger.acquire_lease(conn, settings, resource.id, "zombie", seconds=0.01)
    package = stage(conn, settings, resource, people(1), batch="zombie")
    difference = compare(conn, settings, resource, package)
    time.sleep(0.05)
    deliver(conn, settings, resource, people(2), day=2, run="newer")
    with pytest.raises(LeaseLost, match="published nothing"):
        publish(conn, resource, settings, package.staged, package.checked, package.quality, difference, old)
    assert serving(conn, resource) == as_set(people(2))


def test_f13_a_reader_never_sees_less_than_before(conn: Any, settings: Settings) -> None:
    resource = make_resource()
    deliver(conn, settings, resource, people(*range(500)))
    seen: list[int] = []
    stop = threading.Event()

    def poll() -> None:
        with connect(settings, autocommit=True) as own:
            while not stop.is_set():
                row = own.execute("SELECT count(*) AS n FROM source.gaj__person WHERE _deleted_at IS NULL").fetchone()
                seen.append(row["n"] if row else -1)
                time.sleep(0.01)

    reader = threading.Thread(target=poll)
    reader.start()
    for day in range(2, 7):
        deliver(conn, settings, resource, people(*range(500 + day), name=f"第{day}日"), day=day)
    stop.set()
    reader.join()
    assert min(seen) >= 500
    assert len(seen) > 10


def test_f53_too_little_space_is_seen_before_the_load(
    conn: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = make_resource()
    token = ledger.acquire_lease(conn, settings, resource.id, "run")
    package = stage(conn, settings, resource, people(1))
    difference = compare(conn, settings, resource, package)
    usage = shutil._ntuple_diskusage(1 << 30, 1 << 30, 1 << 20)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    embedded = replace(settings, warehouse=None)
    with pytest.raises(WarehouseUnavailable, match="1 MB left"):
        publish(conn, resource, embedded, package.staged, package.checked, package.quality, difference, token)


def test_f53_a_disk_that_fills_up_mid_copy_publishes_nothing(conn: Any, settings: Settings) -> None:
    """The server process may write no file beyond 20 MB, so that extending the table fails for real."""
    resource = make_resource()
    deliver(conn, settings, resource, people(1))
    backend = conn.info.backend_pid
    long = "长" * 150
    former = limits.prlimit(backend, limits.RLIMIT_FSIZE)
    limits.prlimit(backend, limits.RLIMIT_FSIZE, (20 << 20, former[1]))
    try:
        with pytest.raises(WarehouseUnavailable, match=r"full or broken.*the former data go on serving"):
            deliver(conn, settings, resource, people(*range(60_000), name=long), day=2, batch="big")
    finally:
        limits.prlimit(backend, limits.RLIMIT_FSIZE, former)
    assert serving(conn, resource) == as_set(people(1))
    record = deliver(conn, settings, resource, people(*range(60_000), name=long), day=2, batch="big")
    assert (record.status, record.rows_new, record.rows_changed) == ("published", 59_999, 1)
