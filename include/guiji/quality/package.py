"""The rows of a staged package as table expressions of a size that one statement can hold.

Staging keeps wide rows (documents, photographs, large shapes) apart from rows of a normal size, in parts of their own
whose row groups have ``limits.PIECE_BYTES``. Normal rows are read as one table; how many at a time follows from
their size. Wide ones are read a row group at a time: the engine takes 2,048 rows at once, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import read_parquet_metadata, scan_parquet
from guiji.limits import PIECE_BYTES, ROW_BYTES_KEY, VECTOR_ROWS, WIDE_ROW_BYTES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_WIDE = "guiji_wide_rows"
_MOST_ROWS = 65_536
#: of the rows that are taken from the engine at a time
_BYTES_AT_ONCE = 4 * PIECE_BYTES


@dataclass(frozen=True)
class Section:
    """Some rows of a package: a table expression, and how many of them may be taken from the engine at a time."""

    table: str
    rows_at_once: int


@dataclass(frozen=True)
class Package:
    """The staged rows, or those of them with the numbers in a table ``chosen`` of the engine."""

    con: DuckDBPyConnection
    parts: tuple[Path, ...]
    chosen: str | None = None
    #: one thread reads (``engine.count_threads``), so rows that are wide for four are not for it
    alone: bool = False

    @property
    def table(self) -> str:
        """All rows as one table: for statements that only take narrow columns of it."""
        return self._choose(scan_parquet(self.parts))

    def sections(self) -> Iterator[Section]:
        """The rows section by section; at least one. A section is good until the next one is asked for."""
        widest_normal = WIDE_ROW_BYTES * (4 if self.alone else 1)
        widths = {part: int(read_parquet_metadata(part).get(ROW_BYTES_KEY, "0")) for part in self.parts}
        normal = [part for part, width in widths.items() if width <= widest_normal]
        if normal:
            widest = max(1, *(widths[part] for part in normal))
            yield Section(
                self._choose(scan_parquet(normal)), min(_MOST_ROWS, max(VECTOR_ROWS, _BYTES_AT_ONCE // widest))
            )
        for part, width in widths.items():
            if width > widest_normal:
                yield from self._wide_sections(part)

    def _wide_sections(self, part: Path) -> Iterator[Section]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(part) as file:
            for group in range(file.num_row_groups):
                self.con.register(_WIDE, file.read_row_group(group))
                try:
                    yield Section(self._choose(_WIDE), VECTOR_ROWS)
                finally:
                    self.con.unregister(_WIDE)

    def _choose(self, table: str) -> str:
        return f"(SELECT * FROM {table} WHERE _row_no IN (SELECT n FROM {self.chosen}))" if self.chosen else table  # noqa: S608
