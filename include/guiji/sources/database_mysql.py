"""MySQL and MariaDB: the rows of a running query as columns of text, read off the wire in blocks.

PyMySQL logs in, sends the query and reads the description of the columns; its loop over the rows (20 seconds for a
million of eleven columns) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.database_mysql_latin1 import latin1_encoding, read_latin1
from guiji.sources.database_mysql_rows import BrokenProtocol, PacketBuffer, RowTooLong, split_cells, to_hex
from guiji.structure import ENCODING, GARBLED

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.sources.database_session import RowSession
    from guiji.sources.dialects.base import Statement

_READ_BYTES = 1 << 20
_BLOCK_BYTES = 8 << 20


def stream_cells(
    session: RowSession, statement: Statement, kinds: Sequence[str], names: Sequence[str]
) -> Iterator[tuple[Sequence[pa.Array], pa.Array | None]]:
    """(columns, structural flaws) of the statement's rows, a block at a time.

    Where the statement selects one column more than ``kinds``, it says which rows the server could not convert.
    """
    from pymysql.cursors import SSCursor

    from guiji.sources.database_session import translated

    reading, connection = session.reading, session.connection
    latin1 = latin1_encoding(reading.connection)
    with translated(reading):
        cursor = session.run(statement, connection.cursor(SSCursor))
        result = connection._result
        result.unbuffered_active, result.connection = False, None  # from here on the rows are ours to read
        binary = [encoding is None for encoding, _ in result.converters]
    buffer = PacketBuffer(connection._next_seq_id)
    finished = False
    try:
        while not finished or buffer.rows:
            with translated(reading):
                finished = finished or _fill(connection, buffer, reading.source.chunk_rows)
                if finished:
                    _check_end(buffer.tail)
            while buffer.rows >= (1 if finished else reading.source.chunk_rows) or (
                buffer.rows and buffer.size >= _BLOCK_BYTES
            ):
                cells = split_cells(buffer.cut(reading.source.chunk_rows), len(binary))
                yield _shape(cells, binary, kinds, latin1)
    except RowTooLong:
        raise DeliveryRefused(
            f"{reading.what}：有一行超过 128 MB，无法采集。现有数据继续有效；请把该行的大字段改为文件方式提供。",
            rule_id="delivery.too_large",
            connection=reading.connection.conn_id,
        ) from None
    except BrokenProtocol as exc:
        with translated(reading):
            raise OSError(f"the server's answer can't be read: {exc}") from None
    finally:
        if buffer.tail is None:
            connection._force_close()  # else closing would wait for all the rows that nobody wants
        cursor.close()


def _fill(connection: Any, buffer: PacketBuffer, rows: int) -> bool:
    """Reads until a block is there (False) or the rows have ended (True)."""
    from pymysql import err
    from pymysql.constants import CR

    while buffer.tail is None:
        if buffer.rows >= rows or (buffer.rows and buffer.size >= _BLOCK_BYTES):
            return False
        data = connection._rfile.read1(_READ_BYTES)
        if not data:
            raise err.OperationalError(CR.CR_SERVER_LOST, "Lost connection to MySQL server during query")
        buffer.feed(data)
    return True


def _check_end(tail: bytes | None) -> None:
    from pymysql import err

    if tail is not None and tail[0] == 0xFF:
        err.raise_mysql_exception(tail)


def _shape(
    cells: list[pa.BinaryArray], binary: Sequence[bool], kinds: Sequence[str], latin1: str | None
) -> tuple[list[pa.Array], pa.Array | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: list[pa.Array] = []
    broken = None
    for column, is_binary, kind in zip(cells, binary, kinds, strict=False):
        if is_binary:
            columns.append(to_hex(column))
            continue
        try:
            text = column.cast(pa.string())
        except pa.ArrowInvalid:
            text, wrong = _decode(column)
            broken = _mark(broken, wrong, ENCODING)
        if kind.endswith("/latin1"):
            text, doubtful = read_latin1(text, latin1)
            if doubtful is not None:
                broken = _mark(broken, doubtful, GARBLED)
        columns.append(_write_single(text) if kind == "float" else text)
    if len(cells) > len(kinds):
        lossy = pc.fill_null(pc.equal(cells[-1], pa.scalar(b"1", pa.binary())), False)
        if pc.any(lossy).as_py():
            broken = _mark(broken, lossy, GARBLED)
    return columns, broken


def _decode(column: pa.BinaryArray) -> tuple[pa.StringArray, pa.BooleanArray]:
    """Texts, null where the bytes are not UTF-8; and where that is."""
    import pyarrow as pa

    texts: list[str | None] = []
    wrong: list[bool] = []
    for value in column.to_pylist():
        try:
            texts.append(None if value is None else value.decode())
            wrong.append(False)
        except UnicodeDecodeError:
            texts.append(None)
            wrong.append(True)
    return pa.array(texts, pa.string()), pa.array(wrong)


def _mark(broken: pa.Array | None, wrong: pa.BooleanArray, rule_id: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    before = pa.nulls(len(wrong), pa.string()) if broken is None else broken
    return pc.if_else(pc.and_(wrong, pc.is_null(before)), pa.scalar(rule_id), before)


def _write_single(text: pa.StringArray) -> pa.StringArray:
    """A single-precision number, which came as a double, with the digits that it has."""
    import pyarrow as pa

    single = text.cast(pa.float64()).cast(pa.float32())
    return single.cast(pa.string())
