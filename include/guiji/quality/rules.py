"""Every rule a row of a resource is judged by, with the words a department reads.

Implicit rules come from the field list (``<field>.required`` …), structural ones from the source and the key; the
rules that a catalog file declares keep their own id. Indicators are those of GB/T 36344-2018.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guiji import damage, local_time
from guiji.identifier_reasons import STANDARDS, TITLES
from guiji.limits import LARGEST_KEY
from guiji.projection import ELLIPSOID
from guiji.quality.pattern_words import describe_pattern
from guiji.standardize.survey import BY_SHAPE, OVERLAP, SURVEYED
from guiji.structure import NUL, STRUCTURE

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec, Resource, ResourceModel
    from guiji.standardize import FieldPlan

KEY_BLANK = "key.blank"
KEY_TOO_LONG = "key.too_long"
KEY_DUPLICATE = "key.duplicate"
CURSOR_BLANK = "cursor.blank"
CURSOR_FUTURE = "cursor.future"
#: rows without a usable cursor come again with every pull until they are mended: they are set aside and told, but say
#: nothing about the rest of a batch and never hold it
SET_ASIDE = 1.0
#: a code table of no more codes is written out where one was broken
LISTED_CODES = 12


#: kinds of rules whose breach leaves a field without the value that was delivered
WITHOUT_VALUE = ("type", "geometry", *damage.KINDS, *local_time.KINDS)
#: kinds of rules that are told only where a row broke them
TOLD_WHEN_BROKEN = (*damage.KINDS, *local_time.KINDS, local_time.FRACTION)


@dataclass(frozen=True)
class RuleDefinition:
    """One rule: what it demands, of which fields, and how its breach is mended."""

    rule_id: str
    title: str
    indicator: str
    severity: str  # reject | warn
    mend: str
    fields: tuple[str, ...]
    tolerance: float
    standard: str | None = None
    #: B counts rows with a value in the rule's only field; else all rows
    of_values: bool = False


def list_looked_up(model: ResourceModel) -> tuple[str, ...]:
    """The fields with an index whose texts may be of any length: of the key, and of the keys of libraries."""
    keys = {*model.key, *(k for m in model.mappings for fields in (m.key, *m.by.values()) for k in fields)}
    return tuple(f.name for f in model.fields if f.name in keys and f.type == "string")


def list_rules(resource: Resource, plans: Sequence[FieldPlan]) -> tuple[RuleDefinition, ...]:
    """The rules of a resource in the order in which a row is judged: structure, key, fields, declared."""
    model = resource.model
    tolerance = model.tolerance.rejected
    rules = [_structure_rule(NUL, tolerance)]
    keys = "、".join(model.field(k).title for k in model.key)
    rules.append(
        RuleDefinition(
            KEY_BLANK,
            f"主键（{keys}）不得为空",
            "0201",
            "reject",
            f"每一行都要靠{keys}与别的行区分，请补填后重新报送。",
            tuple(model.key),
            tolerance,
        )
    )
    rules.append(
        RuleDefinition(
            KEY_DUPLICATE,
            f"主键（{keys}）不得重复而内容不同",
            "0304",
            "reject",
            "同一主键出现了内容不同的多行，只保留了较新的一行；请核实后只保留正确的一行。",
            tuple(model.key),
            tolerance,
        )
    )
    if cursor := cursor_column(model):
        rules += [
            RuleDefinition(
                CURSOR_BLANK,
                f"更新标记（{cursor}）不得为空",
                "0201",
                "reject",
                "请在业务系统中补填更新标记。",
                (),
                SET_ASIDE,
            ),
            RuleDefinition(
                CURSOR_FUTURE,
                f"更新标记（{cursor}）不得晚于提取时间",
                "0503",
                "reject",
                "请检查业务系统的时钟，并更正该行的更新标记。",
                (),
                SET_ASIDE,
            ),
        ]
    for plan in plans:
        kinds = dict.fromkeys(c.kind for c in plan.checks)
        rules += [
            _field_rule(plan.spec, kind, model)
            for kind in kinds
            if kind not in TOLD_WHEN_BROKEN and not (kind == "required" and plan.spec.name in model.key)
        ]
    for rule in model.rules:
        rules.append(
            RuleDefinition(
                rule.id,
                rule.title,
                rule.indicator,
                rule.severity,
                rule.mend,
                tuple(rule.fields) or _fields_of(rule.expr),
                rule.tolerance if rule.tolerance is not None else tolerance,
                rule.standard,
            )
        )
    return tuple(rules)


def list_damage_rules(resource: Resource, plans: Sequence[FieldPlan], found: Set[str]) -> tuple[RuleDefinition, ...]:
    """The rules ``<field>.precision_lost`` and its like that a row broke; like structural rules, only they are told."""
    too_long = (_key_too_long(resource.model),) if KEY_TOO_LONG in found else ()
    return too_long + tuple(
        _field_rule(plan.spec, check.kind, resource.model)
        for plan in plans
        for check in plan.checks
        if check.kind in TOLD_WHEN_BROKEN and f"{plan.spec.name}.{check.kind}" in found
    )


def _key_too_long(model: ResourceModel) -> RuleDefinition:
    names = list_looked_up(model)
    titles = "、".join(model.field(name).title for name in names)
    return RuleDefinition(
        KEY_TOO_LONG,
        f"主键与关联字段（{titles}）合计不得超过 {LARGEST_KEY:,} 字节",
        "0104",
        "reject",
        "请检查该行是否把其他内容写进了主键或编号，更正后重新报送。",
        names,
        model.tolerance.rejected,
    )


def structure_rule(rule_id: str, resource: Resource) -> RuleDefinition:
    """The rule for a structural fault that a source found, known or not."""
    return _structure_rule(rule_id, resource.model.tolerance.rejected)


def cursor_column(model: ResourceModel) -> str | None:
    """The source column by which an incremental resource grows; None for snapshots and files."""
    if model.load != "incremental":
        return None
    return getattr(model.source, "cursor", None)


def _structure_rule(rule_id: str, tolerance: float) -> RuleDefinition:
    title, mend = STRUCTURE.get(rule_id, ("该行必须能完整读出", "请检查该行的原文，更正后重新报送。"))
    return RuleDefinition(rule_id, title, "0302", "reject", mend, (), tolerance)


def _fields_of(expression: str) -> tuple[str, ...]:
    from guiji.catalog.expressions import list_columns

    return tuple(list_columns(expression))


def _field_rule(spec: FieldSpec, kind: str, model: ResourceModel) -> RuleDefinition:
    t = f"“{spec.title}”"
    standard: str | None = None
    if kind == "required":
        title, indicator, mend = f"{t}必须填写", "0201", f"请补填{t}。"
    elif kind == "text":
        what = "不可见字符"
        if spec.name in model.key or any(spec.name in mapping.key for mapping in model.mappings):
            what = "不可见字符或全角字母、数字"
        title, indicator, mend = f"{t}不应含有{what}", "0302", f"已自动清除或更正{what}；请在业务系统中一并更正。"
    elif kind in damage.KINDS:
        (title, mend), indicator = damage.say_damage(spec.title, kind), "0302"
    elif kind in (*local_time.KINDS, local_time.FRACTION):
        (title, mend), indicator = local_time.say_local_time(spec.title, kind), "0302"
    elif kind == "type":
        form = _describe_type(spec)
        title, indicator, mend = f"{t}必须是{form}", "0302", f"请将{t}改为{form}。"
    elif kind == "length":
        title, indicator, mend = f"{t}不得超过{spec.length}个字", "0302", f"请核对{t}，不超过{spec.length}个字。"
    elif kind == "code":
        from guiji.codes import load_code_table

        if spec.codes:
            table = load_code_table(spec.codes)
            standard = table.standard
            title, mend = f"{t}必须是代码表中的代码（{table.standard}）", f"请按 {table.standard} 填写{t}的代码"
            few = len(table.names) <= LISTED_CODES
            mend += f"：{'、'.join(f'{code} {name}' for code, name in table.names.items())}。" if few else "。"
        else:
            title, mend = f"{t}应使用标准代码", f"请按约定的代码填写{t}。"
        indicator = "0105"
    elif kind == "identifier":
        assert spec.identifier is not None
        standard = STANDARDS[spec.identifier]
        name = TITLES[spec.identifier]
        title, indicator, mend = f"{t}必须是正确的{name}", "0301", f"请对照证照原件核对{t}后更正。"
    elif kind == "range":
        title, indicator, mend = f"{t}必须在合理范围内{_describe_range(spec)}", "0301", f"请核对{t}的数值后更正。"
    elif kind == "pattern":
        form = describe_pattern(str(spec.pattern)) or f"正则表达式 {spec.pattern}"
        title, indicator, mend = f"{t}必须符合规定的格式", "0302", f"请按规定的格式填写{t}：{form}。"
    elif kind == "geometry":
        title, indicator, mend = (
            f"{t}必须是有效的图形",
            "0302",
            f"请检查{t}是否闭合、有无自相交（圆弧须先转为折线），坐标是否为{spec.crs}。",
        )
    elif kind == "unit":
        title, indicator, mend = (
            f"{t}的计量单位必须是约定的单位",
            "0103",
            f"请核对{t}的计量单位：须填写，且能换算为约定的单位；不同量纲的数不能放在一起。",
        )
    elif kind == "unit_fit":
        title, indicator, mend = (
            f"{t}换算为入库单位后须能精确表示",
            "0302",
            f"请核对{t}和计量单位是否相符：换算后位数过多，平台不作四舍五入。",
        )
    elif kind == "bounds":
        title, indicator, mend = (
            f"{t}必须位于约定的范围内",
            "0301",
            f"请核对{t}的坐标：是否在本市范围内，坐标系（含带号）是否为{spec.crs}，是否混用了经纬度与投影坐标（米）。",
        )
    elif kind == "axis_order":
        title, indicator, mend = (
            f"{t}必须经度（东坐标）在前、纬度（北坐标）在后（经纬度颠倒）",
            "0302",
            f"{t}的经度和纬度（东坐标和北坐标）写反了，请对调后重新报送。",
        )
    elif kind in SURVEYED:
        return _shape_rule(spec, kind, model)
    else:
        raise AssertionError(kind)
    tolerance = spec.tolerance if spec.tolerance is not None else model.tolerance.rejected
    severity = "warn" if kind in ("text", local_time.FRACTION) else "reject" if kind in damage.KINDS else spec.severity
    fields: tuple[str, ...] = tuple(spec.joined) or (spec.name,)
    if kind in ("unit", "unit_fit") and spec.unit_field is not None:
        fields = (spec.name, spec.unit_field)
    if kind in ("unit", "unit_fit"):
        severity = "reject"  # what can't be converted can't be compared: it never serves
    return RuleDefinition(
        f"{spec.name}.{kind}", title, indicator, severity, mend, fields, tolerance, standard, kind != "required"
    )


def _shape_rule(spec: FieldSpec, kind: str, model: ResourceModel) -> RuleDefinition:
    """The rule of what is measured of a shape, or found by comparing it with others."""
    t, severity = f"“{spec.title}”", spec.severity
    fields: tuple[str, ...] = (spec.name,)
    if spec.by_shape is not None and kind == BY_SHAPE:
        shape, severity = model.field(spec.by_shape.of), spec.by_shape.severity
        fields = (spec.name, shape.name)
        plane = "椭球面" if spec.by_shape.projection == ELLIPSOID else f"投影 {spec.by_shape.projection}"
        how = f"{plane}，允许相差{spec.by_shape.tolerance:.2%}"
        title, indicator = f"{t}应与按“{shape.title}”量算的结果一致（{how}）", "0402"
        mend = f"请核对{t}的数值和单位（{spec.by_shape.unit}）以及“{shape.title}”，更正有误的一项。"
    elif spec.overlap is not None and kind == OVERLAP:
        severity = spec.overlap.severity
        title, indicator = f"{t}不应与其他行的图形重叠（公共边界不算）", "0104"
        mend = f"请核对重叠的两个图形，更正{t}的边界；同一对象重复登记的，只保留一行。"
    else:
        title, indicator = f"{t}必须位于本市行政界线内", "0301"
        mend = f"请核对{t}的坐标和坐标系（{spec.crs}）；确属跨界的，请说明。"
    tolerance = spec.tolerance if spec.tolerance is not None else model.tolerance.rejected
    return RuleDefinition(f"{spec.name}.{kind}", title, indicator, severity, mend, fields, tolerance, None, True)


def _describe_type(spec: FieldSpec) -> str:
    if spec.type in ("date32", "timestamp"):
        what = "日期" if spec.type == "date32" else "日期时间"
        examples = [_show_format(f) for f in spec.formats] or (
            ["2024-01-31"] if spec.type == "date32" else ["2024-01-31 08:30:00"]
        )
        return f"{what}（如 {'、'.join(examples)}）"
    if spec.type.startswith("decimal"):
        scale = spec.type.rstrip(")").split(",")[1].strip()
        return f"不超过{scale}位小数的数字（不带千分位逗号和单位）"
    return {"int64": "整数", "float64": "数字", "bool": "是或否"}.get(spec.type, "文本")


def _show_format(form: str) -> str:
    from datetime import datetime

    return datetime(2024, 1, 31, 8, 30).strftime(form)  # noqa: DTZ001


def _describe_range(spec: FieldSpec) -> str:
    from guiji.standardize import EARLIEST, LATEST

    low, high = spec.minimum, spec.maximum
    if spec.type in ("date32", "timestamp"):
        low, high = low or EARLIEST, high or LATEST
    low, high = _say_bound(low), _say_bound(high)
    if low is not None and high is not None:
        return f"（{low} 至 {high}）"
    return f"（不小于 {low}）" if low is not None else f"（不大于 {high}）"


def _say_bound(bound: str | float | None) -> str | None:
    """A bound as people write it: a whole number without a fraction, none with an exponent."""
    if bound is None or isinstance(bound, str):
        return bound
    return str(int(bound)) if bound == int(bound) else f"{bound:.12f}".rstrip("0")
