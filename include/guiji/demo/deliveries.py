"""What each department delivers in a month: tables of text, in the columns and spellings of its own system.

``month`` counts deliveries: 0 is the first one replayed. Snapshots give the whole, incremental resources what changed
since the month before. Economy and geometry are in ``figures`` and ``nature``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from guiji.demo.population import City, Ints, draw, make_persons, make_units, pick, share

CHUNK = 200_000
SOCIAL_KINDS = ("社会团体", "民办非企业单位", "基金会")


def text(values: object) -> pa.ChunkedArray:
    """Any column as text."""
    array = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values)])
    if pa.types.is_timestamp(array.type):
        return pc.strftime(array.cast(pa.timestamp("s")), "%Y-%m-%d %H:%M:%S")
    return array.cast(pa.string())


def numbers(table: pa.Table) -> Ints:
    result: Ints = table["_i"].to_numpy()
    return result


def moments(city: City, stream: str, i: Ints, start: datetime, days: int = 25) -> pa.ChunkedArray:
    """Random working moments in the ``days`` after ``start``, as text."""
    seconds = (draw(city, stream, i) % np.uint64(days * 86_400)).astype("timedelta64[s]")
    return text(np.datetime64(start.replace(tzinfo=None)) + seconds)


def household(city: City, month: int) -> Iterator[pa.Table]:
    """公安 户籍人口, the whole register in chunks."""
    for start in range(0, city.people, CHUNK):
        p = make_persons(city, start, min(city.people, start + CHUNK), month)
        p = p.filter(pc.invert(p["left"]))
        i = numbers(p)
        yield pa.table(
            {
                "gmsfhm": p["person_id"],
                "xm": p["name"],
                "cym": np.where(share(city, "former", i, 20), "无", ""),
                "xb": p["sex"],
                "mz": p["ethnic"],
                "csrq": pc.strftime(p["birth_date"], "%Y%m%d"),
                "jg": p["division"],
                "hjqh": p["division"],
                "hjxz": p["address"],
                "xzz": p["address"],
                "yhzgx": p["relation"],
                "hyzk": p["marital"],
                "whcd": p["education"],
                "lxdh": p["phone"],
                "ryzt": np.full(len(i), "1"),
                "gxsj": text(p["updated_at"]),
            }
        )


def health_record(city: City, month: int, start: datetime) -> Iterator[pa.Table]:
    """卫健 个人健康档案: 60 % of the people at first, then what changed in the month."""
    for first in range(0, city.people, CHUNK):
        p = make_persons(city, first, min(city.people, first + CHUNK), month)
        covered = share(city, "health", numbers(p), 600)
        if month:
            covered &= share(city, f"health{month}", numbers(p), 30)
        p = p.filter(pa.array(covered))
        i = numbers(p)
        since = np.maximum(p["birth_date"].to_numpy().astype("datetime64[D]"), np.datetime64("2010-01-01"))
        recorded = since + (draw(city, "record", i) % np.uint64(900)).astype("timedelta64[D]")
        moved = share(city, "hphone", i, 150)
        yield pa.table(
            {
                "sfzh": p["person_id"],
                "jkdabh": pa.array(np.char.add("15060200", np.char.zfill(i.astype("U9"), 9))),
                "xm": p["name"],
                "xb": p["sex"],
                "csrq": text(p["birth_date"]),
                "lxdh": pc.if_else(pa.array(moved), pa.array(np.full(len(i), "13700000000")), p["phone"]).combine_chunks(),
                "xzz": p["address"],
                "xx": pick(city, "blood", i, ["A", "B", "O", "AB", "不详"]),
                "hyzk": p["marital"],
                "jdjg": pick(city, "clinic", i, ["东胜区民族街道社区卫生服务中心", "达拉特旗人民医院", "准格尔旗薛家湾镇卫生院", "乌审旗蒙医综合医院"]),
                "jdrq": text(np.minimum(recorded, np.datetime64("2026-05-31"))),
                "scbz": np.where(share(city, f"hdel{month}", i, 5) & (month > 0), "1", "0"),
                "gxsj": moments(city, f"hup{month}", i, start),
            }
        )  # fmt: skip


def marriage(city: City, month: int, day: datetime) -> pa.Table:
    """民政 婚姻登记 of one week: a few couples."""
    week = day.isocalendar().week
    n = max(60, city.people // 400)
    offset = (week * n * 2) % max(1, city.people - 2 * n) if city.people > 2 * n else 0
    a = make_persons(city, offset, min(city.people, offset + n), month)
    a = a.filter(pc.less(a["birth_date"], pa.scalar(date(2004, 1, 1))))
    b = make_persons(city, max(0, city.people - offset - n), city.people - offset, month).slice(0, a.num_rows)
    n = min(a.num_rows, b.num_rows)
    a, b = a.slice(0, n), b.slice(0, n)
    i = numbers(a)
    divorce = share(city, "divorce", i, 200)
    return pa.table(
        {
            "公民身份号码": a["person_id"],
            "姓名": a["name"],
            "配偶公民身份号码": b["person_id"],
            "配偶姓名": b["name"],
            "登记证字号": pa.array(np.char.add(f"J150602-2026-{week:02d}", np.char.zfill(i.astype("U7"), 7))),
            "业务类型": np.where(divorce, "离婚登记", "结婚登记"),
            "婚姻状况代码": np.where(divorce, np.where(share(city, "old39", i, 300), "39", "40"), "20"),
            "登记日期": np.full(n, f"{day:%Y-%m-%d}"),
            "登记机关": pick(
                city, "mzreg", i, ["东胜区民政局婚姻登记处", "达拉特旗民政局婚姻登记处", "伊金霍洛旗民政局婚姻登记处"]
            ),
            "更新时间": np.full(n, f"{day:%Y-%m-%d} 17:30:00"),
        }
    )


def employment(city: City, month: int, start: datetime) -> pa.Table:
    """人社 就业: at most 20,000 people, then what changed in the month."""
    p = make_persons(city, 0, min(city.people, 50_000), month)
    covered = share(city, "job", numbers(p), 400)
    if month:
        covered &= share(city, f"job{month}", numbers(p), 80)
    p = p.filter(pc.and_(pa.array(covered), pc.less(p["birth_date"], pa.scalar(date(2007, 1, 1)))))
    i = numbers(p)
    units = make_units(city, month)
    employer = pa.array((draw(city, "employer", i) % np.uint64(units.num_rows)).astype(np.int64))
    return pa.table(
        {
            "idCard": p["person_id"],
            "personName": p["name"],
            "status": np.where(share(city, "retired", i, 100), "退休", "就业"),
            "employer": units["name"].take(employer),
            "employerCode": units["credit_code"].take(employer),
            "industry": units["industry"].take(employer),
            "education": p["education"],
            "mobile": p["phone"],
            "startDate": np.full(len(i), "2021-03-01"),
            "endDate": np.full(len(i), "2027-02-28"),
            "deleted": np.full(len(i), "false"),
            "updateTime": moments(city, f"jup{month}", i, start),
        }
    )


def enterprise(city: City, month: int) -> pa.Table:
    """市监 企业法人, the whole register."""
    u = make_units(city, month)
    i = numbers(u)
    updated = np.datetime64("2026-05-01T09:00:00") + u["moved"].to_numpy().astype("timedelta64[D]") * 28
    return pa.table(
        {
            "tyshxydm": u["credit_code"],
            "zch": u["registration_number"],
            "qymc": u["name"],
            "qylx": np.full(len(i), "有限责任公司（自然人投资或控股）"),
            "fddbr": u["legal_representative"],
            "zs": u["address"],
            "jyfw": u["scope"],
            "zczb": u["capital"],
            "clrq": text(u["established"]),
            "yyqxz": np.full(len(i), "2049-12-31"),
            "djjg": np.full(len(i), "鄂尔多斯市市场监督管理局"),
            "hydm": u["industry"],
            "djzt": u["status"],
            "lxdh": np.full(len(i), "0477-8588888"),
            "gxsj": text(updated),
        }
    )


def tax_registration(city: City, month: int) -> pa.Table:
    """税务 税务登记: nine units in ten; some addresses differ from 市监 (多源比对)."""
    u = make_units(city, month)
    u = u.filter(pa.array(share(city, "taxed", numbers(u), 900)))
    i = numbers(u)
    elsewhere = share(city, "taxaddr", i, 60)
    return pa.table(
        {
            "统一社会信用代码": u["credit_code"],
            "纳税人名称": u["name"],
            "法定代表人姓名": u["legal_representative"],
            "生产经营地址": pc.if_else(pa.array(elsewhere), pa.array(np.full(len(i), "鄂尔多斯市东胜区铁西路1号")), u["address"]).combine_chunks(),
            "联系电话": np.full(len(i), "0477-8366666"),
            "行业代码": u["industry"],
            "纳税人类型": pick(city, "taxtype", i, ["一般纳税人", "小规模纳税人"]),
            "纳税人状态": np.where(share(city, "taxoff", i, 20), "注销", "正常"),
            "纳税信用等级": pick(city, "grade", i, ["A", "B", "M", "未评"]),
            "主管税务机关": np.full(len(i), "国家税务总局鄂尔多斯市税务局"),
            "登记日期": text(u["established"]),
        }
    )  # fmt: skip


def social_org(city: City, month: int) -> pa.Table:
    """民政 社会组织, the whole list."""
    n = 120
    i = np.arange(n, dtype=np.int64)
    from guiji.demo.population import DIVISIONS, credit_codes

    kind = i % 3
    division = np.array([d[0] for d in DIVISIONS])[i % len(DIVISIONS)]
    codes = np.array(
        [credit_codes(f"5{k + 1}", division[j : j + 1], 50_000_000 + i[j : j + 1] * 11)[0] for j, k in enumerate(kind)]
    )
    names = np.char.add(
        "鄂尔多斯市",
        np.char.add(
            pick(city, "so", i, ["书法", "环保", "养老服务", "青少年", "摄影", "蒙古马", "文化", "慈善"]),
            np.array(["协会", "服务中心", "基金会"])[kind],
        ),
    )
    return pa.table(
        {
            "统一社会信用代码": codes,
            "社会组织名称": np.char.add(names, np.where(i >= 24, np.char.add("第", np.char.add(i.astype("U3"), "分会")), "")),
            "社会组织类型": np.array(SOCIAL_KINDS)[kind],
            "法定代表人": make_persons(city, 0, n, month)["name"],
            "住所": np.char.add("鄂尔多斯市东胜区文化路", np.char.add((i + 1 + month).astype("U4"), "号")),
            "业务范围": np.full(n, "学术交流、咨询服务、公益活动"),
            "注册资金（万元）": np.char.add((3 + i % 50).astype("U4"), ".5"),
            "成立登记日期": np.char.add("2015年", np.char.add((1 + i % 12).astype("U2"), "月8日")),
            "登记管理机关": np.full(n, "鄂尔多斯市民政局"),
            "业务主管单位": np.full(n, "鄂尔多斯市文化和旅游局"),
            "联系电话": np.full(n, "0477-8599999"),
            "状态": np.full(n, "正常"),
        }
    )  # fmt: skip


def licence(city: City, month: int, day: datetime) -> pa.Table:
    """行政审批 行政许可 decided in the month."""
    u = make_units(city, month)
    i = numbers(u)
    u = u.filter(pa.array(share(city, f"lic{month}", i, 250)))
    i = numbers(u)
    return pa.table(
        {
            "行政许可决定文书号": pa.array(np.char.add(f"鄂审服准〔2026〕{month + 1}-", i.astype("U7"))),
            "行政许可决定文书名称": pick(
                city, "licname", i, ["食品经营许可证", "道路运输经营许可证", "建设工程规划许可证", "取水许可证"]
            ),
            "行政相对人代码": u["credit_code"],
            "行政相对人名称": u["name"],
            "许可内容": u["scope"],
            "许可类别": pick(city, "lickind", i, ["普通", "核准", "登记"]),
            "许可决定日期": np.full(len(i), f"{day:%Y/%m/%d}"),
            "有效期自": np.full(len(i), f"{day:%Y/%m/%d}"),
            "有效期至": np.full(len(i), "2031/12/31"),
            "许可机关": np.full(len(i), "鄂尔多斯市行政审批和政务服务局"),
            "当前状态": np.full(len(i), "有效"),
        }
    )
