"""Columns that MySQL takes for Latin-1 and that hold Chinese: an old program wrote the bytes of GBK or UTF-8 into them.

The server turns every byte into a letter, so nothing is lost, but 张三 comes as ÕÅÈý. What the bytes are is declared once
for the connection (``extra.latin1_encoding``: gb18030, utf-8, or latin-1 where the letters are meant). Where nobody says,
a text that is Chinese as well is set aside: of single characters (镕, éF) nobody can tell by looking at them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.connections import Connection

_ENCODINGS = ("gb18030", "utf-8", "latin-1")
#: what MySQL calls latin1 is Windows-1252, with a control character for each byte that has no letter
_BYTES = {ord(bytes([b]).decode("cp1252", "ignore") or chr(b)): b for b in range(256)}


def latin1_encoding(connection: Connection) -> str | None:
    """What the connection says of its Latin-1 columns. Raises UsageError for another word than those above."""
    said = connection.extra.get("latin1_encoding")
    if said is None or said in _ENCODINGS:
        return said
    raise UsageError(
        f"Connection {connection.conn_id}: extra.latin1_encoding is {said!r}; allowed are {', '.join(_ENCODINGS)}. Nothing "
        "was read; correct the connection.",
        connection=connection.conn_id,
    )


def read_latin1(texts: pa.StringArray, encoding: str | None) -> tuple[pa.StringArray, pa.BooleanArray | None]:
    """The texts as they were meant, and where that can't be told; None where it can everywhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if encoding == "latin-1":
        return texts, None
    foreign = pc.fill_null(pc.not_equal(pc.binary_length(texts), pc.utf8_length(texts)), False)
    if not pc.any(foreign).as_py():
        return texts, None
    found = [_decode(t, encoding) if t else None for t in pc.if_else(foreign, texts, None).to_pylist()]
    meant = pa.array(found, pa.string())
    wrong = pc.and_(foreign, pc.is_null(meant))
    return pc.if_else(foreign, meant, texts), wrong


def _decode(text: str, encoding: str | None) -> str | None:
    raw = bytes(_BYTES.get(ord(c), 63) for c in text)
    for one in (encoding,) if encoding else ("utf-8", "gb18030"):
        try:
            meant = raw.decode(one)
        except UnicodeDecodeError:
            continue
        return meant if encoding else None
    return None if encoding else text
