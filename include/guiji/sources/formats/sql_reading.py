"""Where the reading of an SQL backup stands, and the statements that hold no rows: what they say, what they refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta, timezone, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected
from guiji.sources.formats import sql_statements as statements
from guiji.sources.formats.sql_tables import CREATE, inherit, read_definitions
from guiji.sources.formats.sql_text import COLUMNS, NAME, SqlText, split_name
from guiji.sources.formats.sql_values import Column
from guiji.sources.frames import Rows

if TYPE_CHECKING:
    from guiji.records import ReadReport

_FLAGS = re.I | re.S
INSERT = re.compile(
    rf"(?:INSERT|REPLACE)\s+(?:(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE)\s+)*(?:INTO\s+)?(?P<name>{NAME})\s*"
    rf"(?:{COLUMNS}\s*)?(?:OVERRIDING\s+\w+\s+VALUE\s+)?(?P<values>VALUES?\s*(?=\())?",
    _FLAGS,
)
_USE = re.compile(rf"(?:USE|\\c(?:onnect)?)\s+(?:-reuse-previous=\w+\s+)?(?P<name>{NAME})", _FLAGS)
_SQL_MODE = re.compile(r"""\bSQL_MODE\s*=\s*(?:(?P<quote>['"])(?P<modes>.*?)(?P=quote)|@\w+)""", re.I)
_TIME_ZONE = re.compile(
    r"""\bTIME_ZONE\s*=\s*(?:(?P<quote>['"])(?P<zone>.*?)(?P=quote)|(?P<own>SYSTEM|DEFAULT)\b|[@\w])""", re.I
)
_OFFSET = re.compile(r"([+-])(\d\d?):(\d\d)")
_SEARCH_PATH = re.compile(
    rf"SET\s+(?:SESSION\s+|LOCAL\s+)?search_path\s*(?:=|TO)\s*(?P<first>'[^']*'|{NAME})"
    r"|SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\s*\(\s*'search_path'\s*,\s*(?P<set>'[^']*')",
    _FLAGS,
)
#: commands of psql that change nothing of what is read; others read files, run programs or make parts conditional
_META = re.compile(r"\\(?:restrict|unrestrict|connect|c|echo|qecho|warn|pset|set|unset|timing)(?!\w)")
FOLLOWS = re.compile(r"\bON\s+(?:DELETE|UPDATE)\s+(?:CASCADE|SET)\b", re.I)
_STRINGS = re.compile(r"SET\s+standard_conforming_strings\s*(?:=|TO)\s*'?(on|off)", re.I)


@dataclass
class Reading:
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
    follows: bool = False  # a foreign key of it changes its rows with those of another table
    prepared: set[str] = field(default_factory=set)
    created: dict[str, list[Column]] = field(default_factory=dict)
    others: dict[tuple[str, ...], list[Column]] = field(default_factory=dict)  # columns of tables that may become parts
    filled: set[tuple[str, ...]] = field(default_factory=set)  # tables whose rows were passed over
    matched: dict[tuple[tuple[str, ...], ...], dict[str, int]] = field(default_factory=dict)
    rows: Rows = field(default_factory=Rows)
    characters: int = 0
    read: int = 0
    undecodable: int = 0
    modes: list[str] = field(default_factory=lambda: [""])
    zones: list[tzinfo | None] = field(default_factory=lambda: [None])

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

    def find_known(self, name: str) -> list[Column]:
        """The columns of a table as CREATE TABLE said them; none where it didn't."""
        whole = self.find_whole(name)
        return self.created.get(".".join(whole)) or self.others.get(whole, [])

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


def read_meta(reading: Reading) -> None:
    """A command of the client, one line."""
    sql = reading.sql
    if not (sql.text.startswith("\\-", sql.at) if sql.grammar.is_mysql else _META.match(sql.text, sql.at)):
        raise reading.refuse_statement("是客户端命令，执行后才知道结果，而备份中的语句不会被执行")
    _use(reading)
    sql.skip_line()


def pass_statement(reading: Reading, kind: str) -> None:
    """Goes behind a statement that holds no rows. Raises DeliveryRefused unless it is known to leave them as they are."""
    sql = reading.sql
    line = sql.find_line()
    text, at = sql.text, sql.at
    if kind in ("INSERT", "REPLACE") and (m := INSERT.match(text, at)):
        check_namesake(reading, m["name"])
        reading.filled.add(reading.find_whole(m["name"]))
        if m["values"]:
            return sql.skip_statement()
    elif kind == "USE":
        _use(reading)
    elif kind == "SET" or (kind == "SELECT" and not sql.grammar.is_mysql):
        _set(reading, text[at : at + 2000].partition(";")[0])
    outline = read_outline(sql)
    if kind == "ROLLBACK" and reading.read:
        raise reading.refuse_statement("会撤销此前的数据", line)
    if statements.must_be_executed(outline, reading.prepared):
        raise reading.refuse_statement(f"（{kind}）要执行才知道做了什么，而备份中的语句不会被执行", line)
    if kind == "PREPARE" and (prepared := statements.find_prepared(outline)):
        reading.prepared.add(prepared)
    if not _leaves_rows(reading, outline, kind):
        raise reading.refuse_statement(f"（{kind}）可能改变该表的数据或列，而备份中的语句不会被执行", line)


def read_outline(sql: SqlText) -> str:
    """Goes behind the statement's end; a rule's or routine's own statements are parts of it, as psql has it."""
    pieces = [sql.read_statement()]
    if not sql.grammar.is_mysql:
        atomic = statements.begins_atomic(pieces[0])
        parentheses, blocks = statements.count_open(pieces[0], atomic=atomic)
        while parentheses > 0 or blocks > 0:
            pieces.append(sql.read_statement())
            more = statements.count_open(pieces[-1], atomic=atomic)
            parentheses, blocks = parentheses + more[0], blocks + more[1]
    return " ; ".join(pieces)


def check_namesake(reading: Reading, name: str) -> None:
    """Rows of a name that differs by case only belong to the wanted table on many servers."""
    whole = reading.find_whole(name)
    if whole in reading.views:
        raise reading.refuse_statement("写入该表的视图，结果要执行才知道，而备份中的语句不会被执行")
    if reading.sql.grammar.is_mysql and reading.concerns(name) and whole not in reading.namesakes:
        raise reading.refuse_statement(f"写入的表“{'.'.join(whole)}”与约定的表名只有大小写不同，无法判断是否同一张表")


def _leaves_rows(reading: Reading, outline: str, kind: str) -> bool:
    """Whether the statement leaves rows, columns and their order; notes what else it says of the table."""
    names_it = statements.names_any(outline, reading.find_words())
    if found := statements.find_altered(outline):
        table, clauses = found
        if not reading.concerns(table):
            if not statements.keeps_rows(clauses):
                reading.others.pop(reading.find_whole(table), None)
            return not (statements.takes_place(clauses) and statements.names_any(clauses, reading.find_words()))
        reading.follows |= bool(FOLLOWS.search(clauses))
        if attached := statements.find_attached(clauses):
            reading.partitions.add(reading.find_whole(attached))
            if reading.find_whole(attached) in reading.filled:
                return False  # its rows, which nobody knew to be rows of this table, are passed
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
    if reading.read and (statements.drops_more(outline) or (reading.follows and kind in ("UPDATE", "DELETE", "MERGE"))):
        return False
    return not names_it or statements.is_harmless(outline)


def _note_created(reading: Reading, outline: str, name: str, maybe: bool) -> bool:
    whole = reading.find_whole(name)
    parents = statements.find_parents(outline)
    own = read_definitions(outline, m.end() - 1, reading.sql.grammar)[0] if (m := CREATE.match(outline)) else []
    reading.others[whole] = inherit([reading.find_known(parent) for parent in parents], own)
    if whole[-len(reading.wanted) :] == reading.wanted or whole in reading.partitions:
        return False  # without a list of columns: CREATE TABLE … AS, LIKE, OF; or a temporary one
    if reading.concerns(name):
        if not maybe:
            reading.namesakes.add(whole)
    elif any(reading.concerns(parent) for parent in parents):
        reading.partitions.add(whole)
    return True


def _use(reading: Reading) -> None:
    if m := _USE.match(reading.sql.text, reading.sql.at):
        reading.database, reading.schema = split_name(m["name"], True)[-1], "public"


def _set(reading: Reading, statement: str) -> None:
    """Modes that change how strings and moments are written."""
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
        for m in _TIME_ZONE.finditer(statement):
            if said := m["zone"] or m["own"]:
                reading.zones.append(_find_zone(reading, said))
            elif len(reading.zones) > 1:
                reading.zones.pop()
        now = reading.modes[-1]
        is_escaped, is_text = "NO_BACKSLASH_ESCAPES" not in now, "ANSI" not in now
        sql.use(replace(sql.grammar, backslash=is_escaped, double_is_text=is_text, zone=reading.zones[-1]))
    elif found := _STRINGS.match(statement):
        sql.use(replace(sql.grammar, backslash=found[1].lower() == "off"))


def _find_zone(reading: Reading, said: str) -> tzinfo | None:
    """The zone of MySQL's name for it; None for the server's own, which nothing tells."""
    if said.upper() in ("SYSTEM", "DEFAULT"):
        return None
    if m := _OFFSET.fullmatch(said):
        offset = timedelta(hours=int(m[2]), minutes=int(m[3]))
        return timezone(-offset if m[1] == "-" else offset)
    try:
        return ZoneInfo(said)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise reading.refuse_statement("中的时区不认识，无法确定时间") from None
