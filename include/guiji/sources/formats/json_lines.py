"""JSON lines as batches of text, a block at a time: a record per line, a broken line is set aside alone.

The file is read twice: first for the names of its records and for its end, then for its rows. A last line that is cut
refuses the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.formats.encoding import UNDECODABLE, detect_encoding, half_a_file, read_blocks
from guiji.sources.formats.json import MOST_KEYS, Undecodable, match_keys, parse_json, read_json, record_batch
from guiji.sources.formats.json_columns import demand_record
from guiji.sources.formats.json_stream import MOST_VALUES
from guiji.sources.formats.layout import skip

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 16384
BATCH_CHARACTERS = 8 << 20


def read_json_lines(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The records of a file of JSON lines; ``_line`` is the number of the line. Where none is a record by itself, the
    file is JSON written otherwise (``read_json``).

    Raises DeliveryRefused for a cut last line, a file without one sound record, and keys against the contract.
    """
    what = f"文件 {origin}"
    encoding = detect_encoding(path, fmt.encoding, what)
    keys: dict[str, None] = {}
    first: dict[str, Any] = {}
    lines = sound = blank = 0
    broke_off = False
    for _, record, is_cut in _read_lines(path, encoding, what):
        lines += 1
        if record is None:
            blank += 1
        elif isinstance(record, dict):
            sound += 1
            first = first or record
            keys.update(dict.fromkeys(record))
            if len(keys) > MOST_KEYS:
                raise _refuse(what, f"有超过 {MOST_KEYS} 种数据项", "too_large")
        elif is_cut:
            broke_off = True
    if not sound and lines > blank:
        return read_json(path, origin, expected, fmt, report)
    if not sound:
        raise _refuse(what, "文件是空的", "empty")
    if broke_off:
        raise half_a_file(what)
    skip(report, "blank", blank)
    if sound == 1:
        demand_record(first, expected, what)
    match = match_keys(keys, expected, report, what)
    return _generate(path, encoding, origin, expected, match, what)


def _refuse(what: str, why: str, rule: str = "structure") -> DeliveryRefused:
    return DeliveryRefused(f"{what}：{why}。现有数据继续有效；请重新导出后提供。", rule_id=f"delivery.{rule}")


def _generate(
    path: Path, encoding: str, origin: str, expected: Expected, match: dict[str, str], what: str
) -> Iterator[pa.RecordBatch]:
    chunk: list[tuple[int, Any]] = []
    characters = 0
    for number, record, length in _number(path, encoding, what):
        chunk.append((number, record))
        characters += length
        if len(chunk) >= BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield record_batch(chunk, origin, expected, match)
            chunk, characters = [], 0
    yield record_batch(chunk, origin, expected, match)


def _number(path: Path, encoding: str, what: str) -> Iterator[tuple[int, Any, int]]:
    for number, (length, record, _) in enumerate(_read_lines(path, encoding, what), start=1):
        if record is not None:
            yield number, record, length


def _read_lines(path: Path, encoding: str, what: str) -> Iterator[tuple[int, Any, bool]]:
    """(length, what a line holds, whether the file ends with it, without a line end); None for a blank line, the text
    of a line that is no JSON."""
    number = 0
    for block in read_blocks(path, encoding, what):
        lines = block.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for i, line in enumerate(lines):
            is_cut = block.final and block.unended and i == len(lines) - 1
            number += 1
            if len(line) > MOST_VALUES and line.count(b",") > MOST_VALUES:
                raise _refuse(what, f"第 {number:,} 行有超过 {MOST_VALUES:,} 个值", "too_large")
            if not line.strip():
                yield 0, None, False
            elif line.startswith(UNDECODABLE):
                yield len(line), Undecodable(block.undecodable[int(line.removeprefix(UNDECODABLE))]), is_cut
            else:
                yield len(line), _parse(line.decode()), is_cut


def _parse(line: str) -> Any:
    try:
        record = parse_json(line)
    except (ValueError, RecursionError):
        return line
    return record if isinstance(record, dict) else line
