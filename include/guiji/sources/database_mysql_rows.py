"""Rows of MySQL's text protocol as columns: whole blocks of packets at a time, without a Python object per cell.

A row is one packet: a header of three bytes of length and one of sequence, then a length-encoded text per column
(a first byte of 251 is NULL; 252, 253 and 254 announce a length of 2, 3 and 8 bytes). Only the packets are walked one
by one; the cells of all rows of a block are located column by column and copied by Arrow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: a packet this long goes on in the next one
LONGEST_PACKET = 0xFFFFFF
#: a longer row is refused before it fills the memory
LONGEST_ROW = 128 << 20
_HEADER = Struct("<I")
_NULL = 251
_WIDTHS = {252: 2, 253: 3, 254: 8}
#: so that the length of a cell may be read at once wherever a block ends
_PADDING = bytes(16)


class BrokenProtocol(Exception):
    """What came is no sequence of rows: nothing of it can be believed."""


class RowTooLong(Exception):
    """A row is longer than ``LONGEST_ROW``."""


@dataclass(frozen=True)
class Block:
    """Whole rows as the server sent them: ``data`` is padded, row i lies between ``starts[i]`` and ``ends[i]``."""

    data: bytes
    starts: np.ndarray[Any, Any]
    ends: np.ndarray[Any, Any]


@dataclass
class PacketBuffer:
    """Bytes as they come from the server, and the rows found in them.

    ``tail`` is the packet that ended the rows (EOF or an error of the server), None while rows may follow.
    """

    sequence: int  # number that the next packet must carry
    data: bytearray = field(default_factory=bytearray)
    tail: bytes | None = None
    _starts: list[int] = field(default_factory=list)  # of the rows' payloads
    _walked: int = 0  # end of the last whole packet

    @property
    def rows(self) -> int:
        return len(self._starts)

    @property
    def size(self) -> int:
        return len(self.data)

    def feed(self, data: bytes) -> None:
        """Adds what was read. Raises BrokenProtocol for a packet out of turn, RowTooLong."""
        buffer = self.data
        buffer += data
        position, size, sequence = self._walked, len(buffer), self.sequence
        starts = self._starts
        unpack = _HEADER.unpack_from
        while position + 4 <= size:
            header = unpack(buffer, position)[0]
            length = header & LONGEST_PACKET
            end = position + 4 + length
            if end > size:
                break
            if header >> 24 != sequence:
                raise BrokenProtocol(f"packet {header >> 24} came where {sequence} was due")
            if length == LONGEST_PACKET:
                packets = self._join(position)
                if not packets:
                    if size - position > LONGEST_ROW:
                        raise RowTooLong
                    break
                size = len(buffer)
                end = self._walked
                sequence = (sequence + packets) & 255
            else:
                sequence = (sequence + 1) & 255
            starts.append(position + 4)
            position = end
        self._walked, self.sequence = position, sequence
        if starts and position == size:
            self._take_tail()

    def _join(self, first: int) -> int:
        """Makes one payload of the packets from ``first`` on, up to ``_walked``; their number, 0 while some lack."""
        headers = []
        position = first
        while True:
            if position + 4 > len(self.data):
                return 0
            header = _HEADER.unpack_from(self.data, position)[0]
            length = header & LONGEST_PACKET
            if position + 4 + length > len(self.data):
                return 0
            headers.append(position)
            position += 4 + length
            if length < LONGEST_PACKET:
                break
        if position - first > LONGEST_ROW:
            raise RowTooLong
        sequence = self.data[first + 3]
        for i, header in reversed(list(enumerate(headers[1:], 1))):
            if self.data[header + 3] != (sequence + i) & 255:
                raise BrokenProtocol(f"packet {self.data[header + 3]} came inside a row")
            del self.data[header : header + 4]
        self._walked = position - 4 * (len(headers) - 1)
        return len(headers)

    def _take_tail(self) -> None:
        """Nothing follows the packet that ends the rows, so only the last one can be it."""
        start, end = self._starts[-1], self._walked
        if start < end and (self.data[start] == 0xFF or (self.data[start] == 0xFE and end - start < 9)):
            self.tail = bytes(self.data[start:end])
            self._starts.pop()
            self._walked = start - 4
            del self.data[start - 4 :]

    def cut(self, most: int) -> Block:
        """The first rows, at most ``most`` of them, taken out of the buffer."""
        import numpy as np

        starts = np.array(self._starts[: most + 1], np.int64)
        after = self._walked if len(starts) <= most else int(starts[-1]) - 4
        starts = starts[:most]
        ends = np.append(starts[1:] - 4, after) if len(starts) else starts
        data = bytes(memoryview(self.data)[:after]) + _PADDING
        del self.data[:after]
        self._starts = [s - after for s in self._starts[most:]]
        self._walked -= after
        return Block(data, starts, ends)


def split_cells(block: Block, width: int) -> list[pa.BinaryArray]:
    """One binary array per column. Raises BrokenProtocol where a row has not just ``width`` cells."""
    import numpy as np
    import pyarrow as pa

    rows = len(block.starts)
    if not rows:
        return [pa.array([], pa.binary()) for _ in range(width)]
    buffer = np.frombuffer(block.data, np.uint8)
    last = len(block.data) - len(_PADDING)
    position = block.starts
    bounds = np.empty((rows, width, 2), np.int32)
    nulls: list[Any] = []
    for column in range(width):
        first = buffer[position]
        start = position + 1
        length = first.astype(np.int64)
        null = None
        if first.max() >= _NULL:
            null = first == _NULL
            length[null] = 0
            for mark, size in _WIDTHS.items():
                at = np.flatnonzero(first == mark)
                if len(at):
                    length[at] = _read_lengths(buffer, start[at], size)
                    start[at] += size
            if first.max() == 255 or length.min() < 0 or length.max() > last:
                raise BrokenProtocol("a cell has an impossible length")
        position = start + length
        if position.max() > last:
            raise BrokenProtocol("a cell ends beyond its block")
        bounds[:, column, 0] = start
        bounds[:, column, 1] = position
        nulls.append(null)
    if not np.array_equal(position, block.ends):
        raise BrokenProtocol("a row has more or fewer cells than columns")
    # every second slot of this array is a cell, those between are headers and length bytes
    cells = pa.Array.from_buffers(
        pa.binary(), 2 * rows * width - 1, [None, pa.py_buffer(bounds.ravel()), pa.py_buffer(block.data)]
    )
    step = np.arange(rows, dtype=np.int64) * (2 * width)
    return [cells.take(pa.array(step + 2 * column, mask=null)) for column, null in enumerate(nulls)]


def _read_lengths(buffer: np.ndarray[Any, Any], at: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Little-endian numbers of ``size`` bytes; the padding makes the bytes be there."""
    import numpy as np

    length = np.zeros(len(at), np.int64)
    for i in range(size):
        length |= buffer[at + i].astype(np.int64) << (8 * i)
    return length


def to_hex(cells: pa.BinaryArray) -> pa.StringArray:
    """Bytes as hexadecimal digits."""
    import numpy as np
    import pyarrow as pa

    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    _, offsets, data = cells.buffers()
    bounds = np.frombuffer(offsets, np.int32)[cells.offset : cells.offset + len(cells) + 1]
    source = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]] if data is not None else np.empty(0, np.uint8)
    written = np.empty(2 * len(source), np.uint8)
    written[0::2] = digits[source >> 4]
    written[1::2] = digits[source & 15]
    doubled = ((bounds - bounds[0]).astype(np.int64) * 2).astype(np.int32)
    valid = cells.is_valid()
    texts = pa.Array.from_buffers(pa.string(), len(cells), [None, pa.py_buffer(doubled), pa.py_buffer(written)])
    import pyarrow.compute as pc

    return pc.if_else(valid, texts, pa.scalar(None, pa.string())) if cells.null_count else texts
