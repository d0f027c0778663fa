"""The lines of a CSV block whose structure the bytes don't prove: each is a sound row, or a row set aside.

A record may span lines, in quotes or behind an escape; where that has two readings, all of its lines are set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from guiji.sources.formats.csv_neighbours import Beside, Neighbours, find_beside
from guiji.sources.formats.csv_scan import Scan
from guiji.sources.formats.encoding import UNDECODABLE, Block, half_a_file
from guiji.sources.formats.header_again import HeaderWatch
from guiji.sources.formats.layout import Table, skip
from guiji.sources.formats.line_notes import LineNotes
from guiji.sources.formats.line_titles import is_remark, judge_line
from guiji.sources.formats.tokenizer import CONTINUES, Dialect, find_flaw, keep_sound, split_cells
from guiji.sources.frames import Rows
from guiji.structure import BAD_ESCAPE, ENCODING, NUL, RAGGED, UNCLOSED_QUOTE

if TYPE_CHECKING:
    import numpy as np

    from guiji.records import ReadReport

#: a quoted cell that spans more is a forgotten quote
LONGEST_RECORD_LINES = 200
LONGEST_RECORD = 1 << 20
#: more lines in a row that end with an escape are no cell over several lines, but text that was never escaped
LONGEST_ESCAPED = 20
#: a quoted cell over several lines that looks as if it had swallowed rows
_TWO_READINGS = "two readings"
_UNDECODABLE = UNDECODABLE.decode()


@dataclass
class Reading:
    """One file being read."""

    dialect: Dialect
    encoding: str
    table: Table
    report: ReadReport
    origin: str
    what: str
    line: int  # number of the next line
    in_footnotes: bool = False
    rows_after_footnote: int = 0
    undecodable: dict[int, str] = field(default_factory=dict)
    notes: LineNotes = field(default_factory=LineNotes)
    neighbours: Neighbours = field(default_factory=Neighbours)

    def __post_init__(self) -> None:
        self.first = self.line  # number of the first line below the header
        self.headers = HeaderWatch(self.table, self.what)


def read_positions(table: Table) -> list[int]:
    """Positions taken from a line: always the first (footnotes, totals), then what the table needs. Where there may be
    total lines, all: their title stands in the first cell that is not blank."""
    return [0, *table.read_positions, *table.match.pivoted, *table.match.unnamed, *_other_positions(table)]


def _other_positions(table: Table) -> list[int]:
    if not table.layout.total:
        return []
    known = {0, *table.read_positions, *table.match.pivoted, *table.match.unnamed}
    return [p for p in range(table.width) if p not in known]


def read_names(table: Table) -> list[str]:
    return [
        "__first",
        *table.read_columns,
        *(f"__p{p}" for p in table.match.pivoted),
        *(f"__u{p}" for p in table.match.unnamed),
        *(f"__other{p}" for p in _other_positions(table)),
    ]


def names_in_order(table: Table) -> list[str]:
    """``read_names`` as the columns stand in the file, each once."""
    by_position = dict(sorted(zip(read_positions(table), read_names(table), strict=True), key=lambda x: x[0]))
    return list(by_position.values())


def tokenise_doubtful(
    reading: Reading, data: bytes, scan: Scan, block: Block
) -> tuple[Rows, np.ndarray[Any, Any], int | None]:
    """(rows of the lines without proof, lines they took, first line to leave for the next block)."""
    import numpy as np

    rows = Rows()
    taken = np.zeros(len(scan.starts), bool)
    count = len(scan.starts)
    next_free = 0
    footnoted = False
    open_from: int | None = None  # an unclosed quote that no sound line has followed yet
    spans: dict[int, int] = {}  # last line -> first line of the records that span lines
    parts: list[tuple[int, int, Beside]] = []
    blank = scan.blank.copy()
    last_row = _find_last_row(data, reading)
    for k in map(int, np.flatnonzero(~(scan.plain | scan.blank | scan.comment))):
        if k < next_free:
            continue
        text = data[scan.starts[k] : scan.ends[k]].decode()
        number = reading.line + k
        cells = alone = split_cells(text, reading.dialect)
        last = k
        if cells in (UNCLOSED_QUOTE, CONTINUES) and not footnoted:
            cells, last = _join_lines(reading, data, scan, k, alone)
            if (
                cells in (UNCLOSED_QUOTE, CONTINUES, _TWO_READINGS)
                and last == count - 1
                and not block.final
                and not _is_too_long(scan, k, last)
            ):
                reading.neighbours.pass_lines(reading.line, blank[:k], spans, parts)
                return rows, taken, k
            if cells == _TWO_READINGS:  # one row over several lines, or several rows: none of them is beyond doubt
                rule_id = UNCLOSED_QUOTE if alone == UNCLOSED_QUOTE else BAD_ESCAPE
                _set_lines_aside(reading, rows, data, scan, (k, last), rule_id)
                taken[k : last + 1] = True
                next_free = last + 1
                continue
            if isinstance(cells, str):  # a mistaken quote: its line alone is set aside
                cells, last = UNCLOSED_QUOTE if alone == UNCLOSED_QUOTE else BAD_ESCAPE, k
        may_follow = int(scan.ends[last]) < last_row
        if not (may_follow or block.final) and _is_short_remark(cells, reading.table.width):
            if scan.ends[-1] - scan.starts[k] < LONGEST_RECORD:  # what comes next shows what it is
                reading.neighbours.pass_lines(reading.line, blank[:k], spans, parts)
                return rows, taken, k
            may_follow = True
        text = data[scan.starts[k] : scan.ends[last]].decode()
        taken[k : last + 1] = True
        next_free = last + 1
        first = text if isinstance(cells, str) else cells[0] or ""
        if footnoted or reading.table.is_footnote(text) or reading.table.is_footnote(first):
            footnoted = True  # kept as a line for now; cut off with what follows it
            rows.add([first, *[None] * (len(read_names(reading.table)) - 1)], number)
            continue
        if last > k:
            spans[last] = k
        is_last = block.final and last == count - 1
        became = _judge_record(reading, rows, text, cells, number, is_last and block.unended, may_follow)
        blank[k] = became == "blank"
        if became == "row":
            open_from = None
        elif became == "aside":
            open_from = k if cells == UNCLOSED_QUOTE and open_from is None else open_from
            if text.startswith(_UNDECODABLE):
                cells, text = ENCODING, reading.undecodable[_undecodable_number(text)]
            if beside := find_beside(reading.table, cells, text, reading.dialect.delimiter):
                parts.append((k, last, beside))
    reading.neighbours.pass_lines(reading.line, blank, spans, parts)
    if block.final and not footnoted and open_from is not None and not scan.plain[open_from + 1 :].any():
        raise half_a_file(reading.what)
    return rows, taken, None


def _is_too_long(scan: Scan, first: int, last: int) -> bool:
    return last - first > LONGEST_RECORD_LINES or scan.ends[last] - scan.starts[first] > LONGEST_RECORD


def _join_lines(
    reading: Reading, data: bytes, scan: Scan, first: int, status: Sequence[str | None] | str
) -> tuple[Sequence[str | None] | str, int]:
    """The cells of a record that spans lines, and its last line. ``UNCLOSED_QUOTE`` or ``CONTINUES`` where it never ends;
    another rule where it ends against the form; ``_TWO_READINGS`` where the lines inside it may be rows of their own."""
    quote, width = reading.dialect.quote.encode(), reading.table.width
    last = first
    if status == CONTINUES and _escaped_ends(reading, data, scan, first) > LONGEST_ESCAPED:
        return BAD_ESCAPE, first
    while last + 1 < len(scan.starts) and not _is_too_long(scan, first, last):
        if status == CONTINUES and data[scan.ends[last] : scan.ends[last] + 1] == b"\r":
            # an escaped line end of two characters, or an escaped carriage return and then the line's end
            last += 1
            while last + 1 < len(scan.starts) and _is_end_escaped(reading, data, scan, last):
                last += 1
            return _TWO_READINGS, last
        last += 1
        line = data[scan.starts[last] : scan.ends[last]]
        if status == UNCLOSED_QUOTE and quote not in line:
            continue
        status = split_cells(data[scan.starts[first] : scan.ends[last]].decode(), reading.dialect)
        if status in (UNCLOSED_QUOTE, CONTINUES):
            continue
        if isinstance(status, str):
            return status, last
        if len(status) != width:
            return RAGGED, last
        delimiter = reading.dialect.delimiter
        if any(c and _may_hold_a_row(c, delimiter, width) for c in status) or _may_be_rows(status, delimiter):
            return _TWO_READINGS, last
        return status, last
    return (status if isinstance(status, str) else UNCLOSED_QUOTE), last


def _may_hold_a_row(cell: str, delimiter: str, width: int) -> bool:
    """True when a cell over several lines looks as if a forgotten quote had made it swallow a row."""
    if "\n" not in cell or width == 1:
        return False
    whole_lines = cell.split("\n")[1:-1]
    return any(x.count(delimiter) == width - 1 for x in whole_lines) or (
        width >= 4 and cell.count(delimiter) >= width - 1
    )


def _may_be_rows(cells: Sequence[str | None], delimiter: str) -> bool:
    """True when the first and the last line of a record over several lines would both be rows of the right width if
    their quotes were no quotes."""
    spans = [i for i, c in enumerate(cells) if c and "\n" in c]
    if not spans or len(cells) == 1:
        return False
    begins, ends = cells[spans[0]] or "", cells[spans[-1]] or ""
    return (
        spans[0] + begins[: begins.index("\n")].count(delimiter) == len(cells) - 1
        and ends[ends.rindex("\n") :].count(delimiter) == spans[-1]
    )


def _escaped_ends(reading: Reading, data: bytes, scan: Scan, first: int) -> int:
    """How many lines in a row end with an escape; no more are counted than it takes to know that they are too many."""
    escape = reading.dialect.escape.encode()
    k = first
    while k < len(scan.starts) and k - first <= LONGEST_ESCAPED and data[scan.ends[k] - 1 : scan.ends[k]] == escape:
        k += 1
    return k - first


def _is_end_escaped(reading: Reading, data: bytes, scan: Scan, k: int) -> bool:
    line, escape = data[scan.starts[k] : scan.ends[k]], reading.dialect.escape.encode()
    return (len(line) - len(line.rstrip(escape))) % 2 == 1


def _set_lines_aside(
    reading: Reading, rows: Rows, data: bytes, scan: Scan, span: tuple[int, int], rule_id: str
) -> None:
    for k in range(span[0], span[1] + 1):
        text = data[scan.starts[k] : scan.ends[k]].decode()
        _add_broken(reading, rows, reading.line + k, rule_id, text)


def _judge_record(
    reading: Reading,
    rows: Rows,
    text: str,
    cells: Sequence[str | None] | str,
    number: int,
    unended: bool,
    may_follow: bool,
) -> Literal["row", "aside", "blank", "left out"]:
    """What one record became: a row (or the header again), a row set aside, or none. ``may_follow``: rows may stand
    below. Raises DeliveryRefused for half a file and for another header."""
    table = reading.table
    if text.startswith(_UNDECODABLE):
        _add_broken(reading, rows, number, ENCODING, reading.undecodable[_undecodable_number(text)])
        return "aside"
    if isinstance(cells, str):
        if unended and cells in (UNCLOSED_QUOTE, CONTINUES):
            raise half_a_file(reading.what)
        _add_broken(reading, rows, number, cells, text)
        return "aside"
    if any(map(reading.headers.is_name, cells)) and reading.headers.take(cells, number):
        return "row"
    if not any(cell and cell.strip() for cell in cells):
        skip(reading.report, "blank")
        return "blank"
    flaw = find_flaw(cells)
    if len(cells) != table.width:
        if table.is_total(*cells):
            skip(reading.report, "total")
            reading.notes.totals.add([number])
            return "left out"
        title = judge_line(table, cells, number == reading.first)
        if title in ("footnote", "footnotes") and may_follow and _is_short_remark(cells, table.width):
            title = None
        if reading.notes.leave_out(title, number, reading.report):
            return "left out"
        if unended and len(cells) < table.width:
            raise half_a_file(reading.what)
        _add_broken(reading, rows, number, NUL if flaw == NUL else RAGGED, text)
        return "aside"
    wanted = [cells[p] for p in read_positions(table)]
    if flaw:
        rows.add_broken(keep_sound(wanted), number, flaw, text.replace("\x00", "␀"))
        return "aside"
    rows.add(wanted, number)
    return "row"


def _is_short_remark(cells: Sequence[str | None] | str, width: int) -> bool:
    """True for a remark on the table that may as well be the rest of a cell of the row above, until the table ends."""
    return not isinstance(cells, str) and len(cells) < width and is_remark(cells)


def _undecodable_number(text: str) -> int:
    return int(text.removeprefix(_UNDECODABLE))


def _find_last_row(data: bytes, reading: Reading) -> int:
    """Offset behind which there are too few delimiters for a row."""
    at = len(data)
    for _ in range(reading.table.width - 1):
        at = max(data.rfind(reading.dialect.delimiter.encode(), 0, at), 0)
    return at


def _add_broken(reading: Reading, rows: Rows, number: int, rule_id: str, text: str) -> None:
    rows.add_broken([None] * len(read_names(reading.table)), number, rule_id, text.replace("\x00", "␀"))
