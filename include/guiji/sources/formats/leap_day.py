"""Day 60 of the calendar that begins with 1900: 1900-02-29 in Excel, a day that never was.

Readers of numbers give 1900-02-28 for it, as for day 59. Such a date is rare, so a sheet's numbers are looked at again only
where one comes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from guiji.sources.formats.workbook import Cell, OpenSheet
from guiji.structure import OUT_OF_RANGE

_DAY_59 = date(1900, 2, 28)


def is_leap_day(number: float) -> bool:
    """True for a number that is the day, at any time of it."""
    return 60 <= number < 61


@dataclass
class LeapDays:
    """The cells of a sheet that hold the day, looked for when a 28 February of 1900 comes for the first time."""

    sheet: OpenSheet
    found: frozenset[Cell] | None = None

    def find(self, position: int, cells: Sequence[Any], numbers: Sequence[int]) -> dict[int, str]:
        """Index -> the rule that is broken, of the ``cells`` of a column; ``numbers`` are the rows that they are taken from."""
        if not {date, datetime} & set(map(type, cells)):
            return {}
        doubtful = [i for i, cell in enumerate(cells) if isinstance(cell, date) and _is_day_59(cell)]
        if not doubtful:
            return {}
        if self.found is None:
            self.found = self.sheet.facts.leap_days()
        return {i: OUT_OF_RANGE for i in doubtful if (numbers[i], position) in self.found}


def show_leap_days(column: Sequence[Any], rows: Collection[int]) -> list[Any]:
    """A column with the day in these rows as Excel shows it."""
    return ["1900-02-29" if i in rows else cell for i, cell in enumerate(column)]


def _is_day_59(cell: date) -> bool:
    return cell.year == 1900 and (cell.date() if isinstance(cell, datetime) else cell) == _DAY_59
