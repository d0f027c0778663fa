"""Names that departments give their columns, and what each means: a short physical name, and a hint on its content.

Only hints: what the values say decides. A column that no entry knows gets a number for a name, and a question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: (what the title matches, physical name, level 1-4); the first that matches the whole title wins
_TITLES: tuple[tuple[str, str, int], ...] = (
    (r"(公民)?身份(证)?(件)?(号码?|号|编号)|居民身份证号码?|证件号码?|身份证", "id_number", 4),
    (r"社会保障号码?", "id_number", 4),
    (r".{1,8}(身份证(件)?(号码?|编号)?|证件号码?|公民身份号码)", "other_id_number", 4),
    (r"(人员|居民|公民|当事人)?姓名", "name", 3),
    (r"曾用名", "former_name", 3),
    (r"性别(代码)?", "sex", 2),
    (r"民族(代码)?", "ethnic", 2),
    (r"出生(日期|年月日?|时间)|生日", "birth_date", 3),
    (r"年龄", "age", 2),
    (r"籍贯", "native_place", 2),
    (r"婚姻状况(代码)?", "marital", 2),
    (r"文化程度|学历(代码)?", "education", 2),
    (r"与户主关系", "householder_relation", 2),
    (r"(联系|固定|办公|移动)?电话(号码)?|手机(号码?)?|联系方式", "phone", 3),
    (r"(电子)?邮箱|电子邮件", "email", 3),
    (r"(户籍|家庭|现|居住|通讯|联系|户籍所在)?(详细)?(住址|住所|地址|详址)|现居住地", "address", 3),
    (r"(开户)?银行(账号|账户|卡号?|卡账号)|(银行|开户)?[账帐][号户]|(银行|社保|医保)?卡号", "account", 4),
    (r"统一社会信用代码|社会信用代码|信用代码", "credit_code", 1),
    (r"(工商)?注册号", "registration_number", 1),
    (r"组织机构代码", "organisation_code", 1),
    (r"(企业|单位|机构|组织|公司|社会组织|纳税人|主体|用人单位)名称|单位|企业名", "unit_name", 1),
    (r"(法定代表人|法人代表|法人|负责人)(姓名)?", "legal_representative", 3),
    (r"(注册|开办)资(本|金)(（?万元）?)?", "registered_capital", 1),
    (r"(成立|注册|设立)(日期|时间)", "established_date", 1),
    (r"登记机关", "registration_authority", 1),
    (r"经营范围", "business_scope", 1),
    (r"(所属)?行业(代码|门类)?", "industry", 1),
    (r"(行政)?区划(代码)?|(户籍)?所在地区划|地区代码|旗区代码", "division", 1),
    (r"(所属)?(旗区|地区|区域|旗县|辖区)(名称)?", "area_name", 1),
    (r"(数据)?更新(时间|日期)|修改时间|最后更新时间", "updated_at", 1),
    (r"(创建|录入|登记|入库)(时间|日期)", "created_at", 1),
    (r"(统计|数据|业务)?日期", "date", 1),
    (r"(所属)?年度|年份|统计年度", "year", 1),
    (r"月份|统计月份|所属期|报告期|统计期", "period", 1),
    (r"序号", "row_number", 1),
    (r"(数据|记录|资源)?编号|编码|代码|主键|标识|唯一标识", "code", 1),
    (r"名称", "title", 1),
    (r"类型|类别|种类|性质", "kind", 1),
    (r"状态", "status", 1),
    (r"面积(（.*）)?", "area", 1),
    (r"长度(（.*）)?", "length", 1),
    (r"经度", "longitude", 1),
    (r"纬度", "latitude", 1),
    (r"坐标|空间位置|几何|图形", "location", 1),
    (r"金额(（.*）)?", "amount", 1),
    (r"数量", "quantity", 1),
    (r"指标(名称)?", "indicator", 1),
    (r"指标代码", "indicator_code", 1),
    (r"(计量)?单位名称|计量单位", "unit", 1),
    (r"(指标)?(数值|值)", "value", 1),
    (r"备注|说明", "note", 2),
)  # fmt: skip

#: initials of the Chinese words, as front-end databases name their columns -> title
_INITIALS: dict[str, str] = {
    "gmsfhm": "公民身份号码", "gmsfzhm": "公民身份号码", "sfzh": "公民身份号码", "sfzhm": "公民身份号码", "zjhm": "证件号码",
    "xm": "姓名", "cym": "曾用名", "xb": "性别", "mz": "民族", "csrq": "出生日期", "nl": "年龄", "jg": "籍贯",
    "hyzk": "婚姻状况", "whcd": "文化程度", "xl": "学历", "yhzgx": "与户主关系", "lxdh": "联系电话", "sjh": "手机号码",
    "sjhm": "手机号码", "hjdz": "户籍地址", "hjxz": "户籍详址", "xzz": "现住址", "dz": "地址", "zs": "住所",
    "tyshxydm": "统一社会信用代码", "shxydm": "社会信用代码", "zch": "注册号", "zzjgdm": "组织机构代码",
    "qymc": "企业名称", "dwmc": "单位名称", "jgmc": "机构名称", "fddbr": "法定代表人", "zczb": "注册资本",
    "clrq": "成立日期", "djjg": "登记机关", "jyfw": "经营范围", "hydm": "行业代码", "xzqh": "行政区划",
    "xzqhdm": "行政区划代码", "qhdm": "区划代码", "gxsj": "更新时间", "cjsj": "创建时间", "lrsj": "录入时间",
    "bh": "编号", "bm": "编码", "dm": "代码", "mc": "名称", "lx": "类型", "zt": "状态", "bz": "备注", "mj": "面积",
    "je": "金额", "nd": "年度", "rq": "日期", "xh": "序号", "jd": "经度", "wd": "纬度", "fzr": "负责人", "lxr": "联系人",
    "yhzh": "银行账号", "yhkh": "银行卡号", "dwbh": "单位编号", "cbrq": "参保日期", "fr": "法定代表人", "fddbrxm": "法定代表人",
}  # fmt: skip
#: English words, and the indicator set of social security's systems (LD/T 92), without underscores -> title
_SYSTEM_NAMES: dict[str, str] = {
    "idno": "公民身份号码", "idcard": "公民身份号码", "idcardno": "公民身份号码", "idnumber": "公民身份号码", "cardno": "证件号码",
    "certno": "证件号码", "realname": "姓名", "personname": "姓名", "sex": "性别", "gender": "性别", "nation": "民族",
    "birth": "出生日期", "birthday": "出生日期", "birthdate": "出生日期", "age": "年龄", "mobile": "手机号码",
    "mobilephone": "手机号码", "phone": "联系电话", "tel": "联系电话", "telephone": "联系电话", "email": "电子邮箱",
    "address": "地址", "addr": "地址", "areacode": "区划代码", "divisioncode": "区划代码", "creditcode": "统一社会信用代码",
    "uscc": "统一社会信用代码", "companyname": "企业名称", "corpname": "企业名称", "unitname": "单位名称", "createtime": "创建时间",
    "createdat": "创建时间", "updatetime": "更新时间", "updatedat": "更新时间", "modifytime": "更新时间", "status": "状态",
    "type": "类型", "remark": "备注", "longitude": "经度", "lng": "经度", "lon": "经度", "latitude": "纬度", "lat": "纬度",
    "amount": "金额", "id": "主键",
    "aac001": "个人编号", "aac002": "社会保障号码", "aac003": "姓名", "aac004": "性别", "aac005": "民族", "aac006": "出生日期",
    "aac007": "参加工作日期", "aac058": "证件类型", "aac147": "证件号码", "aab001": "单位编号", "aab004": "单位名称",
    "aae004": "联系人", "aae005": "联系电话", "aae006": "地址", "aae010": "银行账号",
}  # fmt: skip

#: title -> the code table that such a column is written in
_CODED: tuple[tuple[str, str], ...] = (
    (r".*性别.*", "sex"),
    (r".*民族.*", "ethnic"),
    (r".*婚姻状况.*", "marital"),
    (r".*(文化程度|学历).*", "education"),
    (r".*与户主关系.*", "relation"),
    (r".*(人员|人口)状态.*", "person_status"),
    (r".*(登记|经营|企业|主体)状态.*", "registration_status"),
    (r".*(机构|单位|主体)类型.*", "unit_type"),
    (r".*行业.*", "industry"),
)

#: texts that stand for "no value" in exports; the only texts of a delivery that a draft may repeat
NULL_TOKENS = (
    "-", "--", "/", "\\N", "NULL", "null", "(null)", "<null>", "None", "none", "N/A", "n/a", "NaN", "nan", "无", "空", "暂无", "不详", "未知",
)  # fmt: skip
#: titles of columns whose digits are a name, not a quantity
_NAMING = re.compile(r"代码|编码|编号|号码|[号码]$|证号|账号|邮编|邮政|电话|手机|标识|序列|版本|批次")
#: titles of columns that identify a row, better ones first
_KEYS = (
    re.compile(r"(公民)?身份(证)?号码?|统一社会信用代码"),
    re.compile(r"^(主键|唯一标识|数据标识|记录编号|编号|编码|代码|id|uuid|guid)$", re.IGNORECASE),
    re.compile(r"(编号|证号|文号|标识|号|码)$|(_id|_no|_code|bh|bm|dm)$", re.IGNORECASE),
)


@dataclass(frozen=True)
class Meaning:
    """What a column's name says."""

    title: str | None  # Chinese; None where the name gives none
    name: str | None  # physical name
    sensitivity: int | None
    guessed: bool = False  # the title was read out of initials


def read_meaning(column: str, comment: str | None = None) -> Meaning:
    """What a column's name, or the comment beside it, says."""
    title, guessed = column.strip(), False
    if comment and re.search("[\u4e00-\u9fff]", comment):
        title = re.split(r"[\s,，:：;；(（]", comment.strip())[0] or title
    elif known := _INITIALS.get(title.lower()) or _SYSTEM_NAMES.get(re.sub("[_-]", "", title.lower())):
        title, guessed = known, True
    if not re.search("[\u4e00-\u9fff]", title):
        return Meaning(None, None, None)
    plain = re.sub(r"\s", "", title)
    for pattern, name, level in _TITLES:
        if re.fullmatch(pattern, plain):
            return Meaning(title, name, level, guessed)
    return Meaning(title, None, None, guessed)


def expected_codes(title: str) -> str | None:
    """The code table that a column of this title is usually written in."""
    return next((table for pattern, table in _CODED if re.fullmatch(pattern, title)), None)


def names_things(title: str) -> bool:
    """True where digits under this title are a name and not a quantity."""
    return bool(_NAMING.search(title))


def names_other_person(title: str) -> bool:
    """True where a number's title says that it is of someone whom the row only names."""
    return bool(re.match("监护人|法定代表|法人|负责人|经办|联系人|户主|配偶|[男女]方|父亲|母亲|担保人|代理人", title))


def rank_key(title: str, column: str) -> int | None:
    """How well a name fits a key: 0 is best, None not at all."""
    for rank, pattern in enumerate(_KEYS):
        if pattern.search(title) or pattern.search(column):
            return rank
    return None
