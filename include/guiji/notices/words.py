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
    "conflict": Words(
        "与其他部门的数据不一致",
        "info",
        "以下数据与其他部门提供的，或本部门同一天的另一份文件不一致，平台已按约定的取值规则采用其中一个，各部门的原数据均未改动。",
        "请核对：本部门数据有误的，请在业务系统源头更正，随下一次交付提供；本部门数据无误的，请回复本邮件说明，由中心协调。",
        8,
    ),
    "drift": Words(
        "交付的列有变化",
        "warn",
        "以下批次已入库，但交付的列与上次不同。已登记的列照常采集，未登记的列没有采集。",
        "若为有意调整，请与中心联系更新资源目录；若非有意，请恢复原有的列后重新交付。",
        8,
    ),
    "gap": Words(
        "系列文件中间有缺",
        "warn",
        "以下资源按日期成系列交付文件。较晚日期的文件已收到并入库，其间下列日期的文件尚未收到。",
        "请补交所缺日期的文件，补交后自动核销；该日确无数据的，请回复本邮件说明，由中心登记。",
        7,
    ),
    "not_archived": Words(
        "文件未能归档",
        "warn",
        "以下资源的文件已入库，但未能移入文件服务器上的归档目录。数据不受影响，部门未获通知，下次采集时再移。",
        "请检查归档目录是否存在、采集账号有无写入和改名的权限、磁盘是否已满。",
        3,
    ),
    "differs": Words(
        "对账发现不一致",
        "warn",
        "以下资源经与前置机全量核对，平台数据与前置机不一致。",
        "常见原因是更新时间早于实际入库时间，或删除时未做删除标记。请检查业务系统写入更新时间和删除标记的方式。",
        8,
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

STAGES = {"open": "整改中", "reminded": "临期", "overdue": "逾期", "escalated": "督办", "closed": "已办结"}
VERDICTS = {"rejected": "不采用", "suspicious": "存疑", "mended": "已自动更正", "unjudged": "无法判定"}


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
