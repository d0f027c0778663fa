"""Economy: what departments deliver in different units meets as one number, and what differs is told, never decided silently.

Real files of 统计 and 财政 go the whole way through the shipped catalog into the library.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from workbooks import Sheet, make_book

from guiji.catalog import load_catalog
from guiji.library.resolve import resolve
from guiji.library.trace import trace
from guiji.notices.conflicts import load_conflicts, say_conflicts
from guiji.notices.model import Event
from guiji.pipeline import run_resource
from guiji.settings import TIME_ZONE, Settings

NOW = datetime(2026, 10, 20, 9, tzinfo=TIME_ZONE)
CITY = "鄂尔多斯市"
REVENUE = "一般公共预算收入"


@pytest.fixture
def city(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The shipped catalog on the morning of 20 October, its departments' folders empty."""
    monkeypatch.setenv("GUIJI_EXPORTS", str(tmp_path / "exports"))
    for department in ("tjj", "czj"):
        (tmp_path / "exports" / department).mkdir(parents=True)
    return replace(settings, fixed_now=NOW)


def write_statistics(tmp_path: Path, months: str, lines: Sequence[str], *, stamp: str = "202610") -> None:
    """统计: one line per indicator, one column per month."""
    text = "\r\n".join(
        ["数据库：月度数据", f"地区：{CITY}", f"指标,计量单位,口径,{months}", *lines, "注：快报数。", ""]
    )
    path = tmp_path / "exports" / "tjj" / f"月度数据_{stamp}.csv"
    path.write_bytes(text.encode("gb18030"))


def write_revenue(tmp_path: Path, rows: Sequence[tuple[str, str, str, str, str]], *, stamp: str = "202610") -> None:
    """财政: a row per region, item, month and 口径, in 万元."""
    header = ("地区", "项目", "所属期", "口径", "金额（万元）")
    sheet = Sheet([["财政收入月报"], list(header), *(list(r) for r in rows), ["注：快报数"]])
    path = tmp_path / "exports" / "czj" / f"财政收入月报_{stamp}.xlsx"
    path.write_bytes(make_book("xlsx", sheet))


def bring(city: Settings, conn: Any, *resources: str) -> None:
    """Runs the resources and resolves the library."""
    for resource in resources:
        run_resource(resource, city)
    resolve(conn, city, "economy", load_catalog(city.catalog))
    conn.rollback()


def figures(conn: Any) -> set[tuple[Any, ...]]:
    found = conn.execute(
        "SELECT indicator_code, period, caliber, _vintage, value, unit FROM library.indicator WHERE _deleted_at IS NULL"
    ).fetchall()
    conn.rollback()
    return {tuple(r.values()) for r in found}


def conflicts(conn: Any) -> set[tuple[Any, ...]]:
    """Open disagreements: key, field, who won, who lost, with what."""
    found = conn.execute(
        "SELECT key_masked, field, winner, loser, winner_value, loser_value, tied FROM ops.conflict"
        " WHERE settled_at IS NULL"
    ).fetchall()
    conn.rollback()
    return {tuple(r.values()) for r in found}


def findings(conn: Any, resource: str) -> set[tuple[Any, ...]]:
    found = conn.execute(
        "SELECT locator, rule_id, verdict, value_masked FROM ops.finding WHERE resource_id = %s", (resource,)
    ).fetchall()
    conn.rollback()
    return {tuple(r.values()) for r in found}


# --- units --------------------------------------------------------------------------------------------


def test_departments_in_different_units_agree_or_disagree_as_one_number(
    city: Settings, conn: Any, tmp_path: Path
) -> None:
    write_statistics(
        tmp_path, "2026年8月,2026年7月", [f"{REVENUE},亿元,累计,62.53,55.00", "全社会用电量,亿千瓦时,当期,81.5,"]
    )
    write_revenue(
        tmp_path,
        [
            (CITY, REVENUE, "2026年8月", "累计", "625320.50"),  # 62.53205 亿元: within a thousandth
            (CITY, REVENUE, "2026年7月", "累计", "560000.00"),
            (CITY, "增值税", "2026年7月", "累计", "120000.00"),
        ],
    )
    bring(city, conn, "tjj.monthly_indicator", "czj.fiscal_revenue")
    assert figures(conn) == {
        (REVENUE, "2026年8月", "累计", 1, Decimal("625300.000000"), "万元"),
        (REVENUE, "2026年7月", "累计", 1, Decimal("550000.000000"), "万元"),
        ("增值税", "2026年7月", "累计", 1, Decimal("120000.000000"), "万元"),
        ("全社会用电量", "2026年8月", "当期", 1, Decimal("815000.000000"), "万千瓦时"),
    }
    key = f"{REVENUE}|{CITY}|2026年7月|累计"
    parties = ("tjj.monthly_indicator", "czj.fiscal_revenue")
    assert conflicts(conn) == {(key, "value", *parties, "550000 万元", "560000 万元", False)}
    told = conn.execute("SELECT department_id, kind, resource_id FROM ops.outbox WHERE kind = 'conflict'").fetchall()
    assert [tuple(r.values()) for r in told] == [("czj", "conflict", "czj.fiscal_revenue")]


def test_a_value_keeps_the_unit_of_its_own_department(city: Settings, conn: Any, tmp_path: Path) -> None:
    """The same digits in another dimension are no agreement, and never lend each other a unit."""
    write_statistics(tmp_path, "2026年7月", [f"{REVENUE},%,累计,120.00"])
    write_revenue(tmp_path, [(CITY, REVENUE, "2026年7月", "累计", "120.00")])
    bring(city, conn, "tjj.monthly_indicator", "czj.fiscal_revenue")
    assert figures(conn) == {(REVENUE, "2026年7月", "累计", 1, Decimal("120.000000"), "%")}
    key = f"{REVENUE}|{CITY}|2026年7月|累计"
    parties = ("tjj.monthly_indicator", "czj.fiscal_revenue")
    assert conflicts(conn) == {(key, "value", *parties, "120 %", "120 万元", False)}
    card = trace(conn, city, load_catalog(city.catalog).library("economy"), key)
    assert [(f.title, f.value, f.department, [x.value for x in f.losers]) for f in card.fields] == [
        ("数值", "120.000000", "鄂尔多斯市统计局", ["120 万元"]),
        ("计量单位", "%", "鄂尔多斯市统计局", []),
    ]


def test_a_value_whose_unit_is_not_known_is_set_aside_with_its_unit(city: Settings, conn: Any, tmp_path: Path) -> None:
    months = [f"2025年{m}月" for m in range(1, 13)]
    blank = "," * 11
    lines = [f"指标{n},亿元,累计,{','.join(['1.5'] * 12)}" for n in range(6)]
    lines += [
        f"粮食产量,石,累计,3.5{blank}",
        f"城镇人口,,期末,1.5{blank}",
        f"存款余额,元,期末,1.50{blank}",
        f"贷款余额,元,期末,12.345{blank}",
    ]
    write_statistics(tmp_path, ",".join(months), lines)
    bring(city, conn, "tjj.monthly_indicator")
    name = "月度数据_202610.csv"
    assert findings(conn, "tjj.monthly_indicator") == {
        (f"{name}:10", "unit.code", "rejected", "石"),
        (f"{name}:11", "unit.required", "rejected", ""),
        (f"{name}:13", "value.unit_fit", "rejected", "数值=12.345，计量单位=元"),
    }
    found = figures(conn)
    assert {f for f in found if not f[0].startswith("指标")} == {
        ("存款余额", "2025年1月", "期末", 1, Decimal("0.000150"), "万元")
    }
    assert len(found) == 73


# --- 口径 ---------------------------------------------------------------------------------------------


def test_current_and_cumulative_current_and_constant_prices_never_meet(
    city: Settings, conn: Any, tmp_path: Path
) -> None:
    calibers = ("当期", "累计", "当期不变价", "累计不变价", "期末", "同比")
    write_statistics(tmp_path, "2026年7月", [f"{REVENUE},万元,{c},{n}.00" for n, c in enumerate(calibers, 1)])
    # in its own words: 本月 is 当期, 本年累计 is 累计
    months = [(CITY, REVENUE, "2026年7月", "本月", "1"), (CITY, REVENUE, "2026年7月", "本年累计", "2")]
    write_revenue(tmp_path, months)
    bring(city, conn, "tjj.monthly_indicator", "czj.fiscal_revenue")
    assert conflicts(conn) == set()
    expected = {
        (REVENUE, "2026年7月", c, 1, Decimal(n).quantize(Decimal("0.000001")), "万元")
        for n, c in enumerate(calibers, 1)
    }
    assert figures(conn) == expected
    # a revision of one leaves the others alone
    write_statistics(tmp_path, "2026年7月", [f"{REVENUE},万元,累计不变价,4.50"], stamp="202611")
    bring(city.at(NOW + timedelta(days=30)), conn, "tjj.monthly_indicator")
    assert figures(conn) == expected | {(REVENUE, "2026年7月", "累计不变价", 2, Decimal("4.500000"), "万元")}


def test_a_caliber_or_a_period_written_otherwise_is_no_further_key(city: Settings, conn: Any, tmp_path: Path) -> None:
    rows = [(CITY, f"项目{n}", "2026年9月", "当期", "1") for n in range(60)]
    rows += [(CITY, "增值税", "2026年09月", "当期", "1"), (CITY, "增值税", "2026年9月", "累计·可比价", "1")]
    write_revenue(tmp_path, rows)
    run_resource("czj.fiscal_revenue", city)
    assert {f[1:] for f in findings(conn, "czj.fiscal_revenue")} == {
        ("period.pattern", "rejected", "2026年09月"),
        ("caliber.code", "rejected", "累计·可比价"),
    }


def test_a_caliber_in_two_columns_is_one_word_of_the_table(city: Settings, conn: Any, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    shutil.copytree(city.catalog, catalog)
    file = catalog / "czj" / "fiscal_revenue.yml"
    head, _, rest = file.read_text(encoding="utf-8").partition("  - name: caliber\n")
    _, _, rest = rest.partition("  - {name: value")
    parts = """\
  - {name: span, title: 时段, nullable: false}
  - {name: prices, title: 价格}
  - name: caliber
    title: 口径
    joined: [span, prices]
    codes: caliber
    code_map: {fixable: {当期现价: 当期, 累计现价: 累计, 累计可比价: 累计不变价}}
    nullable: false
"""
    file.write_text(f"{head}{parts}  - {{name: value{rest}", encoding="utf-8")
    header = ["地区", "项目", "所属期", "时段", "价格", "金额（万元）"]
    said = [
        ("当期", "现价"),
        ("累计 ", " 现价"),
        ("累计", "不变价"),
        ("当期", ""),
        ("累计", "比价"),
        ("", "不变价"),
        ("累计", "可比价"),
    ]
    rows = [[CITY, f"项目{n}", "2026年9月", *pair, f"{n}"] for n, pair in enumerate(said)]
    rows += [[CITY, f"其他{n}", "2026年9月", "当期", "", "1"] for n in range(50)]
    path = tmp_path / "exports" / "czj" / "财政收入月报_202610.xlsx"
    path.write_bytes(make_book("xlsx", Sheet([["财政收入月报"], header, *rows])))
    bring(replace(city, catalog=catalog), conn, "czj.fiscal_revenue")
    assert {(f[0], f[2]) for f in figures(conn) if f[0].startswith("项目")} == {
        ("项目0", "当期"),
        ("项目1", "累计"),
        ("项目2", "累计不变价"),
        ("项目3", "当期"),
        ("项目6", "累计不变价"),
    }
    assert {f[1:] for f in findings(conn, "czj.fiscal_revenue") if f[2] == "rejected"} == {
        ("caliber.code", "rejected", "时段=累计，价格=比价"),
        ("caliber.code", "rejected", "时段=（空），价格=不变价"),
        ("span.required", "rejected", "（空）"),
    }


# --- files of one day ---------------------------------------------------------------------------------


def write_annual(tmp_path: Path, name: str, unit: str, value: str, *, stamp: str = "20261020", at: int = 0) -> None:
    """统计: a file of one indicator; ``name`` is in the file's name only."""
    lines = ["数据库：分省年度数据", f"指标：粮食产量({unit})", "地区,2025年", f"{CITY},{value}", "注：无。", ""]
    path = tmp_path / "exports" / "tjj" / f"分地区年度数据_{name}_{stamp}.csv"
    path.write_bytes("\r\n".join(lines).encode("gb18030"))
    os.utime(path, (NOW.timestamp() - 3600 + at,) * 2)


def file_conflicts(conn: Any) -> list[tuple[Any, ...]]:
    found = conn.execute(
        "SELECT field, winner_value, loser_value, business_date::text, settled_at IS NULL AS open FROM ops.conflict"
        " WHERE scope = 'files' AND winner = loser AND tied"
    ).fetchall()
    conn.rollback()
    return [tuple(r.values()) for r in found]


def test_two_files_of_one_day_that_disagree_are_a_conflict_until_one_is_mended(
    city: Settings, conn: Any, tmp_path: Path
) -> None:
    annual = "tjj.annual_indicator"
    write_annual(tmp_path, "甲", "万吨", "190.5")
    write_annual(tmp_path, "乙", "吨", "1950000", at=60)
    bring(city, conn, annual)
    files = ("（分地区年度数据_乙_20261020.csv）", "（分地区年度数据_甲_20261020.csv）")
    assert file_conflicts(conn) == [("value", f"1950000 吨{files[0]}", f"1905000 吨{files[1]}", "2026-10-20", True)]
    told = conn.execute("SELECT * FROM ops.outbox WHERE kind = 'conflict'").fetchall()
    assert [(r["department_id"], r["resource_id"]) for r in told] == [("tjj", annual)]
    found = load_conflicts(conn, [Event.from_row({**r, "responsible": None}) for r in told])
    conn.rollback()
    text = say_conflicts(load_catalog(city.catalog), "economy", found[annual, "economy"])
    assert text.replace("\n", "") == (
        "经济库：“数值”有 1 处在本部门同一天的不同文件中不一致，暂用后报的值（如 粮食产量|鄂尔多斯市|2025年|年度："
        f"先报“1905000 吨{files[1]}”，后报“1950000 吨{files[0]}”）；请核实，并按原文件名重报有误的文件。"
    )
    # both stay: what served first is the first vintage
    assert figures(conn) == {
        ("粮食产量", "2025年", "年度", 1, Decimal("1905000.000000"), "吨"),
        ("粮食产量", "2025年", "年度", 2, Decimal("1950000.000000"), "吨"),
    }
    # another delivery of what serves, with the same figure, settles nothing
    write_annual(tmp_path, "乙", "万吨", "195.00", at=120)
    bring(city, conn, annual)
    assert [r[-1] for r in file_conflicts(conn)] == [True]
    # the other file is mended
    write_annual(tmp_path, "甲", "万吨", "195.0", at=180)
    bring(city, conn, annual)
    assert [r[-1] for r in file_conflicts(conn)] == [False]
