"""How large a cell, a row and a batch may be: at each limit everything is read, above it the row is set aside, and no
step holds more than a part of it at a time."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivering import NOW, OCTOBER, expect, make_resource, open_at, plain_settings, read_bytes
from staged_package import read_accepted, read_findings, read_rejected

from guiji import limits, staging
from guiji.catalog.models import Resource
from guiji.errors import DeliveryRefused
from guiji.limits import MOST_FIELDS
from guiji.quality import check_batch
from guiji.quality.package import Package
from guiji.quality.surfaces import put_surfaces, read_surfaces
from guiji.records import Delivery, ReadReport, StagedBatch
from guiji.settings import Settings
from guiji.sources.frames import Rows, make_batch
from guiji.staging import stage_batch

COLUMNS = ("编号", "姓名", "备注")
ALL_OF_IT = {"tolerance": {"rejected": 1.0}}


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home").at(NOW)


def things(*columns: str | dict[str, Any], **more: Any) -> Resource:
    return make_resource({"kind": "files", "directory": "/", "pattern": "."}, columns or COLUMNS, **ALL_OF_IT, **more)


def stage_table(
    resource: Resource, place: Settings, rows: Iterable[tuple[str | None, ...]], *, at_once: int = 1_000
) -> StagedBatch:
    """The rows as a source would give them, in batches of ``at_once``."""
    names = tuple(f.title for f in resource.model.fields)

    def batches() -> Iterator[pa.RecordBatch]:
        numbered = enumerate(rows, 2)
        while taken := list(itertools.islice(numbered, at_once)):
            some = Rows()
            for line, row in taken:
                some.add(row, line)
            yield make_batch(names, some, "a.csv")

    return stage_batch(resource, place, OCTOBER, Delivery(names, batches(), ReadReport()), "0" * 16)


def row_groups(staged: StagedBatch) -> list[list[int]]:
    """The rows of each row group, part by part."""
    return [
        [m.row_group(g).num_rows for g in range(m.num_row_groups)]
        for m in map(pq.read_metadata, sorted(Path(staged.directory).glob("part-*.parquet")))
    ]


def staged_rows(staged: StagedBatch) -> list[tuple[Any, ...]]:
    parts = [pq.read_table(p) for p in sorted(Path(staged.directory).glob("part-*.parquet"))]
    return [tuple(r.values()) for r in pa.concat_tables(parts).to_pylist()]


# --- one cell, one row -----------------------------------------------------------------------------------

LONG = "长" * (limits.LARGEST_CELL // 3)  # the limit is of bytes, and no multiple of three
TEXTS = {
    "below": LONG,
    "at": LONG + "a" * (limits.LARGEST_CELL % 3),
    "above": LONG + "a" * (limits.LARGEST_CELL % 3 + 1),
}


def write_lines(form: str, rows: list[tuple[str, ...]]) -> bytes:
    if form == "csv":
        return "\n".join(map(",".join, [COLUMNS, *rows])).encode() + b"\n"
    if form == "gb18030":
        return ("\n".join(map(",".join, [COLUMNS, *rows])) + "\n").encode("gb18030")
    records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    if form == "json":
        return json.dumps(records, ensure_ascii=False).encode()
    if form == "jsonl":
        return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()
    if form == "xml":
        elements = ("".join(f"<{k}>{v}</{k}>" for k, v in r.items()) for r in records)
        return f"<d>{''.join(f'<r>{e}</r>' for e in elements)}</d>".encode()
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(records), sink)
        return sink.getvalue().to_pybytes()
    assert form == "sql"
    lines = "".join(f"INSERT INTO `t` VALUES ({', '.join(map(repr, row))});\n" for row in rows)
    named = ", ".join(f"`{c}` longtext" for c in COLUMNS)
    return f"-- MySQL dump 10.13\n/*!40101 SET NAMES utf8mb4 */;\nCREATE TABLE `t` ({named});\n{lines}-- Dump completed\n".encode()


@pytest.mark.parametrize("form", ["csv", "gb18030", "json", "jsonl", "xml", "parquet", "sql"])
def test_a_cell_at_the_limit_is_read_and_one_above_it_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    rows = [(f"000{i}", "张三", text) for i, text in enumerate(TEXTS.values())]
    rows.append(("0003", "李四", "短"))
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "a.txt").write_bytes(write_lines(form, rows))
    monkeypatch.setenv("GUIJI_TEST_DROP", str(tmp_path / "drop"))
    said = {"gb18030": {"type": "csv"}, "xml": {"type": "xml", "records": "d/r"}, "sql": {"type": "sql", "table": "t"}}
    source = {
        "kind": "files",
        "directory": "${GUIJI_TEST_DROP}",
        "pattern": ".*",
        "complete": {"seconds": 0},
        "format": said.get(form, {"type": form}),
    }
    resource = make_resource(source, COLUMNS, **ALL_OF_IT)
    place = plain_settings(tmp_path / "home").at(NOW)
    staged = stage_batch(resource, place, OCTOBER, open_at(resource, place, tmp_path / "scratch"), "0" * 16)
    checked = check_batch(resource, place, staged)
    assert read_accepted(checked, "f0", "f1", "f2") == [rows[0], rows[1], rows[3]]
    assert read_rejected(checked) == {3: ["structure.too_large"]}
    assert read_findings(checked) == {(3, "structure.too_large", "rejected")}
    said_of = [note for note in staged.notes if "过大" in note]
    assert len(said_of) == 1
    assert "“备注”列有 4,194,305 字节，上限为 4 MB（4,194,304 字节）" in said_of[0]
    assert said_of[0].startswith("a.txt")


def test_what_is_set_aside_for_its_size_is_kept_as_far_as_it_is_shown(place: Settings) -> None:
    staged = stage_table(things(), place, [("1", "张三", "短"), ("2", "李四", "文" * limits.LARGEST_CELL)])
    assert staged_rows(staged) == [
        (1, "1", "张三", "短", "a.csv", 2, None, None),
        (2, None, None, None, "a.csv", 3, "structure.too_large", f"2\t李四\t{'文' * 400}…（共 12,582,912 字节）"),
    ]


def test_a_shape_may_be_larger_than_a_text(place: Settings) -> None:
    resource = things("编号", "备注", {"title": "图形", "type": "geometry", "crs": "EPSG:4490"})
    big = "1" * (limits.LARGEST_CELL + 1)
    rows: list[tuple[str | None, ...]] = [
        ("1", None, big),
        ("2", big, None),
        ("3", None, "1" * limits.LARGEST_SHAPE),
        ("4", None, "1" * (limits.LARGEST_SHAPE + 1)),
    ]
    broken = {row[1]: row[-2] for row in staged_rows(stage_table(resource, place, rows)) if row[1]}
    assert broken == {"1": None, "3": None}


def test_a_row_may_not_be_too_large_altogether(place: Settings) -> None:
    titles = [f"列{i}" for i in range(8)]
    most = limits.LARGEST_ROW // 7
    rows: list[tuple[str | None, ...]] = [
        ("1", *["x" * most] * 6, "x" * (limits.LARGEST_ROW - 6 * most - 1)),
        ("2", *["x" * most] * 6, "x" * (limits.LARGEST_ROW - 6 * most)),
    ]
    staged = stage_table(things(*titles), place, rows)
    assert [row[-2] for row in staged_rows(staged)] == [None, "structure.too_large"]
    assert staged.notes == (
        "a.csv 第 3 行的内容过大：共有 25,165,825 字节，上限为 24 MB（25,165,824 字节），该行未采集",
    )


def test_the_notes_name_the_first_twenty_rows_and_the_rule_counts_all(place: Settings) -> None:
    big = "x" * (limits.LARGEST_CELL + 1)
    staged = stage_table(things(), place, [(str(i), "张三", big) for i in range(25)], at_once=2)
    assert [note.split("的内容")[0] for note in staged.notes] == [f"a.csv 第 {i + 2} 行" for i in range(20)]
    checked = check_batch(things(), place, staged)
    assert {rule.rule_id: rule.failed for rule in checked.rules if rule.failed} == {"structure.too_large": 25}


# --- many large rows --------------------------------------------------------------------------------------


def mixed_rows() -> list[tuple[str | None, ...]]:
    """Small rows, and among them some whose texts are long; every second row has a key of an odd form."""
    long = {7: 9_000_000, 2_500: 3_000_000, 2_501: 3_000_000, 2_502: 3_000_000, 6_000: 100_000, 9_999: 4_000_000}
    return [(f"k{i}", f"名{i % 7}", "文" * (long.get(i, 0) // 3) + str(i)) for i in range(10_000)]


@pytest.mark.parametrize("at_once", [700, 4_096, 10_000])
def test_wide_rows_are_kept_apart_and_in_order(place: Settings, at_once: int) -> None:
    rows = [row for row in mixed_rows() if len(row[2] or "") * 3 <= limits.LARGEST_CELL]
    staged = stage_table(things(), place, rows, at_once=at_once)
    assert [row[:4] for row in staged_rows(staged)] == [(i + 1, *row) for i, row in enumerate(rows)]
    sizes = []
    for part in sorted(Path(staged.directory).glob("part-*.parquet")):
        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                sizes.append((table.num_rows, table.nbytes))
    # what the engine takes at once: 2,048 rows, or a whole row group where that has fewer
    assert all(nbytes * min(1, limits.VECTOR_ROWS / n) <= 1.1 * limits.PIECE_BYTES for n, nbytes in sizes)


def test_wide_rows_are_judged_as_all_others(place: Settings) -> None:
    titles: list[str | dict[str, Any]] = ["编号", "姓名", {"title": "备注", "pattern": "[^5]*"}]
    rows = [row for row in mixed_rows() if len(row[2] or "") * 3 <= limits.LARGEST_CELL]
    rows += [rows[10], rows[2_499], ("k9999", "别名", "1"), ("k2501", "别名", "1"), (None, "无", "文" * 500_000)]
    resource = things(*titles)
    checked = check_batch(resource, place, stage_table(resource, place, rows))
    broken = {n: ["f2.pattern"] for n, row in enumerate(rows, 1) if "5" in (row[2] or "")}
    # the later of two versions of a key wins
    losers = {n: ["key.duplicate"] for n, row in enumerate(rows, 1) if row[0] == "k9999" and row[1] != "别名"}
    rejected = read_rejected(checked)
    assert rejected == broken | losers | {len(rows): ["key.blank"]}
    good = [row for n, row in enumerate(rows, 1) if n not in rejected]
    copies = [row for row, times in itertools.groupby(sorted(good)) if len(list(times)) > 1]
    assert (checked.rows_duplicate, len(copies)) == (1, 1)
    assert sorted(read_accepted(checked, "f0", "f1", "f2")) == sorted(set(good))  # type: ignore[type-var]


def test_how_many_rows_are_taken_at_once_follows_from_their_size(place: Settings) -> None:
    import duckdb

    rows: list[tuple[str | None, ...]] = [(f"{i}", "名", "x" * 3_000) for i in range(5_000)]
    rows += [(f"w{i}", "名", "x" * 1_000_000) for i in range(20)]
    staged = stage_table(things(), place, rows)
    with duckdb.connect() as con:
        package = Package(con, tuple(sorted(Path(staged.directory).glob("part-*.parquet"))))
        found = [
            (section.rows_at_once, con.execute(f"SELECT count(*) FROM {section.table}").fetchall()[0][0])
            for section in package.sections()
        ]
    assert found[0] == (8_192, 5_000)
    assert [n for _, n in found[1:]] == [8, 8, 4]
    assert row_groups(staged) == [[5_000], [8, 8, 4]]


def peak_of(script: str, *arguments: str) -> int:
    """Megabytes that a process of its own needs at most; its ``ru_maxrss`` would begin with the size of this one."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return int(ran.stdout.splitlines()[-1]) >> 10


PEAK = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
from delivering import NOW, plain_settings
from test_limits import stage_table, things
from guiji.quality import check_batch
place = plain_settings(Path(sys.argv[2])).at(NOW)
size, rows = int(sys.argv[3]), int(sys.argv[4])
thing = things("编号", "姓名", {"title": "备注", "pattern": sys.argv[5]})
given = ((f"k{i}", "名", f"{i}" + "文" * (size // 3)) for i in range(rows))
staged = stage_table(thing, place, given, at_once=max(1, (8 << 20) // size))
checked = check_batch(thing, place, staged)
assert (checked.rows_accepted, checked.rows_rejected) in ((rows, 0), (0, rows)), checked
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pattern", [".*", "x"], ids=["accepted", "rejected"])
@pytest.mark.parametrize(("size", "rows"), [(4_000_000, 60), (100_000, 2_500), (5_000, 40_000), (3_000, 80_000)])
def test_f29_large_cells_never_add_up(tmp_path: Path, size: int, rows: int, pattern: str) -> None:
    paths = ":".join(p for p in sys.path if p)
    assert peak_of(PEAK, paths, str(tmp_path / "home"), str(size), str(rows), pattern) < 700


@pytest.mark.timeout(600)
def test_f29_large_shapes_are_compared_and_never_add_up(tmp_path: Path) -> None:
    """Every second one lies upon the one before it; from west to east they come in another order than in the file."""
    script = """
    import sys
    sys.path[:0] = sys.argv[1].split(":")
    from pathlib import Path
    import numpy as np
    import shapely
    from delivering import NOW, plain_settings
    from staged_package import read_findings
    from test_limits import stage_table, things
    from guiji.quality import check_batch
    place = plain_settings(Path(sys.argv[2])).at(NOW)
    overlap = {"projection": "EPSG:4525"}
    thing = things("编号", "备注", {"title": "图形", "type": "geometry", "crs": "EPSG:4490", "overlap": overlap})
    angle = np.linspace(0, 2 * np.pi, 60_000, endpoint=False)
    def draw(n):
        x = 108 + n * 7 % 200 // 2 * 0.01 + n * 7 % 2 * 0.002
        points = np.stack([x + 0.003 * np.cos(angle), 39 + 0.003 * np.sin(angle)], 1)
        return shapely.to_wkt(shapely.polygons(points), rounding_precision=9)
    staged = stage_table(thing, place, ((f"{n}", "x", draw(n)) for n in range(200)), at_once=4)
    found = read_findings(check_batch(thing, place, staged))
    assert found == {(n, "f2.overlap", "suspicious") for n in range(1, 201)}, len(found)
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
    """
    assert peak_of(script, ":".join(p for p in sys.path if p), str(tmp_path / "home")) < 700


def test_surfaces_are_read_again_in_any_order_and_in_pieces(tmp_path: Path) -> None:
    import shapely

    shapes = shapely.from_wkt(["POINT (9 9)", *(f"POLYGON (({n} 0, {n} 1, 9 9, {n} 0))" for n in (3, 1, 2)), None])
    wkb = shapely.to_wkb(shapes)
    batch = pa.record_batch(
        {"_row_no": range(1, 6), "_key": pa.array(range(11, 16), pa.uint64()), "_g0": pa.array(wkb, pa.binary())}
    )
    with (tmp_path / "shapes").open("wb") as file:
        rows = pa.concat_tables(
            pa.Table.from_batches([put_surfaces(batch.slice(*part), 0, shapes[slice(part[0], sum(part))], file)])
            for part in ((0, 2), (2, 3))
        )
    assert rows.column("west").to_pylist() == [3, 1, 2]
    sorted_rows = rows.sort_by("west").combine_chunks().to_batches()
    for most, pieces in ((1, [1, 1, 1]), (2 * len(wkb[1]), [2, 1]), (1_000, [3])):
        found = list(read_surfaces(sorted_rows, tmp_path / "shapes", most))
        assert [piece.num_rows for piece in found] == pieces
        assert pa.Table.from_batches(found).to_pylist() == [
            {"_row_no": i + 1, "key": i + 11, "shape": wkb[i]} for i in (2, 3, 1)
        ]


def test_f29_a_key_that_no_index_takes_is_set_aside(place: Settings) -> None:
    resource = things()
    at, above = "键" * 666 + "ab", "键" * 666 + "abc"
    rows: list[tuple[str | None, ...]] = [(at, "一", "x"), (above, "二", "x"), ("3", "三" * 1_000, "x")]
    checked = check_batch(resource, place, stage_table(resource, place, rows))
    assert read_accepted(checked, "f0", "f1", "f2") == [rows[0], rows[2]]
    assert read_rejected(checked) == {2: ["key.too_long"]}
    assert [(r.title, r.failed) for r in checked.rules if r.rule_id == "key.too_long"] == [
        ("主键与关联字段（编号）合计不得超过 2,000 字节", 1)
    ]


def test_long_values_are_shown_by_their_beginning(place: Settings) -> None:
    resource = things("编号", {"title": "姓名", "pattern": "x", "sensitivity": 3}, {"title": "备注", "pattern": "x"})
    rows: list[tuple[str | None, ...]] = [("1", "张" * 100_000, "文" * 1_000_000)]
    checked = check_batch(resource, place, stage_table(resource, place, rows))
    shown = {r["rule_id"]: r["value_masked"] for r in pq.read_table(checked.findings).to_pylist()}
    assert shown == {"f1.pattern": "张" * 4 + "*" * 56 + "…", "f2.pattern": "文" * 60 + "…"}


#: a type, a good cell, one that is mended and one that is wrong; None: no such cell
KINDS: tuple[tuple[dict[str, Any], str, str | None, str | None], ...] = (
    ({}, "某街道{n}号", " 某街道{n}号\u3000", "#N/A"),
    ({"type": "date32"}, "2024-02-29", "２０２４-02-29", "2024/2/30x"),
    ({"type": "decimal128(12,2)"}, "{n}.50", "{n}．５", "甲"),
    ({"type": "int64"}, "{n}", "０{n}", "1.5"),
    ({"codes": "sex"}, "1", "１", "9x"),
    ({"type": "timestamp"}, "2024-02-29 10:00:00", None, "坏"),
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fields", [80, MOST_FIELDS])
@pytest.mark.parametrize("state", ["good", "mended", "wrong"])
def test_tables_of_many_fields_of_all_types_stay_below_1_gb(tmp_path: Path, fields: int, state: str) -> None:
    """Whatever is the matter with every row; 80 fields ran out of the engine's memory once, whose vectors they fill."""
    script = """
    import sys
    sys.path[:0] = sys.argv[1].split(":")
    from pathlib import Path
    from delivering import NOW, plain_settings
    from test_limits import KINDS, stage_table, things
    from guiji.quality import check_batch
    place = plain_settings(Path(sys.argv[2])).at(NOW)
    fields, which = int(sys.argv[3]), {"good": 1, "mended": 2, "wrong": 3}[sys.argv[4]]
    kinds = [KINDS[i % 6] for i in range(fields - 1)]
    thing = things("编号", *({"title": f"列{i}", **kind[0]} for i, kind in enumerate(kinds)))
    def cell(n, i, kind):
        return ((kind[which] if (n + i) % 7 == 0 else None) or kind[1]).format(n=n)
    def row(n):
        return (f"k{n}", *(cell(n, i, kind) for i, kind in enumerate(kinds)))
    staged = stage_table(thing, place, map(row, range(12_000)))
    checked = check_batch(thing, place, staged)
    assert (checked.rows_accepted, checked.rows_rejected) == ((0, 12_000) if which == 3 else (12_000, 0)), checked
    mended = {rule.rule_id: rule.mended for rule in checked.rules}
    assert any(mended.values()) == (which == 2), mended
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
    """
    paths = ":".join(p for p in sys.path if p)
    assert peak_of(script, paths, str(tmp_path / "home"), str(fields), state) < 1000


@pytest.mark.parametrize(("form", "place_of_it"), [("json", "一条记录中有"), ("jsonl", "第 2 行有")])
def test_f49_a_record_of_millions_of_values_refuses_the_file(tmp_path: Path, form: str, place_of_it: str) -> None:
    """A number of two characters costs Python a hundred bytes."""
    records = ['{"编号": "1", "姓名": "x"}', '{"编号": "2", "姓名": [' + "0," * 1_500_001 + "0]}"]
    text = f"[{', '.join(records)}]" if form == "json" else "\n".join(records) + "\n"
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, text.encode(), expect("编号", "姓名"), "a.json", type=form)
    assert caught.value.rule_id == "delivery.too_large"
    assert f"{place_of_it}超过 1,500,000 个值" in str(caught.value)
    rows, _ = read_bytes(tmp_path, text.encode().replace(b"0,0,", b"", 2), expect("编号", "姓名"), "a.json", type=form)
    assert [(row["编号"], row["姓名"].count("0")) for row in rows] == [("1", 0), ("2", 1_499_998)]


def test_f49_millions_of_values_are_refused_before_they_are_read(tmp_path: Path) -> None:
    script = """
    import sys
    sys.path[:0] = sys.argv[1].split(":")
    from pathlib import Path
    from delivering import expect, read_bytes
    from guiji.errors import DeliveryRefused
    text = b'[{"a": "1", "b": [' + b"0," * 7_900_000 + b"0]}]"
    try:
        read_bytes(Path(sys.argv[2]), text, expect("a", "b"), "a.json", type="json")
    except DeliveryRefused as error:
        assert error.rule_id == "delivery.too_large", error
        print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
    """
    assert peak_of(script, ":".join(p for p in sys.path if p), str(tmp_path)) < 600


def test_f43_a_record_of_millions_of_pieces_refuses_the_file(tmp_path: Path) -> None:
    text = f"<d><r><编号>1</编号><姓名>{'<a b=&quot;&quot;/>' * 1_000_001}</姓名></r></d>".replace("&quot;", "'")
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, text.encode(), expect("编号", "姓名"), "a.xml", type="xml", records="d/r")
    assert caught.value.rule_id == "delivery.too_large"
    assert "第 1 行起的一条记录" in str(caught.value)


def test_a_message_names_some_of_thousands_of_columns(tmp_path: Path) -> None:
    names = [f"新{i}" for i in range(16_000)]
    line = ",".join([*COLUMNS, *names])
    with pytest.raises(DeliveryRefused) as caught:
        read_bytes(tmp_path, f"{line}\n".encode(), expect(*COLUMNS), type="csv")
    assert "“新49” 等 16,000 列" in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_the_limits_are_documented() -> None:
    page = (Path(staging.__file__).parents[2] / "docs" / "supply" / "formats.md").read_text(encoding="utf-8")
    for size in (limits.LARGEST_CELL, limits.LARGEST_SHAPE, limits.LARGEST_ROW):
        assert f"{size >> 20} MB" in page


def test_pieces_are_cut_by_bytes() -> None:
    batch = pa.record_batch({"a": ["x" * n for n in (5, 5, 1, 30, 2, 2, 2)], "n": range(7)})
    assert [p.num_rows for p in limits.cut_by_bytes(batch, 10)] == [2, 1, 1, 3]
    assert pa.Table.from_batches(limits.cut_by_bytes(batch, 10)).to_pylist() == batch.to_pylist()
    assert [p.num_rows for p in limits.cut_by_bytes(batch, 10_000)] == [7]
    assert [p.num_rows for p in limits.cut_by_bytes(batch.slice(0, 0), 1)] == [0]
    coded = pa.array(["ab", None, "abcd"]).dictionary_encode()
    assert limits.cell_bytes(coded).to_pylist() == [2, None, 4]
    assert (limits.longest_cell(coded), limits.longest_cell(pa.array([1 << 40]))) == (4, 0)
