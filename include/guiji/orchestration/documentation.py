"""The Chinese documentation of a DAG, generated from the catalog; Markdown, escaped where the text is a person's."""

from __future__ import annotations

from collections.abc import Iterable

from guiji.catalog.models import Resource

_WAYS = {
    "database": "库表交换（前置机数据库）",
    "sftp": "SFTP 文件",
    "ftp": "FTP 文件",
    "files": "导出文件",
    "http": "接口",
}
_LEVELS = {1: "1 公开", 2: "2 内部", 3: "3 个人信息", 4: "4 敏感个人信息"}


def describe_resource(resource: Resource) -> str:
    """What this resource is, from where it comes, what is demanded of it, and whom to ask."""
    model, department = resource.model, resource.department
    sections = [
        f"# {escape(model.name)}",
        escape(model.summary),
        _table(
            ("项目", "内容"),
            [
                ("资源编码", f"`{model.id}` · {escape(model.code)}"),
                ("提供方", f"{escape(department.name)}（{escape(department.credit_code)}）"),
                ("责任领导 / 股室", f"{escape(department.leader)} / {escape(department.section)}"),
                ("来源系统", escape(model.system)),
                ("供给方式", _describe_source(resource)),
                ("更新周期", model.update_cycle.value),
                ("共享类型", model.sharing.type.value),
                ("报送方式", "全量" if model.load == "snapshot" else "增量"),
                ("主键", "、".join(escape(model.field(k).title) for k in model.key)),
                ("进入", "、".join(escape(m.library) for m in model.mappings) or "仅来源层"),
                ("不合格容忍", f"{model.tolerance.rejected:.1%}，超过则整批暂停待人批准"),
            ],
        ),
        "## 信息项",
        _table(
            ("信息项", "字段", "类型", "可空", "分级", "代码"),
            [
                (
                    escape(f.title),
                    f"`{f.name}`",
                    escape(f.type),
                    "是" if f.nullable else "否",
                    _LEVELS[f.sensitivity],
                    escape(f.codes or f.identifier or ""),
                )
                for f in model.fields
            ],
        ),
    ]
    if model.rules:
        sections += [
            "## 规则",
            _table(
                ("规则", "指标", "不符合时", "整改办法"),
                [
                    (escape(r.title), r.indicator, "拒收该行" if r.severity == "reject" else "提示", escape(r.mend))
                    for r in model.rules
                ],
            ),
        ]
    if resource.contacts:
        sections += [
            "## 联系人",
            _table(
                ("姓名", "角色", "邮箱", "电话"),
                [(escape(c.name), escape(c.role), escape(c.email), escape(c.phone or "")) for c in resource.contacts],
            ),
        ]
    sections.append(
        "每晚查看本周期的数据是否送达；已入库且无待整改问题的，当晚即跳过。\n\n补数：触发时填写窗口起止，或用 `airflow backfill create`，只重读那些窗口。"
        "批次是否完成以账本 `ops.batch` 为准，重复运行不会重复入库。"
    )
    return "\n\n".join(sections) + "\n"


def describe_broken(catalog_id: str, problems: Iterable[str]) -> str:
    """What is wrong with a catalog file, one line per place."""
    lines = "\n".join(f"- {escape(p)}" for p in problems)
    return (
        f"# 配置错误：{escape(catalog_id)}\n\n目录文件有误，本资源没有被调度；其他资源不受影响。\n\n{lines}\n\n"
        "改好文件后最多五分钟恢复；`./guiji catalog check` 列出全部问题。\n"
    )


def escape(text: str) -> str:
    """Text that stays text inside a Markdown table."""
    return "".join(f"\\{c}" if c in "\\|<>*_`[]#" else c for c in " ".join(text.split()))


def _describe_source(resource: Resource) -> str:
    source = resource.model.source
    where = {
        "database": lambda: f"表 {source.table}",  # type: ignore[union-attr]
        "sftp": lambda: f"目录 {source.directory}",  # type: ignore[union-attr]
        "ftp": lambda: f"目录 {source.directory}",  # type: ignore[union-attr]
        "files": lambda: f"目录 {source.directory}",  # type: ignore[union-attr]
        "http": lambda: f"路径 {source.path}",  # type: ignore[union-attr]
    }[source.kind]()
    connection = getattr(source, "connection", None)
    return _WAYS[source.kind] + "，" + escape(where) + (f"，连接 {escape(connection)}" if connection else "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
