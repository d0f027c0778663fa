"""The one way a personal value may be shown."""

from __future__ import annotations

import re

_PERSONAL = re.compile(
    r"(?<![0-9A-Za-z])(?:[1-9]\d{5}(?:18|19|20)\d{9}[\dXx]|[1-9]\d{14}|(?:86)?1[3-9]\d{9}|\d{16,19})(?![0-9A-Za-z])"
)
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff·•・]+")
#: last characters of what columns and sheets are called, and of no name that people bear
_CALLED = frozenset(
    "列乡处站队办号码称量额数期址位区县市省镇街村户籍别型类率值费价比序项注备证话邮编件级度距离态署局司织员历务岗症药床室课绩款账卡余缴支产债"
    "计均占途纬审批核签止截更除识述附接网页密间况表票据状点度厚积率温压速向限因果见法式料具址段线图层表簿册库题象系围关置构属名贯份至自目种物门形面人"
)
#: what columns and sheets are called though it ends otherwise
_CALLED_SO = frozenset(
    ("姓名", "民族", "年龄", "职业", "专业", "学校", "单位", "部门", "住所", "手机", "邮箱", "经度", "年份", "月份", "年度",
     "月度", "季度", "金额", "合计", "小计", "总计", "累计", "其他", "其它", "说明", "内容", "用途", "时间", "日期", "性质",
     "行业", "企业", "公司", "人口", "总人口", "常住", "男", "女", "男性", "女性", "本月", "本年", "上年", "同比", "环比",
     "备用", "经办人", "联系人", "负责人", "法人", "填表人", "审核人", "登记人", "申请人", "父亲", "母亲", "配偶", "监护人",
     "乡", "旗", "苏木", "嘎查", "空白", "汇总", "明细", "目录", "封面", "模板", "样例", "示例", "字典", "代码", "有效",
     "是否", "成绩", "得分", "总分", "排名", "名次", "一季度", "二季度", "三季度", "四季度", "上半年", "下半年", "全年")
)  # fmt: skip
_CALLED_AT_END = (
    "街道", "苏木", "嘎查", "公司", "企业", "学校", "医院", "中心", "银行", "前旗", "特旗", "尔旗", "克旗", "锦旗", "审旗",
    "洛旗", "有效", "标志", "内容", "许可", "性质", "成绩", "时间", "姓名", "业务", "用途", "情况", "方式", "口径", "面积",
    "金额", "数据", "信息", "说明", "汇总", "合计", "明细", "名单", "清单", "列表", "记录", "目录", "台账", "物资",
)  # fmt: skip
_MONTH = re.compile("[一二三四五六七八九十]{1,3}月份?|[东南西北中]+[部片]?")


def looks_like_name(text: str) -> bool:
    """Whether a column or sheet that nobody declared may be called by a person's name: few Chinese characters, and not as
    columns are called. Rather true too often: what is masked then keeps its first character."""
    plain = "".join(text.split())
    if not 2 <= len(plain) <= 12 or not _HAN.fullmatch(plain):
        return False
    if any(dot in plain for dot in "·•・"):
        return True
    called = plain in _CALLED_SO or plain[-1] in _CALLED or plain[-2:] in _CALLED_AT_END or _MONTH.fullmatch(plain)
    return len(plain) <= 6 and not called


def show_name(text: str) -> str:
    """What an undeclared column or sheet is called, for messages and mails: masked where it may be a person (F-67)."""
    return mask("".join(text.split())) if looks_like_name(text) else scrub(text)


def mask(value: object) -> str:
    """``value`` with its middle starred out.

    Long identifiers keep the first four and last two characters, names keep the first character, anything
    of one character becomes one star. The length is kept, so that a clerk recognises the row.
    """
    text = "" if value is None else str(value)
    n = len(text)
    if n <= 1:
        return "*" * n
    if n <= 4:
        return text[0] + "*" * (n - 1)
    if n <= 8:
        return text[:2] + "*" * (n - 3) + text[-1]
    return text[:4] + "*" * (n - 6) + text[-2:]


def scrub(text: str) -> str:
    """``text`` with everything that looks like a citizen id, phone or card number masked (logs, foreign errors)."""
    return _PERSONAL.sub(lambda m: mask(m.group()), text)
