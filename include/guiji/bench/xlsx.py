"""An xlsx sheet of six typed columns to a staged load package, against python-calamine alone making lists of it.

Our side is what a run does: fetch the file, hash it, look it through under limits, read and type every cell, name what
Excel destroyed, write and sync the package. Both take turns in one process with everything imported; the best of the
rounds counts, so that a busy machine hits both alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from guiji.bench import Result, compare_at_most
from guiji.bench.stage import stage_file
from guiji.errors import GuijiError
from guiji.settings import Settings

ROWS = 100_000
ROUNDS = 7
BAR = 1.5
FIELDS = [
    {"name": "bh", "title": "编号"},
    {"name": "mc", "title": "名称"},
    {"name": "sl", "title": "数量", "type": "int64"},
    {"name": "je", "title": "金额", "type": "decimal128(18,2)"},
    {"name": "rq", "title": "日期", "type": "date32"},
    {"name": "yx", "title": "有效", "type": "bool"},
]


def measure(settings: Settings, rows: int) -> Iterator[Result]:
    """Seconds for at most 100,000 rows, as a multiple of calamine's."""
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401  imported here so that it isn't measured

    n = min(rows, ROWS)
    alone = ours = float("inf")
    with tempfile.TemporaryDirectory(prefix="guiji-bench-") as name:
        file = Path(name) / "sheet.xlsx"
        write_sheet(file, n)
        for _ in range(ROUNDS):
            alone = min(alone, read_alone(file, n))
            ours = min(ours, stage_sheet(file, n))
    yield Result("xlsx.calamine", alone, "s", "", None, "", None)
    yield compare_at_most(f"xlsx.staged {n:,} rows", ours, "s", "python-calamine alone", alone, BAR)


def write_sheet(file: Path, rows: int) -> None:
    """A sheet as Excel writes them, texts shared: an identifier, a name, a count, an amount, a date, a yes or no."""
    import random
    from datetime import date, timedelta

    import xlsxwriter

    chance = random.Random(1)  # noqa: S311
    with xlsxwriter.Workbook(file, {"strings_to_formulas": False}) as book:
        sheet = book.add_worksheet("表")
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, [f["title"] for f in FIELDS])
        for i in range(1, rows + 1):
            sheet.write_string(i, 0, str(150602000000000000 + i))
            sheet.write_string(i, 1, f"单位{i % 5000}")
            sheet.write_number(i, 2, chance.randrange(100_000))
            sheet.write_number(i, 3, chance.randrange(10**8) / 100)
            sheet.write_datetime(i, 4, date(2020, 1, 1) + timedelta(days=i % 2000), day)
            sheet.write_boolean(i, 5, i % 2 == 0)


def read_alone(file: Path, rows: int) -> float:
    """Seconds of python-calamine for the same file, into Python lists. Raises GuijiError when a row is missing."""
    import python_calamine as calamine

    start = time.perf_counter()
    found = calamine.CalamineWorkbook.from_path(str(file)).get_sheet_by_index(0).to_python()
    seconds = time.perf_counter() - start
    if len(found) != rows + 1:
        raise GuijiError(f"calamine read {len(found):,} of {rows + 1:,} rows")
    return seconds


def stage_sheet(file: Path, rows: int) -> float:
    """Seconds of one delivery of the sheet. Raises GuijiError when a row is missing."""
    seconds, staged = stage_file(file, FIELDS, {"type": "xlsx"})
    if staged != rows:
        raise GuijiError(f"{staged:,} of {rows:,} rows were staged")
    return seconds
