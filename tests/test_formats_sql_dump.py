"""Backups made by the real tools against what the servers hold; dialects, charsets, half a file; nothing is executed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest
from delivering import aside, expect, read_bytes, sound
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import sql

from guiji.errors import DeliveryRefused
from guiji.postgres_cluster import binary
from guiji.sources.formats import sql_text

AB = expect("a", "b")
AWKWARD = [
    "",
    "NULL",
    "\\N",
    "it's",
    'say "x"',
    "back\\slash",
    "\\'",
    "'; DROP TABLE t; --",
    "a,b);(c",
    "line\nbreak\r\nand\ttab",
    "\b\f\v\x1a",
    "%_\\%\\_",
    "/* no */ -- comment # x",
    "$$ $x$",
    "😀𠮷㐂",
    "鄂尔多斯市东胜区",
    "C:\\n\\t",
    "\\.",
    "  ",
]
#: 運 and the like end in 0x5C (a backslash) in GBK
GBK_TAILS = "".join(chr(c) for c in range(0x4E00, 0x9FA6) if chr(c).encode("gb18030")[-1:] in (b"\\", b"`", b"|"))


def run(program: str, *arguments: str, password: str) -> bytes:
    found = shutil.which(program)
    assert found is not None, f"{program} is not installed"
    environment = {"PATH": os.environ["PATH"], "MYSQL_PWD": password, "PGPASSWORD": password}
    return subprocess.run([found, *arguments], env=environment, capture_output=True, check=True).stdout


def dump_mariadb(url: str, *options: str, program: str = "mariadb-dump") -> bytes:
    u = urlsplit(url)
    where = [f"--host={u.hostname}", f"--port={u.port}", f"--user={u.username}"]
    return run(program, "--no-defaults", *where, *options, u.path[1:], password=unquote(u.password or ""))


def connect_mariadb(url: str) -> pymysql.connections.Connection[Any]:
    u = urlsplit(url)
    return pymysql.connect(
        host=u.hostname or "",
        port=u.port or 0,
        user=u.username,
        password=unquote(u.password or ""),
        database=u.path[1:],
        charset="utf8mb4",
        autocommit=True,
    )


def dump_postgres(url: str, *options: str) -> bytes:
    u = urlsplit(url)
    where = [f"--host={u.hostname}", f"--port={u.port}", f"--username={u.username}", f"--dbname={u.path[1:]}"]
    return run(str(binary("pg_dump")), *where, *options, password=unquote(u.password or ""))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--skip-extended-insert", "--complete-insert"),
        ("--hex-blob", "--replace"),
        ("--default-character-set=gbk",),
        ("--compatible=ansi", "--default-character-set=utf8mb4"),
        ("--skip-comments", "--insert-ignore"),
        ("--compact", "--hex-blob"),
        ("--routines", "--events", "--no-autocommit", "--databases"),
    ],
    ids=lambda o: " ".join(o) or "plain",
)
def test_a_mariadb_dump_is_the_table(tmp_path: Path, mariadb_server: Any, options: tuple[str, ...]) -> None:
    # the tool itself makes question marks of what GBK doesn't have
    words = [w for w in AWKWARD if "--default-character-set=gbk" not in options or w != "😀𠮷㐂"] + [GBK_TAILS]
    with connect_mariadb(mariadb_server.admin_url) as conn, conn.cursor() as cursor:
        cursor.execute("CREATE TABLE other (id int, `t` varchar(20)) COMMENT 'INSERT INTO `t` VALUES (1)'")
        cursor.execute("INSERT INTO other VALUES (1, 'INSERT INTO t'), (2, 'x;')")
        cursor.execute(
            "CREATE TABLE t (id int PRIMARY KEY, word mediumtext COMMENT 'a, (b', n decimal(30,2), d date, ts datetime(6),"
            " raw varbinary(300), b blob, bits bit(12), f double, y year, e enum('x,y','z'), nothing char(3),"
            " at timestamp(3) NULL, g geometry, area polygon, KEY k (d)) CHARSET utf8mb4"
        )
        for statement in (
            "CREATE VIEW seen AS SELECT id, word FROM t",
            "CREATE SEQUENCE counted",
            "CREATE TRIGGER after_t AFTER DELETE ON t FOR EACH ROW DELETE FROM other WHERE id = OLD.id",
            "CREATE PROCEDURE clear() BEGIN DELETE FROM t; INSERT INTO t (id) VALUES (1); END",
            "CREATE TABLE later (id int, FOREIGN KEY (id) REFERENCES t (id)) COMMENT 'x'",
        ):
            cursor.execute(statement)
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+08:00'")
        for i, word in enumerate(words):
            cursor.execute(
                "INSERT INTO t VALUES (%s, %s, '12345678901234567890.10', '0000-00-00', '2024-02-29 01:02:03.123456',"
                " %s, %s, b'111100001101', 1.5e-10, 2024, 'x,y', NULL, '2024-03-01 07:59:59.5',"
                " ST_GeomFromText('POINT(109.98765432109876 39.6)'), ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))'))",
                (i, word, bytes(range(256)), word.encode()),
            )
        cursor.execute("SELECT * FROM t ORDER BY id")
        held = cursor.fetchall()
    names = ("id", "word", "n", "d", "ts", "raw", "b", "bits", "f", "y", "e", "nothing", "at", "g", "area")
    expected = expect(*names)
    silent = {"--compact", "--compatible=ansi"} & set(options)  # such a dump says nothing of its charset
    # nor does the first of the zone, which is UTC all the same
    at = "2024-02-29 23:59:59.500" if "--compact" in options else "2024-03-01 07:59:59.500"
    form = {"encoding": "utf-8"} if silent else {}
    content = dump_mariadb(mariadb_server.admin_url, *options)
    rows, report = read_bytes(tmp_path, content, expected, "x.sql", type="sql", table="t", **form)
    said = [
        (
            *(str(r[0]), r[1], "12345678901234567890.10", "0000-00-00", "2024-02-29 01:02:03.123456", r[5].hex()),
            *(r[6].hex(), str(0xF0D), r[8], r[9], r[10], r[11], at),
            *("POINT (109.98765432109876 39.6)", "POLYGON ((0 0, 1 0, 1 1, 0 0))"),
        )
        for r in held
    ]
    assert [(*r[:8], float(r[8]), int(r[9]), *r[10:]) for r in sound(rows, expected)] == said
    assert len(said) == len(words)
    assert (aside(rows), report.skipped, {r["_origin"] for r in rows}) == ([], {}, {"x.sql#t"})
    assert [n.partition("：")[2] for n in report.notes] == (
        ["备份没有写明时区，TIMESTAMP 列 at 按 Asia/Shanghai 时间归集"] if "--compact" in options else []
    )


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--inserts",),
        ("--column-inserts", "--rows-per-insert=7"),
        ("--encoding=GB18030",),
        ("--inserts", "--encoding=GBK"),
        ("--clean", "--if-exists"),
    ],
    ids=lambda o: " ".join(o) or "plain",
)
def test_a_pg_dump_is_the_table(tmp_path: Path, fep_postgres: Any, options: tuple[str, ...]) -> None:
    words = [w for w in AWKWARD if "--encoding=GBK" not in options or w != "😀𠮷㐂"] + [GBK_TAILS]
    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
        for statement in (
            "CREATE TABLE other (id int, t text DEFAULT 'COPY public.t (id) FROM stdin;')",
            "INSERT INTO other VALUES (1, E'COPY t FROM stdin;\\n1\\n')",
            'CREATE TABLE "T 表" (id int PRIMARY KEY, "词" text, n numeric, ts timestamptz, raw bytea, bits bit(3), b bool, a text[])',
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $f$ SELECT 'it''s' || $$INSERT INTO t$$ $f$",
            'CREATE PROCEDURE add() BEGIN ATOMIC INSERT INTO "T 表" (id) VALUES (7); SELECT CASE WHEN true THEN 1 END; END',
            'CREATE VIEW seen AS SELECT id, n FROM "T 表"',
            'CREATE RULE r AS ON INSERT TO seen DO INSTEAD (INSERT INTO "T 表" (id) VALUES (8); DELETE FROM "T 表")',
            'CREATE TABLE later (id int REFERENCES "T 表" ON DELETE CASCADE)',
            'ALTER TABLE "T 表" ALTER id ADD GENERATED BY DEFAULT AS IDENTITY, ADD UNIQUE (n, id), ADD CHECK (id < 1000)',
            'COMMENT ON TABLE "T 表" IS $$it\'s; UPDATE "T 表"$$',
            'CREATE INDEX ON "T 表" (n)',
        ):
            conn.execute(statement)
        for i, word in enumerate(words):
            conn.execute(
                "INSERT INTO \"T 表\" VALUES (%s, %s, 12345678901234567890.10, '2024-02-29 01:02:03+08', %s, B'101', true, %s)",
                (i, word, bytes(range(256)), [word]),
            )
        conn.execute('INSERT INTO "T 表" (id) VALUES (99)')
        held = conn.execute(
            'SELECT id::text, "词", n::text, ts::text, encode(raw, \'hex\'), bits::text, b, a::text FROM "T 表" t ORDER BY t.id'
        ).fetchall()
    content = dump_postgres(fep_postgres.admin_url, *options)
    names = ("id", "词", "n", "ts", "raw", "bits", "b", "a")
    rows, _ = read_bytes(tmp_path, content, expect(*names), "x.sql", type="sql", table="public.T 表")
    truth = {"t": True, "f": False, "true": True, "false": False, None: None}
    assert [(*r[:6], truth[r[6]], r[7]) for r in sound(rows, expect(*names))] == held
    assert (len(held), aside(rows)) == (len(words) + 1, [])
    if not options:
        lines = content.decode().split("\n")
        assert [lines[r["_line"] - 1].split("\t")[0] for r in rows] == [r["id"] for r in rows]


def test_partitions_are_parts_of_their_table(tmp_path: Path, fep_postgres: Any) -> None:
    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE p (a int, b text) PARTITION BY RANGE (a)")
        conn.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)")
        conn.execute("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)")
        conn.execute("INSERT INTO p SELECT n, 'x' || n FROM generate_series(0, 19) n")
    for options in ((), ("--load-via-partition-root",)):
        rows, _ = read_bytes(
            tmp_path, dump_postgres(fep_postgres.admin_url, *options), AB, "x.sql", type="sql", table="p"
        )
        assert sound(rows, AB) == [(str(n), f"x{n}") for n in range(20)]


# --- by hand ------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str, dialect: str = "mysql", table: str = "t", **more: Any) -> list[dict[str, Any]]:
    rows, _ = read_bytes(tmp_path, text.encode(), AB, "x.sql", type="sql", table=table, dialect=dialect, **more)
    return rows


def test_what_is_no_literal_is_set_aside_with_its_line_and_not_executed(tmp_path: Path) -> None:
    text = (
        "INSERT INTO t (a, b) VALUES\n(1, 'x'),\n(2, now()),\n(3, 'a' 'b'),\n(4, (SELECT ')' FROM u)),\n(5, @x),\n"
        "(6, -7.5e3),\n(7, CONCAT('(', ','))\n,(8, \"d\"),\n(9),\n(10, 1, 2),\n(11, 'y\\0'),\n(12, true);\n"
    )
    rows = read(tmp_path, text)
    assert sound(rows, AB) == [("1", "x"), ("6", "-7.5e3"), ("8", "d"), ("12", "true")]
    assert aside(rows) == [
        *((n, "not_a_literal") for n in (3, 4, 5, 6, 8)),
        *((10, "ragged"), (11, "ragged"), (12, "nul")),
    ]
    assert rows[3]["_raw"] == "(4, (SELECT ')' FROM u))"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t SELECT * FROM u;",
        "INSERT INTO t SET a = 1, b = 2;",
        "INSERT INTO t (a, b) VALUES (1, 2) ON DUPLICATE KEY UPDATE b = 3;",
        "INSERT INTO t VALUES (1, 2);",
        "INSERT INTO t (a, b) VALUES (1, 2); DELETE FROM t WHERE a = 1;",
        "INSERT INTO t (a, b) VALUES (1, 2); UPDATE `t` SET b = 3;",
        "INSERT INTO t (a, b) VALUES (1, 2); DROP TABLE IF EXISTS t;",
        "INSERT INTO t (a, b) VALUES (1, 2); ROLLBACK;",
        "LOAD DATA INFILE 'x' INTO TABLE t;",
        "INSERT INTO t (a, b) VALUES (1, 2); INSRT INTO t (a, b) VALUES (3, 4);",
        "INSERT INTO t (a, b) VALUES (1, 2); INSERT 'x' VALUES (3, 4);",
    ],
)
def test_what_can_only_be_known_by_executing_is_refused(tmp_path: Path, statement: str) -> None:
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, statement)
    assert refused.value.rule_id == "delivery.structure"


TABLE = "CREATE TABLE t (a int, b text);\n"
ROW = "INSERT INTO t VALUES (1, 'x');\n"


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t MODIFY COLUMN b text AFTER a",
        "ALTER TABLE `t` MODIFY a int AUTO_INCREMENT FIRST",
        "alter table T add x int first",
        "ALTER TABLE t ADD COLUMN `key` int AFTER a",
        "ALTER TABLE t ADD KEY k (a), DROP COLUMN b",
        "ALTER TABLE t CHANGE a b text, CHANGE b a int",
        "ALTER TABLE t RENAME COLUMN b TO c",
        "ALTER TABLE t RENAME TO t2",
        "ALTER IGNORE TABLE t ADD UNIQUE (b)",
        "ALTER TABLE t2 RENAME t",
        "ALTER TABLE u EXCHANGE PARTITION p WITH TABLE t",
        "RENAME TABLE t TO t2, t3 TO t",
        "UPDATE other JOIN t ON 1 SET t.b = 9",
        "UPDATE other, /* it's */ `T` SET b = 'x'",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "DELETE FROM u; MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = 1",
        "CALL fix()",
        "DO fix()",
        "SELECT fix()",
        "EXECUTE IMMEDIATE 'DELETE FROM t'",
        "PREPARE s FROM @x; EXECUTE s",
        "SET STATEMENT max_statement_time = 1 FOR DELETE FROM t",
        "BEGIN NOT ATOMIC DELETE FROM t",
        "LOAD DATA INFILE 'x' REPLACE INTO TABLE t",
        "INSERT INTO T VALUES (2, 'y')",
        "REPLACE INTO T SELECT * FROM u",
        "CREATE TABLE t (b text, a int)",
        "CREATE TEMPORARY TABLE t (b text, a int)",
        "CREATE VIEW v AS SELECT * FROM t; INSERT INTO v VALUES (2, 'y')",
        "source x.sql; \\. x.sql",
    ],
)
def test_what_may_change_the_table_is_refused_wherever_it_stands(tmp_path: Path, statement: str) -> None:
    for text in (f"{TABLE}\n{statement};\n{ROW}", f"{TABLE}{ROW}{statement};\n"):
        with pytest.raises(DeliveryRefused, match="第 3 行的语句") as refused:
            read(tmp_path, text)
        assert refused.value.rule_id == "delivery.structure"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE x FROM t x",
        "DELETE FROM other USING other JOIN t",
        "TRUNCATE other, t",
        "DROP TABLE IF EXISTS other, `t`",
        "DROP DATABASE IF EXISTS d",
    ],
)
def test_what_empties_the_table_is_refused_behind_its_rows(tmp_path: Path, statement: str) -> None:
    with pytest.raises(DeliveryRefused, match="第 3 行的语句"):
        read(tmp_path, f"USE d; {TABLE}{ROW}{statement};\n")
    assert sound(read(tmp_path, f"{statement};\nUSE d;{TABLE}{ROW}"), AB) == [("1", "x")]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY t FROM PROGRAM 'cat x'",
        "COPY t FROM '/x'",
        "\\copy t FROM x",
        "\\i x",
        "\\q",
        "DO $$ BEGIN DELETE FROM t; END $$",
        "TRUNCATE other CASCADE",
        "ALTER TABLE ONLY t ALTER b TYPE int USING 1",
        "ALTER TABLE t DROP b",
        "ALTER TABLE other INHERIT t",
        "SELECT * INTO t FROM other",
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE CASCADE; DELETE FROM u",
        "ALTER TYPE s RENAME VALUE 'x' TO 'y'",
        "DROP TYPE s CASCADE",
    ],
)
def test_so_it_is_in_a_postgresql_backup(tmp_path: Path, statement: str) -> None:
    with pytest.raises(DeliveryRefused, match="第 3 行的语句"):
        read(tmp_path, f"{TABLE}{ROW}{statement};\n", "postgresql")


def test_statements_that_leave_the_table_alone_are_passed_over(tmp_path: Path) -> None:
    mysql = (
        "DROP TABLE IF EXISTS `t`;\nDROP TABLE IF EXISTS T;\nCREATE TABLE T (b text, a int);\nINSERT INTO T VALUES ('no', 0);\n"
        f"{TABLE}LOCK TABLES `t` WRITE;\n/*!40000 ALTER TABLE `t` DISABLE KEYS */;\n{ROW}"
        "ALTER TABLE t ADD PRIMARY KEY (a), ADD KEY `x, drop` (`b`), ADD CONSTRAINT `after` FOREIGN KEY (a) REFERENCES u (a);\n"
        "ALTER TABLE `t` MODIFY `a` int(11) NOT NULL AUTO_INCREMENT, AUTO_INCREMENT=5;\nUNLOCK TABLES;\n"
        "ALTER TABLE u ADD CONSTRAINT x FOREIGN KEY (t) REFERENCES t (a), DROP COLUMN y;\nDELETE FROM u;\n"
        "UPDATE u SET c = 't' WHERE d = \"t\" -- t\n;\nGRANT SELECT ON t TO x;\nSELECT COUNT(*) FROM t;\n"
        "PREPARE s FROM @rocksdb_enable_bulk_load;\nEXECUTE s;\nCREATE VIEW v AS SELECT * FROM t;\nCOMMIT;\n"
        "CREATE TABLE IF NOT EXISTS t (b text, a int);\n"
    )
    assert sound(read(tmp_path, mysql), AB) == [("1", "x")]
    postgres = (
        "\\restrict x\nSET search_path = own, pg_catalog;\nCREATE TABLE t (a int, b text);\nINSERT INTO t VALUES (2, 'y');\n"
        f"SELECT pg_catalog.set_config('search_path', 'public', false);\n{TABLE}{ROW}"
        "ALTER TABLE ONLY t ADD CONSTRAINT k PRIMARY KEY (a);\nALTER TABLE public.t OWNER TO x;\n"
        "SELECT pg_catalog.setval('t_a_seq', 5, true);\nALTER SEQUENCE s OWNED BY t.a;\n\\unrestrict x\n"
    )
    for table, row in (("public.t", ("1", "x")), ("own.t", ("2", "y"))):
        assert sound(read(tmp_path, postgres, "postgresql", table), AB) == [row]
    with pytest.raises(DeliveryRefused, match=r"own\.t、public\.t"):
        read(tmp_path, postgres, "postgresql")


def test_rows_of_a_child_are_rows_of_its_parent(tmp_path: Path) -> None:
    children = (
        "CREATE TABLE c (x int) INHERITS (public.t);\nCREATE TABLE p PARTITION OF t FOR VALUES IN (1);\n"
        "INSERT INTO c (a, b) VALUES (2, 'y');\nINSERT INTO p (a, b) VALUES (3, 'z');\n"
    )
    assert len(sound(read(tmp_path, f"{TABLE}{ROW}{children}", "postgresql"), AB)) == 3


def test_a_dollar_quoted_text_is_a_text_in_postgresql(tmp_path: Path) -> None:
    text = (
        "-- PostgreSQL database dump\n\nINSERT INTO t (a, b) VALUES\n(1, $$do'l$$),\n($Tag$a $$ $tag$ ),('\\\n$Tag$, $x$$x$),\n"
        "(upper($$)'($$), 'y'),\n(2, /* it's ) */ 'no'), (3, -- it's )\n'no'),\n(4, 'z');\n"
        "-- PostgreSQL database dump complete\n"
    )
    rows = read(tmp_path, text, "auto")
    assert sound(rows, AB) == [("1", "do'l"), ("a $$ $tag$ ),('\\\n", ""), ("4", "z")]
    assert aside(rows) == [(7, "not_a_literal"), (8, "not_a_literal"), (8, "not_a_literal")]
    for cut in range(text.index("$$do") + 1, text.index(";\n--")):
        with pytest.raises(DeliveryRefused):
            read(tmp_path, text[:cut], "postgresql")


def test_the_table_is_found_beyond_doubt(tmp_path: Path) -> None:
    text = "USE one; INSERT INTO t (a, b) VALUES (1, 2);\nUSE `two`; INSERT INTO t (a, b) VALUES (3, 4);\n"
    with pytest.raises(DeliveryRefused, match=r"one\.t、two\.t"):
        read(tmp_path, text)
    assert sound(read(tmp_path, text, table="two.t"), AB) == [("3", "4")]
    with pytest.raises(DeliveryRefused, match="有：t") as refused:
        read(tmp_path, "INSERT INTO t (a, b) VALUES (1, 2);", table="x")
    assert refused.value.rule_id == "delivery.missing_table"


def test_an_empty_table_has_its_columns_checked(tmp_path: Path) -> None:
    assert read(tmp_path, "CREATE TABLE t (a int, b text, PRIMARY KEY (a));") == []
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, "CREATE TABLE t (a int, c text);")
    assert refused.value.rule_id == "delivery.missing_column"


def test_modes_change_what_a_backslash_and_a_double_quote_mean(tmp_path: Path) -> None:
    row = "INSERT INTO t (a, b) VALUES ('x\\', '1');"
    assert sound(read(tmp_path, f"SET sql_mode = 'NO_BACKSLASH_ESCAPES'; {row}"), AB) == [("x\\", "1")]
    assert sound(read(tmp_path, row, "postgresql"), AB) == [("x\\", "1")]
    assert sound(read(tmp_path, "INSERT INTO t (a, b) VALUES (E'x\\'\\n\\u4e2d', 'y''');", "postgresql"), AB) == [
        ("x'\n中", "y'")
    ]
    off = "SET standard_conforming_strings = off; INSERT INTO t (a, b) VALUES ('x\\'', '\\101');"
    assert sound(read(tmp_path, off, "postgresql"), AB) == [("x'", "A")]
    quoted = 'INSERT INTO "t" ("a", "b") VALUES (1, "x");'
    assert aside(read(tmp_path, f"SET sql_mode = 'ANSI_QUOTES'; {quoted}")) == [(1, "not_a_literal")]


def test_comments_routines_and_other_statements_are_passed_over(tmp_path: Path) -> None:
    text = (
        "/*M!999999\\- enable the sandbox mode */ \n-- it's a comment; INSERT INTO t (a, b) VALUES (0, 0);\n# it's too\n"
        "/* INSERT INTO t (a, b) VALUES (0, 0); */\nDELIMITER ;;\nCREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN\n"
        "INSERT INTO t (a, b) VALUES (0, 0); DELETE FROM t; END ;;\nDELIMITER ;\n"
        "SELECT 'it''s; \\' INSERT INTO t (a, b) VALUES (0, 0);';\n"
        "/*!50000 INSERT INTO t (a, b) VALUES (1, /* x */ 2) */;\nINSERT INTO `t` (`b`, `a`) VALUE (4, 3) ;"
    )
    rows = read(tmp_path, text)
    assert sound(rows, AB) == [("3", "4")]
    assert aside(rows) == [(10, "not_a_literal")]


@pytest.mark.parametrize("block", [1, 7, 64])
def test_where_a_block_ends_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    rows = ",\n".join(f"({i}, 'it''s; \\'\\\\ E\"{i}\" -- 运')" for i in range(20))
    text = f"CREATE TABLE u (x text DEFAULT 'a;''b'); -- c\nINSERT INTO u VALUES ('a''', ');');\nINSERT INTO t (a, b) VALUES {rows};\n/* end */"
    whole = read(tmp_path, text)
    assert len(sound(whole, AB)) == 20
    monkeypatch.setattr(sql_text, "BLOCK", block)
    assert read(tmp_path, text) == whole
    pg = "SELECT E'x''\\';', $a$ ' ; $a$;\nCOPY t (a, b) FROM stdin;\n1\t\\N\n2\tx\\ty\\\\\n\\.\nSELECT 1;\n"
    assert sound(read(tmp_path, pg, "postgresql"), AB) == [("1", None), ("2", "x\ty\\")]


def test_f33_half_a_backup_is_refused(tmp_path: Path) -> None:
    copy = "-- PostgreSQL database dump\n\nCOPY t (a, b) FROM stdin;\n1\tx\n2\ty\n\\.\n-- PostgreSQL database dump complete\n"
    insert = "INSERT INTO t (a, b) VALUES (1, 'x'),(2, 'y');"
    assert len(read(tmp_path, copy, "auto")) == len(read(tmp_path, insert)) == 2
    for text, dialect in ((copy, "auto"), (insert, "mysql")):
        for cut in range(1, len(text) - 10 * (text is copy)):
            with pytest.raises(DeliveryRefused):
                read(tmp_path, text[:cut], dialect)


def test_a_backup_that_does_not_say_whose_it_is_is_refused(tmp_path: Path) -> None:
    for text in ("INSERT INTO t (a, b) VALUES (1, 'x\\');", "PGDMP\x01"):
        with pytest.raises(DeliveryRefused) as refused:
            read(tmp_path, text, "auto")
        assert refused.value.rule_id == "delivery.structure"


def test_f37_the_charset_is_declared_said_or_proven(tmp_path: Path) -> None:
    # where the script says nothing of it (latin1 is what clients call bytes they pass on), Chinese words prove it
    words = f"内蒙古自治区鄂尔多斯市东胜区{GBK_TAILS[:3]}街道"
    cases = (("gbk", "gb18030", GBK_TAILS), ("utf8mb4", "utf-8", GBK_TAILS), ("latin1", "gb18030", words))
    for charset, encoding, value in (*cases, ("latin1", "utf-8", GBK_TAILS)):
        text = f"/*!40101 SET NAMES {charset} */;\nINSERT INTO `t` (a, b) VALUES (1, '{value}');\n"
        rows, _ = read_bytes(tmp_path, text.encode(encoding), AB, "x.sql", type="sql", table="t")
        assert sound(rows, AB) == [("1", value)]
    damaged = b"/*!40101 SET NAMES utf8 */;\nINSERT INTO `t` (a, b) VALUES (1, '\xd6\xd0'),(2, '\xe4\xb8\xad');\n"
    rows, _ = read_bytes(tmp_path, damaged, AB, "x.sql", type="sql", table="t")
    assert (aside(rows), sound(rows, AB)) == ([(2, "encoding")], [("2", "中")])
    with pytest.raises(DeliveryRefused) as refused:
        read_bytes(tmp_path, b"/*!40101 SET NAMES big5 */;\n", AB, "x.sql", type="sql", table="t")
    assert refused.value.rule_id == "delivery.encoding"


def test_an_endless_value_is_refused_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_text, "LONGEST_TOKEN", 1 << 16)
    monkeypatch.setattr(sql_text, "BLOCK", 1 << 12)
    with pytest.raises(DeliveryRefused) as refused:
        read(tmp_path, f"INSERT INTO t (a, b) VALUES (1, '{'x' * (1 << 20)}');")
    assert refused.value.rule_id == "delivery.too_large"


cells = st.text(st.characters(exclude_categories=("Cs", "Co"), exclude_characters="\x00\ufffd"), max_size=8).filter(
    lambda t: "锟斤拷" not in t
)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells, st.none() | cells), min_size=1, max_size=6))
def test_any_table_comes_back_from_the_real_writers(
    tmp_path: Path, fep_postgres: Any, mariadb_server: Any, table: Sequence[tuple[str, str | None]]
) -> None:
    """PostgreSQL writes COPY text and quoted literals, the MySQL client escapes as mysqldump does."""
    with psycopg.connect(fep_postgres.admin_url) as conn:
        conn.execute("CREATE TEMP TABLE t (n serial, a text, b text)")
        conn.cursor().executemany("INSERT INTO t (a, b) VALUES (%s, %s)", table)
        with conn.cursor().copy("COPY (SELECT a, b FROM t ORDER BY n) TO stdout") as out:
            lines = b"".join(bytes(part) for part in out).decode()
        literals = ", ".join(
            sql.SQL("({}, {})").format(sql.Literal(a), sql.Literal(b)).as_string(conn).replace(" E'", "E'")
            for a, b in table
        )
    said = "SET client_encoding = 'UTF8';\n"
    copy = f"{said}COPY public.t (a, b) FROM stdin;\n{lines}\\.\n"
    assert sound(read(tmp_path, copy, "postgresql"), AB) == list(table)
    assert sound(read(tmp_path, f"{said}INSERT INTO t (a, b) VALUES {literals};", "postgresql"), AB) == list(table)
    escaped = ",".join(
        "(" + ",".join("NULL" if c is None else "'" + pymysql.converters.escape_string(c) + "'" for c in row) + ")"
        for row in table
    )
    for encoding in ("utf-8", "gb18030"):
        content = f"INSERT INTO `t` (`a`,`b`) VALUES {escaped};\n".encode(encoding)
        names = {"utf-8": "utf8mb4", "gb18030": "gbk"}[encoding]
        head = f"/*!40101 SET NAMES {names} */;\n".encode()
        rows, _ = read_bytes(tmp_path, head + content, AB, "x.sql", type="sql", table="t", dialect="mysql")
        assert sound(rows, AB) == list(table)
