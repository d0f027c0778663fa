"""Lines that a clerk should look at, named by number in the report: total lines that were left out, and rows that look
like totals or footnotes though the layout declares none. No cell is ever shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guiji.catalog.models import Layout

#: as many are named of each kind; all are counted
NAMED = 20
#: blanks as Chinese tables have them: RE2 does not count the ideographic one among ``\s``, so it stands here itself
_BLANKS = "[\\s\u00a0\u3000]*"
#: a cell that is the title of a total and nothing else, without what stands around it: 合计、总　计：
TOTAL_TITLE = f"(合|总|小|共){_BLANKS}计{_BLANKS}[:：]?"
_FOOTNOTE_TITLE = f"(?:备|附)?注{_BLANKS}[:：]|(?:制表|填表|填报|审核)人"
_DOUBTFUL = {
    "total": re.compile(rf"\A{_BLANKS}{TOTAL_TITLE}{_BLANKS}\Z"),
    "footnote": re.compile(rf"\A{_BLANKS}(?:{_FOOTNOTE_TITLE})"),
}
#: titles that end a table on paper; a row that begins so is no data where it has no key either
_SURE = {
    "total": _DOUBTFUL["total"],
    "footnote": re.compile(
        rf"\A{_BLANKS}(?:{_FOOTNOTE_TITLE}|(?:说{_BLANKS}明|(?:数据|资料)?来源|(?:单位)?负责人|复核人?|经办人?|制表|填表|填报"
        rf"|审核|联系人|联系电话|(?:制表|填表|填报|报出)(?:单位|日期|时间)){_BLANKS}[:：])"
    ),
}
#: how such a title begins
_BEGINNING = rf"[合总小共]{_BLANKS}计|[备附注制填审说数资来单负复经联报]"
_SUSPECT = re.compile(_BEGINNING)
_SUSPECTS = re.compile(rf"\n[ \t\u00a0\u3000]*(?:{_BEGINNING})")


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
    like_totals: Lines = field(default_factory=Lines)  # read as rows
    like_footnotes: Lines = field(default_factory=Lines)
    sure_totals: Lines = field(default_factory=Lines)  # left out: without a key they can be no data
    sure_footnotes: Lines = field(default_factory=Lines)
    hidden: Lines = field(default_factory=Lines)  # read as rows, though nobody sees them in the sheet

    def say(self, what: str) -> list[str]:
        """The notes on ``what``, one of each kind that there is."""
        notes = []
        if self.totals.count:
            notes.append(f"{what}：{self.totals.count:,} 行按约定作为合计行，未采集（{self.totals}）")
        for title, lines in (("合计", self.sure_totals), ("脚注、签署", self.sure_footnotes)):
            if lines.count:
                notes.append(
                    f"{what}：{lines.count:,} 行是{title}行（{lines}），主键为空或不可能有效，不是数据，未采集；"
                    "如是数据，请补全主键后重新提供"
                )
        for title, key, lines in (("合计", "total", self.like_totals), ("脚注", "footnote", self.like_footnotes)):
            if lines.count:
                notes.append(
                    f"{what}：{lines.count:,} 行像是{title}行（{lines}），因没有约定{title}行，按数据行处理；"
                    f"如不是数据，请删去后重新提供，或在资源目录中登记（layout.{key}）"
                )
        if self.hidden.count:
            notes.append(
                f"{what}：{self.hidden.count:,} 行在表中被隐藏或筛选掉（{self.hidden}），按数据行处理；"
                "如不是数据，请删去后重新提供"
            )
        return notes


def doubt_pattern(layout: Layout, title: str) -> str | None:
    """The RE2 pattern of first cells that look like a total's (``title`` is "total") or a footnote's, where the layout
    declares none."""
    declared = layout.total if title == "total" else layout.footnote
    return None if declared else _DOUBTFUL[title].pattern.replace(r"\Z", r"\z")


def looks_like(layout: Layout, title: str, cell: str) -> bool:
    """True where ``cell`` matches ``doubt_pattern``."""
    declared = layout.total if title == "total" else layout.footnote
    return not declared and _DOUBTFUL[title].match(cell) is not None


def is_title(layout: Layout, title: str, cell: str) -> bool:
    """True where ``cell``, the first of a line that is not blank, is the title of a total (or footnote) that the layout
    does not declare; more words count than for ``looks_like``: the line is left out only where it has no key."""
    declared = layout.total if title == "total" else layout.footnote
    return not declared and _SURE[title].match(cell) is not None


def may_be_title(columns: Sequence[Sequence[Any]], end: int | None) -> list[int]:
    """Indexes, before ``end``, of the rows whose first cell that is not blank may be such a title."""
    first = columns[0][:end]
    found = []
    if _SUSPECTS.search(f"\n{join_texts(first)}"):
        found = [i for i, cell in enumerate(first) if isinstance(cell, str) and _SUSPECT.match(cell.strip())]
    if "" not in first:
        return found
    others = [column for column in columns[1:] if any(column)]
    for i, text in enumerate(first):
        if text == "":
            cell = next((c for column in others if (c := column[i]) != ""), "")
            if isinstance(cell, str) and _SUSPECT.match(cell.strip()):
                found.append(i)
    return sorted(found)


def join_texts(cells: Sequence[Any]) -> str:
    """The texts among the cells, each on lines of its own."""
    try:
        return "\n".join(cells)
    except TypeError:  # not all of them are texts
        return "\n".join([c for c in cells if isinstance(c, str)])
