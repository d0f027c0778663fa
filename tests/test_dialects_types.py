"""What each type of a database that can't run here becomes: from its dictionary to the value in the warehouse.

The tables follow what the vendors document of their types and of the texts their conversions write. No server is
simulated: rows are what a driver hands over for the statement that is sent (see ``test_dialects``).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from delivering import make_resource as make_database_resource
from delivering import open_at
from sqlalchemy.dialects.mssql.base import ischema_names
from staged_package import make_resource, make_settings, read_accepted, read_findings, read_rejected, stage_rows
from test_dialects import Recording, dialect_of, reading_of

from guiji.authoring.new import draft_resource
from guiji.connections import Connection
from guiji.demo.servers import DatabaseServer
from guiji.errors import DeliveryRefused
from guiji.quality import check_batch
from guiji.settings import Settings
from guiji.sources.database_query import TableQuery
from guiji.sources.describe import DescribedColumn, TableDescription, _type_word, describe_by_dictionary
from guiji.sources.dialects.base import Statement, TableThere
from guiji.sources.dialects.dictionary import spell_type
from guiji.sources.dialects.types import propose_type


@dataclass(frozen=True)
class Row:
    """A column: its type, what the driver gives of it, our type, and the value; ``proposed`` where that is another."""

    kind: str
    given: Any
    type: str
    value: Any
    precision: int | None = None
    scale: int | None = None
    open: bool = False  # nothing is proposed: the values decide


T = datetime(2024, 2, 29, 0, 30, tzinfo=UTC)  # 08:30 here
CUT = T.replace(microsecond=123456)

ORACLE = [
    Row("NUMBER", "1200.5", "decimal128(12,2)", Decimal("1200.50"), 12, 2),
    Row("NUMBER", ".00012", "decimal128(5,5)", Decimal("0.00012"), 2, 5),
    Row("NUMBER", "42", "int64", 42, 10, 0),
    Row("NUMBER", "12300", "int64", 12300, 5, -2),
    Row("NUMBER", "9" * 20, "decimal128(20,0)", Decimal("9" * 20), 20, 0),
    Row("NUMBER", "-.1", "decimal128(38,10)", Decimal("-0.1"), open=True),
    Row("FLOAT", "3.14", "float64", 3.14, 126, open=True),
    Row("BINARY_FLOAT", "1.5E+000", "float64", 1.5),
    Row("BINARY_DOUBLE", "1.2345E+002", "float64", 123.45),
    Row("DATE", "2024-02-29 08:30:00", "timestamp", T),
    Row("TIMESTAMP(6)", "2024-02-29 08:30:00.123456", "timestamp", CUT, None, 6),
    Row("TIMESTAMP(9)", "2024-02-29 08:30:00.123456789", "timestamp", CUT, None, 9),
    Row("TIMESTAMP(6) WITH TIME ZONE", "2024-02-28 19:30:00.000000-05:00", "timestamp", T, None, 6),
    Row("TIMESTAMP(6) WITH LOCAL TIME ZONE", "2024-02-29 08:30:00.000000", "timestamp", T, None, 6),
    Row("INTERVAL DAY(2) TO SECOND(6)", "+02 03:04:05.000000", "string", "+02 03:04:05.000000", 2, 6),
    Row("CHAR", "01   ", "string", "01"),
    Row("VARCHAR2", "000123", "string", "000123"),
    Row("NCHAR", "张", "string", "张"),
    Row("NVARCHAR2", "张三\u3000", "string", "张三"),
    Row("CLOB", "长" * 5000, "string", "长" * 5000),
    Row("NCLOB", "𠮷", "string", "𠮷"),
    Row("LONG", "x", "string", "x"),
    Row("RAW", b"\x00\xff", "string", "00ff"),
    Row("BLOB", b"\x01", "string", "01"),
    Row("ROWID", "AAAR3sAAEAAAACXAAA", "string", "AAAR3sAAEAAAACXAAA"),
    Row("XMLTYPE", "<a/>", "string", "<a/>"),
]
DAMENG = [
    Row("NUMBER", "1200.50", "decimal128(12,2)", Decimal("1200.50"), 12, 2),
    Row("DECIMAL", "42", "int64", 42, 18, 0),
    Row("DEC", "9" * 38, "decimal128(38,0)", Decimal("9" * 38), 38, 0),
    Row("NUMERIC", "0.1", "decimal128(38,10)", Decimal("0.1"), open=True),
    Row("BIGINT", "-9223372036854775808", "int64", -(2**63), 19, 0),
    Row("INTEGER", "42", "int64", 42, 10, 0),
    Row("INT", "42", "int64", 42, 10, 0),
    Row("SMALLINT", "42", "int64", 42, 5, 0),
    Row("TINYINT", "-128", "int64", -128, 3, 0),
    Row("BYTE", "1", "int64", 1, 3, 0),
    Row("BIT", "1", "bool", True, 1, 0),
    Row("FLOAT", 0.1, "float64", 0.1, 53),
    Row("DOUBLE", 1e300, "float64", 1e300, 53),
    Row("DOUBLE PRECISION", -0.5, "float64", -0.5, 53),
    Row("REAL", 0.5, "float64", 0.5, 24),
    Row("DATE", "2024-02-29", "date32", date(2024, 2, 29)),
    Row("TIME", "08:30:00", "string", "08:30:00"),
    Row("DATETIME", "2024-02-29 08:30:00.000000", "timestamp", T, None, 6),
    Row("TIMESTAMP", "2024-02-29 08:30:00.123456", "timestamp", CUT, None, 6),
    Row("TIMESTAMP WITH TIME ZONE", "2024-02-29 00:30:00.000000+00:00", "timestamp", T, None, 6),
    Row("DATETIME WITH TIME ZONE", "2024-02-29 08:30:00.000000+08:00", "timestamp", T, None, 6),
    Row("TIMESTAMP WITH LOCAL TIME ZONE", "2024-02-29 08:30:00.000000", "timestamp", T, None, 6),
    Row("INTERVAL YEAR TO MONTH", "INTERVAL '1-2' YEAR TO MONTH", "string", "INTERVAL '1-2' YEAR TO MONTH"),
    Row("CHAR", "1 ", "string", "1"),
    Row("CHARACTER", "1", "string", "1"),
    Row("VARCHAR", "000123", "string", "000123"),
    Row("VARCHAR2", "张三", "string", "张三"),
    Row("TEXT", "文", "string", "文"),
    Row("LONGVARCHAR", "文", "string", "文"),
    Row("CLOB", "文", "string", "文"),
    Row("BLOB", b"\xfe", "string", "fe"),
    Row("IMAGE", b"\xfe", "string", "fe"),
    Row("BINARY", b"\x00\x01", "string", "0001"),
    Row("VARBINARY", b"", "string", None),
]
MSSQL = [
    Row("bigint", "-9223372036854775808", "int64", -(2**63)),
    Row("int", "42", "int64", 42),
    Row("smallint", "42", "int64", 42),
    Row("tinyint", "255", "int64", 255),
    Row("bit", "0", "bool", False),
    Row("decimal", "1200.50", "decimal128(12,2)", Decimal("1200.50"), 12, 2),
    Row("numeric", "9" * 38, "decimal128(38,0)", Decimal("9" * 38), 38, 0),
    Row("money", "1200.5000", "decimal128(19,4)", Decimal("1200.5000")),
    Row("smallmoney", "-0.0001", "decimal128(10,4)", Decimal("-0.0001")),
    Row("float", "1.2345000000000000e+002", "float64", 123.45),
    Row("real", "1.5000000e+000", "float64", 1.5),
    Row("date", "2024-02-29", "date32", date(2024, 2, 29)),
    Row("time", "08:30:00.1234567", "string", "08:30:00.1234567"),
    Row("datetime", "2024-02-29 08:30:00.003", "timestamp", T.replace(microsecond=3000)),
    Row("smalldatetime", "2024-02-29 08:30:00", "timestamp", T),
    Row("datetime2", "2024-02-29 08:30:00.1234567", "timestamp", CUT),
    Row("datetimeoffset", "2024-02-29 06:00:00.0000000+05:30", "timestamp", T),
    Row("timestamp", "0x00000000000007D1", "string", "0x00000000000007D1"),
    Row("uniqueidentifier", "6F9619FF-8B86-D011-B42D-00C04FC964FF", "string", "6F9619FF-8B86-D011-B42D-00C04FC964FF"),
    Row("xml", "<a/>", "string", "<a/>"),
    Row("sql_variant", "1", "string", "1"),
    Row("char", "01  ", "string", "01"),
    Row("nchar", "张 ", "string", "张"),
    Row("varchar", "000123", "string", "000123"),
    Row("nvarchar", "张三", "string", "张三"),
    Row("text", "文", "string", "文"),
    Row("ntext", "文", "string", "文"),
    Row("binary", b"\x00\x01", "string", "0001"),
    Row("varbinary", b"\xff", "string", "ff"),
    Row("image", b"\xff", "string", "ff"),
]
#: what format_type says -> our type; values are read by PostgreSQL's way, in their own text where it is not exact
OPENGAUSS: dict[str, str | None] = {
    "tinyint": "int64", "smallint": "int64", "integer": "int64", "bigint": "int64",
    "numeric": None, "numeric(12,2)": "decimal128(12,2)", "numeric(10,0)": "int64", "numeric(1000,3)": None,
    "real": "float64", "double precision": "float64", "boolean": "bool", "money": "string",
    "character(1)": "string", "character varying(20)": "string", "nvarchar2(10)": "string", "text": "string",
    "clob": "string", "raw": "string", "blob": "string", "bytea": "string", "uuid": "string", "json": "string",
    "date": "date32", "timestamp(0) without time zone": "timestamp", "timestamp without time zone": "timestamp",
    "timestamp(6) with time zone": "timestamp", "smalldatetime": "timestamp", "time without time zone": "string",
    "interval": "string", "interval day to second(6)": "string", "reltime": "string", "bit(8)": "string",
    "bit varying(8)": "string", "some_enum": None, "integer[]": None,
}  # fmt: skip
KINGBASE: dict[str, str | None] = {
    "tinyint": "int64", "mediumint": "int64", "integer": "int64", "bigint": "int64", "numeric(38,10)": "decimal128(38,10)",
    "numeric": None, "double precision": "float64", "real": "float64", "boolean": "bool", "money": "string",
    "character varying(10 char)": "string", "character varying(10 byte)": "string", "character(4 char)": "string",
    "text": "string", "longtext": "string", "clob": "string", "nclob": "string", "blob": "string", "bytea": "string",
    "date": "timestamp", "timestamp without time zone": "timestamp", "timestamp(6) with time zone": "timestamp",
    "timestamp with local time zone": "timestamp", "datetime": "timestamp", "time without time zone": "string",
    "interval year to month": "string", "rowid": "string", "xml": "string", "bit(1)": "string", "geometry(Point,4490)": None,
}  # fmt: skip


@dataclass
class Replaying(Recording):
    """A session whose query gives the recorded rows, as the driver's cursor would."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def run(self, statement: Statement, cursor: Any = None) -> Any:
        self.asked.append(statement)
        return self

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        rows, self.rows = self.rows[:size], self.rows[size:]
        return rows


def spell(name: str, row: Row) -> str:
    """The type as ``describe_table`` says it of this database."""
    if name != "mssql":
        return spell_type(row.kind, row.precision, row.scale)
    more = {"precision": row.precision, "scale": row.scale} if row.precision else {}
    return _type_word(ischema_names[row.kind](**more))


FAMILIES = {"oracle": ("oracle", ORACLE), "dm": ("dameng", DAMENG), "mssql": ("mssql", MSSQL)}


@pytest.mark.parametrize(
    ("family", "row"),
    [pytest.param(f, r, id=f"{f}-{r.kind}-{n}") for f, (_, rows) in FAMILIES.items() for n, r in enumerate(rows)],
)
def test_a_type_of_the_database_is_proposed_as_the_type_that_loses_nothing(family: str, row: Row) -> None:
    assert propose_type(family, spell(family, row)) == (None if row.open else row.type)


@pytest.mark.parametrize(
    ("family", "word", "type_"),
    [
        pytest.param(f, w, t, id=f"{f}-{w}")
        for f, table in (("opengauss", OPENGAUSS), ("gaussdb", OPENGAUSS), ("kingbase", KINGBASE))
        for w, t in table.items()
    ],
)
def test_a_type_that_format_type_names_is_proposed(family: str, word: str, type_: str | None) -> None:
    assert propose_type(family, word.upper()) == propose_type(family, word) == type_


@pytest.mark.parametrize("family", FAMILIES)
def test_f24_what_the_driver_gives_of_each_type_becomes_its_value(family: str, tmp_path: Path) -> None:
    module, rows = FAMILIES[family]
    names = [f"c{n}" for n in range(len(rows))]
    reading = reading_of(family, "id", *names)
    session = Replaying(dialect_of(module), reading, None, "qmark", rows=[("1", *(r.given for r in rows))])
    kinds = {"id": "VARCHAR2", **{n: r.kind for n, r in zip(names, rows, strict=True)}}
    query = TableQuery(session, TableThere(None, "T_RK", kinds), ("id", *names), ("id", *names))
    (cells,) = [r for batch in query.read_range() for r in batch.to_pylist()]
    fields = [{"name": n, "type": r.type} for n, r in zip(names, rows, strict=True)]
    resource, settings = make_resource([{"name": "id"}, *fields]), make_settings(tmp_path)
    checked = check_batch(resource, settings, stage_rows(settings, resource, [cells]))
    assert read_rejected(checked) == {}
    (values,) = read_accepted(checked, *names)
    assert list(zip(kinds.values(), ("1", *values), strict=True))[1:] == [(r.kind, r.value) for r in rows]
    finer = {f"{n}.fraction" for n, r in zip(names, rows, strict=True) if r.value is CUT and "1234567" in r.given}
    assert {rule for _, rule, _ in read_findings(checked) if rule.endswith(".fraction")} == finer


# --- a table described by Oracle's dictionary ---------------------------------------------------------------

PLACE = [("FEP", "T_RK", "GMSFHM", "VARCHAR2"), ("FEP", "T_RK", "SR", "NUMBER"), ("FEP", "T_RK", "CSRQ", "DATE")]
DICTIONARY: list[list[tuple[Any, ...]]] = [
    PLACE,
    [
        ("GMSFHM", "VARCHAR2", None, None, "公民身份号码", "N"),
        ("SR", "NUMBER", 12, 2, None, "Y"),
        ("CSRQ", "DATE", None, None, "出生日期", "Y"),
    ],
    [("GMSFHM",)],
    [("常住人口",)],
]


@pytest.mark.parametrize(
    ("conn_type", "module", "day"), [("oracle", "oracle", "timestamp"), ("dm", "dameng", "date32")]
)
def test_a_table_is_described_by_the_dictionary(conn_type: str, module: str, day: str) -> None:
    session = Recording(dialect_of(module), reading_of(conn_type), None, "qmark", answers=list(DICTIONARY))
    assert describe_by_dictionary(session) == TableDescription(
        (
            DescribedColumn("GMSFHM", "VARCHAR2", "公民身份号码", False, "string"),
            DescribedColumn("SR", "NUMBER(12,2)", None, True, "decimal128(12,2)"),
            DescribedColumn("CSRQ", "DATE", "出生日期", True, day),
        ),
        ("GMSFHM",),
        "常住人口",
    )
    assert [values for _, values in session.asked] == [(None, "T_RK"), *[("FEP", "T_RK")] * 3]
    assert all(text.startswith("/* guiji ab.things stage */ SELECT ") for text, _ in session.asked)


@pytest.mark.parametrize(
    "places",
    [
        [],
        [("A", "t_rk", "X", "INT"), ("A", "T_rk", "X", "INT")],
        [("A", "T_RK", "X", "INT"), ("B", "T_RK", "X", "INT")],
    ],
)
def test_a_table_that_is_not_there_or_there_twice_is_not_described(places: list[tuple[Any, ...]]) -> None:
    session = Recording(dialect_of("dameng"), reading_of("dm"), None, "qmark", answers=[places])
    with pytest.raises(DeliveryRefused, match="找不到这张表") as caught:
        describe_by_dictionary(session)
    assert caught.value.rule_id == "delivery.missing_table"


class RecordedDriver(ModuleType):
    """dmPython with one table, by what the statements ask for."""

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        super().__init__("dmPython")
        self.rows, self.statements = list(rows), list[str]()
        self.left: list[tuple[Any, ...]] = []

    def connect(self, **arguments: Any) -> RecordedDriver:
        assert (arguments["server"], arguments["port"], arguments["schema"]) == ("10.0.0.1", 5236, "fep")
        return self

    def cursor(self) -> RecordedDriver:
        return self

    def execute(self, text: str, values: Sequence[Any] = ()) -> None:
        self.statements.append(text)
        answers = {
            "owner, table_name": PLACE, "c.data_precision": DICTIONARY[1], "all_constraints": DICTIONARY[2],
            "all_tab_comments": DICTIONARY[3], ' FROM "T_RK"': self.rows,
        }  # fmt: skip
        self.left = next((list(rows) for part, rows in answers.items() if part in text), [])

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.left

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        rows, self.left = self.left[:size], self.left[size:]
        return rows

    def close(self) -> None:
        pass


def test_a_table_of_dm8_is_drafted(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = RecordedDriver([(f"1101051990010100{n:02d}", f"{n}.50", "1990-01-01") for n in range(10, 20)])
    monkeypatch.setitem(sys.modules, "dmPython", driver)
    monkeypatch.setattr("guiji.sources.dialects.find_spec", lambda module: object())
    monkeypatch.setenv("AIRFLOW_CONN_FEP", reading_of("dm").connection.to_json())
    draft = draft_resource(settings, "fep:T_RK", "ab.new")
    assert draft.rows == 10
    said = [
        "name: 常住人口",
        "key: [gmsfhm]",
        "table: T_RK",
        "decimal128(12,2)",
        "type: date32",
    ]
    assert [line for line in said if line not in draft.text] == []
    assert [s for s in driver.statements if not s.startswith(("/* guiji draft.new stage */ SELECT ", "SET "))] == []


# --- names that PostgreSQL's kin has, on a real PostgreSQL ------------------------------------------------------

DOMAINS = {
    "tinyint": ("smallint", "255", "255"),
    "nvarchar2": ("varchar(10)", "'张三'", "张三"),
    "clob": ("text", "'长文'", "长文"),
    "number": ("numeric", "123456789012345678901234567890.10", "123456789012345678901234567890.10"),
    "smalldatetime": ("timestamp(0)", "'2024-02-29 08:30:00'", "2024-02-29 08:30:00"),
}


@pytest.fixture(params=["kingbase", "opengauss", "gaussdb"])
def kin(request: pytest.FixtureRequest, fep_postgres: DatabaseServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A PostgreSQL with domains of the names that the kin has, connected to as one of the kin."""
    import psycopg

    with psycopg.connect(fep_postgres.admin_url, autocommit=True) as conn:
        for name, (base, _, _) in DOMAINS.items():
            conn.execute(f'CREATE DOMAIN "{name}" AS {base}')
        columns = ", ".join(f'c_{name} "{name}"' for name in DOMAINS)
        conn.execute(f"CREATE TABLE t_rk (id varchar(20) PRIMARY KEY, {columns}, d date, ts timestamp)")
        conn.execute("COMMENT ON TABLE t_rk IS '常住人口'; COMMENT ON COLUMN t_rk.d IS '登记日期'")
        cells = ", ".join(value for _, value, _ in DOMAINS.values())
        conn.execute(f"INSERT INTO t_rk VALUES ('1', {cells}, '2024-02-29', '2024-02-29 08:30:00.123456')")
        conn.execute("GRANT SELECT ON t_rk TO PUBLIC")
    made = Connection(
        "fep", str(request.param), fep_postgres.host, fep_postgres.port, fep_postgres.login, fep_postgres.password,
        fep_postgres.schema, dict(fep_postgres.extra),
    )  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_FEP", made.to_json())
    return str(request.param)


def test_types_that_only_the_kin_has_are_read_as_their_own_text(kin: str, settings: Settings, tmp_path: Path) -> None:
    columns = ("id", *(f"c_{name}" for name in DOMAINS), "d", "ts")
    resource = make_database_resource({"kind": "database", "connection": "fep", "table": "t_rk"}, columns)
    (row,) = [r for b in open_at(resource, settings, tmp_path).batches for r in b.to_pylist()]
    texts = [text for _, _, text in DOMAINS.values()]
    assert [row[c] for c in columns] == ["1", *texts, "2024-02-29", datetime(2024, 2, 29, 8, 30, 0, 123456)]


def test_a_table_of_the_kin_is_drafted_without_asking_for_a_version(kin: str, settings: Settings) -> None:
    text = draft_resource(settings, "fep:t_rk", "ab.new").text
    assert "name: 常住人口" in text
    assert "key: [id]" in text
    assert "title: 登记日期" in text
    proposed = {w: propose_type(kin, w) for w in DOMAINS}
    assert proposed == {
        "tinyint": "int64",
        "nvarchar2": "string",
        "clob": "string",
        "number": None,
        "smalldatetime": "timestamp",
    }


def test_an_empty_table_is_drafted_by_its_types_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dmPython", RecordedDriver([]))
    monkeypatch.setattr("guiji.sources.dialects.find_spec", lambda module: object())
    monkeypatch.setenv("AIRFLOW_CONN_FEP", reading_of("dm").connection.to_json())
    text = draft_resource(settings, "fep:T_RK", "ab.new").text
    assert "decimal128(12,2)" in text
    assert "date32" in text


@pytest.mark.parametrize(
    ("amount", "day"), [("0.505", "1990-01-01"), ("1.50", "1990-01-01 08:00:00"), ("1E+3", "01/02/1990")]
)
def test_values_that_do_not_fit_their_type_are_not_forced(
    amount: str, day: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view may give a column another type than its values have."""
    monkeypatch.setitem(sys.modules, "dmPython", RecordedDriver([("1", amount, day), ("2", "1.00", "1990-01-01")]))
    monkeypatch.setattr("guiji.sources.dialects.find_spec", lambda module: object())
    monkeypatch.setenv("AIRFLOW_CONN_FEP", reading_of("dm").connection.to_json())
    text = draft_resource(settings, "fep:T_RK", "ab.new").text
    assert ("decimal128(12,2)" in text) is (amount == "1.50")
    assert ("type: date32" in text and "formats" not in text) is (day == "1990-01-01")
