"""The sources that joined in the autumn: small deliveries, in the shapes their systems write them.

XML on 税务's FTP, a zipped CSV from 信用平台, a table backup from 工信, a bank's text without a header from 社保, workbooks
with two header rows or a sheet per banner, interfaces with envelopes of their own.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guiji.demo import figures
from guiji.demo.exports import put_file, write_text
from guiji.demo.front_ends import fill_postgres
from guiji.demo.interfaces import deliver_records
from guiji.demo.planting import KINDS, plant
from guiji.demo.population import DIVISIONS, City, credit_codes, draw, make_persons, make_units, pick, share
from guiji.demo.running import RunningCity, note_marks

#: trades of ``make_units`` that burn coal and hold discharge permits
HEAVY = ("0610", "2614")
REGION_NAMES = {d[0]: d[2] for d in DIVISIONS}
GZW_TITLE = ("鄂尔多斯市市属监管企业财务快报", "报告期：2026年3季度")
GZW_TRADES = ("城投", "国投", "交投", "水务", "能源", "文旅", "农牧", "热力")
GZW_HEADER = (
    ("统一社会信用代码", "企业名称", "企业级次", "资产负债（万元）", "", "经营成果（万元）", ""),
    ("", "", "", "资产总额", "负债总额", "营业总收入", "利润总额"),
)
TRADE_HEADER = (
    ("地区", "统计月份", "口径", "贸易额（万元）", "", ""),
    ("", "", "", "进出口总额", "出口总额", "进口总额"),
)


def _heavy_units(city: City, month: int, most: int) -> pa.Table:
    units = make_units(city, month)
    return units.filter(pc.is_in(units["industry"], value_set=pa.array(HEAVY))).slice(0, most)


def _amounts(city: City, stream: str, i: np.ndarray, low: int, high: int) -> np.ndarray:
    values = low + (draw(city, stream, i) % np.uint64(high - low)).astype(np.int64)
    return np.char.add(values.astype("U12"), ".00")


def _plant(running: RunningCity, table: pa.Table, resource_id: str, delivery: str, seed: int) -> pa.Table:
    """The delivery with a few rows spoilt, and those noted in the truth."""
    spoilt, truth = plant(table, KINDS.get(resource_id, ()), running.errors(table.num_rows), running.city.seed + seed)
    note_marks(running, resource_id, delivery, spoilt, truth)
    return spoilt


# --- economy -----------------------------------------------------------------------------------------


def put_tax_revenue(running: RunningCity, year: int, month: int, delivery: str, at: datetime) -> None:
    """税务 税收收入 as XML. One figure of 东胜区 differs from 财政's beyond rounding (多源比对)."""
    rows = []
    for row in figures.revenue_rows(running.city, year, month):
        if row["项目"] == "非税收入":
            continue
        amount = float(row["金额"] or 0)
        if (row["地区"], row["项目"]) == ("东胜区", "企业所得税"):
            amount = round(amount * 1.02 + 1, 2)
        rows.append(
            {"dq": row["地区"], "sz": row["项目"], "ssq": row["所属期"], "kj": row["口径"], "je": f"{amount:.2f}"}
        )
    table = _plant(running, pa.Table.from_pylist(rows), "swj.tax_revenue", delivery, month * 10 + 8)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<response><head><code>0000</code></head><data>"]
    for row in table.to_pylist():
        cells = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in row.items())
        lines.append(f"<row>{cells}</row>")
    lines.append("</data></response>")
    write_text(running.root / f"swj/sssr/sssr_{year}{month:02d}.xml", "\n".join(lines), "utf-8", at)


def put_foreign_trade(running: RunningCity, year: int, month: int, at: datetime) -> None:
    """商务 进出口 as a workbook with two header rows; a banner without trade has blank cells."""
    city, rows = running.city, []
    for position, region in enumerate(figures.REGIONS):
        i = np.array([position * 12 + month], dtype=np.int64)
        for caliber, times in (("当期", 1), ("累计", month)):
            out, into = (int(draw(city, s, i)[0] % np.uint64(9_000)) * times for s in ("export", "import"))
            traded: list[object] = [out + into, out, into] if position % 4 != 3 else ["", "", ""]
            rows.append([region, f"{year}年{month}月", caliber, *traded])
    merged = [(2, 0, 3, 0), (2, 1, 3, 1), (2, 2, 3, 2), (2, 3, 2, 5)]
    body = _workbook(
        {"Sheet1": [["鄂尔多斯市外贸进出口情况"], [""], *TRADE_HEADER, *rows, ["注：按经营单位所在地统计。"]]}, merged
    )
    put_file(running.root / f"exports/swt/外贸进出口_{year}{month:02d}.xlsx", body, at)


def put_census(running: RunningCity, at: datetime) -> None:
    """统计 第七次人口普查, a table above which stands when it was counted."""
    i = np.arange(len(figures.REGIONS), dtype=np.int64)
    men, women = (40_000 + (draw(running.city, s, i) % np.uint64(90_000)).astype(np.int64) for s in ("men", "women"))
    lines = ["数据库：第七次全国人口普查", "时间：2020年", "地区,常住人口（人）,男性人口（人）,女性人口（人）"]
    lines += [f"{r},{m + w},{m},{w}" for r, m, w in zip(figures.REGIONS, men, women, strict=True)]
    lines += ["注：标准时点为2020年11月1日零时。", "数据来源：鄂尔多斯市统计局"]
    write_text(running.root / "exports/tjj/人口普查_2020.csv", "\r\n".join(lines) + "\r\n", "gb18030", at)


def put_key_projects(running: RunningCity, year: int, month: int) -> None:
    """发改 重点项目投资 behind its interface."""
    rows = []
    for position, region in enumerate(figures.REGIONS[1:]):
        i = np.array([position], dtype=np.int64)
        planned = 50_000 + int(draw(running.city, "planned", i)[0] % np.uint64(900_000))
        for item, amount in (("重点项目计划投资", planned), ("重点项目完成投资", planned * month // 13)):
            rows.append({"zb": item, "dq": region, "yf": f"{year}年{month}月", "tze": f"{amount}.00"})
    running.records["fgw.key_project"] = [{**row, "_spoilt": False} for row in rows]


# --- legal persons -----------------------------------------------------------------------------------


def put_inspections(running: RunningCity, month: int, start: datetime, delivery: str) -> None:
    """市监 检查结果 of a month; one in eight was filed under the old 注册号 and has no credit code."""
    city = running.city
    units = make_units(city, month)
    i = units["_i"].to_numpy()
    units = units.filter(pa.array(share(city, f"insp{month}", i, min(150, 60_000 / len(i))))).slice(0, 200)
    i = units["_i"].to_numpy()
    n = len(i)
    old = share(city, "oldfile", i, 125)
    day = np.datetime64(start.date()) + (draw(city, f"inspday{month}", i) % np.uint64(25)).astype("timedelta64[D]")
    table = pa.table(
        {
            "jcbh": np.char.add(f"鄂市监检{start:%Y%m}-", i.astype("U7")),
            "tyshxydm": np.where(old, "", units["credit_code"].to_numpy(zero_copy_only=False)),
            "zch": np.where(old, units["registration_number"].to_numpy(zero_copy_only=False), ""),
            "qymc": units["name"],
            "jclx": pick(city, "inspkind", i, ["双随机抽查", "专项检查", "日常检查"]),
            "jcsx": pick(city, "inspwhat", i, ["登记事项检查", "公示信息检查", "食品销售监督检查", "特种设备使用检查"]),
            "jcjg": pick(city, f"inspres{month}", i, ["未发现问题", "未发现问题", "发现问题已责令改正", "通过登记的住所无法联系"]),
            "jcrq": np.datetime_as_string(day),
            "jcjgmc": np.full(n, "鄂尔多斯市市场监督管理局"),
            "gxsj": np.char.add(np.datetime_as_string(day), " 17:00:00"),
        }
    )  # fmt: skip
    fill_postgres(running, "scjg", "t_jcjg", "scjg.inspection", iter([table]), {"gxsj": "timestamp"}, month, delivery)


def put_penalties(running: RunningCity, month: int, start: datetime, delivery: str, at: datetime) -> None:
    """信用平台 行政处罚 of a month, a zipped CSV."""
    city = running.city
    units = make_units(city, month)
    units = units.filter(pa.array(share(city, f"fine{month}", units["_i"].to_numpy(), 80))).slice(0, 120)
    i = units["_i"].to_numpy()
    kind = pick(city, "finekind", i, ["罚款", "罚款", "警告", "没收违法所得"])
    table = pa.table(
        {
            "行政处罚决定书文号": np.char.add(f"鄂罚〔{start:%Y}〕{start:%m}-", i.astype("U7")),
            "行政相对人代码": units["credit_code"],
            "行政相对人名称": units["name"],
            "违法行为类型": pick(city, "offence", i, ["未按规定公示年度报告", "超标排放水污染物", "超限运输", "销售过期食品"]),
            "处罚类别": kind,
            "罚款金额（万元）": np.where(kind == "罚款", np.char.add((1 + i % 20).astype("U3"), ".50"), ""),
            "处罚决定日期": np.full(len(i), f"{start:%Y/%m}/18"),
            "公示截止期": np.full(len(i), f"{start.year + 1}/{start:%m}/18"),
            "处罚机关": pick(city, "fineby", i, ["市市场监督管理局", "市生态环境局", "市交通运输局", "市城市管理综合执法局"]),
        }
    )  # fmt: skip
    spoilt = _plant(running, table, "fgw.penalty", delivery, month * 10 + 9)
    lines = [",".join(spoilt.column_names), *(",".join(v or "" for v in r.values()) for r in spoilt.to_pylist())]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(f"行政处罚_{start:%Y%m}.csv", "\r\n".join(lines).encode("gb18030"))
    put_file(running.root / f"exports/fgw/行政处罚_{start:%Y%m}.zip", sink.getvalue(), at)


# --- topics ------------------------------------------------------------------------------------------


def _adults(city: City, month: int, most: int) -> pa.Table:
    people = make_persons(city, 0, min(city.people, 2 * most), month)
    return people.filter(pc.less(people["birth_date"], pa.scalar(date(2004, 1, 1)))).slice(0, most)


def put_insured(running: RunningCity, month: int, delivery: str, at: datetime) -> None:
    """社保 参保人员, as text for a bank: no header, a bar after every cell."""
    city = running.city
    people = _adults(city, month, 400)
    i = people["_i"].to_numpy()
    units = make_units(city, month)
    employed = share(city, "insured", i, 600)
    code = units["credit_code"].take(pa.array(i % units.num_rows)).to_numpy(zero_copy_only=False)
    table = pa.table(
        {
            "公民身份号码": people["person_id"],
            "姓名": people["name"],
            "参保险种": np.where(employed, "职工养老", "居民养老"),
            "参保状态": np.where(share(city, "paused", i, 50), "暂停参保", "正常参保"),
            "单位代码": np.where(employed, code, ""),
            "缴费基数（元）": np.where(employed, _amounts(city, "base", i, 4_000, 20_000), ""),
            "累计缴费月数": (12 + i % 240).astype("U4"),
            "首次参保日期": np.full(len(i), "20220301"),
        }
    )
    spoilt = _plant(running, table, "rsj.insurance", delivery, month * 10 + 11)
    text = "".join("|".join(v or "" for v in row.values()) + "|\r\n" for row in spoilt.to_pylist())
    write_text(running.root / f"exports/rsj/cbry_{at:%Y}0930.txt", text, "gb18030", at)


def put_relief(running: RunningCity, month: int, delivery: str, at: datetime) -> None:
    """民政 社会救助, a sheet per banner; a few names are written with another character of the same sound."""
    city = running.city
    people = _adults(city, month, 300)
    people = people.filter(pa.array(people["_i"].to_numpy() % 3 == 0))
    i = people["_i"].to_numpy()
    homes = [REGION_NAMES[d] for d in people["division"].to_pylist()]
    names = people["name"].to_numpy(zero_copy_only=False).astype(str)
    table = pa.table(
        {
            "公民身份号码": people["person_id"],
            "姓名": np.char.replace(names, "伟", "玮"),
            "救助类别": pick(city, "relief", i, ["城市低保", "农村低保", "农村特困"]),
            "月救助金额（元）": _amounts(city, "reliefsum", i, 300, 900),
            "批准日期": np.full(len(i), "2025年3月1日"),
            "旗区": homes,
        }
    )
    rows = _plant(running, table, "mzj.relief", delivery, month * 10 + 12).to_pylist()
    header = [name for name in table.column_names if name != "旗区"]
    sheets = {
        home: [
            [f"{home}社会救助对象花名册"],
            header,
            *([r[n] for n in header] for r in rows if r["旗区"] == home),
            ["合计"],
        ]
        for home in sorted(set(homes))
    }
    put_file(running.root / f"exports/mzj/社会救助对象_{at:%Y}09.xlsx", _workbook(sheets), at)


def put_permits(running: RunningCity, month: int, delivery: str) -> None:
    """生态环境 排污许可证 behind an interface."""
    city = running.city
    units = _heavy_units(city, month, 60)
    i = units["_i"].to_numpy()
    table = pa.table(
        {
            "permitNo": pc.binary_join_element_wise(units["credit_code"], "001P", ""),
            "creditCode": units["credit_code"],
            "unitName": units["name"],
            "industry": units["industry"],
            "division": units["division"],
            "manageType": pick(city, "manage", i, ["重点管理", "简化管理"]),
            "pollutants": pick(city, "pollute", i, ["颗粒物、二氧化硫、氮氧化物", "化学需氧量、氨氮", "挥发性有机物"]),
            "validFrom": np.full(len(i), "2023-06-01"),
            "validTo": np.full(len(i), "2028-05-31"),
        }
    )
    deliver_records(running, "sthj.permit", table, delivery, month * 10 + 13)


def put_state_enterprises(running: RunningCity, month: int, delivery: str, at: datetime) -> None:
    """国资 财务快报, a workbook whose header takes two rows."""
    city, i = running.city, np.arange(24, dtype=np.int64)
    assets = 50_000 + (draw(city, "assets", i) % np.uint64(900_000)).astype(np.int64)
    names = [f"鄂尔多斯市{GZW_TRADES[n % 8]}{'一二三'[n // 8]}号集团有限责任公司" for n in range(24)]
    table = pa.table(
        {
            "统一社会信用代码": credit_codes("91", np.full(24, "150603"), 60_000_000 + i * 11),
            "企业名称": names,
            "企业级次": np.where(i < 8, "一级", np.where(i < 16, "二级", "三级")),
            "资产总额": assets.astype("U9"),
            "负债总额": (assets * 6 // 10).astype("U9"),
            "营业总收入": (assets // 5).astype("U9"),
            "利润总额": (assets // 60 - 3_000).astype("U9"),
        }
    )  # fmt: skip
    rows = _plant(running, table, "gzw.enterprise", delivery, month * 10 + 14).to_pylist()
    body = [[*list(r.values())[:3], *(float(v) for v in list(r.values())[3:])] for r in rows]
    merged = [(2, 0, 3, 0), (2, 1, 3, 1), (2, 2, 3, 2), (2, 3, 2, 4), (2, 5, 2, 6)]
    sheet = [[GZW_TITLE[0]], [GZW_TITLE[1]], *GZW_HEADER, *body, ["合计"], ["填报人：财务监管科"]]
    put_file(running.root / "exports/gzw/监管企业财务快报_202609.xlsx", _workbook({"快报": sheet}, merged), at)


def put_energy_use(running: RunningCity, year: int, month: int, delivery: str, at: datetime) -> None:
    """工信 能耗月报, a table backup as mysqldump writes it."""
    city = running.city
    units = _heavy_units(city, 0, 40)
    i = units["_i"].to_numpy()
    power = 100 + (draw(city, f"power{month}", i) % np.uint64(4_000)).astype(np.int64)
    table = pa.table(
        {
            "tyshxydm": units["credit_code"],
            "ssyf": np.full(len(i), f"{year}年{month}月"),
            "qymc": units["name"],
            "hydm": units["industry"],
            "gyzcz": _amounts(city, f"worth{month}", i, 2_000, 90_000),
            "ymxf": _amounts(city, f"coal{month}", i, 0, 50_000),
            "dlxf": np.char.add(power.astype("U6"), ".2500"),
            "zhnh": np.char.add((power * 3 + 500).astype("U8"), ".00"),
        }
    )
    rows = _plant(running, table, "gxj.energy_use", delivery, month * 10 + 15).to_pylist()
    columns = ",\n".join(f"  `{name}` varchar(100) DEFAULT NULL" for name in table.column_names)
    values = ",".join("(" + ",".join(f"'{v}'" for v in row.values()) + ")" for row in rows)
    text = (
        "-- MySQL dump 10.13  Distrib 5.7.44, for Linux (x86_64)\n--\n-- Host: localhost    Database: nhjc\n"
        "/*!40101 SET NAMES utf8 */;\nDROP TABLE IF EXISTS `t_nhyb`;\n"
        f"CREATE TABLE `t_nhyb` (\n{columns}\n) ENGINE=InnoDB DEFAULT CHARSET=utf8;\n"
        f"LOCK TABLES `t_nhyb` WRITE;\nINSERT INTO `t_nhyb` VALUES {values};\nUNLOCK TABLES;\n"
        f"-- Dump completed on {at:%Y-%m-%d %H:%M:%S}\n"
    )
    write_text(running.root / f"exports/gxj/nhyb_{year}{month:02d}.sql", text, "utf-8", at)


def _workbook(
    sheets: Mapping[str, Sequence[Sequence[object]]], merged: Sequence[tuple[int, int, int, int]] = ()
) -> bytes:
    """A workbook of the cells as they are, with merged cells (first row, first column, last row, last column)."""
    import xlsxwriter

    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink, {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                for column, value in enumerate(row):
                    if value not in ("", None):
                        sheet.write(number, column, value)
            for first_row, first_column, last_row, last_column in merged:
                sheet.merge_range(first_row, first_column, last_row, last_column, rows[first_row][first_column])
    return sink.getvalue()
