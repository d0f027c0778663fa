"""What a clerk reads: kinds and root causes of events, dates and numbers, in Chinese."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from guiji.settings import TIME_ZONE

WEEKDAYS = "一二三四五六日"


@dataclass(frozen=True)
class Words:
    """How one kind of event is told."""

    heading: str
    tone: str  # bad | warn | good | info
    lead: str
    advice: str
    order: int


KINDS: dict[str, Words] = {
    "held": Words(
        "整批暂缓入库",
        "bad",
        "以下批次的问题超出约定的允许范围，整批暂缓入库，等待人工确认。",
        "请按下表逐项核对并更正后重新交付；若数据确属正常（如批量销户），请说明原因，由中心审核后放行。",
        1,
    ),
    "refused": Words(
        "交付未能接收",
        "bad",
        "以下交付的文件或表整体不符合约定，未能接收，未写入任何数据。",
        "请按“处理办法”更正后重新交付。",
        2,
    ),
    "failed_rows": Words(
        "部分数据未通过校验",
        "warn",
        "以下批次已入库，其中下列数据未通过校验，未予采用。",
        "请在业务系统源头更正后随下一次交付一并提供；逐条清单见附件《整改清单》。",
        3,
    ),
    "unavailable": Words(
        "前置机或接口无法连接",
        "warn",
        "系统多次尝试仍无法从以下来源取得数据。问题出在连接环节，与数据内容无关。",
        "请检查前置机（或接口、文件服务器）是否开机、网络与端口是否通畅、磁盘是否已满。恢复后系统会自动补采，无须另行报送。",
        4,
    ),
    "refused_us": Words(
        "前置机或接口拒绝访问",
        "warn",
        "以下来源拒绝了本系统的登录。为避免账号被锁，系统已停止重试。",
        "请核对交换账号的密码、有效期与授权；如更换过服务器或主机密钥，请与中心联系重新登记。",
        5,
    ),
    "missed": Words(
        "逾期未交付",
        "warn",
        "以下资源在约定的更新周期内没有收到数据。",
        "请尽快补交；如该周期确无数据变化，也请按约定交付（可为全量原数据），以便核销。",
        6,
    ),
    "reminder": Words(
        "整改期限提醒",
        "warn",
        "以下整改事项尚未办结。",
        "更正后的数据经下一次归集校验通过，事项自动办结，无须另行回复。",
        7,
    ),
    "recovered": Words(
        "已恢复正常",
        "good",
        "以下资源此前通报的问题，在最近一批数据中已经解决，相关整改事项已自动办结。感谢配合。",
        "",
        9,
    ),
    "escalated": Words(
        "逾期未整改，提请督办",
        "bad",
        "以下整改事项经两次催办后仍未办结，提请中心按程序督办。",
        "可列入当月通报；部门确有困难的，请协调确定新的期限。",
        0,
    ),
    "stale": Words(
        "归集任务中断",
        "warn",
        "以下归集任务启动后中途停止，未写入任何数据，原有数据继续使用。",
        "系统会在下一次调度时自动重做；若反复出现，请检查服务器内存与任务日志。",
        2,
    ),
    "bounced": Words(
        "通知邮件被退回",
        "warn",
        "以下部门的通知邮件被对方邮件服务器拒收，部门可能不知情。",
        "请电话告知部门，并更新其联系人邮箱。",
        1,
    ),
}
OTHER = Words("其他情况", "info", "系统记录到以下情况。", "", 8)
OURS = Words(
    "平台自身故障",
    "bad",
    "以下问题由归集平台自身引起，与部门无关，未通知部门。原有数据继续使用。",
    "请运维人员查看批次记录与任务日志，处理后重新运行。",
    0,
)

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
    "delivery.incomplete": (
        "文件不完整（传输中断或行数与声明不符）",
        "请重新上传完整文件；上传完成后再放置 .ok 标记文件",
    ),
    "delivery.total": ("接口返回的总数与实际取到的行数不一致", "请检查接口分页与总数字段"),
    "delivery.format": ("文件格式无法打开", "请确认文件未损坏、未加密，按约定格式重新导出"),
    "delivery_refused": ("交付整体不符合约定", "请按约定更正后重新交付"),
    "held.rejected": ("暂缓入库的批次经审核退回", "请更正后重新交付"),
    "delivered_late": ("逾期的数据已补交", ""),
    "source_unavailable": ("无法连接数据来源", "请检查前置机、接口或文件服务器及网络"),
    "source_refused": ("数据来源拒绝登录", "请核对交换账号与授权"),
    "nothing_delivered": ("没有收到本周期的数据", "请尽快补交"),
    "mass_change": ("与上一批相比变化过大", "请核对是否漏导、重复导出或条件有误"),
    "tolerance": ("未通过校验的数据超过约定比例", "请按附件更正后重新交付"),
    "warehouse_unavailable": ("平台数据库暂时无法连接", "由平台运维处理"),
    "stale_run": ("任务中途停止", "由平台运维处理"),
    "mail_refused": ("对方邮件服务器拒收", "请更新联系人邮箱"),
    "internal": ("平台内部错误", "由平台运维处理"),
    "accounting": ("批次行数核算不平，已整批回滚", "由平台运维处理"),
    "reminded": ("整改期限将至", "请在期限前更正并交付"),
    "overdue": ("整改已逾期", "请尽快更正并交付"),
    "escalated": ("整改严重逾期，已报中心督办", "请立即更正并交付，或书面说明原因"),
}

#: titles of rules that come from the structure of a delivery, where the batch row does not say them
STRUCTURE: dict[str, str] = {
    "structure.ragged": "每行的列数应与表头一致",
    "structure.encoding": "文字应能按文件编码正确读出",
    "structure.garbled": "文字不得乱码",
    "structure.bare_quote": "引号应成对出现",
    "structure.unclosed_quote": "引号应成对出现",
    "structure.line_break": "单元格内不得有未加引号的换行",
    "structure.precision_lost": "长数字应以文本保存，不得被表格软件取舍为科学计数",
    "structure.nul_byte": "不得含有空字符（NUL）",
}

STAGES = {"open": "整改中", "reminded": "临期", "overdue": "逾期", "escalated": "督办", "closed": "已办结"}
VERDICTS = {"rejected": "不采用", "suspicious": "存疑", "mended": "已自动更正", "unjudged": "无法判定"}


def say_cause(cause: str) -> tuple[str, str]:
    """What happened and how to mend it; an unknown cause is told by its family, never left blank."""
    cause = cause.split(":")[0]
    if cause in CAUSES:
        return CAUSES[cause]
    family = cause.split(".")[0]
    if family == "delivery":
        return CAUSES["delivery_refused"]
    return ("", "")


def say_day(moment: datetime) -> str:
    """2026年10月28日（周三）"""
    d = moment.astimezone(TIME_ZONE)
    return f"{d.year}年{d.month}月{d.day}日（周{WEEKDAYS[d.weekday()]}）"


def say_moment(moment: datetime) -> str:
    """2026年10月28日（周三）18:00"""
    return f"{say_day(moment)}{moment.astimezone(TIME_ZONE):%H:%M}"


def say_window(start: datetime, end: datetime) -> str:
    """The half-open window in words: a day, a month, a span of days, or a span of hours."""
    a, b = start.astimezone(TIME_ZONE), end.astimezone(TIME_ZONE)
    if a.time() == b.time() == time(0):
        last = b - timedelta(days=1)
        if last.date() == a.date():
            return f"{a.year}年{a.month}月{a.day}日"
        if a.day == 1 and b.day == 1:
            if (a.year, a.month) == (last.year, last.month):
                return f"{a.year}年{a.month}月"
            if a.month == 1 and (last.year, last.month) == (a.year, 12):
                return f"{a.year}年"
            return f"{a.year}年{a.month}月至{last.year}年{last.month}月"
        return f"{a.year}年{a.month}月{a.day}日至{last.year}年{last.month}月{last.day}日"
    return f"{a:%Y-%m-%d %H:%M} 至 {b:%Y-%m-%d %H:%M}"


def say_share(part: int, whole: int) -> str:
    """12.34%, or 无法评价 where there is nothing to divide by. A small share is never shown as 0.00%."""
    if whole == 0:
        return "无法评价"
    if part and part / whole < 0.00005:
        return "<0.01%"
    return f"{part / whole:.2%}"


def say_count(number: int) -> str:
    return f"{number:,}"
