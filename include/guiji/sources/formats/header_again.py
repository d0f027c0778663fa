"""A header that stands once more among the rows: two exports pasted together, or one header per printed page.

With the same columns in the same places the line is skipped and named; with other places the cells below it belong to
other columns than those above, and the file is refused. Columns are looked at as bytes first: nearly no cell begins
and ends like a column's name, so the search costs next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import header_columns, normalise_name
from guiji.sources.formats.layout import Table, skip
from guiji.sources.formats.line_titles import join_texts
from guiji.sources.formats.number_format import spell_header

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from guiji.records import ReadReport

#: what normalisation drops at either end of a name
_BLANKS = " \t\r\n\u3000\u00a0\ufeff\u200b"
_INVISIBLE = r"[\s\x{feff}\x{200b}-\x{200f}\x{2060}\x{ad}]+"
_SHOWN = 20


@dataclass
class HeaderWatch:
    """Looks for the header of one table among its rows."""

    table: Table
    what: str
    height: int = 1  # lines of the header
    found: list[int] = field(default_factory=list)  # lines at which the header begins again

    @cached_property
    def _spelled(self) -> dict[str, str]:
        """Normalised spelling -> source name, of the columns that the header has."""
        looked_for, _ = header_columns(self.table.expected, self.table.layout)
        spelled = {normalise_name(c): c for c in looked_for} | self.table.expected.spellings
        return {spelling: name for spelling, name in spelled.items() if name in self.table.match.index}

    @cached_property
    def _wide(self) -> re.Pattern[str] | None:
        return re.compile(self.table.layout.unpivot.columns) if self.table.layout.unpivot else None

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """Columns of which one shows a name, wherever the columns of a header with at most one other name stand."""
        match = self.table.match
        others = match.width - len(match.index) - len(match.pivoted)
        return self.table.read_positions[: others + 2]

    @cached_property
    def _edges(self) -> tuple[frozenset[str], frozenset[str]]:
        """The characters that a name can begin and end with, in any spelling."""
        first = {c for name in self._spelled for c in _variants(name[0])}
        last = {c for name in self._spelled for c in _variants(name[-1])}
        return frozenset({*first, *_BLANKS}), frozenset({*last, *_BLANKS})

    @cached_property
    def _edge_bytes(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """For every pair of bytes whether a name can begin with it, and end with it."""
        import numpy as np

        begins, ends = np.zeros((256, 256), bool), np.zeros((256, 256), bool)
        for c in self._edges[0]:
            coded = c.encode()
            begins[coded[0], coded[1] if len(coded) > 1 else slice(None)] = True
        for c in self._edges[1]:
            coded = c.encode()
            ends[coded[-2] if len(coded) > 1 else slice(None), coded[-1]] = True
        return begins, ends

    @cached_property
    def _begins(self) -> re.Pattern[str]:
        begin = "".join(sorted(self._edges[0] - set("\r\n")))  # what stands behind a line break begins a line too
        return re.compile(f"\n[{re.escape(begin)}]")  # many times faster than ``^``

    def may_hold_names(self, cells: Sequence[Any]) -> bool:
        """False where certainly no cell is the name of a column."""
        return self._begins.search(f"\n{join_texts(cells)}") is not None

    def is_name(self, cell: object) -> bool:
        """True for the name of a column."""
        return (
            isinstance(cell, str)
            and cell[:1] in self._edges[0]
            and cell[-1:] in self._edges[1]
            and normalise_name(cell) in self._spelled
        )

    def find_names(self, column: pa.StringArray) -> list[int]:
        """Rows of a column where a column's name stands."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        n = len(column)
        data = column.buffers()[2] if n else None
        if data is None or not data.size:
            return []
        begins, ends = self._edge_bytes
        bounds = np.frombuffer(column.buffers()[1], np.int32, n + 1, column.offset * 4)
        chars = np.frombuffer(data, np.uint8)
        most = len(chars) - 1
        start, last = np.minimum(bounds[:-1], most), np.maximum(bounds[1:] - 1, 0)
        near = (
            begins[chars[start], chars[np.minimum(start + 1, most)]] & ends[chars[np.maximum(last - 1, 0)], chars[last]]
        )
        rows = np.flatnonzero(near & (bounds[1:] > bounds[:-1]))
        if not len(rows):
            return []
        names = pc.replace_substring_regex(pc.utf8_normalize(column.take(pa.array(rows)), "NFKC"), _INVISIBLE, "")
        known = pc.is_in(pc.utf8_lower(names), pa.array(list(self._spelled), pa.string()))
        return [int(i) for i in rows[known.to_numpy(zero_copy_only=False)]]

    def take(self, cells: Sequence[str | None], line: int) -> bool:
        """True where ``cells``, the whole line ``line``, are the header again. Raises DeliveryRefused for a header
        with its columns in other places."""
        match = self.table.match
        said = [cell or "" for cell in cells]
        while len(said) > match.width and not said[-1].strip():
            said.pop()
        normal = [normalise_name(cell) for cell in said]
        wanted = len(match.index) + len(match.pivoted)
        named = {self._spelled[n] for n in normal if n in self._spelled}
        wide = {n for n, cell in zip(normal, said, strict=True) if n not in self._spelled and self._is_wide(cell)}
        if not named or len(named) + len(wide) < (wanted - 1 if wanted > 2 else wanted):
            return False
        if len(said) == match.width and all(
            [
                all(self._spelled.get(normal[p]) == name for name, p in match.index.items()),
                all(self._said_wide(said[p]) == name for p, name in match.pivoted.items()),
                not any(normal[p] for p in match.unnamed),
            ]
        ):
            if wanted == 1 and tuple(normal) != self.table.header:
                return False  # a value that happens to be the column's name
            self.found.append(line)
            return True
        if wanted == 1:
            return False
        other = "顺序" if len(named) == len(match.index) and len(wide) == len(match.pivoted) else "名称或顺序"
        raise DeliveryRefused(
            f"{self.what}：第 {line} 行起又出现一个列的{other}不同的表头，可能是几份数据拼接在一起，其下各列无法对应。"
            "现有数据继续有效；请分别提供，或统一各列的顺序后重新提供。",
            rule_id="delivery.structure",
        )

    def take_same(self, line: int) -> bool:
        """Counts the header of several rows that stands again from ``line`` on, cell by cell the same."""
        self.found.append(line)
        return True

    def report(self, report: ReadReport) -> None:
        """Counts and names the lines that were the header again."""
        if self.found:
            shown = "、".join(map(str, self.found[:_SHOWN])) + (" 等" if len(self.found) > _SHOWN else "")
            lines = len(self.found) * self.height
            skip(report, "repeated_header", lines)
            begun = "起" if self.height > 1 else ""
            report.notes.append(f"{self.what}：第 {shown} 行{begun}又是表头（共 {lines} 行），已跳过")

    def spell(self, value: date) -> str:
        """A date cell as the column that it names, where it is one; else ISO 8601."""
        return spell_header(value, "", lambda name: self._is_wide(name) or normalise_name(name) in self._spelled)

    def _is_wide(self, cell: str) -> bool:
        return bool(self._wide and self._wide.fullmatch(cell.strip()))

    def _said_wide(self, cell: str) -> str | None:
        found = self._wide.fullmatch(cell.strip()) if self._wide else None
        if found is None:
            return None
        said: str = found.group(1) if found.re.groups else found.group()
        return said


def _variants(c: str) -> set[str]:
    """A character as it may be written before normalisation: in capitals, in full width."""
    cases = {c, c.upper()}
    return cases | {chr(ord(x) + 0xFEE0) for x in cases if len(x) == 1 and "!" <= x <= "~"}
