"""Which statements of a backup leave a table's rows as they were written. What isn't known to do so is objected to.

A statement comes as its outline (``SqlText.read_statement``): without texts and comments.
"""

from __future__ import annotations

import re

from guiji.sources.formats.sql_text import NAME, split_name

_FLAGS = re.I | re.S
_QUOTED = re.compile(r'"(?:[^"]|"")*"|`(?:[^`]|``)*`')
_WORD = re.compile(r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|[^\W\d][\w$]*')
_PRE_TABLE = r"(?:(?:OR\s+REPLACE|GLOBAL|LOCAL|TEMP|TEMPORARY|UNLOGGED|FOREIGN)\s+)*"
_CREATE_TABLE = re.compile(rf"CREATE\s+{_PRE_TABLE}TABLE\s+(?P<maybe>IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})", _FLAGS)
_CREATE_VIEW = re.compile(rf"CREATE\b.*?\bVIEW\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})", _FLAGS)
_PARENTS = re.compile(
    rf"\bPARTITION\s+OF\s+(?P<whole>{NAME})|\bINHERITS\s*\((?P<parents>\s*{NAME}(?:\s*,\s*{NAME})*)\s*\)", _FLAGS
)
_ALTER_TABLE = re.compile(
    rf"ALTER\s+(?:FOREIGN\s+)?TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<name>{NAME})\s*\*?(?P<rest>.*)", _FLAGS
)
_ATTACH = re.compile(rf"\s*ATTACH\s+PARTITION\s+(?P<name>{NAME})", _FLAGS)
_DROP_TABLE = re.compile(r"DROP\s+(?:(?:TEMPORARY|FOREIGN)\s+)?TABLE\s+(?:IF\s+EXISTS\s+)?(?P<names>.*)", _FLAGS)
_ROUTINE = re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\b", re.I)
_ATOMIC = re.compile(r"\bBEGIN\s+ATOMIC\b.*", _FLAGS)

#: clauses of ALTER TABLE that keep the rows, the columns and their order, as the tools write them behind the data
_KEEPS = re.compile(
    r"""\s*(?:
      ADD\s+(?:CONSTRAINT|PRIMARY\s+KEY|FOREIGN\s+KEY|UNIQUE|KEY|INDEX|FULLTEXT|SPATIAL|CHECK|EXCLUDE)\b
    | DROP\s+(?:CONSTRAINT|PRIMARY\s+KEY|FOREIGN\s+KEY|KEY|INDEX)\b
    | (?:ENABLE|DISABLE|FORCE|NO\s+FORCE)\s+(?:KEYS|(?:ALWAYS\s+|REPLICA\s+)?(?:TRIGGER|RULE)|ROW\s+LEVEL\s+SECURITY)\b
    | AUTO_INCREMENT\s*=?\s*\d+\s*\Z
    | MODIFY\s+(?:COLUMN\s+)?(?:"q"|[^\W\d][\w$]*)\s+(?:tiny|small|medium|big)?int(?:eger)?\b
        (?=.*\bAUTO_INCREMENT\b)(?!.*\b(?:FIRST|AFTER)\b)
    | ALTER\s+(?:COLUMN\s+)?(?:"q"|[^\W\d][\w$]*)\s+(?:SET\s+(?:DEFAULT|NOT\s+NULL|STATISTICS|STORAGE|COMPRESSION|\()
        |DROP\s+(?:DEFAULT|NOT\s+NULL)|RESET\s*\(|ADD\s+GENERATED\b)
    | OWNER\s+TO\b | CLUSTER\s+ON\b | REPLICA\s+IDENTITY\b | VALIDATE\s+CONSTRAINT\b | ATTACH\s+PARTITION\b
    | SET\s+(?:\(|WITHOUT\s+(?:CLUSTER|OIDS)|TABLESPACE|LOGGED|UNLOGGED|ACCESS\s+METHOD)
    | COMMENT\s*=?\s*''\s*\Z
    )""",
    re.I | re.S | re.X,
)
#: of another table: it may take the wanted one's name, rows or place
_TAKES = re.compile(r"\b(?:RENAME|EXCHANGE|INHERIT|SWAP)\b", re.I)

#: leave the rows of every table as they are
_HARMLESS = re.compile(
    rf"""CREATE\s++(?!{_PRE_TABLE}TABLE\b)
    | ALTER\s++(?!(?:\w+\s+)?TABLE\b)
    | DROP\s++(?!(?:\w+\s+)?TABLE\b)
    | (?:SET(?!\s+STATEMENT\b) | BEGIN(?!\s+NOT\b) | START | COMMIT | END | SAVEPOINT | RELEASE | LOCK | UNLOCK | USE
        | COMMENT\s+ON | GRANT | REVOKE | FLUSH | SHOW | RESET | NOTIFY | DISCARD | DEALLOCATE | SECURITY\s+LABEL
        | CHECK\s+TABLE | OPTIMIZE | ANALYZE\s+(?:TABLE|VERBOSE) | VACUUM | REINDEX | CLUSTER | REFRESH)\b""",
    re.I | re.S | re.X,
)
#: what they do is known by executing them only; those behind them are what mariadb-dump and Percona's mysqldump write
_EXECUTES = re.compile(r"(?:CALL|DO|EXECUTE)\b", re.I)
_EXECUTES_NOTHING = re.compile(
    r"DO\s+SETVAL\s*\(|EXECUTE\s+IMMEDIATE\s+(?:IF\s*\(\s*@@LOG_OUTPUT\b|CONCAT\s*\(\s*''\s*,\s*@current_role\s*\))",
    re.I,
)
_PREPARE = re.compile(r"PREPARE\s+(\w+)\s+FROM\s+@rocksdb_\w+\s*\Z", re.I)
_EXECUTE = re.compile(r"EXECUTE\s+(\w+)\s*\Z", re.I)
_CALLED = re.compile(r"(?P<catalog>\bpg_catalog\s*\.\s*)?(?P<name>[\w$]+|\"q\")\s*\(", re.I)
#: functions that change no table, and words a parenthesis may follow
_KNOWN_CALLS = re.compile(
    r"(?:setval|nextval|currval|lastval|set_config|current_setting|count|min|max|sum|avg|if|ifnull|coalesce|concat|now"
    r"|version|database|user|found_rows|row_count|last_insert_id|and|or|not|in|exists|any|all|as|over|from|where|on|select"
    r"|union|by|distinct|using|join|when|then|else|having|values)\Z",
    re.I,
)


def hide_quoted(outline: str) -> str:
    """The outline with every quoted name as ``"q"``: what stands in a name is no keyword and no parenthesis."""
    return _QUOTED.sub('"q"', outline)


def begins_atomic(outline: str) -> bool:
    """Whether it is a routine of PostgreSQL whose body is statements, each with its semicolon."""
    plain = hide_quoted(outline)
    return bool(_ROUTINE.match(plain) and _ATOMIC.search(plain))


def count_open(piece: str, *, atomic: bool) -> tuple[int, int]:
    """(parentheses, blocks) that a piece of a statement opens and leaves open: until they close, a semicolon ends nothing."""
    plain = hide_quoted(piece)
    parentheses = plain.count("(") - plain.count(")")
    if not atomic:
        return parentheses, 0
    body = _ATOMIC.search(plain)
    words = [w.upper() for w in re.findall(r"[A-Za-z_]\w*", body.group() if body else plain)]
    return parentheses, words.count("BEGIN") + words.count("CASE") - words.count("END")


def names_any(outline: str, words: set[str]) -> bool:
    """Whether one of the words (folded) is a name in the outline."""
    return any(split_name(w, True)[-1].casefold() in words for w in _WORD.findall(outline) if w not in ('""', "``"))


def find_created(outline: str) -> tuple[str, bool] | None:
    """(name, only if it isn't there yet) of CREATE TABLE."""
    m = _CREATE_TABLE.match(outline)
    return (m["name"], bool(m["maybe"])) if m else None


def find_view(outline: str) -> str | None:
    """The name of CREATE VIEW."""
    m = _CREATE_VIEW.match(outline)
    return m["name"] if m else None


def find_parents(outline: str) -> list[str]:
    """The tables whose rows the rows of the created table are too."""
    found = [m["whole"] or m["parents"] for m in _PARENTS.finditer(outline)]
    return [name for names in found for name in re.findall(NAME, names)]


def find_dropped(outline: str) -> list[str]:
    """The names of DROP TABLE."""
    m = _DROP_TABLE.match(outline)
    return re.findall(NAME, m["names"]) if m else []


def find_altered(outline: str) -> tuple[str, str] | None:
    """(table, clauses) of ALTER TABLE."""
    m = _ALTER_TABLE.match(outline)
    return (m["name"], m["rest"]) if m else None


def find_attached(clauses: str) -> str | None:
    """The partition of ``ATTACH PARTITION``."""
    m = _ATTACH.match(clauses)
    return m["name"] if m else None


def keeps_rows(clauses: str) -> bool:
    """Whether clauses of ALTER TABLE are all known to keep rows, columns and their order."""
    parts, depth = [""], 0
    for piece in re.findall(r"[(),]|[^(),]+", hide_quoted(clauses)):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return all(_KEEPS.match(part) for part in parts)


def takes_place(clauses: str) -> bool:
    """Whether clauses of ALTER TABLE may put that table in another's place."""
    return bool(_TAKES.search(hide_quoted(clauses)))


def find_prepared(outline: str) -> str | None:
    """The name of a statement that the tool itself prepares, and that changes no table."""
    m = _PREPARE.match(outline.strip())
    return m[1] if m else None


def must_be_executed(outline: str, prepared: set[str]) -> bool:
    """Whether only executing the statement can tell what it does."""
    plain = hide_quoted(outline).strip()
    if plain[:6].upper() == "SELECT":
        calls = [m for m in _CALLED.finditer(plain) if not m["catalog"]]
        return not all(_KNOWN_CALLS.match(m["name"]) for m in calls)
    if not _EXECUTES.match(plain) or _EXECUTES_NOTHING.match(plain):
        return False
    m = _EXECUTE.match(plain)
    return m is None or m[1] not in prepared


def is_harmless(outline: str) -> bool:
    """Whether the statement leaves the rows of every table it may name."""
    plain = hide_quoted(outline)
    if plain[:6].upper() == "SELECT":
        return not re.search(r"\bINTO\b", plain, re.I)
    return bool(_HARMLESS.match(plain))


def drops_more(outline: str) -> bool:
    """Whether a DROP takes columns or tables with it that it doesn't name."""
    plain = hide_quoted(outline)
    return bool(
        re.match(r"DROP\s+OWNED\b|DROP\s+(?:TYPE|DOMAIN|EXTENSION)\b.*\bCASCADE\b", plain, _FLAGS)
        or re.match(r"TRUNCATE\b.*\bCASCADE\b", plain, _FLAGS)
        or re.match(r"ALTER\s+TYPE\b.*\bRENAME\s+(?:VALUE|ATTRIBUTE)\b|ALTER\s+TYPE\b.*\bATTRIBUTE\b", plain, _FLAGS)
    )


def find_dropped_schema(outline: str) -> str | None:
    """The name of DROP DATABASE or DROP SCHEMA."""
    m = re.match(rf"DROP\s+(?:DATABASE|SCHEMA)\s+(?:IF\s+EXISTS\s+)?(?P<name>{NAME})", outline, _FLAGS)
    return split_name(m["name"], True)[-1] if m else None
