"""Each cell becomes exactly what it says, or a finding; nothing is rounded, guessed or coerced."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import shapely
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from staged_package import (
    ID,
    check_cells,
    make_resource,
    make_settings,
    read_accepted,
    read_findings,
    read_rejected,
    stage_rows,
)

from guiji.errors import CatalogError, DeliveryRefused
from guiji.quality import check_batch
from guiji.standardize import plan_fields

SHANGHAI = timezone(timedelta(hours=8))


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("int64", "42", 42),
        ("int64", "-7", -7),
        ("int64", " 42 ", 42),
        ("int64", "４２", 42),
        ("int64", "007", 7),
        ("int64", "12.0", 12),
        ("int64", "9223372036854775807", 2**63 - 1),
        ("float64", "1.5e3", 1500.0),
        ("float64", ".5", 0.5),
        ("decimal128(10,2)", "12.50", Decimal("12.50")),
        ("decimal128(10,2)", "12.5000", Decimal("12.50")),
        ("decimal128(10,2)", "-0.01", Decimal("-0.01")),
        ("decimal128(38,0)", "9" * 38, Decimal("9" * 38)),
        ("decimal128(8,0)", "5.00", Decimal(5)),
        ("decimal128(8,0)", "-.0", Decimal(0)),
        ("decimal128(8,1)", ".50", Decimal("0.5")),
        ("bool", "是", True),
        ("bool", "FALSE", False),
        ("date32", "2024-02-29", date(2024, 2, 29)),
        ("date32", "2024-02-29 00:00:00", date(2024, 2, 29)),
        ("timestamp", "2024-02-29 08:30:00", datetime(2024, 2, 29, 8, 30, tzinfo=SHANGHAI)),
        ("timestamp", "2024-02-29T08:30", datetime(2024, 2, 29, 8, 30, tzinfo=SHANGHAI)),
        ("timestamp", "2024-02-29T08:30:00Z", datetime(2024, 2, 29, 8, 30, tzinfo=UTC)),
        ("timestamp", "2024-02-29 08:30:00.123456+08:00", datetime(2024, 2, 29, 8, 30, 0, 123456, tzinfo=SHANGHAI)),
        ("timestamp", "1900-01-01 00:05:43+08:05:43", datetime(1899, 12, 31, 16, tzinfo=UTC)),
        ("string", "  张三\u3000", "张三"),
        ("string", "张\u200b三", "张三"),
        ("string", "\ufeff张三", "张三"),
        ("string", "张三\x07", "张三"),
        ("string", "（东胜区）１号", "（东胜区）１号"),
        ("string", "NA", "NA"),
        ("string", "NULL", "NULL"),
        ("string", "a\tb\nc", "a\tb\nc"),
        ("string", "ᠮᠣᠩᠭᠣᠯ\u180e", "ᠮᠣᠩᠭᠣᠯ\u180e"),
    ],
)
def test_a_cell_becomes_what_it_says(tmp_path: Path, type_: str, text: str, value: Any) -> None:
    checked = check_cells(tmp_path, {"type": type_}, [text])
    assert read_accepted(checked, "id", "value") == [("1", value)]


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("int64", "1.5"),
        ("int64", "1,000"),
        ("int64", "1e3"),
        ("int64", "0x1F"),
        ("int64", "1_000"),
        ("int64", "9223372036854775808"),
        ("int64", "十"),
        ("float64", "nan"),
        ("float64", "inf"),
        ("float64", "1e999"),
        ("decimal128(10,2)", "1.234"),
        ("decimal128(8,0)", ".5"),
        ("decimal128(8,0)", ".4"),
        ("decimal128(8,0)", "-.5"),
        ("decimal128(8,0)", "0.5"),
        ("decimal128(8,1)", ".55"),
        ("decimal128(10,2)", "123456789.00"),
        ("decimal128(10,2)", "1,234.00"),
        ("decimal128(10,2)", "1.5e1"),
        ("bool", "也许"),
        ("date32", "45351"),
        ("date32", "2024-02-30"),
        ("date32", "2024/2/29"),
        ("date32", "20240229"),
        ("date32", "2024-2-29"),
        ("date32", "2024年2月29日"),
        ("date32", "民国113年2月29日"),
        ("date32", "二〇二四年正月初一"),
        ("date32", "infinity"),
        ("date32", "2024-02-29 08:30:00"),
        ("timestamp", "2024-02-29 25:00:00"),
        ("timestamp", "now"),
        ("timestamp", "2024-02-29 08:30:00+25:00"),
        ("timestamp", "2024-02-29 08:30:00-14:30"),
        ("timestamp", "2024-02-29 08:30:00+08:60"),
    ],
)
def test_f23_what_can_not_be_cast_exactly_is_rejected_and_never_guessed(tmp_path: Path, type_: str, text: str) -> None:
    checked = check_cells(tmp_path, {"type": type_}, [text, None])
    assert read_rejected(checked) == {1: ["value.type"]}
    assert read_accepted(checked, "id", "value") == [("2", None)]


def test_offsets_lie_within_fourteen_hours(tmp_path: Path) -> None:
    cells = ["2024-02-29 08:30:00+14:00", "2024-02-29 08:30:00-0330", "2024-02-29 08:30:00+15", "2024-02-29 08:30:00Z"]
    assert read_rejected(check_cells(tmp_path / "a", {"type": "timestamp"}, cells)) == {3: ["value.type"]}
    zoned = {"type": "timestamp", "formats": ["%Y-%m-%d %H:%M:%S%z"]}
    cells = ["2024-02-29 08:30:00+14:00", "2024-02-29 08:30:00-0330", "2024-02-29 08:30:00+25:00"]
    assert read_rejected(check_cells(tmp_path / "b", zoned, cells)) == {3: ["value.type"]}


def test_declared_date_formats_are_tried_in_order(tmp_path: Path) -> None:
    formats = ["%Y%m%d", "%Y年%m月%d日", "%Y/%m/%d"]
    cells = ["20240229", "2024年2月29日", "2024/2/29", "2024111", "2024/2/30", "2024-02-29"]
    checked = check_cells(tmp_path, {"type": "date32", "formats": formats}, cells)
    assert read_accepted(checked, "id", "value") == [(n, date(2024, 2, 29)) for n in "123"]
    assert read_rejected(checked) == {n: ["value.type"] for n in (4, 5, 6)}


def test_f25_zero_dates_become_null_and_are_counted(tmp_path: Path) -> None:
    cells = ["0000-00-00", "2022-11-00 20:59:22", "2022-00-11", "2022-11-01"]
    checked = check_cells(tmp_path, {"type": "date32"}, cells)
    assert read_accepted(checked, "value") == [(None,), (None,), (None,), (date(2022, 11, 1),)]
    assert read_findings(checked) == {(n, "value.type", "mended") for n in (1, 2, 3)}
    refused = check_cells(tmp_path / "x", {"type": "date32", "nullable": False}, ["0000-00-00"])
    assert read_rejected(refused) == {1: ["value.required"]}


def test_f31_dates_outside_every_record_are_rejected_unless_declared(tmp_path: Path) -> None:
    checked = check_cells(tmp_path, {"type": "date32"}, ["0001-01-01", "9999-12-31", "1949-10-01"])
    assert read_rejected(checked) == {1: ["value.range"], 2: ["value.range"]}
    open_end = check_cells(tmp_path / "x", {"type": "date32", "maximum": "9999-12-31"}, ["9999-12-31"])
    assert read_accepted(open_end, "value") == [(date(9999, 12, 31),)]


def test_null_tokens_are_declared_never_assumed(tmp_path: Path) -> None:
    checked = check_cells(tmp_path, {"null_tokens": ["无", "-"]}, ["无", " - ", "NA", "n/a", "None", ""])
    assert read_accepted(checked, "value") == [(None,), (None,), ("NA",), ("n/a",), ("None",), (None,)]


def test_codes_are_mapped_ignored_or_rejected_with_their_value(tmp_path: Path) -> None:
    field = {"codes": "marital", "code_map": {"fixable": {"24": "30"}, "ignored": ["99"]}}
    checked = check_cells(tmp_path, field, ["10", "24", "99", "77", "１０", None])
    assert read_accepted(checked, "id", "value") == [
        ("1", "10"),
        ("2", "30"),
        ("3", None),
        ("5", "10"),
        ("6", None),
    ]
    assert read_rejected(checked) == {4: ["value.code"]}
    assert read_findings(checked) == {
        (2, "value.code", "mended"),
        (3, "value.code", "mended"),
        (4, "value.code", "rejected"),
        (5, "value.code", "mended"),
    }
    rule = next(r for r in checked.rules if r.rule_id == "value.code")
    assert (rule.rows, rule.failed, rule.mended, rule.indicator) == (4, 1, 3, "0105")


def test_length_pattern_range_and_required_each_have_their_rule(tmp_path: Path) -> None:
    assert read_rejected(check_cells(tmp_path / "a", {"length": 3}, ["鄂尔多", "鄂尔多斯", "𠮷𠮷𠮷"])) == {
        2: ["value.length"]
    }
    assert read_rejected(check_cells(tmp_path / "b", {"pattern": "1[3-9][0-9]{9}"}, ["13900000000", "1390000000"])) == {
        2: ["value.pattern"]
    }
    low = {"type": "decimal128(8,2)", "minimum": 0.01, "maximum": 100}
    assert read_rejected(check_cells(tmp_path / "c", low, ["0.00", "0.01", "100", "100.01"])) == {
        1: ["value.range"],
        4: ["value.range"],
    }
    assert read_rejected(check_cells(tmp_path / "d", {"nullable": False}, ["x", "", " \u3000", None])) == {
        n: ["value.required"] for n in (2, 3, 4)
    }


def test_a_field_that_only_warns_keeps_the_row(tmp_path: Path) -> None:
    checked = check_cells(tmp_path, {"length": 2, "severity": "warn"}, ["ab", "abc"])
    assert read_accepted(checked, "value") == [("ab",), ("abc",)]
    assert read_findings(checked) == {(2, "value.length", "suspicious")}


def test_geometry_becomes_wkb_or_is_rejected(tmp_path: Path) -> None:
    field = {"type": "geometry", "crs": "EPSG:4490"}
    cells = [
        "POINT (109.8 39.6)",
        "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))",
        "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))",
        "POLYGON EMPTY",
        "somewhere",
        None,
    ]
    checked = check_cells(tmp_path, field, cells)
    assert read_rejected(checked) == {n: ["value.geometry"] for n in (3, 4, 5)}
    found = [shapely.from_wkb(v) if v else None for (v,) in read_accepted(checked, "value")]
    assert found == [shapely.from_wkt(cells[0]), shapely.from_wkt(cells[1]), None]
    geojson = check_cells(
        tmp_path / "j", {**field, "encoding": "geojson"}, ['{"type":"Point","coordinates":[1,2]}', "{}"]
    )
    assert read_rejected(geojson) == {2: ["value.geometry"]}
    hexed = check_cells(tmp_path / "h", {**field, "encoding": "wkb"}, [shapely.Point(1, 2).wkb_hex, "zz"])
    assert read_rejected(hexed) == {2: ["value.geometry"]}
    binary = check_cells(
        tmp_path / "w", {**field, "encoding": "wkb"}, [shapely.Point(1, 2).wkb, b"no"], types={"value": pa.binary()}
    )
    assert read_rejected(binary) == {2: ["value.geometry"]}


def test_a_curve_is_rejected_alone_and_measures_are_left_out(tmp_path: Path) -> None:
    field = {"type": "geometry", "crs": "EPSG:4490"}
    cells = ["CIRCULARSTRING (0 0, 1 1, 2 0)", "POINT M (1 2 9)", "LINESTRING ZM (0 0 1 9, 1 1 2 9)", "POINT (1 2)"]
    cells.append("GEOMETRYCOLLECTION (POINT (1 2), COMPOUNDCURVE (CIRCULARSTRING (0 0, 1 1, 2 0)))")
    checked = check_cells(tmp_path, field, cells)
    assert read_rejected(checked) == {1: ["value.geometry"], 5: ["value.geometry"]}
    found = [shapely.to_wkt(shapely.from_wkb(v)) for (v,) in read_accepted(checked, "value")]
    assert found == ["POINT (1 2)", "LINESTRING Z (0 0 1, 1 1 2)", "POINT (1 2)"]
    arc = bytes.fromhex("0108000000030000000000000000000000000000000000000000000000000000f03f000000000000f03f")
    arc += bytes.fromhex("00000000000000400000000000000000")
    binary = check_cells(tmp_path / "w", field, [arc, shapely.Point(1, 2).wkb], types={"value": pa.binary()})
    assert read_rejected(binary) == {1: ["value.geometry"]}


@pytest.mark.parametrize(
    ("field", "type_", "cells", "expected"),
    [
        ({"type": "int64"}, pa.int32(), [1, None], [1, None]),
        ({"type": "int64"}, pa.float64(), [12.0, 1.0], [12, 1]),
        ({"type": "string"}, pa.int64(), [123, None], ["123", None]),
        ({"type": "string"}, pa.decimal128(38, 0), [Decimal("9" * 38)], ["9" * 38]),
        ({"type": "date32"}, pa.date32(), [date(2024, 1, 2)], [date(2024, 1, 2)]),
        ({"type": "date32"}, pa.timestamp("us"), [datetime(2024, 1, 2, 23, 59)], [date(2024, 1, 2)]),
        (
            {"type": "timestamp"},
            pa.timestamp("us"),
            [datetime(2024, 1, 2, 8)],
            [datetime(2024, 1, 2, 8, tzinfo=SHANGHAI)],
        ),
        (
            {"type": "timestamp"},
            pa.timestamp("us", tz="UTC"),
            [datetime(2024, 1, 2, 0, tzinfo=UTC)],
            [datetime(2024, 1, 2, 8, tzinfo=SHANGHAI)],
        ),
        ({"type": "decimal128(10,2)"}, pa.decimal128(20, 4), [Decimal("1.5000")], [Decimal("1.50")]),
        ({"type": "decimal128(10,2)"}, pa.int64(), [5], [Decimal("5.00")]),
        ({"type": "float64"}, pa.decimal128(10, 2), [Decimal("1.25")], [1.25]),
        ({"type": "bool"}, pa.bool_(), [True, None], [True, None]),
        ({"codes": "sex"}, pa.int64(), [1, 2], ["1", "2"]),
        ({"type": "string"}, pa.binary(), [b"\xe5\xbc\xa0", b"abc", b"", None], ["e5bca0", "616263", None, None]),
    ],
)
def test_typed_columns_of_a_database_keep_their_values(
    tmp_path: Path, field: dict[str, Any], type_: pa.DataType, cells: list[Any], expected: list[Any]
) -> None:
    checked = check_cells(tmp_path, field, cells, types={"value": type_})
    assert [v for (v,) in read_accepted(checked, "value")] == expected


def test_typed_columns_that_lose_something_are_rejected(tmp_path: Path) -> None:
    for n, (field, type_, cell) in enumerate(
        [
            ({"type": "int64"}, pa.float64(), 1.5),
            ({"type": "int64"}, pa.uint64(), 2**64 - 1),
            ({"type": "decimal128(10,2)"}, pa.decimal128(20, 4), Decimal("1.2345")),
            ({"type": "float64"}, pa.float64(), float("nan")),
        ]
    ):
        checked = check_cells(tmp_path / str(n), field, [cell], types={"value": type_})
        assert read_rejected(checked) == {1: ["value.type"]}, field


def test_f16_a_missing_required_column_refuses_the_delivery_and_names_the_nearest(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource([ID, {"name": "birth", "title": "出生日期"}, {"name": "note", "required": False}])
    staged = stage_rows(settings, resource, [{"id": "1"}], columns=["id", "出生年日期"])
    with pytest.raises(DeliveryRefused, match="“出生日期”（是否写成了“出生年日期”？）") as refused:
        plan_fields(resource, staged)
    assert refused.value.rule_id == "delivery.missing_column"
    optional = stage_rows(settings, resource, [{"id": "1", "出生日期": "x"}], columns=["id", "出生日期"], batch_id="b2")
    assert read_accepted(check_batch(resource, settings, optional), "id", "birth", "note") == [("1", "x", None)]


def test_columns_that_differ_in_case_only_are_refused_not_confused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource([ID, {"name": "a", "title": "Code"}, {"name": "b", "title": "code"}])
    with pytest.raises(CatalogError, match="differ in case only"):
        check_batch(resource, settings, stage_rows(settings, resource, [{"id": "1", "Code": "x", "code": "y"}]))


def test_constants_and_aliases_are_filled_in(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource(
        [ID, {"name": "region", "constant": "150600"}, {"name": "full_name", "title": "姓名", "aliases": ["名字"]}]
    )
    staged = stage_rows(settings, resource, [{"id": "1", "名字": "张三"}], columns=["id", "名字"])
    checked = check_batch(resource, settings, staged)
    assert read_accepted(checked, "id", "region", "full_name") == [("1", "150600", "张三")]


def test_f30_ids_that_differ_only_in_what_nobody_sees_are_one_key(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource([{"name": "id", "identifier": "division"}, {"name": "name"}])
    rows = [{"id": "150602", "name": "甲"}, {"id": "1506\u200b02", "name": "甲"}, {"id": "１５０６０２ ", "name": "甲"}]
    checked = check_batch(resource, settings, stage_rows(settings, resource, rows))
    assert read_accepted(checked, "id") == [("150602",)]
    assert checked.rows_duplicate == 2


def test_f30_texts_of_a_key_that_look_alike_are_one_key(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    mapping = {"library": "place", "key": ["code"], "fields": {}}
    resource = make_resource([ID, {"name": "code"}, {"name": "note"}], mappings=[mapping])
    row = {"id": "A1（甲）", "code": "B２\u200d", "note": "Ｂ２"}
    spelled = ["A1（甲）", "A\u200d1（甲）", "Ａ１（甲\ufe0f）", "\u00ada1（甲）"]
    checked = check_batch(resource, settings, stage_rows(settings, resource, [row | {"id": i} for i in spelled]))
    assert read_accepted(checked, "id", "code", "note") == [("A1（甲）", "B2", "Ｂ２"), ("a1（甲）", "B2", "Ｂ２")]
    assert checked.rows_duplicate == 2
    mended = {r.rule_id: r.mended for r in checked.rules if r.mended}
    assert mended == {"id.text": 3, "code.text": 4}


def test_f19_a_bare_exponent_is_a_lost_number_only_where_long_numbers_are_declared(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    fields = [
        ID,
        {"name": "person", "identifier": "citizen_id"},
        {"name": "account", "pattern": "[0-9]{16,19}"},
        {"name": "card", "length": 18},
        {"name": "room", "length": 10},
        {"name": "either", "pattern": "[0-9E]+"},
    ]
    rows: list[dict[str, Any]] = [
        {"id": "1", "person": "1E17"},
        {"id": "2", "account": "6e18"},
        {"id": "3", "card": "1E17"},
        {"id": "4", "card": "1E16", "room": "3E12", "either": "1E17"},
        {"id": "5", "account": "1E11"},
    ]
    checked = check_batch(make_resource(fields), settings, stage_rows(settings, make_resource(fields), rows))
    assert read_rejected(checked) == {
        1: ["person.precision_lost"],
        2: ["account.precision_lost"],
        3: ["card.precision_lost"],
        5: ["account.pattern"],
    }
    assert read_accepted(checked, "id", "card", "room", "either") == [("4", "1E16", "3E12", "1E17")]


def test_f19_texts_that_lost_their_digits_are_set_aside_before_duplicates_are_judged(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    resource = make_resource([ID, {"name": "person", "identifier": "citizen_id"}, {"name": "note", "nullable": False}])
    rows: list[dict[str, Any]] = [
        {"id": "1.23457E+11", "note": "a"},
        {"id": "1.23457E+11", "note": "b"},
        {"id": "1", "person": "1.10105E+17", "note": "a"},
        {"id": "2", "note": "  -9.11e17 "},
        {"id": "3", "note": "1.1010519900101002e+17"},
        {"id": "4", "note": "3E12"},
        {"id": "5", "note": "1.5E+10吨"},
    ]
    checked = check_batch(resource, settings, stage_rows(settings, resource, rows))
    assert read_rejected(checked) == {
        1: ["id.precision_lost"],
        2: ["id.precision_lost"],
        3: ["person.precision_lost"],
        4: ["note.precision_lost"],
        5: ["note.precision_lost"],
    }
    assert read_accepted(checked, "id", "note") == [("4", "3E12"), ("5", "1.5E+10吨")]
    assert (checked.rows_duplicate, checked.unreadable_keys) == (0, 2)
    said = {r.rule_id: (r.failed, r.rows, r.severity) for r in checked.rules if "精度已丢失" in r.title}
    assert said == {
        "id.precision_lost": (2, 7, "reject"),
        "person.precision_lost": (1, 1, "reject"),
        "note.precision_lost": (2, 7, "reject"),
    }


def test_f37_text_that_was_decoded_wrongly_is_set_aside_whatever_way_it_comes(tmp_path: Path) -> None:
    names = ["张三", "李昊", "鄂尔多斯市"]
    latin = [name.encode(coded).decode("latin-1") for name in names for coded in ("gb18030", "utf-8")]
    windows = [name.encode().decode("cp1252", "ignore") for name in ("测试", "上海市")]
    garbled = [*latin, *windows, f"东街{latin[0]}号", "锟斤拷公司", "a\ufffdb"]
    for n, field in enumerate(({}, {"severity": "warn"})):
        checked = check_cells(tmp_path / str(n), field, garbled)
        assert read_rejected(checked) == {i: ["value.garbled"] for i in range(1, len(garbled) + 1)}, field
        (rule,) = [r for r in checked.rules if r.failed]
        assert ("乱码" in rule.title, rule.severity) == (True, "reject")
    words = ["Müller", "größe", "créée", "áéíóú", "ÄÖÜ", "naïve", "10²²·³", "118°30′", "“Café”—", "××××", "±°±°", "¼½¾"]
    assert read_accepted(check_cells(tmp_path / "w", {}, words), "value") == [(w,) for w in words]
    declared = check_cells(tmp_path / "d", {"code_map": {"fixable": {"ÕÅÈý": "张三"}}}, ["ÕÅÈý"])
    assert read_accepted(declared, "value") == [("张三",)]


def test_errors_of_a_spreadsheet_are_never_values_unless_declared(tmp_path: Path) -> None:
    errors = ["########", "#N/A", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", " ### "]
    for n, field in enumerate(({}, {"severity": "warn"}, {"type": "int64"}, {"type": "date32"}, {"codes": "sex"})):
        checked = check_cells(tmp_path / str(n), field, errors)
        assert read_rejected(checked) == {i: ["value.cell_error"] for i in range(1, 10)}, field
    texts = ["#3", "3#楼", "##", "甲#N/A"]
    assert read_accepted(check_cells(tmp_path / "t", {}, texts), "value") == [(t,) for t in texts]
    declared = {"null_tokens": ["#N/A"], "code_map": {"fixable": {"###": "无"}}}
    assert read_accepted(check_cells(tmp_path / "d", declared, ["#N/A", "###"]), "value") == [(None,), ("无",)]


@pytest.mark.parametrize(("type_", "edge"), [(pa.float64(), 1e15), (pa.float32(), 2.0**24)])
def test_floats_become_text_only_while_they_hold_every_digit(tmp_path: Path, type_: pa.DataType, edge: float) -> None:
    cells = [edge - 1, 12.5, None, edge, -edge * 100, float("nan"), float("-inf")]
    checked = check_cells(tmp_path, {}, cells, types={"value": type_})
    assert read_accepted(checked, "value") == [(str(int(edge) - 1),), ("12.5",), (None,)]
    assert read_rejected(checked) == {
        **{n: ["value.precision_lost"] for n in (4, 5)},
        **{n: ["value.not_a_number"] for n in (6, 7)},
    }


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("float64", [0.1, 343126.12, 12.5, None, -3.0, 16777216.0]),
        (
            "decimal128(18,2)",
            [Decimal("0.1"), Decimal("343126.12"), Decimal("12.5"), None, Decimal(-3), Decimal(2**24)],
        ),
        ("string", ["0.1", "343126.12", "12.5", None, "-3"]),  # the last one may have lost a digit
    ],
)
def test_a_single_precision_number_is_the_one_that_was_written_in_every_type(
    tmp_path: Path, type_: str, said: list[Any]
) -> None:
    cells = [0.1, 343126.12, 12.5, None, -3.0, 16777216.0]
    checked = check_cells(tmp_path, {"type": type_}, cells, types={"value": pa.float32()})
    assert read_accepted(checked, "value") == [(v,) for v in said]
    assert read_rejected(checked) == ({6: ["value.precision_lost"]} if type_ == "string" else {})


@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_no_single_precision_number_becomes_another(
    tmp_path_factory: pytest.TempPathFactory, cells: list[float]
) -> None:
    home = tmp_path_factory.mktemp("s")
    checked = check_cells(home, {"type": "float64"}, cells, types={"value": pa.float32()})
    found = [v for (v,) in read_accepted(checked, "value")]
    assert pa.array(found, pa.float64()).cast(pa.float32()) == pa.array(cells, pa.float32())


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9),
        min_size=1,
        max_size=20,
    )
)
def test_f27_decimals_stay_exact(tmp_path_factory: pytest.TempPathFactory, cells: list[Decimal]) -> None:
    checked = check_cells(tmp_path_factory.mktemp("d"), {"type": "decimal128(18,4)"}, [f"{c:f}" for c in cells])
    assert [v for (v,) in read_accepted(checked, "value")] == cells


@pytest.mark.parametrize("type_", [pa.float32(), pa.float64()], ids=["single", "double"])
@pytest.mark.parametrize("field", ["decimal128(20,12)", "string"])
def test_a_small_floating_number_is_the_one_that_was_written(tmp_path: Path, field: str, type_: Any) -> None:
    """Not 1e-05, which no decimal field took for a number."""
    cells = [0.00001, -0.0000125, 0.0001, 0.000999, 2e-12, 0.0, None]
    checked = check_cells(tmp_path, {"type": field}, cells, types={"value": type_})
    assert read_rejected(checked) == {}
    found = [v for (v,) in read_accepted(checked, "value")]
    written = ["0.00001", "-0.0000125", "0.0001", "0.000999", "0.000000000002", "0", None]
    assert found == (
        written
        if field == "string"
        else [None if c is None else Decimal(c).quantize(Decimal("1e-12")) for c in written]
    )
