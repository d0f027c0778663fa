"""Why an identifier got its verdict: a short code, and the sentences a department reads.

The number of a reason is its place in ``REASONS``; 0 stands for "nothing to say". A reason decides the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Identifier = Literal["citizen_id", "credit_code", "registration_number", "division"]

OK, WRONG, SUSPICIOUS, UNJUDGED = range(4)

CITIZEN = "GB 11643-1999 公民身份号码"
CREDIT = "GB 32100-2015 法人和其他组织统一社会信用代码编码规则"
REGISTRATION = "GS 15-2006 工商行政管理注册号编制规则"
DIVISION = "GB/T 2260-2007 中华人民共和国行政区划代码"

STANDARDS: dict[str, str] = {
    "citizen_id": CITIZEN,
    "credit_code": CREDIT,
    "registration_number": REGISTRATION,
    "division": DIVISION,
}
TITLES: dict[str, str] = {
    "citizen_id": "公民身份号码",
    "credit_code": "统一社会信用代码",
    "registration_number": "注册号",
    "division": "行政区划代码",
}
_FORMS = {
    "citizen_id": "应为18位：前17位为数字，末位为数字或X（早期号码为15位数字）",
    "credit_code": "应为18位数字或大写英文字母（不使用I、O、Z、S、V），其中第3至8位为数字",
    "registration_number": "应为15位数字",
    "division": "应为6位数字（乡镇级9位、村级12位）",
}


@dataclass(frozen=True)
class Reason:
    """``what`` is wrong and how to ``mend`` it, in Chinese; ``{title}`` and ``{form}`` are the identifier's."""

    code: str
    verdict: int
    what: str
    mend: str
    standard: str | None = None


REASONS: tuple[Reason, ...] = (
    Reason("", OK, "", ""),
    # wrong
    Reason("length", WRONG, "{title}位数不对，{form}。", "请对照证照原件补全或删去多余字符后重新报送。"),
    Reason(
        "characters", WRONG, "{title}含有不允许的字符，{form}。", "请对照证照原件更正，注意字母O与数字0、字母I与数字1。"
    ),
    Reason("impossible_date", WRONG, "号码第7至14位不是真实存在的日期。", "请对照身份证件原件更正号码。"),
    Reason(
        "check_digit", WRONG, "{title}的校验码与前面各位不符，号码中至少有一位录错。", "请对照证照原件逐位核对后更正。"
    ),
    Reason("future_birth", WRONG, "号码中的出生日期晚于今天。", "请对照身份证件原件更正号码。"),
    Reason(
        "body_check_digit",
        WRONG,
        "第9至17位（主体标识码）自身的校验码不符，代码中至少有一位录错。",
        "请对照营业执照或登记证书逐位核对后更正。",
        "GB 11714-1997 全国组织机构代码编制规则",
    ),
    Reason("placeholder", WRONG, "{title}是占位内容（各位相同），不是真实号码。", "请填写真实号码；确实没有的请留空。"),
    Reason("province_unknown", WRONG, "前两位不是任何省级行政区划的代码。", "请对照行政区划代码表更正。", DIVISION),
    # suspicious
    Reason(
        "division_unknown",
        SUSPICIOUS,
        "{title}中的行政区划代码在现行和历史代码表中都查不到。",
        "请核对；如属开发区等特殊代码，请说明。",
        DIVISION,
    ),
    Reason(
        "division_abolished_before_1984",
        SUSPICIOUS,
        "号码中的行政区划代码在1984年开始编制身份号码之前就已废止。",
        "请对照身份证件原件核对号码前6位。",
        DIVISION,
    ),
    Reason(
        "division_abolished_before_birth",
        SUSPICIOUS,
        "号码中的行政区划代码在出生之前就已废止，而1999年10月以后的号码在出生登记时编制。",
        "请对照身份证件原件核对号码前6位和出生日期。",
        DIVISION,
    ),
    Reason(
        "division_began_after_birth",
        SUSPICIOUS,
        "号码中的行政区划代码在出生之后才启用，而1999年10月以后的号码在出生登记时编制。",
        "请对照身份证件原件核对号码前6位和出生日期。",
        DIVISION,
    ),
    Reason(
        "division_abolished", SUSPICIOUS, "该行政区划代码已经废止。", "请改报现行代码；历史数据请说明时点。", DIVISION
    ),
    Reason("birth_disagrees", SUSPICIOUS, "号码中的出生日期与出生日期一栏不一致。", "请核对两处，更正录错的一处。"),
    Reason(
        "sex_disagrees",
        SUSPICIOUS,
        "号码第17位表示的性别（单数为男、双数为女）与性别一栏不一致。",
        "请核对两处，更正录错的一处。",
    ),
    Reason("age", SUSPICIOUS, "按号码推算年龄超过130岁。", "请核对号码中的出生年份，已故人员请更新状态。"),
    Reason("authority_unknown", SUSPICIOUS, "首位不是已公布的登记管理部门代码。", "请对照营业执照或登记证书核对首位。"),
    Reason(
        "type_unknown",
        SUSPICIOUS,
        "第2位不是该登记管理部门已公布的机构类别代码。",
        "请对照营业执照或登记证书核对前两位。",
    ),
    Reason(
        "division_disagrees",
        SUSPICIOUS,
        "注册号前6位与统一社会信用代码第3至8位（登记机关行政区划）不一致。",
        "请核对注册号与统一社会信用代码是否属于同一单位。",
    ),
    Reason(
        "credit_code_instead",
        SUSPICIOUS,
        "注册号一栏填的是18位代码，像是统一社会信用代码。",
        "请将统一社会信用代码填入对应栏目，本栏填15位注册号或留空。",
    ),
    # cannot judge
    Reason(
        "division_undated",
        UNJUDGED,
        "代码表中没有该行政区划代码的起止时间，无法判断。",
        "不需要处理；如有疑问请与数据主管部门联系。",
        DIVISION,
    ),
    Reason("century_unknown", UNJUDGED, "15位号码的顺序码为996至999，出生世纪无法判断，未升位。", "请提供18位号码。"),
    Reason(
        "foreign_layout",
        UNJUDGED,
        "外国人永久居留身份证号码，校验码正确，其余各位无法判断。",
        "不需要处理。",
        "外国人永久居留身份证编号规则",
    ),
    Reason(
        "foreign_former",
        UNJUDGED,
        "旧版外国人永久居留证号码（3位字母加12位数字），无法按公民身份号码判断。",
        "不需要处理。",
        "外国人永久居留身份证编号规则",
    ),
    Reason(
        "former_number",
        UNJUDGED,
        "早期或特殊格式的注册号，无法按现行规则判断。",
        "不需要处理；如有统一社会信用代码请一并报送。",
    ),
    # in order, but mended
    Reason("mended_space", OK, "{title}前后或中间有空格、不可见字符，已自动去除。", "建议在导出时去除空格。"),
    Reason("mended_case", OK, "{title}中的小写字母已自动改为大写。", "建议按标准使用大写字母。"),
    Reason("mended_width", OK, "{title}中的全角字符已自动改为半角。", "建议录入时使用半角字符。"),
    Reason("upgraded_15", OK, "15位号码已按标准升为18位，原号码保留备查。", "不需要处理；建议更新为18位号码。"),
)

NUMBER: dict[str, int] = {reason.code: number for number, reason in enumerate(REASONS)}


def explain(reason: str, identifier: Identifier = "citizen_id") -> tuple[str, str, str]:
    """What is wrong, how to mend it (both Chinese sentences), and the standard it comes from. Raises KeyError."""
    r = REASONS[NUMBER[reason]]
    words = {"title": TITLES[identifier], "form": _FORMS[identifier]}
    return r.what.format(**words), r.mend.format(**words), r.standard or STANDARDS[identifier]
