"""Where the header of an undeclared table stands, and what separates the cells of an undeclared text file.

A header is a line of names: as wide as the table, each name once, none of them a number, a date or an identifier. A
first data row must never be taken for one: its values would be written into a catalog file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from guiji.errors import DeliveryRefused

HEADER_WITHIN = 60
_DELIMITERS = (",", "\t", ";", "|", "^", "~")
#: what stands in a row and never in a header
_VALUE = re.compile(
    r"[+-]?[\d,]*\.?\d+%?|\d{4}[-/.年]\d{1,2}([-/.月]\d{1,2}日?)?([ T].*)?|\d{6,}[\dXx]?|[0-9A-HJ-NP-RTUW-Y]{18}|.*@.*\..*"
    r"|1[3-9]\d{9}|(?i:null|true|false|none)"
)
_YEAR = re.compile(r"(19|20)\d{2}年?")
LONGEST_NAME = 60


def find_delimiter(lines: Sequence[str]) -> tuple[str, str, list[list[str]]]:
    """(delimiter, quote, the lines as cells): the delimiter by which most lines have the same number of cells."""
    from guiji.sources.formats.tokenizer import Dialect, split_cells

    best: tuple[float, str, str, list[list[str]]] | None = None
    for quote in ('"', "'"):
        if quote == "'" and not _is_wrapped(lines, "'"):
            continue
        for delimiter in _DELIMITERS:
            records = []
            for line in lines:
                cells = split_cells(line, Dialect(delimiter, quote))
                whole = line.split(delimiter) if isinstance(cells, str) else cells
                records.append([c or "" for c in whole])
            widths = Counter(len(r) for r in records if any(c.strip() for c in r))
            if not widths:
                continue
            width, lines_of_width = max(widths.items(), key=lambda w: (w[1] * (w[0] > 1), w[0]))
            share = lines_of_width / sum(widths.values())
            score = share * min(width, 8) if width > 1 else 0.0
            if quote == "'":
                score += 0.01
            if best is None or score > best[0]:
                best = (score, delimiter, quote, records)
    if best is None:
        return ",", '"', [[line] for line in lines]
    return best[1], best[2], best[3]


def _is_wrapped(lines: Sequence[str], quote: str) -> bool:
    there = [line for line in lines if line.strip()]
    return bool(there) and sum(line.startswith(quote) and line.rstrip().endswith(quote) for line in there) * 2 > len(
        there
    )


def find_header_row(records: Sequence[Sequence[str]], *, twice: bool = False) -> int | None:
    """Index of the header among the first lines; None where no line is one. ``twice``: names may stand twice."""
    filled = [_trim(r) for r in records]
    widths = Counter(len(r) for r in filled if r)
    if not widths:
        return None
    # trailing empty cells of a row make it look narrower: the widest line that is not alone counts
    common = max(widths.values())
    width = max((w for w, n in widths.items() if n * 3 >= common), default=max(widths))
    for i, row in enumerate(filled[:HEADER_WITHIN]):
        if len(row) >= width and is_header(row, twice=twice) and not _recurs(row, filled[i + 1 :]):
            return i
    return None


Merged = Sequence[tuple[tuple[int, int], tuple[int, int]]]
#: what lines above a table say and names of columns don't
_ABOVE = re.compile(r"[:：]|\d{4}年\d")
#: rows that a header of merged cells may take
_TALLEST = 4


def find_sheet_header(records: Sequence[Sequence[str]], merged: Merged) -> tuple[int, int, list[str]] | None:
    """(first row, rows, the joined names) of a sheet's header: cells merged over several columns have their names in
    the row below, cells merged over several rows say how far it goes. None where no rows are a header."""
    from guiji.catalog.models import Layout
    from guiji.sources.formats.layout import join_headers

    grid = _level(records)
    single = find_header_row(records)
    for top in range(min(len(grid), HEADER_WITHIN)):
        rows = _count_header_rows(top, merged)
        head = grid[top : top + rows]
        above = {c.strip() for c in grid[top] if c.strip()}
        # a title is alone in its row, and lines above a table speak of it: 填报单位：某局
        if 1 < rows <= len(head) and len(above) > 1 and not any(_ABOVE.search(c) for c in above):
            names = _trim(join_headers(Layout(header_rows=rows), grid[: top + rows], merged)[top])
            # rows whose cells are merged downwards only are data, unless nothing stands beside them
            grouped = any(top <= first < top + rows and right > left for (first, left), (_, right) in merged)
            lonely = not any(c.strip() for row in head[1:] for c in row)
            if is_header(names) and (grouped or lonely) and not _recurs(head[-1], grid[top + rows :]):
                return top, rows, names
        if top == single:
            # what is merged downwards into rows is a value of theirs
            downwards = any(first == top and bottom > top for (first, _), (bottom, _) in merged)
            return None if downwards else (top, 1, [c.strip() for c in records[top]])
    return None


def _level(records: Sequence[Sequence[str]]) -> list[list[str]]:
    widest = max(map(len, records), default=0)
    return [[*r, *[""] * (widest - len(r))] for r in records]


def _count_header_rows(top: int, merged: Merged) -> int:
    """How many rows a header that begins at ``top`` takes by its merged cells."""
    last = top
    for _ in range(_TALLEST):
        reach = max(
            (
                # names of what is merged over columns stand below it
                max(bottom, first + 1) if right > left else bottom
                for (first, left), (bottom, right) in merged
                if top <= first <= last
            ),
            default=last,
        )
        if reach <= last:
            break
        last = reach
    return min(last - top + 1, _TALLEST)


def _trim(row: Sequence[str]) -> list[str]:
    cells = [c.strip().strip("\ufeff") for c in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def is_header(row: Sequence[str], *, twice: bool = False) -> bool:
    """True for a line of names: filled, different from each other, none of them a value. Years may stand beside
    words, as the columns of a wide table."""
    names = [c for c in row if c]
    if not names or len(names) < len(row) * 0.8 or (len(set(names)) < len(names) and not twice):
        return False
    years = [n for n in names if _YEAR.fullmatch(n)]
    if len(years) == 1 or len(years) == len(names):
        return False
    return all(len(n) <= LONGEST_NAME and (n in years or not _VALUE.fullmatch(n)) for n in names)


def _recurs(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """True where a cell stands again below itself, as values do and names don't."""
    return any(
        any(position < len(other) and other[position] == cell and list(other) != list(row) for other in below)
        for position, cell in enumerate(row)
        if cell
    )


def refuse_twice(records: Sequence[Sequence[str]], what: str) -> None:
    """Raises DeliveryRefused for a header in which a name stands twice; the name is not shown, it may be a value."""
    line = find_header_row(records, twice=True)
    names = [c.strip() for c in records[line] if c.strip()] if line is not None else []
    if line is not None and len(records) > line + 1 and len(set(names)) < len(names):
        raise DeliveryRefused(
            f"{what}：第 {line + 1} 行像表头，但其中有相同的列名，无法判断以哪一列为准。没有生成任何内容；"
            "请改成互不相同的列名后重试。",
            rule_id="delivery.duplicate_column",
        )


def refuse_tall_header(records: Sequence[Sequence[str]], what: str) -> None:
    """Raises DeliveryRefused for a text file with a header of several lines: names over several columns leave blanks, and
    numbers stand below them. Taken for a file without header, its names would become rows."""
    lines = [_trim(r) for r in records]
    width = max(map(len, lines), default=0)
    for i, line in enumerate(lines[:_TALLEST]):
        named = [n for n, c in enumerate(line) if c]
        if len(named) < 2 or len(named) == width or any(_VALUE.fullmatch(line[n]) for n in named):
            continue
        below = lines[i + 1 :]
        counted = sum(
            sum(bool(_VALUE.fullmatch(row[n])) for row in below if n < len(row)) * 2 > len(below) for n in named
        )
        if below and counted * 2 >= len(named):
            raise DeliveryRefused(
                f"{what}：第 {i + 1} 行像多行表头的一部分，文本文件只认一行表头。没有生成任何内容；"
                "请合并成一行列名，或连同合并单元格另存为 xlsx 后重试。",
                rule_id="delivery.missing_column",
            )


def refuse_without_header(what: str) -> DeliveryRefused:
    """The error for a table without a line of names."""
    return DeliveryRefused(
        f"{what}：前 {HEADER_WITHIN} 行中没有找到表头（一行互不相同的列名）。没有生成任何内容；请带表头重新导出。",
        rule_id="delivery.missing_column",
    )
