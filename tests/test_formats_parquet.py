"""Parquet: exact types or exact text, row groups in bounded memory, nested and half files refused."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guiji.catalog.models import Format
from guiji.errors import DeliveryRefused
from guiji.records import ReadReport
from guiji.sources.formats import parquet, parquet_trial, read_file

AB = expect("a", "b")
Rows = list[dict[str, Any]]


def write(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def read(tmp_path: Path, table: pa.Table, expected: Any = AB, **more: Any) -> Rows:
    form = {k: more.pop(k) for k in ("int96",) if k in more}
    rows, _ = read_bytes(tmp_path, write(table, **more), expected, "x.parquet", type="parquet", **form)
    return rows


KEPT = {
    "i": (pa.int32(), [-5], "int64", [-5]),
    "l": (pa.int64(), [9_007_199_254_740_993], "int64", [9_007_199_254_740_993]),
    "u": (pa.uint32(), [2**32 - 1], "int64", [2**32 - 1]),
    "uu": (pa.uint64(), [2**64 - 1], "string", ["18446744073709551615"]),
    "f": (pa.float64(), [0.1], "double", [0.1]),
    "single": (pa.float32(), [0.1], "float", [0.10000000149011612]),  # as 0.1 published: test_standardize
    "ok": (pa.bool_(), [True], "bool", [True]),
    "n": (pa.decimal128(38, 10), [Decimal("12345678901234567890.1")], "string", ["12345678901234567890.1000000000"]),
    "tiny": (pa.decimal128(12, 10), [Decimal("0.0000000001")], "string", ["0.0000000001"]),
    "big": (pa.decimal256(60, 2), [Decimal("1e50")], "string", ["1" + "0" * 50 + ".00"]),
    "d": (pa.date32(), [date(9999, 12, 31)], "date32[day]", [date(9999, 12, 31)]),
    "local": (pa.timestamp("ms"), [datetime(2024, 2, 29, 1, 2, 3)], "timestamp[us]", [datetime(2024, 2, 29, 1, 2, 3)]),
    "zoned": (
        pa.timestamp("us", "Asia/Shanghai"),
        [datetime(2024, 2, 29, 1, 2, 3, tzinfo=timezone(timedelta(hours=8)))],
        "timestamp[us, tz=UTC]",
        [datetime(2024, 2, 28, 17, 2, 3, tzinfo=UTC)],
    ),
    "nano": (pa.timestamp("ns"), [1_709_168_523_123_456_789], "string", ["2024-02-29 01:02:03.123456789"]),
    # Shanghai's clocks were at +08:05:43 then
    "old": (pa.timestamp("ns", "Asia/Shanghai"), [-2_208_988_800_000_000_000], "string", ["1900-01-01 00:00:00.000000000Z"]),
    "t": (pa.time64("us"), [time(1, 2, 3, 4)], "string", ["01:02:03.000004"]),
    "view": (pa.string_view(), ["0" * 20], "string", ["0" * 20]),
    "s": (pa.large_string(), ["000123"], "string", ["000123"]),
    "category": (pa.dictionary(pa.int8(), pa.string()), ["男"], "string", ["男"]),
    "bytes": (pa.binary(), ["鄂尔多斯".encode()], "string", ["鄂尔多斯"]),
    "nothing": (pa.null(), [None], "string", [None]),
    "id": (pa.uuid(), [uuid.UUID(int=7).bytes], "string", [str(uuid.UUID(int=7))]),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_column_keeps_its_type_or_becomes_exact_text(tmp_path: Path, name: str) -> None:
    kind, given, type_, said = KEPT[name]
    path = tmp_path / "x.parquet"
    path.write_bytes(write(pa.table({"a": pa.array([*given, None], kind)})))
    (batch,) = read_file(path, "x.parquet", expect("a"), Format(type="parquet"), ReadReport())
    assert (str(batch.schema.field("a").type), batch.column("a").to_pylist()) == (type_, [*said, None])
    assert batch.column("_line").to_pylist() == [1, 2]
    assert batch.column("_origin").to_pylist() == ["x.parquet"] * 2


def test_bytes_of_a_geometry_stay_bytes(tmp_path: Path) -> None:
    expected = expect("a", {"title": "g", "type": "geometry", "crs": "EPSG:4490", "encoding": "wkb"})
    rows = read(tmp_path, pa.table({"a": ["1"], "g": pa.array([b"\x01\xff"], pa.binary())}), expected)
    assert sound(rows, expected) == [("1", b"\x01\xff")]


def test_a_nested_column_is_refused_where_it_is_declared(tmp_path: Path) -> None:
    for nested in ([[1]], [{"x": 1}], [timedelta(1)]):
        with pytest.raises(DeliveryRefused, match="“b”") as refused:
            read(tmp_path, pa.table({"a": ["1"], "b": nested}))
        assert refused.value.rule_id == "delivery.structure"
    evolving = expect("a", contract="evolve")
    rows = read(tmp_path, pa.table({"a": ["1"], "b": [[1]]}), evolving)
    assert sound(rows, evolving) == [("1",)]
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, pa.table({"a": ["1"], "c": ["1"]}))
    assert refused.value.rule_id == "delivery.missing_column"


def test_f08_old_timestamps_mean_what_the_catalog_says_or_nothing(tmp_path: Path) -> None:
    moments = [datetime(2024, 2, 29, 1, 2, 3), datetime(9999, 12, 31, 23, 59, 59)]
    table = pa.table({"a": ["1", "2"], "b": pa.array(moments, pa.timestamp("us"))})
    with pytest.raises(DeliveryRefused, match="INT96"):
        read(tmp_path, table, use_deprecated_int96_timestamps=True)
    local = read(tmp_path, table, use_deprecated_int96_timestamps=True, int96="local")
    assert [r["b"] for r in local] == moments
    utc = read(tmp_path, table, use_deprecated_int96_timestamps=True, int96="utc")
    assert [r["b"] for r in utc] == [m.replace(tzinfo=UTC) for m in moments]


def test_f28_f31_what_can_t_be_read_sets_its_row_aside(tmp_path: Path) -> None:
    table = pa.table(
        {
            "a": pa.array([b"1", b"\xd6\xd0", b"3", b"4", "5\ufffd".encode(), b"6"], pa.binary()),
            "b": pa.array([None, None, "x\x00", None, None, "锟斤拷"], pa.string()),
            "d": pa.array([0, 0, 0, 2_932_897, -719_163, 2_932_896], pa.int32()).cast(pa.date32()),
            "t": pa.array([253_402_300_800, 0, 0, 0, 0, 253_402_300_799], pa.timestamp("s")),
        }
    )
    expected = expect("a", "b", "d", "t")
    rows = read(tmp_path, table, expected)
    assert aside(rows) == [
        *((1, "out_of_range"), (2, "encoding"), (3, "nul"), (4, "out_of_range"), (5, "garbled"), (6, "garbled")),
    ]
    assert [r["a"] for r in rows] == ["1", None, "3", "4", None, "6"]
    assert (rows[0]["t"], rows[3]["d"], rows[4]["d"], rows[2]["b"]) == (None, None, None, None)
    assert rows[5]["_raw"] == "a=6; b=; d=9999-12-31; t=9999-12-31 23:59:59"


def test_f33_half_a_file_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    whole = write(pa.table({"a": [str(i) for i in range(200)], "b": ["x"] * 200}), write_page_checksum=True)
    assert len(read_bytes(tmp_path, whole, AB, type="parquet")[0]) == 200
    for cut in range(0, len(whole), 7):
        with pytest.raises(DeliveryRefused):
            read_bytes(tmp_path, whole[:cut], AB, type="parquet")
    damaged = bytearray(whole)
    damaged[60] ^= 0xFF
    with pytest.raises(DeliveryRefused) as refused:
        read_bytes(tmp_path, bytes(damaged), AB, type="parquet")
    assert refused.value.rule_id == "delivery.half_a_file"


def test_several_row_groups_are_one_table_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 64)
    table = pa.table({"a": [str(i) for i in range(1000)], "b": pa.array(range(1000), pa.int16())})
    rows = read(tmp_path, table, row_group_size=150)
    assert [(r["a"], r["b"], r["_line"]) for r in rows] == [(str(i), i, i + 1) for i in range(1000)]


def test_a_long_text_that_repeats_is_written_out_in_small_batches_only(tmp_path: Path) -> None:
    """A few kilobytes of file for 200 MB of text."""
    path = tmp_path / "x.parquet"
    path.write_bytes(write(pa.table({"a": ["x" * (1 << 18)] * 800})))
    before = pa.total_allocated_bytes()
    rows = most = 0
    for batch in read_file(path, "x", expect("a"), Format(type="parquet"), ReadReport()):
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert (rows, most < 100 << 20) == (800, True)


def test_what_another_process_can_t_read_in_its_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cell that unpacks a thousandfold is not read here; nor is what the trial's process can't hold."""
    monkeypatch.setattr(parquet_trial, "LARGEST_CHUNK", 16 << 20)
    content = write(pa.table({"a": ["x" * (80 << 20)], "b": ["1"]}), compression="zstd", use_dictionary=False)
    assert len(content) < 1 << 20
    before = pa.total_allocated_bytes()
    with pytest.raises(DeliveryRefused) as refused:
        read_bytes(tmp_path, content, AB, type="parquet")
    assert refused.value.rule_id == "delivery.too_large"
    assert pa.total_allocated_bytes() - before < 20 << 20
    monkeypatch.setattr(parquet_trial, "TRIAL_BYTES", 64 << 20)
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, pa.table({"a": ["1"], "b": ["2"]}))
    assert refused.value.rule_id == "delivery.half_a_file"


def test_an_encrypted_or_foreign_file_says_so(tmp_path: Path) -> None:
    for content in (b"PARE" + bytes(20) + b"PARE", b"PK\x03\x04" + bytes(20)):
        with pytest.raises(DeliveryRefused) as refused:
            read_bytes(tmp_path, content, AB, type="parquet")
        assert refused.value.rule_id == "delivery.structure"


cells = st.text(st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\x00\ufffd"), max_size=8).filter(
    lambda t: "锟斤拷" not in t
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(cells, st.none() | cells), max_size=6),
    st.booleans(),
    st.sampled_from(["none", "snappy", "zstd"]),
    st.sampled_from([pa.string(), pa.large_string(), pa.binary()]),
)
def test_any_table_comes_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: list[tuple[str, str | None]],
    dictionary: bool,
    compression: str,
    kind: pa.DataType,
) -> None:
    monkeypatch.setattr(parquet, "try_reading", lambda path, rows, what: None)  # a process for each is too slow here
    columns = {
        n: pa.array([None if r[i] is None else r[i].encode() for r in table], pa.binary()).cast(kind)
        for i, n in enumerate("ab")
    }
    rows = read(tmp_path, pa.table(columns), use_dictionary=dictionary, compression=compression)
    assert sound(rows, AB) == table


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.decimals(-(10**20), 10**20, places=10), min_size=1, max_size=5))
def test_f27_any_decimal_keeps_its_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: list[Decimal]
) -> None:
    monkeypatch.setattr(parquet, "try_reading", lambda path, rows, what: None)
    rows = read(tmp_path, pa.table({"a": pa.array(numbers, pa.decimal128(38, 10)), "b": numbers}))
    assert [r["a"] for r in rows] == [format(n, ".10f") for n in numbers]


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_texts_are_read_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    """DuckDB and Spark write texts in DELTA encodings, which Arrow can't read as dictionaries."""
    table = pa.table({"a": [f"{n:018d}" for n in range(50)], "b": ["东胜", None] * 25})
    rows = read(tmp_path, table, use_dictionary=False, column_encoding={"a": encoding, "b": encoding}, row_group_size=7)
    assert sound(rows, AB) == list(zip(*table.to_pydict().values(), strict=True))
    assert [r["_line"] for r in rows] == list(range(1, 51))


def test_a_time_after_the_days_end_sets_its_row_aside(tmp_path: Path) -> None:
    for unit, day in (("us", 86_400_000_000), ("ns", 86_400_000_000_000)):
        times = pa.array([day - 1, day, -1, None], pa.int64()).cast(pa.time64(unit))
        rows = read(tmp_path, pa.table({"a": ["1", "2", "3", "4"], "b": times}))
        assert aside(rows) == [(2, "out_of_range"), (3, "out_of_range")]
        assert [r["b"] for r in rows] == ["23:59:59." + "9" * (6 if unit == "us" else 9), None, None, None]


def test_the_labels_of_pandas_rows_are_no_column(tmp_path: Path) -> None:
    table = pa.table({"a": ["1"], "b": ["2"], "__index_level_0__": [10]})
    assert sound(read(tmp_path, table), AB) == [("1", "2")]
    declared = expect("a", "b", "__index_level_0__")
    assert sound(read(tmp_path, table, declared), declared) == [("1", "2", 10)]


def test_a_programs_own_type_is_not_taken_for_what_it_is_kept_in(tmp_path: Path) -> None:
    """pandas keeps the month 2024-01 as 648 and says in the field's metadata what that is."""
    own = pa.field("b", pa.int64(), metadata={"ARROW:extension:name": "pandas.period"})
    table = pa.table([pa.array(["1"]), pa.array([648])], schema=pa.schema([pa.field("a", pa.string()), own]))
    with pytest.raises(DeliveryRefused, match=r"pandas\.period，不是普通的单一值"):
        read(tmp_path, table)
