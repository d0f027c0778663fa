"""Lines that a clerk should look at, named by number in the report: total lines that were left out, and rows that look
like totals or footnotes though the layout declares none. No cell is ever shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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

    def say(self, what: str) -> list[str]:
        """The notes on ``what``, one of each kind that there is."""
        notes = []
        if self.totals.count:
            notes.append(f"{what}：{self.totals.count:,} 行按约定作为合计行，未采集（{self.totals}）")
        for title, key, lines in (("合计", "total", self.like_totals), ("脚注", "footnote", self.like_footnotes)):
            if lines.count:
                notes.append(
                    f"{what}：{lines.count:,} 行像是{title}行（{lines}），因没有约定{title}行，按数据行处理；"
                    f"如不是数据，请删去后重新提供，或在资源目录中登记（layout.{key}）"
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
