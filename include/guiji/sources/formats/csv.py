"""CSV files as batches of text: no cell silently wrong, no row silently lost.

A block of lines is read by Arrow's fast reader only where its structure was proven first, on the bytes: every line
has exactly the header's number of delimiters and no quote, or all quotes stand around whole cells. Every other line
goes through the strict tokeniser and is either a sound row or a row set aside, with its line number and text.
A quoted cell may span lines; when the quote turns out to be a mistake, only its own line is set aside and the
lines it would have swallowed are read as what they are (F-39).
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, count_matches
from guiji.sources.formats.ahead import read_ahead
from guiji.sources.formats.csv_ends import mend_ends, refuse_mixed_ends
from guiji.sources.formats.csv_plain import read_proven, read_unquoted
from guiji.sources.formats.csv_records import Reading, read_names, read_positions, tokenise_doubtful
from guiji.sources.formats.csv_scan import scan_block
from guiji.sources.formats.csv_sift import sift_batch, skip_footnotes
from guiji.sources.formats.encoding import (
    UNDECODABLE,
    Block,
    RawBlock,
    decode_block,
    detect_encoding,
    keep_undecodable,
    read_raw_blocks,
    refuse_undecodable,
)
from guiji.sources.formats.layout import (
    HEADER_WITHIN,
    Table,
    build_table,
    check_above,
    find_header,
    refuse_headless,
    shape_batch,
    skip,
)
from guiji.sources.formats.tokenizer import CONTINUES, Dialect, split_cells
from guiji.sources.frames import add_system_columns, make_batch
from guiji.structure import UNCLOSED_QUOTE

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

#: as many as a sheet of a workbook has; each costs memory in every block
MOST_COLUMNS = 16_384


def read_csv(path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV file. Raises DeliveryRefused when the file as a whole can't be accepted (encoding, header,
    half a file), before or while it is read."""
    what = f"文件 {origin}"
    encoding = detect_encoding(path, fmt.encoding, what)
    raws = mend_ends(read_raw_blocks(path, encoding, what))
    first = decode_block(next(raws), encoding, what)
    table, rest, line = _open_table(first, expected, fmt, report, what)
    reading = Reading(_dialect(fmt), encoding, table, report, origin, what, line)
    return _read_all(reading, rest, raws)


def _read_all(reading: Reading, first: Block, raws: Generator[RawBlock]) -> Iterator[pa.RecordBatch]:
    import numpy as np

    rest = b""
    lines = undecodable = 0
    held: pa.RecordBatch | None = None  # what comes next may put its last row in doubt
    with closing(read_ahead(_prepare(reading, raws))) as prepared:
        for raw, ready in itertools.chain([(RawBlock(b""), first)], prepared):
            if isinstance(ready, list) and not rest and not reading.in_footnotes:
                batch, n = _number_lines(reading, ready, np.arange(len(ready[0]))), len(ready[0])
                reading.neighbours.pass_rows(reading.line, n)
                batch = sift_batch(reading, batch, raw.data, reading.encoding)
                reading.line += n
            else:
                block = decode_block(raw, reading.encoding, reading.what) if isinstance(ready, list) else ready
                reading.undecodable = keep_undecodable(reading.undecodable, rest) | block.undecodable
                lines += block.data.count(b"\n") + 1
                undecodable += len(block.undecodable)
                refuse_undecodable(lines, undecodable, reading.encoding, reading.what)
                batch, rest = _read_block(reading, rest + block.data, block)
            if batch is not None and batch.num_rows:
                if held is not None:
                    yield _shape(reading, held)
                held = batch
    if held is not None:
        yield _shape(reading, held)
    reading.headers.report(reading.report)
    if reading.rows_after_footnote:
        reading.report.notes.append(f"{reading.what}：脚注之后还有 {reading.rows_after_footnote} 行像数据的行，未采集")
    reading.report.notes += reading.notes.say(reading.what)


def _shape(reading: Reading, batch: pa.RecordBatch) -> pa.RecordBatch:
    batch = reading.neighbours.set_aside(reading.table, batch, reading.dialect.delimiter)
    return shape_batch(reading.table, batch)


def _prepare(reading: Reading, raws: Generator[RawBlock]) -> Generator[tuple[RawBlock, list[pa.Array] | Block]]:
    """Each block with its columns where all of its lines are plain rows, else decoded. Runs ahead of the reader."""
    positions = read_positions(reading.table)
    with closing(raws):
        for raw in raws:
            columns = read_unquoted(raw.data, reading.encoding, reading.table.width, positions, reading.dialect)
            yield raw, decode_block(raw, reading.encoding, reading.what) if columns is None else columns


def _open_table(
    block: Block, expected: Expected, fmt: Format, report: ReadReport, what: str
) -> tuple[Table, Block, int]:
    """The table, the block without the lines up to its header, and the number of the line after the header."""
    if not block.data.strip():
        raise DeliveryRefused(f"{what}：文件是空的。现有数据继续有效；请重新提供。", rule_id="delivery.empty")
    if block.data.startswith(UNDECODABLE):
        raise DeliveryRefused(
            f"{what}：第一行含有无法识别的字节，不是约定的文本文件。现有数据继续有效；请另存为 UTF-8 或 GB18030 的 CSV 后重新提供。",
            rule_id="delivery.encoding",
        )
    dialect = _dialect(fmt)
    if not fmt.header:
        return _without_header(block, expected, fmt, report, what), block, 1
    texts: list[str] = []
    records: list[list[str]] = []
    ends: list[int] = []
    spans: list[int] = []
    comments: list[bool] = []
    offset = 0
    while offset < len(block.data) and len(records) < HEADER_WITHIN:
        text, offset, span = _next_record(block.data, offset, dialect)
        is_comment = bool(dialect.comment) and text.startswith(dialect.comment)
        cells = split_cells(text, dialect)
        texts.append(text)
        records.append([] if is_comment or isinstance(cells, str) else [c or "" for c in cells])
        ends.append(offset)
        spans.append(span)
        comments.append(is_comment)
    found = find_header(expected, fmt.layout, records)
    if found is None:
        refuse_mixed_ends(expected, fmt.layout, texts, dialect, what)
        raise refuse_headless(expected, fmt.layout, what)
    header = records[found]
    if len(header) > MOST_COLUMNS:
        raise DeliveryRefused(
            f"{what}：表头有 {len(header)} 列，超过 {MOST_COLUMNS} 列，不是约定的表格。现有数据继续有效；请删去多余的分隔符后重新提供。",
            rule_id="delivery.too_large",
        )
    if fmt.trailing_delimiter and header[-1].strip():
        header = [*header, ""]  # the cell after the last delimiter has no name and must be empty
    skip(report, "comment", sum(comments[:found]))
    above = [t for t, is_comment in zip(texts[:found], comments, strict=False) if not is_comment]
    table = build_table(expected, fmt.layout, above, header, report, what)
    numbers = itertools.accumulate(spans[:found], initial=1)
    check_above(table, list(zip(numbers, records[:found], strict=False)), report, what)
    rest = Block(block.data[ends[found] :], block.undecodable, block.final, block.unended)
    return table, rest, sum(spans[: found + 1]) + 1


def _without_header(block: Block, expected: Expected, fmt: Format, report: ReadReport, what: str) -> Table:
    """The table of a file without header: the declared columns in the declared order. Raises DeliveryRefused when the
    first line is a header after all: which of its columns is which is then not ours to guess."""
    text, _, _ = _next_record(block.data, 0, _dialect(fmt))
    cells = split_cells(text, _dialect(fmt))
    first = [] if isinstance(cells, str) else [c or "" for c in cells]
    if count_matches(expected, fmt.layout, first) * 2 > len(expected.columns):
        raise DeliveryRefused(
            f"{what}：约定的文件没有表头，但第一行是列名。现有数据继续有效；请去掉表头后重新提供，或在资源目录中登记文件带有表头。",
            rule_id="delivery.structure",
        )
    header = [*expected.columns, *([""] if fmt.trailing_delimiter else [])]
    return build_table(expected, fmt.layout, (), header, report, what)


def _dialect(fmt: Format) -> Dialect:
    return Dialect(fmt.delimiter, fmt.quote, fmt.escape or "", fmt.comment or "")


def _next_record(data: bytes, offset: int, dialect: Dialect) -> tuple[str, int, int]:
    """(text, offset after it, lines) of one record of the lines around the header."""
    start = offset
    for span in range(1, 20):
        end = data.find(b"\n", offset)
        stop = len(data) if end < 0 else end
        offset = stop + 1
        text = data[start:stop].decode().removesuffix("\r")
        if end < 0 or split_cells(text, dialect) not in (UNCLOSED_QUOTE, CONTINUES):
            return text, min(offset, len(data)), span
    first = data.find(b"\n", start)  # no record is that long here: a stray quote in a title
    return data[start:first].decode().removesuffix("\r"), first + 1, 1


# --- one block --------------------------------------------------------------------------------------


def _read_block(reading: Reading, data: bytes, block: Block) -> tuple[pa.RecordBatch | None, bytes]:
    """The rows of a block in file order, and the bytes to be read with the next block."""

    if not data:
        return None, b""
    if not data.endswith(b"\n"):
        data += b"\n"
    if reading.in_footnotes:
        skip_footnotes(reading, data.split(b"\n")[:-1])
        return None, b""
    batch, n, rest = _read_mixed(reading, data, block)
    batch = sift_batch(reading, batch, data)
    reading.line += n
    return batch, rest


def _read_mixed(reading: Reading, data: bytes, block: Block) -> tuple[pa.RecordBatch, int, bytes]:
    """(the rows of a block in which not every line is beyond doubt, lines read, bytes left for the next block)."""
    import numpy as np

    scan = scan_block(data, reading.table.width, reading.dialect)
    rows, taken, rest_from = tokenise_doubtful(reading, data, scan, block)
    if rest_from is not None:
        for lines in (scan.plain, scan.blank, scan.comment):
            lines[rest_from:] = False
    plain = scan.plain & ~taken
    skip(reading.report, "blank", int((scan.blank & ~taken).sum()))
    skip(reading.report, "comment", int((scan.comment & ~taken).sum()))
    names = read_names(reading.table)
    batch = make_batch(names, rows, reading.origin)
    if plain.any():
        positions = read_positions(reading.table)
        columns = read_proven(data, scan, plain, reading.table.width, positions, reading.dialect)
        if columns is None:  # the proof and the reader must agree, else nothing of this file is safe
            raise DeliveryRefused(
                f"{reading.what}：第 {reading.line} 行起的内容无法按约定的格式逐行读出。现有数据继续有效；请重新导出后提供。",
                rule_id="delivery.structure",
            )
        sound = _number_lines(reading, columns, np.flatnonzero(plain))
        batch = _merge(sound, batch) if len(rows) else sound
    if rest_from is None:
        return batch, len(scan.starts), b""
    return batch, rest_from, data[scan.starts[rest_from] :]


def _number_lines(reading: Reading, columns: list[pa.Array], lines: np.ndarray[Any, Any]) -> pa.RecordBatch:
    """Sound rows as a batch; ``lines`` count from the first of the block."""
    import pyarrow as pa

    batch = pa.RecordBatch.from_arrays(columns, names=read_names(reading.table))
    return add_system_columns(batch, reading.origin, pa.array(lines.astype("int64") + reading.line))


def _merge(plain: pa.RecordBatch, others: pa.RecordBatch) -> pa.RecordBatch:
    """Both in the order of their lines."""
    import pyarrow as pa

    if not plain.num_rows:
        return others
    joined = pa.Table.from_batches([plain, others])
    batch: pa.RecordBatch = joined.sort_by("_line").combine_chunks().to_batches()[0]
    return batch
