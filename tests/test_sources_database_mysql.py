"""MariaDB's rows off the wire: every cell is what the server holds, whatever its length, type and character set."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from delivering import make_resource, open_at, plain_settings, rows_of
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from guiji.catalog.models import Resource
from guiji.connections import Connection
from guiji.errors import SourceUnavailable
from guiji.records import Delivery
from guiji.settings import Settings
from guiji.sources.database import BatchStream
from guiji.sources.database_mysql_rows import (
    LONGEST_PACKET,
    LONGEST_ROW,
    Block,
    BrokenProtocol,
    PacketBuffer,
    RowTooLong,
    split_cells,
    to_hex,
)
from guiji.sources.dialects import mysql

Row = tuple[bytes | None, ...]


# --- the wire -------------------------------------------------------------------------------------------


def write_cell(cell: bytes | None) -> bytes:
    """MySQL's length-encoded string, as its protocol's documentation has it."""
    if cell is None:
        return b"\xfb"
    n = len(cell)
    if n < 251:
        return bytes([n]) + cell
    if n < 1 << 16:
        return b"\xfc" + n.to_bytes(2, "little") + cell
    if n < 1 << 24:
        return b"\xfd" + n.to_bytes(3, "little") + cell
    return b"\xfe" + n.to_bytes(8, "little") + cell


def write_packets(payloads: Sequence[bytes], sequence: int) -> bytes:
    out = []
    for payload in payloads:
        while True:
            piece, payload = payload[:LONGEST_PACKET], payload[LONGEST_PACKET:]
            out.append(len(piece).to_bytes(3, "little") + bytes([sequence % 256]) + piece)
            sequence += 1
            if len(piece) < LONGEST_PACKET:
                break
    return b"".join(out)


EOF = b"\xfe\x00\x00\x02\x00"


def send(rows: Sequence[Row], sequence: int = 5, end: bytes = EOF) -> bytes:
    return write_packets([b"".join(map(write_cell, row)) for row in rows] + [end], sequence)


def receive(sent: bytes, width: int, *, piece: int, most: int, sequence: int = 5) -> tuple[list[Row], PacketBuffer]:
    """The rows, fed and cut in pieces."""
    buffer = PacketBuffer(sequence)
    rows: list[Row] = []
    for at in range(0, len(sent), piece):
        assert buffer.tail is None, "nothing may follow the end"
        buffer.feed(sent[at : at + piece])
        while buffer.rows > most or (buffer.tail is not None and buffer.rows):
            columns = split_cells(buffer.cut(most), width)
            rows += zip(*(c.to_pylist() for c in columns), strict=True)
    return rows, buffer


cells = st.none() | st.binary(max_size=6) | st.integers(248, 256).map(bytes) | st.just(b"\xfe" * 8)


@hypothesis_settings(max_examples=80, deadline=None)
@given(st.data())
def test_rows_come_back_however_they_are_cut(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.tuples(*[cells] * width), max_size=12))
    first = data.draw(st.integers(0, 255))
    found, buffer = receive(
        send(rows, first),
        width,
        piece=data.draw(st.integers(1, 400)),
        most=data.draw(st.integers(1, 13)),
        sequence=first,
    )
    assert (found, buffer.tail, buffer.size) == (rows, EOF, 0)


@pytest.mark.parametrize(
    "length", [250, 251, 252, 65535, 65536, LONGEST_PACKET - 4, LONGEST_PACKET - 5, LONGEST_PACKET]
)
def test_lengths_at_every_border(length: int) -> None:
    rows: list[Row] = [(b"x" * length, None), (b"", b"y" * length)]
    found, _ = receive(send(rows, 254), 2, piece=1 << 20, most=1, sequence=254)
    assert found == rows


def test_a_row_over_three_packets_comes_in_one_piece() -> None:
    rows: list[Row] = [(b"a",), (b"xy" * LONGEST_PACKET,), (b"b",)]
    found, buffer = receive(send(rows), 1, piece=3 << 20, most=100)
    assert (found, buffer.tail) == (rows, EOF)


def test_a_row_beyond_the_limit_is_refused_before_it_fills_the_memory() -> None:
    buffer = PacketBuffer(0)

    def feed() -> None:
        for number in range(20):
            buffer.feed(LONGEST_PACKET.to_bytes(3, "little") + bytes([number]) + bytes(LONGEST_PACKET))

    with pytest.raises(RowTooLong):
        feed()
    assert buffer.size < LONGEST_ROW + 2 * LONGEST_PACKET


@pytest.mark.parametrize("first", [b"\xff", b"\xfe"])
def test_an_error_or_end_is_told_from_a_row(first: bytes) -> None:
    _, buffer = receive(send([(b"1",)], end=first + b"\x15\x04#28000"[:7]), 1, piece=7, most=9)
    assert buffer.tail is not None
    assert buffer.tail[:1] == first


def test_a_packet_out_of_turn_breaks_off() -> None:
    with pytest.raises(BrokenProtocol):
        PacketBuffer(5).feed(send([(b"1",)], 6))
    long = bytearray(send([(b"x" * LONGEST_PACKET,)], 5))
    long[4 + LONGEST_PACKET + 3] = 99
    with pytest.raises(BrokenProtocol):
        PacketBuffer(5).feed(bytes(long))


@pytest.mark.parametrize(
    "row", [b"\x01a", b"\x01a\x01b\x01c", b"\x01a\x05b", b"\xff", b"\xfe" + b"\xff" * 8, b"\x01a\xfd\xff\xff\xff"]
)
def test_rows_that_do_not_fit_break_off(row: bytes) -> None:
    buffer = PacketBuffer(0)
    buffer.feed(write_packets([b"\x01a\x01b", row + b"" if row[0] != 0xFF else b"\x01a\xff", b"\x01a\x01b"], 0))
    with pytest.raises(BrokenProtocol):
        split_cells(buffer.cut(9), 2)


@given(st.lists(st.none() | st.binary(max_size=5), max_size=8))
def test_hexadecimal_digits(values: list[bytes | None]) -> None:
    import pyarrow as pa

    array = pa.array([b"skipped", *values], pa.binary()).slice(1)
    assert to_hex(array).to_pylist() == [None if v is None else v.hex() for v in values]


def test_no_rows_are_columns_without_rows() -> None:
    import numpy as np

    assert [len(c) for c in split_cells(Block(b"", np.array([], np.int64), np.array([], np.int64)), 3)] == [0, 0, 0]


# --- a real server --------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


class Maria:
    """The department's MariaDB: ``run`` fills it, ``connection`` is ``fep``."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.engine = sa.create_engine(server.admin_url)

    def run(self, *statements: str | tuple[str, list[tuple[Any, ...]]]) -> None:
        with self.engine.begin() as conn:
            for statement in statements:
                if isinstance(statement, tuple):
                    conn.exec_driver_sql(*statement)
                else:
                    conn.exec_driver_sql(statement.replace("%", "%%"))

    def scalar(self, statement: str) -> Any:
        with self.engine.connect() as conn:
            return conn.exec_driver_sql(statement).scalar()


@pytest.fixture
def maria(mariadb_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maria]:
    s = mariadb_server
    plain = Connection(s.conn_id, s.conn_type, s.host, s.port, s.login, s.password, s.schema)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", plain.to_json())
    maria = Maria(s)
    yield maria
    maria.engine.dispose()


def drop(delivery: Delivery) -> None:
    """Lets go of a delivery that was not read to its end."""
    assert isinstance(delivery.batches, BatchStream)
    delivery.batches.close()


def table(*columns: str, **source: Any) -> Resource:
    return make_resource({"kind": "database", "connection": "fep", "table": "t", **source}, columns)


AWKWARD = [
    "", " ", "\\", "\\N", "\t", "a\tb", "\n", "\r\n", "\x00", "'", '"', "`", "%s", "NULL", "𠮷", "䶮", "😀", "é", "\ufeff",
    "\u200b", "x" * 250, "x" * 251, "张" * 100, "0000-00-00", "\x1a",
]  # fmt: skip


@pytest.mark.parametrize("chunk_rows", [3, 65536])
def test_texts_come_back_whatever_they_hold(maria: Maria, place: Settings, tmp_path: Path, chunk_rows: int) -> None:
    rows = [(i, text, text or None) for i, text in enumerate(AWKWARD)]
    maria.run(
        "CREATE TABLE t (id int, a varchar(400), b longtext) CHARACTER SET utf8mb4",
        ("INSERT INTO t VALUES (%s, %s, %s)", rows),
    )
    found = rows_of(open_at(table("id", "a", "b", chunk_rows=chunk_rows), place, tmp_path))
    assert sorted(found, key=lambda r: int(r[0])) == [(str(i), a, b) for i, a, b in rows]


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts), max_size=6))
def test_any_table_of_text(maria: Maria, place: Settings, tmp_path: Path, rows: list[tuple[str | None, ...]]) -> None:
    maria.run("CREATE OR REPLACE TABLE t (id int, a text, b text)")
    if rows:
        maria.run(("INSERT INTO t VALUES (%s, %s, %s)", [(i, *row) for i, row in enumerate(rows)]))
    found = rows_of(open_at(table("id", "a", "b"), place, tmp_path))
    assert sorted(found) == sorted((str(i), *row) for i, row in enumerate(rows))


def test_f24_f25_every_type_is_exact_text(maria: Maria, place: Settings, tmp_path: Path) -> None:
    values = {
        "bigint unsigned": ("18446744073709551615", "18446744073709551615"),
        "bigint": ("-9223372036854775808", "-9223372036854775808"),
        "int(8) zerofill": ("42", "00000042"),
        "decimal(65,30)": ("12345678901234567890123456789012345.123456789012345678901234567890",) * 2,
        "double": ("0.1", "0.1"),
        "float": ("116.397128", "116.397125"),
        "float(9,4)": ("116.3971", "116.3971"),
        "float ": ("16777216", "16777216"),
        "bit(1)": ("b'1'", "1"),
        "bit(64)": ("18446744073709551615", "18446744073709551615"),
        "boolean": ("true", "1"),
        "binary(3)": ("x'00ff41'", "00ff41"),
        "varbinary(9)": ("x''", ""),
        "blob": ("x'DEADBEEF'", "deadbeef"),
        "date": ("'0000-00-00'", "0000-00-00"),
        "date ": ("'2022-11-00'", "2022-11-00"),
        "datetime(6)": ("'2022-11-00 20:59:22.000001'", "2022-11-00 20:59:22.000001"),
        "timestamp": ("'0000-00-00 00:00:00'", "0000-00-00 00:00:00"),
        "time(3)": ("'-838:59:59.5'", "-838:59:59.500"),
        "year": ("'0000'", "0000"),
        "enum('甲','乙')": ("'乙'", "乙"),
        "set('a','b')": ("'a,b'", "a,b"),
        "json": ("'{\"k\": [1, null]}'", '{"k": [1, null]}'),
        "char(5)": ("'ab'", "ab"),
        "uuid": ("'123e4567-e89b-12d3-a456-426614174000'", "123e4567-e89b-12d3-a456-426614174000"),
        "inet6": ("'::1'", "::1"),
        "point": ("POINT(116.397128, 39.9)", "POINT(116.397128 39.9)"),
    }
    names = [f"c{i}" for i in range(len(values))]
    columns = ", ".join(
        f"{n} {kind}{' NULL' if 'stamp' in kind else ''}" for n, kind in zip(names, values, strict=True)
    )
    maria.run(
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
        f"CREATE TABLE t ({columns})",
        f"INSERT INTO t VALUES ({', '.join(given for given, _ in values.values())})",
        f"INSERT INTO t VALUES ({', '.join(['NULL'] * len(values))})",
    )
    first, second = rows_of(open_at(table(*names), place, tmp_path))
    assert dict(zip(values, first, strict=True)) == {kind: wanted for kind, (_, wanted) in values.items()}
    assert second == (None,) * len(values)


def test_f37_tables_in_gbk_are_read_and_what_has_no_character_is_set_aside(
    maria: Maria, place: Settings, tmp_path: Path
) -> None:
    maria.run(
        "CREATE TABLE t (id int, a varchar(20), b varchar(20) CHARACTER SET utf8mb4) CHARACTER SET gbk",
        ("INSERT INTO t VALUES (%s, %s, %s)", [(1, "张三丰", "𠮷"), (2, None, "?"), (3, "?", None), (4, "", "")]),
        "INSERT INTO t VALUES (5, x'A2A0', 'b')",  # a place of the GBK table without a character
    )
    assert maria.scalar("SELECT a FROM t WHERE id = 5") == "?"
    rows = [r for b in open_at(table("id", "a", "b"), place, tmp_path).batches for r in b.to_pylist()]
    assert [(r["id"], r["a"], r["b"], r["_broken"]) for r in rows] == [
        ("1", "张三丰", "𠮷", None),
        ("2", None, "?", None),
        ("3", "?", None, None),
        ("4", "", "", None),
        ("5", "?", "b", "structure.garbled"),
    ]


@pytest.mark.parametrize("charset", ["gb2312", "big5", "latin1"])
def test_other_character_sets(maria: Maria, place: Settings, tmp_path: Path, charset: str) -> None:
    text = "caf\xe9" if charset == "latin1" else "中文"
    maria.run(
        f"CREATE TABLE t (id int, a varchar(20)) CHARACTER SET {charset}",
        ("INSERT INTO t VALUES (%s, %s)", [(1, text), (2, None)]),
    )
    assert rows_of(open_at(table("id", "a"), place, tmp_path)) == [("1", text), ("2", None)]


def test_a_server_that_stands_mute_holds_nobody(
    place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql, "LOGIN_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = Connection("fep", "mysql", "127.0.0.1", mute.getsockname()[1], "u", "p", "d")
        monkeypatch.setenv("AIRFLOW_CONN_FEP", silent.to_json())
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match="timed out"):
            open_at(table("id"), place, tmp_path)
        assert time.monotonic() - began < 30  # the department's statements may take sixty


@pytest.mark.parametrize("said", [None, "gb18030", "utf-8", "latin-1"])
def test_f37_chinese_in_a_latin1_column_is_what_the_connection_says_or_set_aside(
    maria: Maria, place: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    gbk = {"1": "张三", "2": "镕", "3": "a男b", "4": "䶮"}
    utf8 = {"5": "张三", "6": "𠮷"}
    plain = {"7": "abc", "8": "", "9": None}
    letters = {"10": "café", "11": "é", "12": "€"}
    maria.run("CREATE TABLE t (id int, a varchar(40)) CHARACTER SET latin1")
    for encoding, values in (("gb18030", gbk), ("utf-8", utf8), ("cp1252", plain | letters)):
        for key, text in values.items():
            maria.run(
                f"INSERT INTO t VALUES ({key}, {'NULL' if text is None else repr(text.encode(encoding).hex()).join(('x', ''))})"
            )
    s = maria.server
    extra = {"latin1_encoding": said} if said else {}
    plainly = Connection(s.conn_id, s.conn_type, s.host, s.port, s.login, s.password, s.schema, extra)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", plainly.to_json())
    rows = [r for b in open_at(table("id", "a"), place, tmp_path).batches for r in b.to_pylist()]
    sound = {r["id"]: r["a"] for r in rows if r["_broken"] is None}
    aside = {r["id"] for r in rows if r["_broken"] == "structure.garbled"}
    assert sound.keys() | aside == {str(n) for n in range(1, 13)}
    assert {k: sound[k] for k in plain} == plain
    if said is None:  # é at the end is no Chinese in any encoding
        assert sound == plain | letters
    elif said == "gb18030":
        assert {k: sound[k] for k in gbk} == gbk
        assert aside == letters.keys() | {"5", "6"} - sound.keys()
    elif said == "utf-8":
        assert sound == plain | utf8
    else:
        assert (sound["10"], sound["1"], aside) == ("café", "ÕÅÈý", set())


def test_f08_a_timestamp_is_of_the_resources_zone(maria: Maria, place: Settings, tmp_path: Path) -> None:
    maria.run(
        "CREATE TABLE t (id int, ts timestamp NULL)",
        "SET SESSION time_zone = '+00:00'",
        "INSERT INTO t VALUES (1, '2026-09-30 16:30:00')",
    )
    assert rows_of(open_at(table("id", "ts"), place, tmp_path)) == [("1", "2026-10-01 00:30:00")]


def test_f08_an_instant_of_other_clocks_says_which_it_is(maria: Maria, place: Settings, tmp_path: Path) -> None:
    maria.run(
        "CREATE TABLE t (id int, ts timestamp NULL, dt datetime)",
        "SET SESSION time_zone = '+00:00'",
        "INSERT INTO t VALUES (1, '1986-05-03 17:59:59', '1986-05-03 17:59:59'), (2, '1986-05-03 18:00:00', NULL), "
        "(3, '1991-09-14 16:59:59', '1986-07-01 08:00:00'), (4, '1991-09-14 17:00:00', NULL), (5, NULL, NULL)",
    )
    delivery = open_at(table("id", "ts", "dt"), place, tmp_path)
    assert rows_of(delivery) == [
        ("1", "1986-05-04 01:59:59", "1986-05-03 17:59:59"),
        ("2", "1986-05-04 02:00:00+08:00", None),
        ("3", "1991-09-15 00:59:59+08:00", "1986-07-01 08:00:00"),
        ("4", "1991-09-15 01:00:00", None),
        ("5", None, None),
    ]


def test_f03_rows_written_while_it_is_read_are_of_the_next_run(maria: Maria, place: Settings, tmp_path: Path) -> None:
    maria.run("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT seq FROM seq_1_to_5")
    delivery = open_at(table("id", chunk_rows=2), place, tmp_path)
    maria.run("INSERT INTO t VALUES (6)", "DELETE FROM t WHERE id = 1")
    assert [r[0] for r in rows_of(delivery)] == ["1", "2", "3", "4", "5"]


# --- breaking off ----------------------------------------------------------------------------------------


def fill_wide(maria: Maria, rows: int = 60_000) -> None:
    maria.run(
        "CREATE TABLE t (id int, a varchar(500))", f"INSERT INTO t SELECT seq, REPEAT('x', 500) FROM seq_1_to_{rows}"
    )


def count_sessions(maria: Maria) -> int:
    count: int = maria.scalar(
        f"SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{maria.server.login}'"
    )
    return count


def wait_until_closed(maria: Maria) -> None:
    until = time.monotonic() + 10
    while count_sessions(maria) and time.monotonic() < until:
        time.sleep(0.05)
    assert count_sessions(maria) == 0


def test_f15_a_killed_session_is_unavailable(maria: Maria, place: Settings, tmp_path: Path) -> None:
    fill_wide(maria)
    delivery = open_at(table("id", "a", chunk_rows=100), place, tmp_path)
    for _ in range(3):
        next(delivery.batches)
    maria.run(
        "BEGIN NOT ATOMIC FOR s IN (SELECT id FROM information_schema.processlist WHERE user = "
        f"'{maria.server.login}') DO KILL s.id; END FOR; END"
    )
    with pytest.raises(SourceUnavailable):
        list(delivery.batches)


def test_f72_a_slow_query_is_given_up(maria: Maria, place: Settings, tmp_path: Path) -> None:
    maria.run("CREATE VIEW t AS SELECT seq AS id, SLEEP(0.01) AS a FROM seq_1_to_100000")
    resource = table("id", "a")
    hurried = resource.model_copy(
        update={"department": resource.department.model_copy(update={"statement_timeout_seconds": 1})}
    )
    with pytest.raises(SourceUnavailable):
        list(open_at(hurried, place, tmp_path).batches)
    wait_until_closed(maria)


def test_a_delivery_that_is_dropped_lets_go_of_the_server(maria: Maria, place: Settings, tmp_path: Path) -> None:
    fill_wide(maria)
    delivery = open_at(table("id", "a", chunk_rows=100), place, tmp_path)
    next(delivery.batches)
    next(delivery.batches)
    assert count_sessions(maria) == 1
    drop(delivery)
    wait_until_closed(maria)
