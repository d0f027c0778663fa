"""One table of an SQL backup (pg_dump, mysqldump and their like) as batches of text: data are read, nothing is executed.

Rows come from ``COPY … FROM stdin`` and from ``INSERT … VALUES`` of the declared table. A value that is no literal sets its
row aside. Every other statement is passed over if it is known to leave the table's rows and columns alone, or doesn't name
the table; else it refuses the file, because what the table held can't be known without executing it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.sources.columns import Expected
from guiji.sources.formats.encoding import half_a_file
from guiji.sources.formats.sql_columns import find_columns, match_columns, read_create
from guiji.sources.formats.sql_head import check_end, find_dialect, find_script_encoding, refuse_packed
from guiji.sources.formats.sql_reading import (
    INSERT,
    Reading,
    check_namesake,
    pass_statement,
    read_meta,
)
from guiji.sources.formats.sql_tables import CREATE
from guiji.sources.formats.sql_text import COLUMNS, NAME, Grammar, SqlText
from guiji.sources.formats.sql_values import (
    Column,
    Unreadable,
    read_copy_cells,
    read_literal,
    tell_instant,
    value_pattern,
)
from guiji.sources.frames import Rows, make_batch
from guiji.structure import ENCODING, NOT_A_LITERAL, RAGGED

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 16384
BATCH_CHARACTERS = 32 << 20
#: how much of a statement is looked at to tell what it is; a list of columns fits
HEAD = 1 << 16

_FLAGS = re.I | re.S
_COPY = re.compile(
    rf"COPY\s+(?P<name>{NAME})\s*(?:{COLUMNS}\s*)?FROM\s+stdin\s*(?P<options>[^;\n]*);[ \t]*(?:\r?\n|\Z)", _FLAGS
)
_DELIMITER = re.compile(r"DELIMITER[ \t]+(\S+)", re.I)
_REMARK = re.compile(r"(?:mysqldump|mariadb-dump|pg_dump(?:all)?)(?:\.exe)?: (?P<said>[^\n]*)")
_WARNING = re.compile(r"\[?(?:Warning|hint|detail|notice)\b", re.I)
_AFTER_ROW = re.compile(r"\s*(?:\*/\s*)?(?:ON\s+CONFLICT\s+DO\s+NOTHING\s*)?", re.I)

#: what the statements of a backup begin with; anything else is a damaged one, which may have held rows
_KNOWN = re.compile(
    r"(?:ALTER|ANALYZE|BEGIN|CALL|CHANGE|CHECK|CLUSTER|COMMENT|COMMIT|COPY|CREATE|DEALLOCATE|DECLARE|DELETE|DELIMITER|"
    r"DISCARD|DO|DROP|END|EXECUTE|EXPLAIN|FLUSH|GRANT|INSERT|INSTALL|LOAD|LOCK|MERGE|NOTIFY|OPTIMIZE|PREPARE|"
    r"REASSIGN|REFRESH|REINDEX|RELEASE|RENAME|REPAIR|REPLACE|RESET|REVOKE|ROLLBACK|SAVEPOINT|SECURITY|SELECT|SET|"
    r"SHOW|START|TRUNCATE|UNLOCK|UPDATE|USE|VACUUM|WITH|XA)\b",
    re.I,
)


def read_sql_dump(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The rows of the declared table; ``_line`` is the line at which a row begins, ``_origin`` is ``file#table``.

    Raises DeliveryRefused for half a file, a table that is not there or there twice, and statements that change rows.
    """
    assert fmt.table is not None
    what = f"文件 {origin}"
    refuse_packed(path, what)
    with path.open("rb") as f:
        head = f.read(HEAD)
    dialect = find_dialect(head, fmt.dialect, what)
    check_end(path, head, what)
    encoding = find_script_encoding(path, head, fmt.encoding, dialect, what)
    grammar = Grammar(dialect, dialect == "mysql", dialect == "mysql")
    sql = SqlText(path, encoding, grammar, what)
    wanted = tuple(fmt.table.split("."))
    reading = Reading(sql, wanted, expected, report, f"{origin}#{fmt.table}", what, encoding)
    batches = _read_all(reading)
    first = next(batches)  # what is wrong with the header is said at once
    return _chain(first, batches)


def _chain(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _read_all(reading: Reading) -> Iterator[pa.RecordBatch]:
    try:
        yield from _read_statements(reading)
    finally:
        reading.sql.close()
    if not reading.found:
        there = "、".join(list(reading.seen)[:8]) + (" 等" if len(reading.seen) > 8 else "")
        raise reading.refuse(
            f"没有表“{'.'.join(reading.wanted)}”" + (f"（有：{there}）" if there else ""),
            "请提供约定的表的备份",
            "missing_table",
        )
    if not reading.matched:  # an empty table: its columns must be right all the same
        match_columns(reading, next(iter(reading.created.values())) if reading.created else [])
    yield _take_batch(reading)


def _read_statements(reading: Reading) -> Iterator[pa.RecordBatch]:
    sql = reading.sql
    while sql.skip_blank():
        sql.need(HEAD)
        text, at = sql.text, sql.at
        if m := _REMARK.match(text, at):
            _pass_remark(reading, m)
            continue
        word = re.match(r"[A-Za-z]+|\\\w*", text[at : at + 20])
        kind = word.group().upper() if word else ""
        if kind.startswith("\\"):
            read_meta(reading)
        elif kind == "DELIMITER" and (m := _DELIMITER.match(text, at)):
            sql.skip_line()
            sql.use(sql.grammar, m[1])
        elif kind == "COPY" and (m := _COPY.match(text, at)):
            yield from _read_copy(reading, m)
        elif kind in ("INSERT", "REPLACE") and (m := INSERT.match(text, at)) and reading.is_wanted(m["name"]):
            yield from _read_insert(reading, m)
        elif kind == "CREATE" and (m := CREATE.match(text, at)) and reading.is_wanted(m["name"]):
            read_create(reading, m)
        elif text.startswith(sql.delimiter, at):  # an empty one
            sql.at += len(sql.delimiter)
        elif not _KNOWN.match(text, at) or (kind in ("INSERT", "REPLACE") and not INSERT.match(text, at)):
            raise reading.refuse_statement("无法识别，文件可能已损坏")
        else:
            pass_statement(reading, kind)


def _pass_remark(reading: Reading, m: re.Match[str]) -> None:
    """What the tool said while it wrote, where somebody sent that into the same file (``2>&1``)."""
    if not _WARNING.match(m["said"]):
        raise reading.refuse(
            f"第 {reading.sql.find_line()} 行是导出程序报告的错误，备份不完整", "请解决该错误后重新导出", "half_a_file"
        )
    reading.sql.skip_line()


# --- rows -------------------------------------------------------------------------------------------


def _add(
    reading: Reading, cells: list[str | None], flaw: str | None, index: dict[str, int], line: int, raw: str
) -> bool:
    """Adds a row; True when a batch is full."""
    chosen = [cells[index[c]] if c in index else None for c in reading.expected.columns]
    _count(reading, flaw, raw)
    if flaw is None:
        reading.rows.add(chosen, line)
    else:
        reading.rows.add_broken(chosen, line, flaw, _show(raw))
    return len(reading.rows) >= BATCH_ROWS or reading.characters >= BATCH_CHARACTERS


def _add_unread(reading: Reading, flaw: str, line: int, raw: str) -> None:
    _count(reading, flaw, raw)
    reading.rows.add_broken([None] * len(reading.expected.columns), line, flaw, _show(raw))


def _count(reading: Reading, flaw: str | None, raw: str) -> None:
    reading.read += 1
    reading.characters += len(raw)
    reading.undecodable += flaw == ENCODING
    if reading.undecodable > max(20, reading.read // 20):
        raise reading.refuse(
            f"文字编码不是 {reading.encoding}，无法正确读出", "请按约定的编码重新导出后提供", "encoding"
        )


def _show(raw: str) -> str:
    return raw.encode("utf-8", "backslashreplace").decode().replace("\x00", "␀")


def _take_batch(reading: Reading) -> pa.RecordBatch:
    batch = make_batch(reading.expected.columns, reading.rows, reading.origin)
    reading.rows, reading.characters = Rows(), 0
    return batch


def _read_copy(reading: Reading, m: re.Match[str]) -> Iterator[pa.RecordBatch]:
    """The lines of a COPY up to ``\\.``; of another table they are passed over."""
    sql = reading.sql
    wanted = reading.is_wanted(m["name"])
    if not wanted:
        check_namesake(reading, m["name"])
        reading.filled.add(reading.find_whole(m["name"]))
    columns: list[Column] = []
    index: dict[str, int] = {}
    if wanted:
        if m["options"].strip():
            raise reading.refuse_statement("（COPY）不是默认的文本格式")
        columns = find_columns(reading, m["name"], m["columns"])
        index = match_columns(reading, columns, reading.find_whole(m["name"]))
    chosen = set(index.values())
    sql.at = m.end()
    line = sql.find_line()
    while True:
        end = sql.text.find("\n", sql.at)
        if end < 0:
            if sql.more():
                continue
            if sql.text[sql.at :].rstrip("\r") == "\\.":
                sql.at = len(sql.text)
                return
            raise half_a_file(reading.what)
        raw = sql.text[sql.at : end].removesuffix("\r")
        sql.at = end + 1
        if raw == "\\.":
            return
        if wanted:
            cells = raw.split("\t")
            if len(cells) != len(columns):
                _add_unread(reading, RAGGED, line, raw)
            elif _add(reading, *read_copy_cells(cells, columns, chosen, reading.encoding), index, line, raw):
                yield _take_batch(reading)
        line += 1


def _read_insert(reading: Reading, m: re.Match[str]) -> Iterator[pa.RecordBatch]:
    """The rows of an INSERT … VALUES."""
    sql = reading.sql
    if not m["values"]:
        raise reading.refuse_statement("不是直接写出的数据（INSERT … VALUES）")
    columns = find_columns(reading, m["name"], m["columns"])
    index = match_columns(reading, columns, reading.find_whole(m["name"]))
    sql.at = m.end()
    while True:
        _read_row(reading, columns, index)
        if reading.characters >= BATCH_CHARACTERS or len(reading.rows) >= BATCH_ROWS:
            yield _take_batch(reading)
        if _is_last_row(reading):
            return


def _read_row(reading: Reading, columns: list[Column], index: dict[str, int]) -> None:
    """Adds the row whose parenthesis opens at the place of reading, and goes behind it."""
    sql = reading.sql
    pattern = value_pattern(sql.grammar)
    chosen = set(index.values())
    while True:
        text, at = sql.text, sql.at + 1
        cells: list[str | None] = []
        flaw = None
        m = None
        for i, column in enumerate(columns):
            m = pattern.match(text, at)
            if m is None:
                break
            at = m.end()
            cell = None
            try:
                if i in chosen:
                    cell = _tell_instant(reading, column, read_literal(m, column, sql.grammar, reading.encoding))
            except Unreadable as exc:
                flaw = flaw or str(exc.args[0])
            cells.append(cell)
            if m["end"] == ")":
                break
        if cells and text[at - 1] == ")" and m is not None:
            if len(cells) == len(columns):
                _add(reading, cells, flaw, index, sql.find_line(), text[sql.at : at])
            else:
                _add_unread(reading, RAGGED, sql.find_line(), text[sql.at : at])
            sql.at = at
            return
        if (end := sql.find_row_end()) is not None:
            ragged = m is not None and m["end"] == ","  # more values than columns
            _add_unread(reading, RAGGED if ragged else NOT_A_LITERAL, sql.find_line(), text[sql.at : end])
            sql.at = end
            return
        if not sql.more():
            raise half_a_file(reading.what)


def _tell_instant(reading: Reading, column: Column, cell: str | None) -> str | None:
    """The cell; a TIMESTAMP of MySQL in the resource's zone. Raises DeliveryRefused where it may be one or not."""
    zone = reading.sql.grammar.zone
    if zone is None or cell is None or (column.kind and not column.is_instant):
        return cell
    told = tell_instant(cell, zone, reading.expected.zone)
    if told != cell and not column.is_instant:
        raise reading.refuse(
            f"第 {reading.sql.find_line()} 行的“{column.name}”是时间，文件中没有建表语句写明它的类型，看不出它是不是按备份写明的时区写的",
            "请连同建表语句导出（mysqldump 不加 -t），或加 --skip-tz-utc 后重新导出",
        )
    return told


def _is_last_row(reading: Reading) -> bool:
    """Goes to the next row's parenthesis, or behind the statement's end."""
    sql = reading.sql
    sql.need(64)
    if sql.text.startswith(",(", sql.at):
        sql.at += 1
        return False
    m = _AFTER_ROW.match(sql.text, sql.at)
    assert m is not None
    sql.at = m.end()
    if not sql.skip_blank():
        raise half_a_file(reading.what)
    if sql.text.startswith(sql.delimiter, sql.at):
        sql.at += len(sql.delimiter)
        return True
    if sql.text[sql.at] == ",":
        sql.at += 1
        if sql.skip_blank() and sql.text[sql.at] == "(":
            return False
    raise reading.refuse_statement("除数据外还有其他内容")
