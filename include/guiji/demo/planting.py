"""Errors planted in deliveries, and the truth about them.

A ``Kind`` is one way in which departments' data are wrong, the rules that must find it, and a function that spoils one
sound row. ``plant`` spoils a few rows of a delivery and notes which; ``score`` later compares that truth with what the
pipeline found. The pipeline never sees the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

Row = dict[str, str | None]


@dataclass(frozen=True)
class Kind:
    """One kind of error. ``rules``: ids that may find it; ``verdict``: what they must say."""

    name: str
    title: str
    resource_id: str
    rules: tuple[str, ...]
    spoil: Callable[[Row], Row]
    verdict: str = "rejected"
    #: the spoiled row stands beside the sound one instead of replacing it
    extra: bool = False


@dataclass(frozen=True)
class Planted:
    """One planted row: where it stands in which delivery. ``mark`` is the line of a file, or the values that
    identify a row of a table or interface."""

    resource_id: str
    delivery: str
    kind: str
    mark: str


def plant(table: pa.Table, kinds: Sequence[Kind], per_kind: int, seed: int) -> tuple[pa.Table, dict[int, Kind]]:
    """Spoils ``per_kind`` rows of each kind; returns the table and, by position, what was done.

    All columns are text. No row is spoilt twice; rows that stand beside a sound one come last.
    """
    wanted = min(per_kind * len(kinds), table.num_rows // 2)
    if not wanted:
        return table, {}
    positions = np.random.default_rng(seed).choice(table.num_rows, size=wanted, replace=False)
    truth: dict[int, Kind] = {}
    extras: list[Row] = []
    replaced: dict[int, Row] = {}
    rows = table.take(pa.array(positions)).to_pylist()
    for i, (position, row) in enumerate(zip(positions.tolist(), rows, strict=True)):
        kind = kinds[i % len(kinds)]
        spoilt = kind.spoil(row)
        if kind.extra:
            truth[table.num_rows + len(extras)] = kind
            extras.append(spoilt)
        else:
            truth[position] = kind
            replaced[position] = spoilt
    names = list(dict.fromkeys([*table.column_names, *(name for row in replaced.values() for name in row)]))
    columns = []
    for name in names:
        known = name in table.column_names
        values = table[name].to_numpy(zero_copy_only=False) if known else np.full(table.num_rows, None, dtype=object)
        values = np.array(values, dtype=object)
        for position, row in replaced.items():
            values[position] = row.get(name)
        columns.append(pa.array([*values, *(row.get(name) for row in extras)], pa.string()))
    return pa.table(columns, names=names), truth


# --- ways to spoil a row ------------------------------------------------------------------------------


def put(**values: str | None) -> Callable[[Row], Row]:
    """Sets columns to fixed values."""
    return lambda row: {**row, **values}


def edit(column: str, change: Callable[[str], str]) -> Callable[[Row], Row]:
    """Changes the text of one column."""
    return lambda row: {**row, column: change(row[column] or "")}


def wrong_check_digit(text: str) -> str:
    """The same number with another last character."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def with_check_digit(body: str) -> str:
    """17 digits completed to a formally right number (GB 11643-1999)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def full_width(text: str) -> str:
    """ASCII as full-width characters, as a Chinese input method leaves them."""
    return "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in text)


def other_sex(row: Row, column: str = "xb") -> Row:
    return {**row, column: "2" if row[column] == "1" else "1"}


ID = "gmsfhm"
HOUSEHOLD = (
    Kind("身份证校验码错", "公民身份号码校验码不符", "gaj.household", ("id_number.identifier",), edit(ID, wrong_check_digit)),
    Kind("身份证日期不存在", "号码中的出生日期不存在", "gaj.household", ("id_number.identifier",),
         edit(ID, lambda t: with_check_digit(t[:10] + "0231" + t[14:17]))),
    Kind("身份证出生在未来", "号码中的出生日期在未来", "gaj.household", ("id_number.identifier",),
         edit(ID, lambda t: with_check_digit(t[:6] + "2031" + t[10:17]))),
    Kind("身份证少一位", "公民身份号码只有17位", "gaj.household", ("id_number.identifier",), edit(ID, lambda t: t[:17])),
    Kind("主键为空", "公民身份号码为空格", "gaj.household", ("key.blank",), put(gmsfhm="　")),
    Kind("主键重复", "同一号码两行，内容不同", "gaj.household", ("key.duplicate",),
         lambda r: {**r, "hjxz": (r["hjxz"] or "") + "附1号", "gxsj": "2025-12-01 08:00:00"}, extra=True),
    Kind("民族代码未知", "民族代码不在国标中", "gaj.household", ("ethnic.code",), put(mz="88")),
    Kind("性别代码未知", "性别代码不在国标中", "gaj.household", ("sex.code",), put(xb="3")),
    Kind("姓名带数字", "姓名里有数字", "gaj.household", ("name_is_words",), edit("xm", lambda t: t + "1")),
    Kind("地址为空", "户籍详址为空", "gaj.household", ("address.required",), put(hjxz="")),
    Kind("外市区划", "户籍区划不属于本市", "gaj.household", ("division_in_city",), put(hjqh="110101")),
    Kind("更新时间不可信", "更新时间早于系统启用", "gaj.household", ("updated_at.range",), put(gxsj="1971-01-01 00:00:00")),
    Kind("日期写法不认识", "出生日期写成农历", "gaj.household", ("birth_date.type",), put(csrq="农历七月初七")),
    Kind("性别与号码不符", "性别与号码第17位不符", "gaj.household", ("id_number.identifier",), other_sex,
         verdict="suspicious"),
    Kind("占位电话", "联系电话是占位号码", "gaj.household", ("phone_is_real",), put(lxdh="13800138000"),
         verdict="suspicious"),
    Kind("电话格式错", "联系电话位数不对", "gaj.household", ("phone.pattern",), put(lxdh="1391234"), verdict="suspicious"),
    Kind("全角号码", "号码是全角数字，可自动更正", "gaj.household", ("id_number.identifier", "id_number.mended"),
         edit(ID, full_width), verdict="mended"),
)  # fmt: skip
HEALTH = (
    Kind("零日期", "出生日期为 0000-00-00", "wjw.health_record", ("birth_date.zero_date", "birth_date.type", "birth_date.mended"),
         put(csrq="0000-00-00"), verdict="mended"),
    Kind("建档早于出生", "建档日期早于出生日期", "wjw.health_record", ("recorded_after_birth",),
         lambda r: {**r, "csrq": "2024-05-05", "jdrq": "2019-03-01"}),
    Kind("更新时间为空", "增量字段为空", "wjw.health_record", ("cursor.blank", "updated_at.required"), put(gxsj=None)),
    Kind("更新时间在未来", "增量字段在未来", "wjw.health_record", ("cursor.future",), put(gxsj="2098-01-01 00:00:00")),
    Kind("档案编号错", "健康档案编号不是17位", "wjw.health_record", ("record_no.pattern",), put(jkdabh="150602")),
)  # fmt: skip
MARRIAGE = (
    Kind("配偶是本人", "配偶号码与本人相同", "mzj.marriage", ("spouse_is_another",),
         lambda r: {**r, "配偶公民身份号码": r["公民身份号码"]}),
    Kind("业务与状况不符", "婚姻状况与业务类型不一致", "mzj.marriage", ("business_agrees",),
         put(业务类型="离婚登记", 婚姻状况代码="20")),
    Kind("登记日期非日期", "登记日期写成文字", "mzj.marriage", ("registered_date.type",), put(登记日期="去年腊月")),
    Kind("缺列的行", "一行少了几列", "mzj.marriage", ("structure.ragged",), lambda r: {**r, "_cut": "3"}),
    Kind("全角配偶号码", "配偶号码是全角数字，可自动更正", "mzj.marriage", ("spouse_id_number.identifier",),
         edit("配偶公民身份号码", full_width), verdict="mended"),
)  # fmt: skip
EMPLOYMENT = (
    Kind("合同起止颠倒", "合同终止早于起始", "rsj.employment", ("contract_in_order",),
         put(startDate="2025-06-01", endDate="2020-06-01")),
    Kind("就业状态未知", "就业状态不在取值范围", "rsj.employment", ("employment_status.pattern",), put(status="在岗")),
    Kind("行业代码未知", "行业代码不在国标中", "rsj.employment", ("industry.code",), put(industry="Z999")),
)  # fmt: skip
ENTERPRISE = (
    Kind("信用代码校验错", "统一社会信用代码校验码不符", "scjg.enterprise", ("credit_code.identifier",),
         edit("tyshxydm", wrong_check_digit)),
    Kind("信用代码含字母O", "用字母O代替数字0", "scjg.enterprise", ("credit_code.identifier",),
         edit("tyshxydm", lambda t: t[:8] + "O" + t[9:])),
    Kind("注册资本为负", "注册资本小于零", "scjg.enterprise", ("capital.range",), put(zczb="-100.00")),
    Kind("注册资本非数字", "注册资本写成文字", "scjg.enterprise", ("capital.type",), put(zczb="壹佰万")),
    Kind("期限早于成立", "营业期限早于成立日期", "scjg.enterprise", ("term_in_order",), put(yyqxz="1990-01-01")),
    Kind("注册号区划不符", "注册号与信用代码区划不一致", "scjg.enterprise", ("registration_no.identifier",),
         edit("zch", lambda t: "150699" + t[6:]), verdict="suspicious"),
)  # fmt: skip
TAX = (
    Kind("纳税人类型未知", "纳税人类型不在取值范围", "swj.tax_registration", ("taxpayer_type.pattern",), put(纳税人类型="个体")),
    Kind("登记日期不存在", "登记日期为2月30日", "swj.tax_registration", ("registered_date.type",), put(登记日期="2020-02-30")),
)  # fmt: skip
LICENCE = (
    Kind("有效期颠倒", "有效期至早于有效期自", "xzsp.licence", ("validity_in_order",),
         lambda r: {**r, "有效期自": "2026/06/01", "有效期至": "2025/06/01"}),
    Kind("许可类别未知", "许可类别不在取值范围", "xzsp.licence", ("category.pattern",), put(许可类别="备案")),
)  # fmt: skip
SHELTER = (
    Kind("编码与区划不符", "场所编码与区划代码不一致", "yjj.shelter", ("code_agrees",), edit("场所编码", lambda t: "150699" + t[6:])),
)  # fmt: skip
FOREST = (
    Kind("图形自相交", "小班面自相交", "lcj.forest_parcel", ("parcel.geometry",), lambda r: {**r, "_bow_tie": "1"}),
    Kind("面积单位错", "把亩数填入公顷", "lcj.forest_parcel", ("area_ha.by_shape",),
         edit("mj", lambda t: f"{float(t) * 15:.2f}"), verdict="suspicious"),
)  # fmt: skip
STATION = (
    Kind("海拔越界", "海拔超出本市范围", "qxj.station", ("altitude_m.range",), put(altitude="12000")),
)  # fmt: skip
FACILITY = (
    Kind("点位不是坐标", "点位文字不能识别", "cgj.facility", ("location.geometry", "location.type"), put(geom="民族东街路口")),
)  # fmt: skip
FISCAL = (
    Kind("金额单位错", "把元当成万元", "czj.fiscal_revenue", ("amount_is_plausible",), put(金额="938475000000")),
)  # fmt: skip
INSPECTION = (
    Kind("检查对象无代码", "信用代码和注册号都没有填", "scjg.inspection", ("names_a_unit",), put(tyshxydm="", zch="")),
    Kind("检查晚于录入", "检查日期晚于录入日期", "scjg.inspection", ("inspected_before_updated",), put(jcrq="2027-12-31")),
)  # fmt: skip
PENALTY = (
    Kind("罚款无金额", "处罚类别为罚款而金额为空", "fgw.penalty", ("fine_has_amount",),
         lambda r: {**r, "处罚类别": "罚款", "罚款金额（万元）": "0"}),
)  # fmt: skip
TAX_REVENUE = (
    Kind("入库金额单位错", "把元当成万元", "swj.tax_revenue", ("amount_is_plausible",), put(je="938475000000")),
)  # fmt: skip
INSURANCE = (
    Kind("缴费月数越界", "累计缴费月数超过六十年", "rsj.insurance", ("paid_months.range",), put(累计缴费月数="9999")),
)  # fmt: skip
RELIEF = (
    Kind("救助金额为零", "月救助金额为零", "mzj.relief", ("amount.range",), edit("月救助金额（元）", lambda _: "0")),
)  # fmt: skip
PERMIT = (
    Kind("许可证编号不符", "许可证编号前18位不是本单位的信用代码", "sthj.permit", ("number_agrees",),
         edit("permitNo", lambda t: "1" + t[1:])),
)  # fmt: skip
STATE_ENTERPRISE = (
    Kind("利润单位错", "利润总额以元填报", "gzw.enterprise", ("profit_within_assets",), edit("利润总额", lambda t: t + "0000")),
)  # fmt: skip
ENERGY = (
    Kind("能耗小于电力折标", "综合能耗小于电力折标量", "gxj.energy_use", ("energy_covers_electricity",), put(zhnh="1.00"),
         verdict="suspicious"),
)  # fmt: skip
KINDS: dict[str, tuple[Kind, ...]] = {
    kinds[0].resource_id: kinds
    for kinds in (
        HOUSEHOLD, HEALTH, MARRIAGE, EMPLOYMENT, ENTERPRISE, TAX, LICENCE, SHELTER, FOREST, STATION, FACILITY, FISCAL,
        INSPECTION, PENALTY, TAX_REVENUE, INSURANCE, RELIEF, PERMIT, STATE_ENTERPRISE, ENERGY,
    )
}  # fmt: skip
