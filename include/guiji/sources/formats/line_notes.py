"""Lines that a clerk should look at, named by number in the report: lines that were left out though nobody declared
them, and rows that look like totals or footnotes. No cell is ever shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guiji.sources.formats.layout import skip

if TYPE_CHECKING:
    from guiji.records import ReadReport
    from guiji.sources.formats.line_titles import Title

#: as many are named of each kind; all are counted
NAMED = 20
#: what the lines are called, why they are no rows, and what to do where they are
_NO_KEY = "主键为空或不可能有效，", "请补全主键后重新提供"
_LEFT_OUT = {
    "total": ("合计", *_NO_KEY),
    "footnote": ("脚注、签署", *_NO_KEY),
    "footnotes": (
        "脚注、签署",
        "各单元格都是说明、签署或计数的写法（如“注：”“制表人：”“共 3 条”），",
        "请去掉这类写法后重新提供",
    ),
    "rule": ("分隔线", "", "请补全主键后重新提供"),
    "numbering": ("栏次", "", "请补全主键后重新提供"),
}
_LIKE = {"like_total": ("合计", "total"), "like_footnote": ("脚注", "footnote")}


@dataclass
class Lines:
    """How many lines, and the numbers of the first."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.count += 1
            if len(self.first) < NAMED:
                self.first.append(number)

    def __str__(self) -> str:
        more = "等" if self.count > len(self.first) else ""
        return f"第 {'、'.join(map(str, sorted(self.first)))} 行{more}"


@dataclass
class LineNotes:
    """What there is to say of the lines of one file or sheet."""

    totals: Lines = field(default_factory=Lines)  # left out, as the layout says
    hidden: Lines = field(default_factory=Lines)  # read as rows, though nobody sees them in the sheet
    titles: dict[str, Lines] = field(default_factory=dict)  # by what ``judge_line`` says

    def leave_out(self, title: Title | None, number: int, report: ReadReport) -> bool:
        """Counts, and names, the line ``number`` that is no row, or names a row that looks like none; True where it is
        no row."""
        if title is None or title == "doubtful":
            return False
        if title != "blank":
            self.titles.setdefault(title, Lines()).add([number])
        if title in _LIKE or title == "like_numbering":
            return False
        reason = "footnote" if title == "footnotes" else title
        skip(report, reason)
        return True

    def say(self, what: str) -> list[str]:
        """The notes on ``what``, one of each kind that there is."""
        notes = []
        if self.totals.count:
            notes.append(f"{what}：{self.totals.count:,} 行按约定作为合计行，未采集（{self.totals}）")
        for title, (called, why, mend) in _LEFT_OUT.items():
            if lines := self.titles.get(title):
                notes.append(
                    f"{what}：{lines.count:,} 行是{called}行（{lines}），{why}不是数据，未采集；如是数据，{mend}"
                )
        for title, (called, key) in _LIKE.items():
            if lines := self.titles.get(title):
                notes.append(
                    f"{what}：{lines.count:,} 行像是{called}行（{lines}），因没有约定{called}行，按数据行处理；"
                    f"如不是数据，请删去后重新提供，或在资源目录中登记（layout.{key}）"
                )
        if lines := self.titles.get("like_numbering"):
            notes.append(
                f"{what}：{lines}的内容是 1、2、3……或甲、乙、丙，像是栏次，按数据行处理；如不是数据，请删去后重新提供"
            )
        if self.hidden.count:
            notes.append(
                f"{what}：{self.hidden.count:,} 行在表中被隐藏或筛选掉（{self.hidden}），按数据行处理；"
                "如不是数据，请删去后重新提供"
            )
        return notes
