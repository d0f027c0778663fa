"""One table of an SQL backup (pg_dump, mysqldump and their like) as batches of text: data are read, nothing is executed.

Rows come from ``COPY … FROM stdin`` and from ``INSERT … VALUES`` of the declared table. A value that is no literal sets its
row aside. Every other statement is passed over if it is known to leave the table's rows and columns alone, or doesn't name
the table; else it refuses the file, because what the table held can't be known without executing it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats import sql_statements as statements
from guiji.sources.formats.encoding import half_a_file
from guiji.sources.formats.sql_head import check_end, find_dialect, find_script_encoding
from guiji.sources.formats.sql_text import NAME, Grammar, SqlText, split_name
from guiji.sources.formats.sql_values import (
    Column,
    Unreadable,
    make_column,
    read_copy_cells,
    read_literal,
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
_COLUMNS = r"\((?P<columns>[^()]*)\)"
_CREATE = re.compile(
    rf"CREATE\s+(?:(?:UNLOGGED|FOREIGN)\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})\s*\(", _FLAGS
)
_INSERT = re.compile(
    rf"(?:INSERT|REPLACE)\s+(?:(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE)\s+)*(?:INTO\s+)?(?P<name>{NAME})\s*"
    rf"(?:{_COLUMNS}\s*)?(?:OVERRIDING\s+\w+\s+VALUE\s+)?(?P<values>VALUES?\s*(?=\())?",
    _FLAGS,
)
_COPY = re.compile(
    rf"COPY\s+(?P<name>{NAME})\s*(?:{_COLUMNS}\s*)?FROM\s+stdin\s*(?P<options>[^;\n]*);[ \t]*(?:\r?\n|\Z)", _FLAGS
)
_USE = re.compile(rf"(?:USE|\\c(?:onnect)?)\s+(?:-reuse-previous=\w+\s+)?(?P<name>{NAME})", _FLAGS)
_DELIMITER = re.compile(r"DELIMITER[ \t]+(\S+)", re.I)
_SQL_MODE = re.compile(r"\bSQL_MODE\s*=\s*(?:'(?P<modes>[^']*)'|@\w+)", re.I)
_SEARCH_PATH = re.compile(
    rf"SET\s+(?:SESSION\s+|LOCAL\s+)?search_path\s*(?:=|TO)\s*(?P<first>'[^']*'|{NAME})"
    r"|SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\s*\(\s*'search_path'\s*,\s*(?P<set>'[^']*')",
    _FLAGS,
)
#: commands of psql that change nothing of what is read; others read files, run programs or make parts conditional
_META = re.compile(r"\\(?:restrict|unrestrict|connect|c|echo|qecho|warn|pset|set|unset|timing)(?!\w)")
_STRINGS = re.compile(r"SET\s+standard_conforming_strings\s*(?:=|TO)\s*'?(on|off)", re.I)
_DEFINITION = re.compile(r"(?P<name>\"(?:[^\"]|\"\")+\"|`(?:[^`]|``)+`|[^\W\d][\w$]*)\s+(?P<kind>\w+)", re.S)
_NO_COLUMN = re.compile(
    r"(?:PRIMARY|UNIQUE|KEY|INDEX|CONSTRAINT|CHECK|FOREIGN|FULLTEXT|SPATIAL|EXCLUDE|LIKE|PERIOD)\b", re.I
)
_AFTER_ROW = re.compile(r"\s*(?:\*/\s*)?(?:ON\s+CONFLICT\s+DO\s+NOTHING\s*)?", re.I)

#: what the statements of a backup begin with; anything else is a damaged one, which may have held rows
_KNOWN = re.compile(
    r"(?:ALTER|ANALYZE|BEGIN|CALL|CHANGE|CHECK|CLUSTER|COMMENT|COMMIT|COPY|CREATE|DEALLOCATE|DECLARE|DELETE|DELIMITER|"
    r"DISCARD|DO|DROP|END|EXECUTE|EXPLAIN|FLUSH|GRANT|INSERT|INSTALL|LOAD|LOCK|MERGE|NOTIFY|OPTIMIZE|PREPARE|"
    r"REASSIGN|REFRESH|REINDEX|RELEASE|RENAME|REPAIR|REPLACE|RESET|REVOKE|ROLLBACK|SAVEPOINT|SECURITY|SELECT|SET|"
    r"SHOW|START|TRUNCATE|UNLOCK|UPDATE|USE|VACUUM|WITH|XA)\b",
    re.I,
)


@dataclass
class _Reading:
    """One backup being read."""

    sql: SqlText
    wanted: tuple[str, ...]
    expected: Expected
    report: ReadReport
    origin: str
    what: str
    encoding: str
    database: str = ""
    schema: str = "public"  # of names without one, in PostgreSQL
    seen: dict[str, None] = field(default_factory=dict)  # tables of the backup
    found: set[tuple[str, ...]] = field(default_factory=set)  # whole names of the wanted table
    partitions: set[tuple[str, ...]] = field(default_factory=set)
    namesakes: set[tuple[str, ...]] = field(default_factory=set)  # tables of their own that differ by case only
    views: set[tuple[str, ...]] = field(default_factory=set)  # over the wanted table: what changes them changes it
    prepared: set[str] = field(default_factory=set)
    created: dict[str, list[Column]] = field(default_factory=dict)
    matched: dict[tuple[str, ...], dict[str, int]] = field(default_factory=dict)
    rows: Rows = field(default_factory=Rows)
    characters: int = 0
    read: int = 0
    undecodable: int = 0
    modes: list[str] = field(default_factory=lambda: [""])

    def is_wanted(self, name: str) -> bool:
        """Notes the table, and whether it is the declared one or a partition of it. Raises DeliveryRefused when two
        tables answer to the declared name."""
        self.seen[".".join(split_name(name, self.sql.grammar.is_mysql))] = None
        whole = self.find_whole(name)
        if whole in self.partitions:
            return True
        if whole[-len(self.wanted) :] != self.wanted:
            return False
        self.found.add(whole)
        if len(self.found) > 1:
            both = "、".join(sorted(".".join(f) for f in self.found))
            raise self.refuse(
                f"有多个同名的表（{both}），无法判断以哪个为准", "请在资源目录中写明模式名或库名", "missing_table"
            )
        return True

    def find_whole(self, name: str) -> tuple[str, ...]:
        """The name with the schema and database that the script stands in."""
        parts = split_name(name, self.sql.grammar.is_mysql)
        if not self.sql.grammar.is_mysql and len(parts) == 1:
            parts = (self.schema, *parts)
        lacks = len(parts) == (1 if self.sql.grammar.is_mysql else 2)
        return (self.database, *parts) if self.database and lacks else parts

    def concerns(self, name: str) -> bool:
        """Whether the name may be the declared table's, in any case, or that of a partition."""
        whole = self.find_whole(name)
        folded = tuple(p.casefold() for p in whole[-len(self.wanted) :])
        return whole in self.partitions or folded == tuple(p.casefold() for p in self.wanted)

    def find_words(self) -> set[str]:
        """The names, folded, by which a statement may mean rows of the declared table."""
        return {whole[-1].casefold() for whole in (self.wanted, *self.partitions, *self.views)}

    def refuse(self, why: str, mend: str, rule: str = "structure") -> DeliveryRefused:
        return DeliveryRefused(f"{self.what}：{why}。现有数据继续有效；{mend}。", rule_id=f"delivery.{rule}")

    def refuse_statement(self, why: str, line: int | None = None) -> DeliveryRefused:
        return self.refuse(
            f"第 {line or self.sql.find_line()} 行的语句{why}", "请用数据库自带的备份工具按默认设置重新导出该表"
        )


def read_sql_dump(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The rows of the declared table; ``_line`` is the line at which a row begins, ``_origin`` is ``file#table``.

    Raises DeliveryRefused for half a file, a table that is not there or there twice, and statements that change rows.
    """
    assert fmt.table is not None
    what = f"文件 {origin}"
    with path.open("rb") as f:
        head = f.read(HEAD)
    dialect = find_dialect(head, fmt.dialect, what)
    check_end(path, head, what)
    encoding = find_script_encoding(path, head, fmt.encoding, dialect, what)
    grammar = Grammar(dialect, dialect == "mysql", dialect == "mysql")
    sql = SqlText(path, encoding, grammar, what)
    wanted = tuple(fmt.table.split("."))
    reading = _Reading(sql, wanted, expected, report, f"{origin}#{fmt.table}", what, encoding)
    batches = _read_all(reading)
    first = next(batches)  # what is wrong with the header is said at once
    return _chain(first, batches)


def _chain(first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from others


def _read_all(reading: _Reading) -> Iterator[pa.RecordBatch]:
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
        _match(reading, next(iter(reading.created.values())) if reading.created else [])
    yield _take_batch(reading)


def _read_statements(reading: _Reading) -> Iterator[pa.RecordBatch]:
    sql = reading.sql
    while sql.skip_blank():
        sql.need(HEAD)
        text, at = sql.text, sql.at
        word = re.match(r"[A-Za-z]+|\\\w*", text[at : at + 20])
        kind = word.group().upper() if word else ""
        if kind.startswith("\\"):
            _read_meta(reading)
        elif kind == "DELIMITER" and (m := _DELIMITER.match(text, at)):
            sql.skip_line()
            sql.use(sql.grammar, m[1])
        elif kind == "COPY" and (m := _COPY.match(text, at)):
            yield from _read_copy(reading, m)
        elif kind in ("INSERT", "REPLACE") and (m := _INSERT.match(text, at)) and reading.is_wanted(m["name"]):
            yield from _read_insert(reading, m)
        elif kind == "CREATE" and (m := _CREATE.match(text, at)) and reading.is_wanted(m["name"]):
            _read_create(reading, m)
        elif text.startswith(sql.delimiter, at):  # an empty one
            sql.at += len(sql.delimiter)
        elif not _KNOWN.match(text, at) or (kind in ("INSERT", "REPLACE") and not _INSERT.match(text, at)):
            raise reading.refuse_statement("无法识别，文件可能已损坏")
        else:
            _pass_statement(reading, kind)


def _read_meta(reading: _Reading) -> None:
    """A command of the client, one line."""
    sql = reading.sql
    if not (sql.text.startswith("\\-", sql.at) if sql.grammar.is_mysql else _META.match(sql.text, sql.at)):
        raise reading.refuse_statement("是客户端命令，执行后才知道结果，而备份中的语句不会被执行")
    _use(reading)
    sql.skip_line()


def _pass_statement(reading: _Reading, kind: str) -> None:
    """Goes behind a statement that holds no rows. Raises DeliveryRefused unless it is known to leave them as they are."""
    sql = reading.sql
    line = sql.find_line()
    text, at = sql.text, sql.at
    if kind in ("INSERT", "REPLACE") and (m := _INSERT.match(text, at)):
        _check_namesake(reading, m["name"])
        if m["values"]:
            return sql.skip_statement()
    elif kind == "USE":
        _use(reading)
    elif kind == "SET" or (kind == "SELECT" and not sql.grammar.is_mysql):
        _set(reading, text[at : at + 2000].partition(";")[0])
    outline = sql.read_statement()
    while not sql.grammar.is_mysql and statements.is_open(outline):
        outline = f"{outline} ; {sql.read_statement()}"
    if kind == "ROLLBACK" and reading.read:
        raise reading.refuse_statement("会撤销此前的数据", line)
    if statements.must_be_executed(outline, reading.prepared):
        raise reading.refuse_statement(f"（{kind}）要执行才知道做了什么，而备份中的语句不会被执行", line)
    if kind == "PREPARE" and (prepared := statements.find_prepared(outline)):
        reading.prepared.add(prepared)
    if not _leaves_rows(reading, outline, kind):
        raise reading.refuse_statement(f"（{kind}）可能改变该表的数据或列，而备份中的语句不会被执行", line)


def _check_namesake(reading: _Reading, name: str) -> None:
    """Rows of a name that differs by case only belong to the wanted table on many servers."""
    whole = reading.find_whole(name)
    if whole in reading.views:
        raise reading.refuse_statement("写入该表的视图，结果要执行才知道，而备份中的语句不会被执行")
    if reading.sql.grammar.is_mysql and reading.concerns(name) and whole not in reading.namesakes:
        raise reading.refuse_statement(f"写入的表“{'.'.join(whole)}”与约定的表名只有大小写不同，无法判断是否同一张表")


def _leaves_rows(reading: _Reading, outline: str, kind: str) -> bool:
    """Whether the statement leaves rows, columns and their order; notes what else it says of the table."""
    names_it = statements.names_any(outline, reading.find_words())
    if found := statements.find_altered(outline):
        table, clauses = found
        if not reading.concerns(table):
            return not (statements.takes_place(clauses) and statements.names_any(clauses, reading.find_words()))
        if attached := statements.find_attached(clauses):
            reading.partitions.add(reading.find_whole(attached))
        return statements.keeps_rows(clauses) or (not reading.created and not reading.read)  # one to be dropped yet
    if created := statements.find_created(outline):
        return _note_created(reading, outline, *created)
    if dropped := statements.find_dropped(outline):
        if concerned := [name for name in dropped if reading.concerns(name)]:
            for name in concerned:
                reading.created.pop(".".join(reading.find_whole(name)), None)
            return not reading.read
        return True
    if kind == "DROP" and (schema := statements.find_dropped_schema(outline)):
        homes = {p.casefold() for whole in reading.found for p in whole[:-1]}
        return not reading.read or bool(homes and schema.casefold() not in homes)
    if names_it and kind == "CREATE" and (view := statements.find_view(outline)):
        reading.views.add(reading.find_whole(view))
    if not reading.read and kind in ("TRUNCATE", "DELETE"):
        return True
    if reading.read and statements.drops_more(outline):
        return False
    return not names_it or statements.is_harmless(outline)


def _note_created(reading: _Reading, outline: str, name: str, maybe: bool) -> bool:
    whole = reading.find_whole(name)
    if whole[-len(reading.wanted) :] == reading.wanted or whole in reading.partitions:
        return False  # without a list of columns: CREATE TABLE … AS, LIKE, OF; or a temporary one
    if reading.concerns(name):
        if not maybe:
            reading.namesakes.add(whole)
    elif any(reading.concerns(parent) for parent in statements.find_parents(outline)):
        reading.partitions.add(whole)
    return True


def _use(reading: _Reading) -> None:
    if m := _USE.match(reading.sql.text, reading.sql.at):
        reading.database, reading.schema = split_name(m["name"], True)[-1], "public"


def _set(reading: _Reading, statement: str) -> None:
    """Modes that change how strings are written."""
    sql = reading.sql
    if path := _SEARCH_PATH.match(statement):
        first = (path["first"] or path["set"]).strip("'")
        reading.schema = "public" if first.startswith(("$", '"$')) else (split_name(first, False) or ("",))[-1]
    if sql.grammar.is_mysql:
        for m in _SQL_MODE.finditer(statement):
            if m["modes"] is not None:
                reading.modes.append(m["modes"].upper())
            elif len(reading.modes) > 1:  # back to what was saved
                reading.modes.pop()
            now = reading.modes[-1]
            sql.use(Grammar("mysql", "NO_BACKSLASH_ESCAPES" not in now, "ANSI" not in now))
    elif found := _STRINGS.match(statement):
        sql.use(Grammar("postgresql", found[1].lower() == "off", False))


# --- tables -----------------------------------------------------------------------------------------


def _read_create(reading: _Reading, m: re.Match[str]) -> None:
    """Notes the columns of the table in order."""
    sql = reading.sql
    name = m["name"]
    line = sql.find_line()
    key = ".".join(reading.find_whole(name))
    if key in reading.created and " EXISTS" not in re.sub(r"\s", " ", m.group().upper()):
        raise reading.refuse_statement("再次建立该表，无法判断以哪个为准")
    sql.at = m.end() - 1
    while (end := sql.find_row_end()) is None:
        if not sql.more():
            raise half_a_file(reading.what)
    body = sql.text[sql.at + 1 : end - 1]
    columns = []
    for part in _split_top(body):
        if not _NO_COLUMN.match(part) and (d := _DEFINITION.match(part)):
            column = split_name(d["name"], sql.grammar.is_mysql)[0]
            columns.append(make_column(column, d["kind"], sql.grammar))
    sql.at = end
    rest = statements.hide_quoted(sql.read_statement())
    if re.search(r"\bSELECT\b|\bAS\s+(?:TABLE|VALUES|EXECUTE)\b", rest, re.I):
        raise reading.refuse_statement("不是直接写出的数据（CREATE TABLE … AS）", line)
    if re.search(r"\bINHERITS\b", rest, re.I):
        columns = []  # its parents' come first: a statement must say which it means
    reading.created.setdefault(key, columns)


def _split_top(body: str) -> list[str]:
    """The definitions of a table: split at commas outside parentheses, strings and comments."""
    body = re.sub(r"/\*.*?\*/|^\s*--[^\n]*$", " ", body, flags=re.S | re.M)
    parts = [""]
    depth = 0
    for piece in re.findall(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|[(),]|[^'\"`(),]+|.", body, re.S):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [p.strip() for p in parts]


def _find_columns(reading: _Reading, name: str, said: str | None) -> list[Column]:
    """The columns of a statement's values: those it lists, else all of ``CREATE TABLE``."""
    created = reading.created.get(".".join(reading.find_whole(name)), [])
    if said is None:
        if not created:
            raise reading.refuse_statement("没有写明列名，文件中也没有建表语句")
        return created
    known = {c.name: c for c in created}
    names = [split_name(part, reading.sql.grammar.is_mysql) for part in said.split(",")]
    if not all(names):
        raise reading.refuse_statement("的列名无法读出")
    return [known.get(n[0], Column(n[0])) for n in names]


def _match(reading: _Reading, columns: list[Column]) -> dict[str, int]:
    """source name -> position among ``columns``. Raises DeliveryRefused as for the header of any file."""
    from guiji.catalog.models import Layout

    names = tuple(c.name for c in columns)
    if names not in reading.matched:
        match = match_header(reading.expected, Layout(), names, reading.report, reading.what, [c.kind for c in columns])
        reading.matched[names] = match.index
    return reading.matched[names]


# --- rows -------------------------------------------------------------------------------------------


def _add(
    reading: _Reading, cells: list[str | None], flaw: str | None, index: dict[str, int], line: int, raw: str
) -> bool:
    """Adds a row; True when a batch is full."""
    chosen = [cells[index[c]] if c in index else None for c in reading.expected.columns]
    _count(reading, flaw, raw)
    if flaw is None:
        reading.rows.add(chosen, line)
    else:
        reading.rows.add_broken(chosen, line, flaw, _show(raw))
    return len(reading.rows) >= BATCH_ROWS or reading.characters >= BATCH_CHARACTERS


def _add_unread(reading: _Reading, flaw: str, line: int, raw: str) -> None:
    _count(reading, flaw, raw)
    reading.rows.add_broken([None] * len(reading.expected.columns), line, flaw, _show(raw))


def _count(reading: _Reading, flaw: str | None, raw: str) -> None:
    reading.read += 1
    reading.characters += len(raw)
    reading.undecodable += flaw == ENCODING
    if reading.undecodable > max(20, reading.read // 20):
        raise reading.refuse(
            f"文字编码不是 {reading.encoding}，无法正确读出", "请按约定的编码重新导出后提供", "encoding"
        )


def _show(raw: str) -> str:
    return raw.encode("utf-8", "backslashreplace").decode().replace("\x00", "␀")


def _take_batch(reading: _Reading) -> pa.RecordBatch:
    batch = make_batch(reading.expected.columns, reading.rows, reading.origin)
    reading.rows, reading.characters = Rows(), 0
    return batch


def _read_copy(reading: _Reading, m: re.Match[str]) -> Iterator[pa.RecordBatch]:
    """The lines of a COPY up to ``\\.``; of another table they are passed over."""
    sql = reading.sql
    wanted = reading.is_wanted(m["name"])
    if not wanted:
        _check_namesake(reading, m["name"])
    columns: list[Column] = []
    index: dict[str, int] = {}
    if wanted:
        if m["options"].strip():
            raise reading.refuse_statement("（COPY）不是默认的文本格式")
        columns = _find_columns(reading, m["name"], m["columns"])
        index = _match(reading, columns)
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
            elif _add(reading, *read_copy_cells(cells, columns, reading.encoding), index, line, raw):
                yield _take_batch(reading)
        line += 1


def _read_insert(reading: _Reading, m: re.Match[str]) -> Iterator[pa.RecordBatch]:
    """The rows of an INSERT … VALUES."""
    sql = reading.sql
    if not m["values"]:
        raise reading.refuse_statement("不是直接写出的数据（INSERT … VALUES）")
    columns = _find_columns(reading, m["name"], m["columns"])
    index = _match(reading, columns)
    sql.at = m.end()
    while True:
        _read_row(reading, columns, index)
        if reading.characters >= BATCH_CHARACTERS or len(reading.rows) >= BATCH_ROWS:
            yield _take_batch(reading)
        if _is_last_row(reading):
            return


def _read_row(reading: _Reading, columns: list[Column], index: dict[str, int]) -> None:
    """Adds the row whose parenthesis opens at the place of reading, and goes behind it."""
    sql = reading.sql
    pattern = value_pattern(sql.grammar)
    while True:
        text, at = sql.text, sql.at + 1
        cells: list[str | None] = []
        flaw = None
        m = None
        for column in columns:
            m = pattern.match(text, at)
            if m is None:
                break
            at = m.end()
            try:
                cells.append(read_literal(m, column, sql.grammar, reading.encoding))
            except Unreadable as exc:
                cells.append(None)
                flaw = flaw or str(exc.args[0])
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


def _is_last_row(reading: _Reading) -> bool:
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
