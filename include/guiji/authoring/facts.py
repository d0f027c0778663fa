"""What stands in each column, counted over the rows as the pipeline reads them. Only counts come out, no value.

Counting is columns in the embedded engine over a private Parquet file that is removed; memory stays bounded.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.authoring.words import NULL_TOKENS
from guiji.engine import quote_identifier, quote_text, scan_parquet
from guiji.sources.formats.line_titles import TOTAL_TITLE

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

    from guiji.codes import CodeTable

#: distinct values that are compared with the code tables, and rows that identifiers are judged on
CODE_VALUES = 3000
JUDGED_ROWS = 100_000
#: rows on which every shape is tried; only what a good part of them has is counted over all rows
PROBED_ROWS = 5_000
#: the surnames of nine people in ten
SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖"
    "邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文云乌那巴包敖斯其图额布孛格宝红塔阿萨哈娜"
)
#: a citizen's number within a text
_INNER_ID = r"[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]"
_PHONE = r"1[3-9]\d{9}|0\d{2,3}-?\d{7,8}"
_BIG_TABLES = ("division",)

#: strptime format -> regular expression of its texts (RE2)
DATE_FORMATS: dict[str, str] = {
    "%Y-%m-%d": r"\d{4}-\d{2}-\d{2}",
    "%Y%m%d": r"(18|19|20|21)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "%Y/%m/%d": r"\d{4}/\d{1,2}/\d{1,2}",
    "%Y.%m.%d": r"\d{4}\.\d{1,2}\.\d{1,2}",
    "%Y年%m月%d日": r"\d{4}年\d{1,2}月\d{1,2}日",
    "%d/%m/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%m/%d/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
}
TIME_FORMATS: dict[str, str] = {
    "%Y-%m-%d %H:%M:%S": r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}",
    "%Y-%m-%d %H:%M": r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}",
    "%Y-%m-%dT%H:%M:%S": r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}",
    "%Y-%m-%d %H:%M:%S.%f": r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{1,6}",
    "%Y/%m/%d %H:%M:%S": r"\d{4}/\d{1,2}/\d{1,2} \d{1,2}:\d{2}:\d{2}",
    "%Y/%m/%d %H:%M": r"\d{4}/\d{1,2}/\d{1,2} \d{1,2}:\d{2}",
    "%Y%m%d%H%M%S": r"(18|19|20|21)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d{6}",
}
_SHAPES = {
    "integer": r"[+-]?(0|[1-9]\d{0,17})",
    "digits": r"\d+",
    "decimal": r"[+-]?\d{1,20}(\.\d{1,15})?",
    "exponent": r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?",
    "phone": _PHONE,
    "wkt": r"(?i)\s*(SRID=\d+;)?(POINT|LINESTRING|POLYGON|MULTIPOINT|MULTILINESTRING|MULTIPOLYGON|GEOMETRYCOLLECTION)\s*(Z|M|ZM)?\s*\(.*",
    "geojson": r'(?s)\s*\{.*"coordinates".*\}\s*',
    "yes_no": r"是|否",
    "true_false": r"(?i)true|false",
    "month": r"(19|20)\d{2}[-/.年]?(0[1-9]|1[0-2]|[1-9]月)月?",
    "thousands": r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?",
    "epoch": r"1\d{9}(\d{3})?",
    "percent": r"[+-]?\d+(\.\d+)?[%％]",
    "email": r"[\w.+-]+@[\w-]+(\.[\w-]+)+",
    "card": r"(62|9558|4\d|5[1-5])\d{14,17}",
    "nested": r"(?s)[\[{].*[\]}]",
    "person": rf"[{SURNAMES}]\p{{Han}}{{0,2}}[^区旗县市镇乡村街路省局厅院校部科室站所级类率量号\P{{Han}}]|\p{{Han}}{{1,8}}[·•・]\p{{Han}}{{1,8}}",
    "zero_date": r"0000-00-00.*",
}


@dataclass(frozen=True)
class ColumnFacts:
    """Counts of one column; ``given`` are rows with a value that is no null token."""

    rows: int
    filled: int
    given: int
    distinct: int
    shortest: int = 0
    longest: int = 0
    arrow_type: str = "string"
    #: shape or date format -> rows of ``given`` that have it
    shapes: Mapping[str, int] = field(default_factory=dict)
    integer_digits: int = 0
    scale: int = 0
    #: identifier -> (values that are in order, suspicious or beyond judging; values judged)
    identifiers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    #: code table -> (rows whose value is a code, rows whose value is a name of the table)
    tables: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    null_tokens: tuple[str, ...] = ()
    #: citizens' numbers stand within longer texts
    holds_ids: bool = False

    @property
    def is_unique(self) -> bool:
        return self.rows > 0 and self.given == self.rows == self.distinct

    def has(self, shape: str) -> bool:
        """True where every given value has the shape."""
        return self.given > 0 and self.shapes.get(shape, 0) == self.given


@dataclass(frozen=True)
class TableFacts:
    rows: int
    complete: bool  # False: only the first rows were read
    columns: Mapping[str, ColumnFacts]
    set_aside: Mapping[str, int]  # structural rule -> rows
    #: first cells of lines that are no rows but titles of sums or footnotes: only how many
    totals: int = 0
    footnotes: int = 0
    #: pairs of columns that are unique together
    pairs: tuple[tuple[str, str], ...] = ()


def write_rows(batches: Iterator[pa.RecordBatch], path: Path, most: int) -> tuple[int, bool]:
    """(rows written, whether these are all). Stops after ``most`` rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: Any = None
    rows, complete = 0, True
    try:
        for batch in batches:
            if writer is None:
                path.touch(mode=0o600)
                writer = pq.ParquetWriter(path, batch.schema)
            if rows + batch.num_rows > most:
                batch, complete = batch.slice(0, most - rows), False
            writer.write_table(pa.Table.from_batches([batch]))
            rows += batch.num_rows
            if not complete:
                break
    finally:
        if writer is not None:
            writer.close()
        close = getattr(batches, "close", None)
        if close is not None:
            close()
    return rows, complete


def count_facts(con: DuckDBPyConnection, path: Path, columns: list[str], *, complete: bool, today: date) -> TableFacts:
    """The facts of every column of the Parquet file at ``path``."""
    scan = scan_parquet(path)
    aside = con.execute(f"SELECT _broken, count(*) FROM {scan} WHERE _broken IS NOT NULL GROUP BY 1 ORDER BY 1")  # noqa: S608
    set_aside = {str(rule): int(n) for rule, n in aside.fetchall()}
    rows = int(con.execute(f"SELECT count(*) FROM {scan} WHERE _broken IS NULL").fetchall()[0][0])  # noqa: S608
    types = {str(r[0]): str(r[1]) for r in con.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}  # noqa: S608
    facts = {c: _count_column(con, scan, c, rows, types.get(c, "VARCHAR"), today) for c in columns if c in types}
    totals, footnotes = _count_ends(con, scan, columns)
    return TableFacts(rows, complete, facts, set_aside, totals, footnotes, _find_pairs(con, scan, facts, rows))


def _count_column(
    con: DuckDBPyConnection, scan: str, column: str, rows: int, engine_type: str, today: date
) -> ColumnFacts:
    tokens = ", ".join(quote_text(t) for t in NULL_TOKENS)
    text = f"nullif(trim({quote_identifier(column)}::VARCHAR, ' \t\r\n\u00a0\u3000'), '')"
    con.execute(
        f"CREATE OR REPLACE TEMP VIEW cells AS SELECT {text} AS t FROM {scan} WHERE _broken IS NULL"  # noqa: S608
    )
    con.execute(f"CREATE OR REPLACE TEMP VIEW given AS SELECT t FROM cells WHERE t IS NOT NULL AND t NOT IN ({tokens})")  # noqa: S608
    filled = int(con.execute("SELECT count(t) FROM cells").fetchall()[0][0])
    likely = _probe_shapes(con)
    counts = "".join(f", {_count_shape(name)}" for name in likely)
    parts = (
        "max(length(regexp_extract(t, '^[+-]?0*(\\d+)', 1))), max(length(regexp_extract(t, '^[+-]?\\d+\\.(\\d+)$', 1)))"
    )
    row = con.execute(
        f"SELECT count(*), count(DISTINCT t), min(length(t)), max(length(t)), {parts}{counts} FROM given"  # noqa: S608
    ).fetchall()[0]
    given, distinct, shortest, longest, digits, scale = (int(v or 0) for v in row[:6])
    found_tokens = con.execute(
        f"SELECT DISTINCT t FROM cells WHERE t IN ({tokens}) ORDER BY t"  # noqa: S608
    ).fetchall()
    tables = _compare_codes(con, distinct)
    return ColumnFacts(
        rows=rows,
        filled=filled,
        given=given,
        distinct=distinct,
        shortest=shortest,
        longest=longest,
        arrow_type=engine_type,
        shapes=dict(zip(likely, (int(n) for n in row[6:]), strict=True)),
        integer_digits=digits,
        scale=scale,
        identifiers=_judge_identifiers(con, today),
        tables=tables,
        null_tokens=tuple(str(t[0]) for t in found_tokens),
        holds_ids=_find_inner_ids(con, given, today),
    )


def _find_inner_ids(con: DuckDBPyConnection, given: int, today: date) -> bool:
    """True where a longer text holds a citizen's number with its check digit: one that stands by itself, or half of
    the values whatever is around it (残疾证号, 学籍号)."""
    from guiji import identifiers

    longer = f"regexp_matches(t, {quote_text(_INNER_ID)}) AND length(t) > 18"
    values = con.sql(
        f"SELECT regexp_extract(t, {quote_text(_INNER_ID)}) AS id, "  # noqa: S608
        f"regexp_matches(t, {quote_text(rf'(^|[^0-9]){_INNER_ID}([^0-9]|$)')}) AS alone FROM given WHERE {longer} LIMIT {PROBED_ROWS}"
    ).to_arrow_table()
    verdicts = identifiers.check_citizen_id(values["id"], today=today).verdict.to_pylist()
    sound = [alone for alone, verdict in zip(values["alone"].to_pylist(), verdicts, strict=True) if verdict in (0, 2)]
    return any(sound) or len(sound) * 2 > min(given, PROBED_ROWS) > 0


_EVERY_SHAPE = {**_SHAPES, **DATE_FORMATS, **TIME_FORMATS}


def _probe_shapes(con: DuckDBPyConnection) -> list[str]:
    """The shapes that a good part of the first values have; zero dates however few."""
    counts = ", ".join(_count_shape(name) for name in _EVERY_SHAPE)
    row = con.execute(f"SELECT count(*), {counts} FROM (SELECT t FROM given LIMIT {PROBED_ROWS})").fetchall()[0]  # noqa: S608
    least = max(1, int(row[0]) // 20)
    return [n for n, c in zip(_EVERY_SHAPE, row[1:], strict=True) if int(c) >= least or (n == "zero_date" and c)]


def _count_shape(name: str) -> str:
    return f"count(*) FILTER (regexp_full_match(t, {quote_text(_EVERY_SHAPE[name])}){_real(name)})"


def _real(name: str) -> str:
    """Dates must also exist: 2024-02-30 is none."""
    if name not in DATE_FORMATS and name not in TIME_FORMATS:
        return ""
    return f" AND try_strptime(t, {quote_text(name)}) IS NOT NULL"


def _judge_identifiers(con: DuckDBPyConnection, today: date) -> dict[str, tuple[int, int]]:
    """identifier -> (values that are not certainly wrong, values judged), where the length allows it at all."""
    from guiji import identifiers

    widths = {"citizen_id": (15, 18), "credit_code": (18,), "registration_number": (13, 15), "division": (6, 9, 12)}
    checks: dict[str, Any] = {
        "citizen_id": identifiers.check_citizen_id,
        "credit_code": identifiers.check_credit_code,
        "registration_number": identifiers.check_registration_number,
        "division": identifiers.check_division,
    }
    sizes = {int(n): int(c) for n, c in con.execute("SELECT length(t), count(*) FROM given GROUP BY 1").fetchall()}
    total = sum(sizes.values())
    found = {}
    values: Any = None
    for kind, allowed in widths.items():
        if not total or sum(sizes.get(n, 0) for n in allowed) < total * 0.5:
            continue
        if values is None:
            values = con.sql(f"SELECT t FROM given LIMIT {JUDGED_ROWS}").to_arrow_table()["t"]  # noqa: S608
        verdicts = checks[kind](values, today=today).verdict.to_pylist()
        # "cannot judge" is no evidence that a column holds such identifiers
        found[kind] = (sum(v in (0, 2) for v in verdicts), len(verdicts))
    return found


def _compare_codes(con: DuckDBPyConnection, distinct: int) -> dict[str, tuple[int, int]]:
    """How many rows hold a code, or a name, of each table; only for columns with few values."""
    from guiji.codes import list_code_tables, load_code_table

    if not 0 < distinct <= CODE_VALUES:
        return {}
    values = {str(t): int(n) for t, n in con.execute("SELECT t, count(*) FROM given GROUP BY 1").fetchall()}
    counts = {}
    for name in list_code_tables():
        if name in _BIG_TABLES:
            continue
        table = load_code_table(name)
        names = name_codes(table)
        coded = sum(n for t, n in values.items() if t in table.codes)
        named = sum(n for t, n in values.items() if t in names and t not in table.codes)
        if coded or named:
            counts[name] = (coded, named)
    return counts


def name_codes(table: CodeTable) -> dict[str, str]:
    """What may be written for each code: its name, 存续 and 在营 of ``存续（在营、开业、在册）``, 蒙古 of 蒙古族; a word that would
    mean two codes is none."""
    words: dict[str, set[str]] = {}
    for code, name in table.names.items():
        words.setdefault(name, set()).add(code)
    others: dict[str, set[str]] = {}
    for code, name in table.names.items():
        for word in (*re.split("[（）、]", name), name.removesuffix("族")):
            if word and word not in words and word not in table.codes:
                others.setdefault(word, set()).add(code)
    return {word: next(iter(codes)) for word, codes in {**words, **others}.items() if len(codes) == 1}


_BLANK_CELLS = "[\\s\u00a0\u3000]*"
_TOTAL = f"{_BLANK_CELLS}{TOTAL_TITLE}{_BLANK_CELLS}"
#: a line that was set aside whole: its first cell that is not blank
_TOTAL_LINE = f"[\\s\u00a0\u3000\"',;|]*{TOTAL_TITLE}{_BLANK_CELLS}[\"']?([,;|\\t](?s:.*))?"
_FOOTNOTE = r"\s*(注|附注|备注|说明|填表说明|数据来源|资料来源|填表人|制表人|审核人|填报人|单位负责人|制表单位)\s*[\d一二三]?\s*[:：].*"


def _count_ends(con: DuckDBPyConnection, scan: str, columns: list[str]) -> tuple[int, int]:
    """(total lines, footnotes) among the rows and the lines that were set aside."""
    if not columns:
        return 0, 0
    first = quote_identifier(columns[0])
    # the pipeline looks for the title of a total in the first cell that is not blank
    cells = (f"trim({quote_identifier(c)}::VARCHAR, ' \t\u00a0\u3000')" for c in columns)
    filled = "coalesce(" + ", ".join(f"nullif({cell}, '')" for cell in cells) + ")"
    others = " AND ".join(f"coalesce({quote_identifier(c)}::VARCHAR, '') = ''" for c in columns[1:]) or "true"
    row = con.execute(
        f"SELECT count(*) FILTER (CASE WHEN _broken IS NULL THEN regexp_full_match({filled}, {quote_text(_TOTAL)}) "  # noqa: S608
        f"ELSE regexp_full_match(_raw, {quote_text(_TOTAL_LINE)}) END), "
        f"count(*) FILTER (regexp_full_match(coalesce({first}::VARCHAR, _raw), {quote_text(_FOOTNOTE)}) "
        f"AND (_broken IS NOT NULL OR ({others}))) FROM {scan}"
    ).fetchall()[0]
    return int(row[0]), int(row[1])


def _find_pairs(
    con: DuckDBPyConnection, scan: str, facts: Mapping[str, ColumnFacts], rows: int
) -> tuple[tuple[str, str], ...]:
    """Pairs of filled columns that are unique together, where no column alone is; the first few."""
    if rows < 2 or any(f.is_unique for f in facts.values()):
        return ()
    full = [c for c, f in facts.items() if f.given == rows and f.distinct > 1 and f.longest <= 64]
    found = []
    for a, b in itertools.islice(itertools.combinations(full[:12], 2), 66):
        if facts[a].distinct * facts[b].distinct < rows:
            continue
        n = con.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT {quote_identifier(a)}, {quote_identifier(b)} FROM {scan} "  # noqa: S608
            "WHERE _broken IS NULL)"
        ).fetchall()[0][0]
        if n == rows:
            found.append((a, b))
    return tuple(found[:5])
