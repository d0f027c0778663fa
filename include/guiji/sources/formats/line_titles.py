"""Lines of a table that are no data though nobody declared them: totals, signatures, counters that database clients
write below a table, rules of dashes, the numbers of the columns below a statistical header (甲、乙、1、2).

Such a line is left out only where it can be no row, because a key is blank or can't be valid. Where its key may be a
value (合计 in a key of text), nobody can tell a total from a row: it is set aside, until the layout says which it is.
What only looks like one stays a row and is named in the notes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec
    from guiji.sources.formats.layout import Table

#: blanks as Chinese tables have them: RE2 does not count the ideographic one among ``\s``, so it stands here itself
_BLANKS = "[\\s\u00a0\u3000\ufeff]*"
#: a cell that is the title of a total and nothing else, without what stands around it: 合计、总　计：
TOTAL_TITLE = f"(合|总|小|共){_BLANKS}计{_BLANKS}[:：]?"
#: begin a remark on the table, and as well the second line of a cell that was written without quotes
_REMARK_TITLE = f"(?:备|附)?注{_BLANKS}[:：]|(?:说{_BLANKS}明|(?:数据|资料)?来源){_BLANKS}[:：]"
_SIGNATURE_TITLE = (
    rf"(?:制表|填表|填报|审核)人|(?:(?:单位)?负责人|复核人?|经办人?|制表|填表|填报|审核|联系人|联系电话"
    rf"|(?:制表|填表|填报|报出)(?:单位|日期|时间)){_BLANKS}[:：]"
)
_COUNT = r"\d[\d,]*"
#: whole cells: 共 12 条；第 1 页 共 3 页；(12 rows affected)；已选择 12 行。
_COUNTER = (
    rf"共{_BLANKS}{_COUNT}{_BLANKS}(?:条|行|户|人|件|笔|项|个|家|页)(?:记录|数据)?[。.]?"
    rf"|第{_BLANKS}{_COUNT}{_BLANKS}页(?:{_BLANKS}[,，/]?{_BLANKS}共{_BLANKS}{_COUNT}{_BLANKS}页)?"
    rf"|[(（]{_BLANKS}{_COUNT}{_BLANKS}(?:行受影响|行记录|行|rows? affected|rows?){_BLANKS}[)）]"
    rf"|已选择{_BLANKS}{_COUNT}{_BLANKS}行[。.]?|{_COUNT} rows? (?:selected|in set|fetched)[^,;|\t]*"
)
_RULE_CELL = r"[-=_+*:|─━—]*[-=_*─━—]{2}[-=_+*:|─━—]*"
#: the first cells of a line that numbers the columns: letters of the text columns, or what the line is called
_STEMS = "甲乙丙丁戊己庚辛壬癸"
_NUMBERING = "甲|栏次|栏号|列次|列号"
#: a column's number, and how it is calculated: 3, (3), 3=1+2
_COLUMN_NUMBER = re.compile(r"[(（]?(\d{1,3})[)）]?(?:=[\d+\-*/×÷()（）%]+)?")
_TOTAL = re.compile(rf"\A{_BLANKS}{TOTAL_TITLE}{_BLANKS}\Z")
_LIKE_FOOTNOTE = re.compile(rf"\A{_BLANKS}(?:(?:备|附)?注{_BLANKS}[:：]|(?:制表|填表|填报|审核)人)")
_FOOTNOTE = re.compile(rf"\A{_BLANKS}(?:{_REMARK_TITLE}|{_SIGNATURE_TITLE}|(?:{_COUNTER}){_BLANKS}\Z)")
_REMARK = re.compile(rf"\A{_BLANKS}(?:{_REMARK_TITLE})")
_RULE = re.compile(rf"\A{_BLANKS}{_RULE_CELL}{_BLANKS}\Z")
#: RE2: a first cell of a line that ``judge_line`` must look at, the blank one apart
SUSPECT = rf"\A{_BLANKS}(?:(?:{TOTAL_TITLE}|{_NUMBERING}){_BLANKS}\z|{_REMARK_TITLE}|{_SIGNATURE_TITLE}|(?:{_COUNTER}|{_RULE_CELL}){_BLANKS}\z)"
#: RE2: a cell of a key that says it is a total's
TOTAL_CELL = rf"\A{_BLANKS}{TOTAL_TITLE}{_BLANKS}\z"
#: how such a cell begins, to tell most cells of a sheet apart at once
_BEGINNING = rf"[合总小共]{_BLANKS}计|{_NUMBERING}|{_COUNT} row|[备附注制填审说数资来单负复经联报共第已(（=_+*:|─━—-]"
_SUSPECT_CELL = re.compile(_BEGINNING)
_SUSPECT_CELLS = re.compile(rf"\n[ \t\u00a0\u3000]*(?:{_BEGINNING})")

#: the first six are no rows ("footnotes": every cell is one, that of the key too); "doubtful" is set aside; the others are
#: rows that are named
Title = Literal[
    "blank",
    "rule",
    "total",
    "footnote",
    "footnotes",
    "numbering",
    "doubtful",
    "like_total",
    "like_footnote",
    "like_numbering",
]


def judge_line(table: Table, cells: Sequence[str | None], below_header: bool = False) -> Title | None:
    """What a line is whose cells, by position, are these; None for a row like any other. There may be fewer cells, or
    more, than the header has: what is not there is blank. ``below_header``: it is the first one below the header, where
    statistical tables number their columns."""
    filled = [cell for cell in cells if cell and cell.strip()]
    if not filled:
        return "blank"
    if table.width > 1 and all(map(_RULE.match, filled)):
        return "rule"
    if (numbered := _find_numbering(filled)) is not None:
        return "numbering" if (numbered and below_header) or has_no_key(table, cells) else "like_numbering"
    total, footnote = _TOTAL.match(filled[0]), _FOOTNOTE.match(filled[0])
    if total and len(cells) < table.width and table.expected.keys and table.layout.total != "":
        return "total"  # no row in any case
    if (total or footnote) and has_no_key(table, cells):
        return "total" if total else "footnote"
    if footnote and table.expected.keys and table.width > 1 and all(map(_FOOTNOTE.match, filled)):
        return "footnotes"
    if table.layout.total != "" and _has_total_key(table, cells):
        return "doubtful"
    if total and table.layout.total is None:
        return "like_total"
    if cells[0] and table.layout.footnote is None and _LIKE_FOOTNOTE.match(cells[0]):
        return "like_footnote"
    return None


def _find_numbering(filled: Sequence[str]) -> bool | None:
    """True for the cells of a line that certainly numbers the columns (甲、乙、1、2), False for one that a row may be too
    (1、2、3 or 甲、1、2); else None."""
    texts = [cell.strip() for cell in filled]
    letters = 0
    while letters < len(texts) and texts[letters] == _STEMS[letters : letters + 1]:
        letters += 1
    called = not letters and re.fullmatch(_NUMBERING, texts[0]) is not None
    numbers = [_COLUMN_NUMBER.fullmatch(text) for text in texts[letters + called :]]
    if len(texts) < (4 if letters == 1 else 3) or [m and m[1] for m in numbers] != [
        str(n) for n in range(1, len(numbers) + 1)
    ]:
        return None
    return len(numbers) > 1 and (called or letters > 1 or (letters == 1 and len(numbers) > 3))


def is_remark(cells: Sequence[str | None]) -> bool:
    """True where a line begins like a remark on the table: as well as that it may be the rest of a cell."""
    return bool(cells and _REMARK.match(cells[0] or ""))


def has_no_key(table: Table, cells: Sequence[str | None]) -> bool:
    """True where a row certainly has no key: a column of it is blank, or holds a word where a number must stand."""
    return any(cannot_be(field, _cell(cells, position)) for position, field in key_fields(table))


def key_fields(table: Table) -> list[tuple[int, FieldSpec]]:
    """Position and field of the key's columns that the header has."""
    expected, index = table.expected, table.match.index
    return [(index[n], expected.fields[n]) for n in sorted(expected.keys) if n in index and n in expected.fields]


def total_key_positions(table: Table) -> list[int]:
    """Positions of the key's columns in which a total's title would pass for a value; none where the layout says that
    there are no total lines."""
    if table.layout.total == "":
        return []
    return [p for p, f in key_fields(table) if f.type == "string" and not f.identifier and not f.codes]


def _has_total_key(table: Table, cells: Sequence[str | None]) -> bool:
    """True where a column of the key is the title of a total; an identified person or unit may be called so."""
    if not any(_TOTAL.match(_cell(cells, p)) for p in total_key_positions(table)):
        return False
    return not any(f.identifier and not cannot_be(f, _cell(cells, p)) for p, f in key_fields(table))


def _cell(cells: Sequence[str | None], position: int) -> str:
    return (cells[position] or "") if position < len(cells) else ""


def cannot_be(field: FieldSpec, text: str) -> bool:
    """True for a text that can't be a key's value in this field."""
    text = text.strip()
    if not text or text in field.null_tokens:
        return True
    if field.type != "string" or field.identifier:
        return not any(c.isdigit() for c in text)
    if field.length and len(text) > field.length:
        return True
    try:
        return field.pattern is not None and re.fullmatch(field.pattern, text) is None
    except re.error:  # a pattern that RE2 knows and Python does not
        return False


def find_suspects(columns: Sequence[Sequence[Any]], keys: Sequence[int], end: int | None) -> list[int]:
    """Indexes, before ``end``, of the rows of a sheet that ``judge_line`` must look at: by their first cell that is not
    blank, or by a cell of the columns ``keys``."""
    first = columns[0][:end]
    found: set[int] = set()
    for column in (first, *(columns[p][:end] for p in keys if p)):
        if _SUSPECT_CELLS.search(f"\n{join_texts(column)}"):
            found |= {i for i, cell in enumerate(column) if _may_be_title(cell)}
    if "" in first:
        others = [column for column in columns[1:] if any(column)]
        for i, text in enumerate(first):
            if text == "" and _may_be_title(next((c for column in others if (c := column[i]) != ""), "")):
                found.add(i)
    return sorted(found)


def _may_be_title(cell: object) -> bool:
    return isinstance(cell, str) and _SUSPECT_CELL.match(cell.strip()) is not None


def join_texts(cells: Sequence[Any]) -> str:
    """The texts among the cells, each on lines of its own."""
    try:
        return "\n".join(cells)
    except TypeError:  # not all of them are texts
        return "\n".join([c for c in cells if isinstance(c, str)])
