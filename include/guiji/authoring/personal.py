"""Whose data a column holds, and the level (分级) that is proposed for it. Rather a level too high than one too low: what
nobody marked is shown in clear, and an engineer who knows better lowers it.

A resource is about people where a column says who they are: by its name, or by values that are numbers or names of
persons. A unit's register that merely names its representative is about units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from guiji.authoring.discover import FoundColumn
from guiji.authoring.facts import ColumnFacts
from guiji.authoring.words import Meaning, read_meaning

#: share of names or identifiers that makes a column one of people
PEOPLE = 0.5
#: fewer different names may be chance
FEWEST_NAMES = 5
PHONE_PATTERN = r"1[3-9]\d{9}|0\d{2,3}-?\d{7,8}"
#: someone who acts for a unit, or for the department: naming him makes no register of people
_ROLE = re.compile(
    "法定代表|法人|负责人|责任人|经办|联系人|联络|审核|审批|填报|填表|制表|录入|执法|承办|主办|检查人|采集人|管理员|代理人|[院校所站局科]长"
)
#: 敏感个人信息: what identifies for good, money, health, children
_STRICT = re.compile(
    "身份证|证件号|残疾证|护照|通行证号|银行卡|[账帐][号户]|社保卡|医保[卡号]|社会保障号|病[历案]|住院号|门诊号|诊断|病史|病情|疾病|病种"
    "|过敏|血型|基因|指纹|虹膜|人脸|密码|口令|学籍号|宗教信仰|吸毒|残疾[类等]"
)
_PERSONAL = re.compile(
    "姓名|患者|病人|[有利事请驾养系责办签]人|户主|配偶|父亲|母亲|子女|监护人|学生|医[生师]|护士|手机|电话|微信|(?i:qq)|邮箱|住址|现住|家庭|详址"
    "|[号车]牌|车架|识别代[号码]|不动产单元号|不动产权|法定代表|负责人|代理人"
)
#: initials at the end of a column's name: whose number, name or account it is, nobody can read out of the rest
_ENDS_STRICT = re.compile(r"(sfz|sfzh|sfzhm|sfhm|zjhm|yhzh|yhkh|kh|zh)$", re.IGNORECASE)
_ENDS_PERSONAL = re.compile(r"(xm|lxdh|dh|sjh|sjhm|lxr|fzr|dz|zz)$", re.IGNORECASE)


def is_about_people(columns: Iterable[FoundColumn], facts: Mapping[str, ColumnFacts]) -> bool:
    """Whether a row says something of a person."""
    return any(_says_who(c, facts.get(c.name)) for c in columns)


def _says_who(column: FoundColumn, facts: ColumnFacts | None) -> bool:
    meaning = read_meaning(column.name, column.comment)
    title = meaning.title or ""
    if _ROLE.search(title):
        return False
    if meaning.name in ("name", "id_number") or re.search("患者|病人|病历|诊断|学籍", title):
        return True
    return facts is not None and (share_of(facts, "citizen_id") >= PEOPLE or holds_names(title, facts))


def share_of(facts: ColumnFacts | None, kind: str) -> float:
    """Of the values that were judged as this identifier, the share that may be one."""
    good, judged = facts.identifiers.get(kind, (0, 0)) if facts else (0, 0)
    return good / judged if judged else 0.0


def holds_names(title: str, facts: ColumnFacts) -> bool:
    """Whether the values look like names of persons, under a title that is no word for something else."""
    if re.search(
        "名称|地区|地址|区域|[旗区县]$|类|型|状态|等级|级别|结果|单位|机构|部门|行业|品|项|内容|备注|说明", title
    ):
        return False
    return facts.distinct >= FEWEST_NAMES and facts.shapes.get("person", 0) >= facts.given * PEOPLE


def propose_level(
    column: FoundColumn, meaning: Meaning, facts: ColumnFacts, content: Mapping[str, Any], *, personal: bool
) -> tuple[int, str | None]:
    """(level 1-4, why it was raised where only the values say so). The reason ``default`` is: nothing is known of the
    column but that its resource is about people."""
    title = meaning.title or ""
    identified = content.get("identifier")
    if identified == "citizen_id":
        return 4, None
    if facts.holds_ids:
        return 4, "值中含有公民身份号码，按 4 级登记"
    if facts.given and facts.shapes.get("card", 0) >= facts.given * 0.9 and not identified:
        return 4, "值像银行卡号，按 4 级登记"
    is_text = content.get("type", "string") == "string" and not identified and "codes" not in content
    least = 2 if personal else 1
    if is_text:
        if _STRICT.search(title) or (not title and _ENDS_STRICT.search(column.name)):
            return 4, None
        if content.get("pattern") == PHONE_PATTERN or _PERSONAL.search(title):
            return max(3, meaning.sensitivity or 1), None
        if facts.given and facts.shapes.get("email", 0) >= facts.given * 0.9:
            return 3, None
        if meaning.sensitivity is None and holds_names(title, facts):
            return 3, "值像人名，按 3 级登记"
        if not title and _ENDS_PERSONAL.search(column.name):
            return 3, "default"
    if meaning.sensitivity is not None:
        return max(meaning.sensitivity, least), None
    # of a column without a word nobody knows what it holds
    if personal and not identified and "codes" not in content and (is_text or not title):
        return 3, "default"
    return least, None
