"""The catalog in words, for people at a terminal."""

from __future__ import annotations

from guiji.catalog.models import (
    DatabaseSource,
    FieldSpec,
    FilesSource,
    HttpSource,
    RemoteFilesSource,
    Resource,
    ResourceModel,
    Rule,
)
from guiji.origins import ORIGINS, mark_name

_LEVELS = {1: "公开", 2: "内部", 3: "个人", 4: "敏感个人"}


def render_resource(resource: Resource) -> str:
    """An overview of one resource in Chinese: what it is, how it comes, its fields, its rules, where it goes."""
    model, department = resource.model, resource.department
    lines = [
        f"{model.name}  ({model.id})",
        f"  {model.summary}",
        "",
        f"资源代码    {model.code}",
        f"提供方      {department.name}（{department.credit_code}）{department.section}，责任领导 {department.leader}",
        f"联系人      {'；'.join(f'{c.name} {c.email}' for c in resource.contacts)}",
        f"分类        {' / '.join(p for p in (model.category.class_, model.category.item, model.category.group, model.category.detail) if p)}",
        f"来源系统    {model.system}（{model.format}）",
        f"共享        {_describe_sharing(model)}",
        f"更新周期    {model.update_cycle.value}，{_describe_delivery(model)}",
        f"数据由来    {ORIGINS[model.origin]}",
        f"供给方式    {describe_supply(model)}",
        f"归集方式    {_describe_load(model)}",
        f"主键        {', '.join(model.key)}" + (f"；新旧依据 {', '.join(model.order)}" if model.order else ""),
        f"容许        拒收不超过 {model.tolerance.rejected:.1%}，消失不超过 {model.tolerance.deleted:.1%}",
        f"汇入        {'；'.join(_describe_mapping(m.library, m.fields) for m in model.mappings) or '—'}",
        f"文件        {resource.path}",
        f"规则指纹    {resource.fingerprint[:16]}",
        "",
        f"信息项（{len(model.fields)}）",
        *(f"  {describe_field(f, key=f.name in model.key)}" for f in model.fields),
    ]
    if model.rules:
        lines += ["", f"规则（{len(model.rules)}）", *(f"  {_describe_rule(r)}" for r in model.rules)]
    return "\n".join(lines)


def list_row(resource: Resource) -> tuple[str, str, str, str, str, str]:
    """Id, name (marked where no department supplies it), department, way of supply, update cycle and libraries: one
    line of ``catalog list``."""
    model = resource.model
    libraries = ", ".join(m.library for m in model.mappings)
    name = mark_name(model.name, model.origin)
    return model.id, name, resource.department.short_name, model.source.kind, model.update_cycle.value, libraries


def describe_supply(model: ResourceModel) -> str:
    """Where the data come from, in one line without any secret."""
    source = model.source
    if isinstance(source, DatabaseSource):
        table = f"{source.schema_}.{source.table}" if source.schema_ else source.table
        return f"前置机数据库 {source.connection}：{table}"
    if isinstance(source, RemoteFilesSource):
        return f"{source.kind.upper()} {source.connection}：{source.directory.rstrip('/')}/{source.pattern}"
    if isinstance(source, FilesSource):
        return f"导出文件：{source.directory.rstrip('/')}/{source.pattern}"
    assert isinstance(source, HttpSource)
    return f"接口 {source.connection}：{source.path}"


def describe_field(spec: FieldSpec, *, key: bool = False) -> str:
    """One field in one line: names, type, what is demanded of it, its level."""
    demands = [
        "主键" if key else "",
        "" if spec.nullable else "必填",
        f"≤{spec.length}字" if spec.length else "",
        {
            "citizen_id": "公民身份号码",
            "credit_code": "统一社会信用代码",
            "registration_number": "注册号",
            "division": "区划代码",
        }.get(spec.identifier or "", ""),
        f"代码表 {spec.codes}" if spec.codes else "",
        f"格式 {spec.pattern}" if spec.pattern else "",
        f"{spec.minimum if spec.minimum is not None else ''}…{spec.maximum if spec.maximum is not None else ''}"
        if spec.minimum is not None or spec.maximum is not None
        else "",
        f"固定为 {spec.constant}" if spec.constant is not None else "",
        f"由 {'、'.join(spec.joined)} 连接而成" if spec.joined else "",
        f"单位 {spec.unit}" if spec.unit else f"单位见 {spec.unit_field}" if spec.unit_field else "",
        spec.crs or "",
        f"{spec.sensitivity}级（{_LEVELS[spec.sensitivity]}）" if spec.sensitivity > 1 else "",
    ]
    column = "" if spec.is_made or spec.source_column == spec.title else f" ← {spec.source_column}"
    return f"{spec.name} {spec.title}{column}  {spec.type}  {'，'.join(d for d in demands if d)}".rstrip()


def _describe_rule(rule: Rule) -> str:
    verdict = "拒收" if rule.severity == "reject" else "提示"
    standard = f"，{rule.standard}" if rule.standard else ""
    return f"{rule.id} {rule.title}（{verdict}，GB/T 36344 {rule.indicator}{standard}）"


def _describe_sharing(model: ResourceModel) -> str:
    sharing = model.sharing
    parts = [sharing.type.value, sharing.condition or "", sharing.legal_basis or ""]
    opening = "向社会开放" if model.opening.open else "不开放"
    return "，".join(p for p in parts if p) + f"；{opening}"


def _describe_delivery(model: ResourceModel) -> str:
    delivery = model.delivery
    days = f"{delivery.due_days} 个{'工作日' if delivery.working_days else '自然日'}内" if delivery.due_days else "当日"
    return f"周期结束后{days} {delivery.due_time} 前到"


def _describe_load(model: ResourceModel) -> str:
    if model.load == "incremental":
        return "增量"
    return "全量" + ("，消失的数据作软删除" if model.delete_mode == "soft" else "，消失的数据保留")


def _describe_mapping(library: str, fields: dict[str, str]) -> str:
    return f"{library}（{len(fields)} 项）"
