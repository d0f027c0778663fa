"""Units: every conversion is exact or is not made, in the engine's check and in the library's SQL alike."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import sql

from guiji.catalog import check_catalog
from guiji.catalog.models import DepartmentModel, LibraryField, LibraryMapping, LibraryModel, Resource, ResourceModel
from guiji.codes import load_code_table
from guiji.library.feeds import Feed
from guiji.library.measured import unit_sql, value_sql
from guiji.measures import convert, kept_unit, list_convertible, load_units, misfit_sql, shift_between
from guiji.standardize.measure import measure_number
from guiji.standardize.plan import FieldPlan

TYPES = ("decimal128(24,6)", "decimal128(18,2)", "decimal128(38,10)", "int64")
#: whole digits and decimal places that each type holds whatever the digits are
ROOM = {"decimal128(24,6)": (18, 6), "decimal128(18,2)": (16, 2), "decimal128(38,10)": (28, 10), "int64": (18, 0)}
#: written out here again, so that a slip of the table is seen
TEN_TO = {
    "元": 0, "千元": 3, "万元": 4, "百万元": 6, "亿元": 8, "人": 0, "千人": 3, "万人": 4, "亿人": 8, "‰": -1, "%": 0,
    "千克": -3, "吨": 0, "万吨": 4, "亿吨": 8, "平方米": 0, "公顷": 4, "平方公里": 6, "千公顷": 7, "米": 0, "公里": 3,
}  # fmt: skip
DIMENSIONS = (("元", "千元", "万元", "百万元", "亿元"), ("人", "千人", "万人", "亿人"), ("%", "‰"),
              ("千克", "吨", "万吨", "亿吨"), ("平方米", "公顷", "平方公里", "千公顷"), ("米", "公里"))  # fmt: skip


def test_the_table_of_units_is_as_one_computes_by_hand() -> None:
    units = load_units()
    assert {n: u.power for n, u in units.items() if n in TEN_TO} == TEN_TO
    for names in DIMENSIONS:
        assert len({units[n].dimension for n in names}) == 1, names
    assert len({units[names[0]].dimension for names in DIMENSIONS}) == len(DIMENSIONS)
    # one unit of a power is enough, except for two names of the same unit
    by_place: dict[tuple[str, int], list[str]] = {}
    for u in units.values():
        by_place.setdefault((u.dimension, u.power), []).append(u.name)
    assert {tuple(v) for v in by_place.values() if len(v) > 1} == {
        ("千克", "公斤"),
        ("千米", "公里"),
        ("万平方米", "公顷"),
    }
    assert load_code_table("unit").codes == set(units)


def test_what_no_power_of_ten_joins_never_meets() -> None:
    units = load_units()
    apart = [
        ("元", "美元"), ("亩", "平方米"), ("人", "人次"), ("人", "户"), ("%", "百分点"), ("%", "倍"),
        ("上年=100", "上年同月=100"), ("上年=100", "%"), ("千瓦", "千瓦时"), ("吨", "吨标准煤"), ("元", "元/人"), ("个", "家"),
    ]  # fmt: skip
    assert [(a, b) for a, b in apart if units[a].dimension == units[b].dimension] == []
    assert kept_unit("美元", ["万元", "人"]) is None
    assert kept_unit("毫米汞柱", ["万元", "人"]) is None
    assert kept_unit("亿元", ["人", "万元"]) == "万元"


def test_one_value_is_converted_by_its_point_alone() -> None:
    assert convert(Decimal("62.53"), "亿元", "万元") == Decimal("625300")
    assert convert(Decimal("62.5301234567"), "亿元", "万元") == Decimal("625301.234567")
    assert convert(Decimal("-0.01"), "元", "万元") == Decimal("-0.000001")
    assert shift_between("元", "亿元") == -8
    assert list_convertible(["%"]) == {"%": ("%", 0), "‰": ("%", -1)}


# --- against plain arithmetic -------------------------------------------------------------------------


def decimals(kind: str) -> st.SearchStrategy[Decimal]:
    if kind == "int64":
        return st.integers(-(2**63) + 1, 2**63 - 1).map(Decimal) | st.integers(-(10**6), 10**6).map(Decimal)
    whole, places = ROOM[kind]
    largest = 10 ** (whole + places) - 1
    digits = st.integers(-largest, largest) | st.integers(-(10**9), 10**9) | st.integers(-99, 99)
    rounded = st.tuples(st.integers(-(10**6), 10**6), st.integers(0, whole)).map(lambda p: p[0] * 10 ** p[1])
    return (digits | rounded.filter(lambda n: abs(n) <= largest)).map(lambda n: Decimal(n).scaleb(-places))


def fits(value: Decimal, kind: str) -> bool:
    """In plain arithmetic: no digit is lost in the type."""
    whole, places = ROOM[kind]
    scaled = int(abs(value) * 10**40)  # all digits that a test can make
    assert Decimal(scaled).scaleb(-40) == abs(value)
    return scaled % 10 ** (40 - places) == 0 and scaled < 10 ** (40 + whole)


cases = st.sampled_from(DIMENSIONS).flatmap(
    lambda names: st.tuples(
        st.sampled_from(names),
        st.sampled_from(names),
        st.sampled_from(TYPES).flatmap(lambda kind: st.tuples(st.just(kind), decimals(kind))),
        st.sampled_from(TYPES),
    )
)


@given(cases)
@hypothesis_settings(
    max_examples=400, deadline=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=[HealthCheck.too_slow]
)
def test_the_check_sets_aside_exactly_what_the_library_could_not_keep(
    engine: Any, case: tuple[str, str, tuple[str, Decimal], str]
) -> None:
    import decimal

    unit, target, (kind, value), kept = case
    with decimal.localcontext() as context:
        context.prec = 120
        shift = TEN_TO[unit] - TEN_TO[target]
        assert shift_between(unit, target) == shift
        expected = fits(value.scaleb(shift), kept)
    column = "BIGINT" if kind == "int64" else kind.replace("decimal128", "DECIMAL")
    condition = misfit_sql("x", kind, shift, kept)
    found = engine.execute(f"SELECT {condition} FROM (SELECT CAST(? AS {column}) AS x)", [f"{value:f}"]).fetchone()
    assert found == (not expected,)


@pytest.fixture(scope="module")
def engine() -> Any:
    import duckdb

    with duckdb.connect() as con:
        yield con


# --- the library's SQL --------------------------------------------------------------------------------


def make_library(kept: list[str], kind: str = "decimal128(24,6)") -> LibraryModel:
    return LibraryModel(
        name="economy",
        table="indicator",
        title="经济库",
        key=[LibraryField(name="code", title="指标")],
        fields=[
            LibraryField(name="value", title="数值", type=kind, authority=["tjj"], units=kept),
            LibraryField(name="unit", title="计量单位", unit_of="value"),
        ],
    )


def make_measured(library: LibraryModel, kind: str, *, unit: str | None = None) -> Resource:
    number: dict[str, Any] = {"name": "amount", "title": "数值", "type": kind}
    number |= {"unit": unit} if unit else {"unit_field": "measured_in"}
    model = ResourceModel.model_validate(
        {
            "id": "tjj.value",
            "code": "1/1",
            "name": "指标",
            "summary": "一指标一行",
            "category": {"class": "基础", "item": "经济"},
            "format": "CSV",
            "system": "系统",
            "sharing": {"type": "无条件共享"},
            "update_cycle": "每月",
            "published": "2026-01-01",
            "source": {"kind": "database", "connection": "fep_x", "table": "t"},
            "fields": [
                {"name": "code", "title": "指标", "nullable": False},
                number,
                {"name": "measured_in", "title": "计量单位", "codes": "unit"},
            ],
            "key": ["code"],
            "mappings": [{"library": library.name, "key": ["code"], "fields": {"value": "amount"}}],
        }
    )
    department = DepartmentModel(id="tjj", name="统计局", short_name="统计", credit_code="x", leader="某", section="某")
    kept = {"amount": (tuple(library.fields[0].units), library.fields[0].type)}
    return Resource(model=model, department=department, path="-", fingerprint="-", kept_units=kept)


def make_feed(resource: Resource) -> Feed:
    mapping = resource.model.mappings[0]
    assert isinstance(mapping, LibraryMapping)
    return Feed(1, resource, mapping)


def convert_in_warehouse(conn: Any, library: LibraryModel, resource: Resource, rows: list[tuple[Any, ...]]) -> Any:
    """(value, unit) of rows (amount, unit) as the library takes them from the source table."""
    feed, (value, unit) = make_feed(resource), library.fields
    kind = "bigint" if resource.model.field("amount").type == "int64" else "numeric"
    found = conn.execute(
        sql.SQL(
            "SELECT {}, {} FROM unnest(%s::{}[], %s::text[]) WITH ORDINALITY x (amount, measured_in, n) ORDER BY n"
        ).format(value_sql(feed, value), unit_sql(library, feed, unit), sql.SQL(kind)),
        ([r[0] for r in rows], [r[1] for r in rows]),
    ).fetchall()
    conn.rollback()
    return [tuple(r.values()) for r in found]


def test_the_library_keeps_each_dimension_in_its_own_unit_and_nothing_else(conn: Any) -> None:
    library = make_library(["万元", "人", "%"])
    resource = make_measured(library, "decimal128(24,6)")
    rows = [
        (Decimal("62.53"), "亿元"), (Decimal("625300"), "万元"), (Decimal("12.34"), "元"), (Decimal("12.345"), "元"),
        (Decimal("3.1"), "万人"), (Decimal("31000"), "人"), (Decimal("5.5"), "‰"), (Decimal("1"), "美元"),
        (Decimal("1"), "斗"), (Decimal("1"), None), (None, "亿元"), (Decimal("99999999999999999"), "亿元"),
    ]  # fmt: skip
    assert convert_in_warehouse(conn, library, resource, rows) == [
        (Decimal("625300.000000"), "万元"),
        (Decimal("625300.000000"), "万元"),
        (Decimal("0.001234"), "万元"),
        (None, "万元"),  # 0.0012345 is no number of six places: nothing is rounded
        (Decimal("31000.000000"), "人"),
        (Decimal("31000.000000"), "人"),
        (Decimal("0.550000"), "%"),
        (None, None),
        (None, None),
        (None, None),
        (None, "万元"),
        (None, "万元"),  # nor does it break the whole resolve
    ]


def test_a_resource_in_one_unit_needs_no_column_for_it(conn: Any) -> None:
    library = make_library(["元"], "decimal128(20,2)")
    resource = make_measured(library, "int64", unit="万元")
    assert convert_in_warehouse(conn, library, resource, [(7, None), (-3, None), (None, None)]) == [
        (Decimal("70000.00"), "元"),
        (Decimal("-30000.00"), "元"),
        (None, "元"),
    ]


def test_what_the_check_lets_through_the_warehouse_converts_without_a_loss(engine: Any, conn: Any) -> None:
    """Every unit of money and every sort of number at once: the row check, then the library's own SQL."""
    for kept in ("元", "万元", "亿元"):
        library = make_library([kept])
        resource = make_measured(library, "decimal128(24,6)")
        numbers = ["0", "0.000001", "-0.01", "1.5", "123456789.123456", "999999999999999999.999999", "-12300000000"]
        rows = [(Decimal(n), u) for n in numbers for u in DIMENSIONS[0]]
        condition = unit_fit(resource)
        told = [
            engine.execute(
                f"SELECT {condition} FROM (SELECT CAST(? AS DECIMAL(24,6)) AS amount, ? AS measured_in)", [f"{v:f}", u]
            ).fetchone()[0]
            for v, u in rows
        ]
        through = [r for r, aside in zip(rows, told, strict=True) if not aside]
        assert 10 < len(through) < len(rows)
        found = convert_in_warehouse(conn, library, resource, through)
        assert found == [(v.scaleb(TEN_TO[u] - TEN_TO[kept]), kept) for v, u in through]


def unit_fit(resource: Resource) -> str:
    plan = FieldPlan(resource.model.field("amount"), 1, None, "", None, None, None, None, None, None, "", ())
    return next(c.condition for c in measure_number(plan, resource).checks if c.kind == "unit_fit")


# --- catalog check ------------------------------------------------------------------------------------

DEPARTMENT = """\
id: tjj
name: 统计局
short_name: 统计
credit_code: 11150602MB0000000X
leader: 张三
section: 综合科
contacts:
  - {name: 李四, email: li@example.com}
"""
RESOURCE = """\
id: tjj.value
code: 1/1
name: 指标
summary: 一指标一行
category: {class: 基础信息资源, item: 经济}
format: 数据库
system: 统计系统
sharing: {type: 无条件共享}
update_cycle: 每月
published: "2026-01-01"
source: {kind: database, connection: fep_tjj, table: t}
key: [code]
fields:
  - {name: code, title: 指标, nullable: false}
  - {name: caliber, title: 口径, codes: caliber}
  - {name: amount, title: 数值, type: int64, unit_field: said}
  - {name: said, title: 计量单位, codes: unit, constant: 亿元}
mappings:
  - library: economy
    key: [code]
    fields: {value: amount, caliber: caliber}
"""
LIBRARY = """\
name: economy
table: indicator
title: 经济库
key:
  - {name: code, title: 指标}
fields:
  - {name: value, title: 数值, type: "decimal128(24,6)", authority: [tjj], units: [万元, 人]}
  - {name: unit, title: 计量单位, unit_of: value}
  - {name: caliber, title: 口径, codes: caliber, authority: [tjj]}
"""


def check_edited(root: Path, name: str, old: str, new: str) -> list[str]:
    """What ``catalog check`` says of the small catalog after one edit, without places and lists."""
    texts = {"tjj/department.yml": DEPARTMENT, "tjj/value.yml": RESOURCE, "libraries/economy.yml": LIBRARY}
    if name:
        assert texts[name].count(old) == 1, old
    for file, text in texts.items():
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text(text.replace(old, new) if file == name else text, encoding="utf-8")
    return [f"{Path(p.file).name}:{p.line}: {p.message}" for p in check_catalog(root)]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("", "", "", []),
        # a number goes only where its dimension is kept, and says it
        ("tjj/value.yml", "constant: 亿元", "constant: 美元",
         ["value.yml:21: amount is in 美元 (美元), which can't be turned into a unit of economy.value"]),
        ("tjj/value.yml", "unit_field: said", "unit: 吨",
         ["value.yml:21: amount is in 吨 (质量), which can't be turned into a unit of economy.value"]),
        ("tjj/value.yml", ", unit_field: said", "",
         ["value.yml:21: amount says no unit, but economy.value is kept in 万元, 人"]),
        ("tjj/value.yml", "unit_field: said", "unit: 亿圆",
         ["value.yml:16: field amount: unit is '亿圆', which is not in quality/codes/unit.csv"]),
        ("tjj/value.yml", "unit_field: said", "unit_field: sad",
         ["value.yml:16: field amount: unit_field is 'sad', which is no field"]),
        ("tjj/value.yml", "unit_field: said", "unit: 元, unit_field: said",
         ["value.yml:16: field amount: unit and unit_field exclude each other"]),
        ("tjj/value.yml", "codes: unit, constant: 亿元", "length: 9",
         ["value.yml:16: field amount: said is not judged by the table of units"]),
        ("tjj/value.yml", "constant: 亿元", "constant: 亿圆",
         ["value.yml:17: field said: constant is '亿圆', which is no unit of the table"]),
        ("tjj/value.yml", "type: int64", "type: float64",
         ["value.yml:16: field amount: a float64 can't be converted between units exactly"]),
        ("tjj/value.yml", "caliber: caliber}", "caliber: caliber, unit: said}",
         ["value.yml:21: unit always says the unit of value, it is not mapped"]),
        ("tjj/value.yml", "title: 口径, codes: caliber", "title: 口径",
         ["value.yml:21: caliber is not judged by the code table of economy.caliber"]),
        # a joined text has at least two columns, and none of its own
        ("tjj/value.yml", "title: 口径, codes: caliber", "title: 口径, codes: caliber, joined: [code]",
         ["value.yml:15: field caliber: joined names one field; what is to be joined with it?"]),
        ("tjj/value.yml", "title: 口径, codes: caliber", "title: 口径, codes: caliber, joined: [code, amount], column: 口",
         ["value.yml:15: field caliber: a joined text has no column, no aliases and no constant",
          "value.yml:15: fields[1].joined names 'amount', which is no text field of its own"]),
        # a library says of every number in which unit it is
        ("libraries/economy.yml", "[万元, 人]", "[万元, 亿元, 人]",
         ["economy.yml:7: field value: 万元 and 亿元 are of one dimension"]),
        ("libraries/economy.yml", "[万元, 人]", "[万元, 斗]",
         ["economy.yml:7: fields[0].units names '斗', which is no unit of quality/codes/unit.csv"]),
        ("libraries/economy.yml", "unit_of: value", "strategy: newest_non_null",
         ["economy.yml:7: field value has units of several dimensions, but no field says which a value has"]),
        ("libraries/economy.yml", "unit_of: value", "unit_of: caliber",
         ["economy.yml:7: field value has units of several dimensions, but no field says which a value has",
          "economy.yml:8: field unit: unit_of is 'caliber', which is no field with units"]),
        ("libraries/economy.yml", "units: [", "tolerance: 5, units: [",
         ["economy.yml:7: field value: tolerance is in one unit, but units has several"]),
        ("libraries/economy.yml", "authority: [tjj], units", "strategy: most_frequent, units",
         ["economy.yml:7: field value: most_frequent would count numbers of different units together"]),
        ("libraries/economy.yml", '"decimal128(24,6)"', "float64",
         ["economy.yml:7: field value: a float64 can't keep converted numbers exactly"]),
        ("libraries/economy.yml", "codes: caliber", "codes: calibre",
         ["economy.yml:9: field caliber: there is no code table 'calibre' in quality/codes"]),
    ],
)  # fmt: skip
def test_the_catalog_refuses_what_would_mix_units(
    tmp_path: Path, file: str, old: str, new: str, said: list[str]
) -> None:
    assert check_edited(tmp_path, file, old, new) == said
