"""Root causes as a clerk reads them: what happened, and how to mend it. For mails and reports."""

from __future__ import annotations

from collections.abc import Iterable

#: root cause -> (what happened, how to mend it)
CAUSES: dict[str, tuple[str, str]] = {
    "delivery.empty": ("交付的数据为空，或少于约定的最少行数", "请确认导出条件，重新交付完整数据"),
    "delivery.structure": ("文件或表的结构与目录登记的不一致", "请按目录登记的信息项恢复列名与列数后重新交付"),
    "delivery.missing_column": ("缺少目录登记的信息项（列）", "请补上缺少的列；列名已变更的，请先申请变更目录"),
    "delivery.undeclared_column": ("出现目录未登记的信息项（列）", "请去掉多余的列；确需新增的，请先申请变更目录"),
    "delivery.duplicate_column": ("同一信息项（列）出现多次", "请删去重复的列"),
    "delivery.missing_metadata": (
        "表头上方缺少约定的说明信息（如指标、单位、时期）",
        "请按原格式导出，保留表头上方的说明行",
    ),
    "delivery.retyped_column": ("信息项（列）的数据类型与登记的不一致", "请恢复原类型；确需变更的，请先申请变更目录"),
    "delivery.garbled": ("文字乱码，无法还原", "请用 UTF-8 或 GB18030 编码重新导出"),
    "delivery.half_a_file": ("文件不完整（传输中断）", "请重新上传完整文件；上传完成后再放置 .ok 标记文件"),
    "delivery.encoding": ("文件编码无法识别", "请用 UTF-8 或 GB18030 编码重新导出"),
    "delivery.total": ("接口返回的总数与实际取到的行数不一致", "请检查接口分页与总数字段"),
    "delivery.paging": ("接口分页异常，无法取全数据", "请检查接口的分页参数"),
    "delivery.too_large": ("文件或接口返回的内容过大", "请拆分后重新交付"),
    "delivery.too_slow": ("文件读取时间过长", "请删去表格之外的内容，或拆分后重新交付"),
    "delivery.missing_table": ("前置库中找不到约定的表或无权读取", "请恢复该表或授权后通知平台"),
    "delivery.file_name": ("文件名不符合约定", "请按约定的文件名重新交付"),
    "delivery.uncalculated_formula": ("表格中有未计算出结果的公式", "请将公式粘贴为数值后重新交付"),
    "delivery.encrypted": ("文件已加密，无法读取", "请去掉密码后重新交付"),
    "delivery.archive": ("压缩包不安全、已损坏，或其中的内容不符合约定", "请重新打包，或直接交付未压缩的文件"),
    "delivery.crs": ("空间数据的坐标系与目录登记的不一致", "请转换为登记的坐标系后重新交付，或申请变更目录"),
    "delivery.missing_member": ("成套文件不齐（例如缺少 .dbf 或 .prj）", "请把同名的各个文件一起打包后重新交付"),
    "delivery_refused": ("交付整体不符合约定", "请按约定更正后重新交付"),
    "held.rejected": ("暂缓入库的批次经审核退回", "请更正后重新交付"),
    "delivered_late": ("逾期的数据已补交", ""),
    "source_unavailable": ("无法连接数据来源", "请检查前置机、接口或文件服务器及网络"),
    "source_refused": ("数据来源拒绝登录", "请核对交换账号与授权"),
    "nothing_delivered": ("没有收到本周期的数据", "请尽快补交"),
    "missing_files": ("按日期成系列交付的文件，中间缺少一期或多期", "请补交所缺日期的文件；确无数据的，请回复说明"),
    "not_archived": ("文件已入库，但未能移入归档目录", "由平台运维处理"),
    "mass_change": ("与上一批相比变化过大", "请核对是否漏导、重复导出或条件有误"),
    "tolerance": ("未通过校验的数据超过约定比例", "请按附件更正后重新交付"),
    "warehouse_unavailable": ("平台数据库暂时无法连接", "由平台运维处理"),
    "stale_run": ("任务中途停止", "由平台运维处理"),
    "conflict": ("与其他部门的数据不一致", "请核对，有误的在源头更正"),
    "mail_refused": ("对方邮件服务器拒收", "请更新联系人邮箱"),
    "internal": ("平台内部错误", "由平台运维处理"),
    "accounting": ("批次行数核算不平，已整批回滚", "由平台运维处理"),
    "reminded": ("整改期限将至", "请在期限前更正并交付"),
    "overdue": ("整改已逾期", "请尽快更正并交付"),
    "escalated": ("整改严重逾期，已报中心督办", "请立即更正并交付，或书面说明原因"),
}

#: why a line of a delivery is no row
SKIPPED = {
    "title": "标题行",
    "metadata": "说明行",
    "blank": "空行",
    "comment": "注释行",
    "footnote": "脚注行",
    "total": "合计行",
    "rule": "分隔线",
    "numbering": "栏次行",
    "repeated_header": "重复表头",
    "deleted": "已标记删除的记录",
    "redelivered": "重复提供的文件",
}


def join_reasons(reasons: Iterable[str]) -> str:
    """Several reasons as one sentence, whether or not each of them ends with a full stop."""
    told = [r.rstrip("。；") for r in reasons]
    return "；".join(told) + ("。" if told else "")


def say_cause(cause: str) -> tuple[str, str]:
    """What happened and how to mend it; an unknown cause is told by its family, never left blank."""
    cause = cause.split(":")[0]
    if cause in CAUSES:
        return CAUSES[cause]
    family = cause.split(".")[0]
    if family == "delivery":
        return CAUSES["delivery_refused"]
    return ("", "")
