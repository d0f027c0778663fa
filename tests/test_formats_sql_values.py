"""What literals of a backup mean: moments of another zone, bits, shapes, bytes; and whose columns they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from delivering import Row, aside, expect, make_resource, read_bytes, sound
from psycopg import sql
from test_formats_sql_dump import connect_mariadb, dump_mariadb, dump_postgres

from guiji.errors import DeliveryRefused
from guiji.sources.columns import expected_columns


def read(tmp_path: Path, text: str, *columns: str, dialect: str = "mysql", **form: Any) -> list[Row]:
    """The sound rows; none may be set aside."""
    expected = expect(*columns)
    rows, _ = read_bytes(tmp_path, text.encode(), expected, "x.sql", type="sql", table="t", dialect=dialect, **form)
    assert aside(rows) == []
    return sound(rows, expected)


MOMENTS = """CREATE TABLE t (id int, at timestamp NULL, dt datetime);
INSERT INTO t VALUES (1, '2026-09-30 16:30:00', '2026-09-30 16:30:00');
INSERT INTO t VALUES (2, '0000-00-00 00:00:00', '0000-00-00 00:00:00'), (3, NULL, NULL);
INSERT INTO t VALUES (4, '1988-07-01 00:00:00.25', NULL), (5, '1991-09-14 16:30:00', NULL);
"""


def test_f08_a_timestamp_of_mysql_is_told_in_the_resources_zone(tmp_path: Path) -> None:
    """mysqldump, HeidiSQL and phpMyAdmin write TIMESTAMPs in UTC and say so; DATETIMEs have no zone."""
    utc = [
        ("1", "2026-10-01 00:30:00", "2026-09-30 16:30:00"),
        ("2", "0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        ("3", None, None),
        ("4", "1988-07-01 09:00:00.25", None),
        ("5", "1991-09-15 01:30:00+09:00", None),  # a time that the clocks showed twice
    ]
    written = [(r[0], a, d) for r, (a, d) in zip(utc, [
        ("2026-09-30 16:30:00", "2026-09-30 16:30:00"), ("0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        (None, None), ("1988-07-01 00:00:00.25", None), ("1991-09-14 16:30:00", None),
    ], strict=True)]  # fmt: skip
    for said, wanted in (
        ("/*!40103 SET TIME_ZONE='+00:00' */;\n", utc),
        ('SET time_zone = "+00:00";\n', utc),
        ("SET @OLD_TIME_ZONE=@@TIME_ZONE, TIME_ZONE='UTC';\n", utc),
        # as an event's own zone is set and put back
        ("SET TIME_ZONE='+00:00'; SET @save = @@TIME_ZONE; SET TIME_ZONE='SYSTEM'; SET TIME_ZONE=@save;\n", utc),
        ("SET TIME_ZONE='+00:00'; SET TIME_ZONE=@OLD_TIME_ZONE;\n", written),
        ("SET TIME_ZONE='Asia/Shanghai';\n", [*written[:4], ("5", "1991-09-14 16:30:00", None)]),
        ("", written),
    ):
        assert read(tmp_path, said + MOMENTS, "id", "at", "dt") == wanted, said
    with pytest.raises(DeliveryRefused, match="第 1 行的语句中的时区不认识"):
        read(tmp_path, "SET TIME_ZONE='Mars/Olympus';\n" + MOMENTS, "id", "at", "dt")


def test_f08_the_resource_may_be_of_another_zone(tmp_path: Path) -> None:
    source = {"kind": "files", "directory": "/", "pattern": "."}
    expected = expected_columns(make_resource(source, ["id", "at", "dt"], time_zone="Asia/Urumqi"))
    content = ("SET TIME_ZONE='+00:00';\n" + MOMENTS).encode()
    rows, _ = read_bytes(tmp_path, content, expected, "x.sql", type="sql", table="t", dialect="mysql")
    assert sound(rows, expected)[0] == ("1", "2026-09-30 22:30:00", "2026-09-30 16:30:00")


def test_f08_a_time_that_may_be_of_another_zone_is_not_guessed(tmp_path: Path) -> None:
    data = "INSERT INTO t (id, at) VALUES (1, '2026-09-30 16:30:00');\n"
    with pytest.raises(DeliveryRefused, match="“at”是时间，文件中没有建表语句"):
        read(tmp_path, "SET TIME_ZONE='+00:00';\n" + data, "id", "at")
    assert read(tmp_path, "SET TIME_ZONE='+08:00';\n" + data, "id", "at") == [("1", "2026-09-30 16:30:00")]
    assert read(tmp_path, data, "id", "at") == [("1", "2026-09-30 16:30:00")]


def test_f08_mysql_knows_its_columns_in_capitals_too(tmp_path: Path) -> None:
    made = "CREATE TABLE t (id int, `Name` blob, created timestamp);\n"
    for names in ("ID,NAME,CREATED", "`Id`, `NAME`, `created`"):
        text = (
            f"SET TIME_ZONE='+00:00';\n{made}INSERT INTO t ({names}) VALUES (1, _binary 'ab', '2026-09-30 16:30:00');"
        )
        said = [n.strip(" `") for n in names.split(",")]
        assert read(tmp_path, text, *said) == [("1", "6162", "2026-10-01 00:30:00")]
        assert read(tmp_path, text.replace("_binary ", ""), *said) == [("1", "6162", "2026-10-01 00:30:00")]


def test_bits_are_numbers_and_shapes_wkt_as_from_the_database(tmp_path: Path) -> None:
    point = "00000000" + "0101000000000000000000F03F0000000000000040"
    text = f"""CREATE TABLE t (id int, b bit(8), g point, raw varbinary(9));
INSERT INTO t VALUES (1, b'10000', 0x{point}, 0x0A), (2, 0x10, ST_GeomFromText('POINT(1 2)'), _binary 0x0a);
INSERT INTO t (id, b, g, raw) VALUES (3, _binary '\\0', ST_GeomFromText('POINT(1 2)', 0), NULL);
"""
    assert read(tmp_path, text, "id", "b", "g", "raw") == [
        ("1", "16", "POINT (1 2)", "0a"),
        ("2", "16", "POINT(1 2)", "0a"),
        ("3", "0", "POINT(1 2)", None),
    ]
    # without CREATE TABLE a bit literal is a bit all the same
    assert read(tmp_path, "INSERT INTO t (id, b) VALUES (1, b'10000');", "id", "b") == [("1", "16")]
    expected = expect("id", "g")
    broken = "CREATE TABLE t (id int, g polygon);\nINSERT INTO t VALUES (1, 0x00000000FF),\n(2, ST_GeomFromText('POINT(1 2)', 4326));"
    rows, _ = read_bytes(tmp_path, broken.encode(), expected, "x.sql", type="sql", table="t", dialect="mysql")
    assert aside(rows) == [(2, "not_a_shape"), (3, "not_a_literal")]


def test_what_nobody_collects_sets_no_row_aside(tmp_path: Path) -> None:
    """A generated column of ``pg_dump --inserts``, a photograph that is no text."""
    text = (
        "CREATE TABLE t (a int, b text, c int GENERATED ALWAYS AS (a) STORED);\nINSERT INTO t VALUES (1, 'x', DEFAULT);"
    )
    loose = expect("a", "b", contract="evolve")
    rows, _ = read_bytes(tmp_path, text.encode(), loose, "x.sql", type="sql", table="t", dialect="postgresql")
    assert (sound(rows, loose), aside(rows)) == ([("1", "x")], [])
    whole = expect("a", "c", contract="evolve")
    rows, _ = read_bytes(tmp_path, text.encode(), whole, "x.sql", type="sql", table="t", dialect="postgresql")
    assert aside(rows) == [(2, "not_a_literal")]
    photo = b"CREATE TABLE t (a int, b longtext);\nINSERT INTO t VALUES (1, '\xff\xd8\\0');"
    only = expect("a", contract="evolve")
    rows, _ = read_bytes(tmp_path, photo, only, "x.sql", type="sql", table="t", dialect="mysql", encoding="utf-8")
    assert (sound(rows, only), aside(rows)) == ([("1",)], [])


@pytest.mark.parametrize("written", ["\\\\x00ff5c27", "\\\\000\\\\377\\\\\\\\''"], ids=["hex", "escape"])
def test_bytes_of_postgresql_in_either_of_its_forms(tmp_path: Path, written: str) -> None:
    copied = written.replace("''", "'")
    copy = f"CREATE TABLE public.t (a int, b bytea);\nCOPY public.t (a, b) FROM stdin;\n1\t{copied}\n\\.\n"
    assert read(tmp_path, copy, "a", "b", dialect="postgresql") == [("1", "00ff5c27")]
    literal = written.replace("\\\\", "\\")
    insert = f"CREATE TABLE public.t (a int, b bytea);\nINSERT INTO public.t VALUES (1, '{literal}');"
    assert read(tmp_path, insert, "a", "b", dialect="postgresql") == [("1", "00ff5c27")]


@pytest.mark.parametrize("options", [(), ("--inserts",)], ids=lambda o: " ".join(o) or "plain")
def test_partitions_and_children_bring_their_parents_columns(
    tmp_path: Path, fep_postgres: Any, options: tuple[str, ...]
) -> None:
    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
        for statement in (
            "CREATE TABLE t (a int, b text) PARTITION BY LIST (a)",
            "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)",
            "CREATE TABLE t2 (b text, a int)",
            "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES IN (2)",
            "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
            "CREATE TABLE p (a int, b text)",
            "CREATE TABLE kid (c int) INHERITS (p)",
            "INSERT INTO p VALUES (1, 'one')",
            "INSERT INTO kid VALUES (2, 'two', 3)",
        ):
            conn.execute(statement)
    content = dump_postgres(fep_postgres.admin_url, *options)
    for table in ("t", "p"):
        rows, _ = read_bytes(tmp_path, content, expect("a", "b"), "x.sql", type="sql", table=table)
        assert (sorted(sound(rows, expect("a", "b"))), aside(rows)) == ([("1", "one"), ("2", "two")], [])


def test_rows_of_a_table_that_becomes_a_part_later_are_not_lost(tmp_path: Path) -> None:
    text = "CREATE TABLE t (a int, b text) PARTITION BY LIST (a);\nCREATE TABLE t1 (a int, b text);\n"
    attach = "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES IN (1);\n"
    data = "INSERT INTO t1 VALUES (1, 'x');\n"
    assert read(tmp_path, text + attach + data, "a", "b", dialect="postgresql") == [("1", "x")]
    with pytest.raises(DeliveryRefused, match="第 4 行"):
        read(tmp_path, text + data + attach, "a", "b", dialect="postgresql")


def test_modes_in_double_quotes_count(tmp_path: Path) -> None:
    text = "SET SQL_MODE = \"NO_AUTO_VALUE_ON_ZERO,NO_BACKSLASH_ESCAPES\";\nINSERT INTO `t` (`a`) VALUES ('x\\\\y');"
    assert read(tmp_path, text, "a") == [("x\\\\y",)]


def test_navicat_says_for_which_server_it_writes(tmp_path: Path) -> None:
    head = "/*\n Navicat Premium Data Transfer\n\n Source Server Type    : Oracle\n\n Target Server Type    : {}\n*/\n"
    data = 'INSERT INTO "public"."t" VALUES (1, \'a\\n\');'
    table = (
        'CREATE TABLE "public"."t" (\n  "id" int4 NOT NULL,\n  "a" varchar(9) COLLATE "pg_catalog"."default"\n)\n;\n'
    )
    got = read(tmp_path, head.format("PostgreSQL") + table + data, "id", "a", dialect="auto")
    assert got == [("1", "a\\n")]
    data = "CREATE TABLE t (id int, a text);\nINSERT INTO t VALUES (1, 'a\\n');"
    assert read(tmp_path, head.format("MySQL") + data, "id", "a", dialect="auto") == [("1", "a\n")]
    with pytest.raises(DeliveryRefused, match="看不出是哪种数据库"):
        read(tmp_path, head.format("Oracle") + data, "id", "a", dialect="auto")


def test_a_packed_backup_says_what_it_is(tmp_path: Path, fep_postgres: Any) -> None:
    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (a int)")
    for option, said in (("-Ft", "是 tar 格式"), ("-Fc", "自定义格式")):
        with pytest.raises(DeliveryRefused, match=said):
            read_bytes(tmp_path, dump_postgres(fep_postgres.admin_url, option), expect("a"), "x", type="sql", table="t")


def test_what_the_tool_says_while_it_writes_is_no_statement(tmp_path: Path) -> None:
    """``mysqldump … > t.sql 2>&1``: a warning is nobody's row, an error is half a backup."""
    said = "mysqldump: [Warning] Using a password on the command line interface can be insecure.\n"
    data = "CREATE TABLE t (a int, b text);\nINSERT INTO t VALUES (1, 'mysqldump: x');\n"
    assert read(tmp_path, said + data, "a", "b") == [("1", "mysqldump: x")]
    error = "mysqldump: Error 2013: Lost connection to MySQL server during query when dumping table `t` at row: 9\n"
    with pytest.raises(DeliveryRefused, match="第 3 行是导出程序报告的错误"):
        read(tmp_path, data + error, "a", "b")
    pg = "pg_dump: warning: there are circular foreign-key constraints on this table:\npg_dump: detail: t\n"
    copy = "CREATE TABLE public.t (a int, b text);\nCOPY public.t (a, b) FROM stdin;\n1\tx\n\\.\n"
    assert read(tmp_path, pg + copy, "a", "b", dialect="postgresql") == [("1", "x")]


#: what a quoted name may hold and a list of columns would end or part at
AWKWARD_NAMES = ("id", "面积(平方米)", "备注,说明", 'say "x"', "tick`s", "it's;", "a.b", "\\)")


@pytest.mark.parametrize("option", ["--inserts", "--column-inserts", "--encoding=UTF8"])
def test_any_name_may_be_a_columns_in_a_pg_dump(tmp_path: Path, fep_postgres: Any, option: str) -> None:
    columns = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(n)) for n in AWKWARD_NAMES)
    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
        for table in ("a", "t"):  # they stand in another table's list too, which is passed over
            conn.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), columns))
            conn.execute(f"INSERT INTO {table} VALUES ('1', '2.50', 'x', 'y', 'z', 'u', 'v', 'w')")
    content = dump_postgres(fep_postgres.admin_url, option).decode()
    assert read(tmp_path, content, *AWKWARD_NAMES, dialect="auto") == [("1", "2.50", "x", "y", "z", "u", "v", "w")]


@pytest.mark.parametrize("options", [(), ("--complete-insert",), ("--complete-insert", "--compatible=ansi")], ids=str)
def test_any_name_may_be_a_columns_in_a_mariadb_dump(
    tmp_path: Path, mariadb_server: Any, options: tuple[str, ...]
) -> None:
    columns = ", ".join("`" + name.replace("`", "``") + "` varchar(9)" for name in AWKWARD_NAMES)
    with connect_mariadb(mariadb_server.admin_url) as conn, conn.cursor() as cursor:
        for table in ("a", "t"):
            cursor.execute(f"CREATE TABLE {table} ({columns})")
            cursor.execute(f"INSERT INTO {table} VALUES ('1', '2.50', 'x', 'y', 'z', 'u', 'v', 'w')")
    content = dump_mariadb(mariadb_server.admin_url, "--default-character-set=utf8mb4", *options).decode()
    form = {"encoding": "utf-8"} if "--compatible=ansi" in options else {}
    assert read(tmp_path, content, *AWKWARD_NAMES, **form) == [("1", "2.50", "x", "y", "z", "u", "v", "w")]


@pytest.mark.parametrize(
    "listed", ['"id", (b)', "id, home.street", '"id" "b"', "id,", "id,,b", "2年, id", "面积（平方米）"]
)
def test_a_list_that_is_none_of_plain_names_is_not_guessed_at(tmp_path: Path, listed: str) -> None:
    with pytest.raises(DeliveryRefused, match=r"第 2 行的语句(的列名无法读出|不是直接写出的数据)"):
        read(tmp_path, f"SET a = 1;\nINSERT INTO t ({listed}) VALUES ('1', 'x');", "id", dialect="postgresql")
