"""The columns of a table as CREATE TABLE says them, read from the statement's outline (``SqlText.read_statement``)."""

from __future__ import annotations

import re

from guiji.sources.formats.sql_text import NAME, Grammar, split_name
from guiji.sources.formats.sql_values import Column, make_column

_FLAGS = re.I | re.S
CREATE = re.compile(
    rf"CREATE\s+(?:(?:UNLOGGED|FOREIGN)\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})\s*\(", _FLAGS
)
_DEFINITION = re.compile(r"(?P<name>\"(?:[^\"]|\"\")+\"|`(?:[^`]|``)+`|[^\W\d][\w$]*)\s+(?P<kind>\w+)", re.S)
_NO_COLUMN = re.compile(
    r"(?:PRIMARY|UNIQUE|KEY|INDEX|CONSTRAINT|CHECK|FOREIGN|FULLTEXT|SPATIAL|EXCLUDE|LIKE|PERIOD)\b", re.I
)
_PIECE = re.compile(r"\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|[(),]|[^\"`(),]+|.", re.S)


def read_definitions(outline: str, begin: int, grammar: Grammar) -> tuple[list[Column], str, str]:
    """(columns, all that the parenthesis at ``begin`` holds, what follows it)."""
    parts, depth, end = [""], 0, len(outline)
    for m in _PIECE.finditer(outline, begin):
        piece = m.group()
        depth += (piece == "(") - (piece == ")")
        if depth == 0:
            end = m.end()
            break
        if piece == "," and depth == 1:
            parts.append("")
        elif m.start() > begin:
            parts[-1] += piece
    columns = []
    for part in map(str.strip, parts):
        if not _NO_COLUMN.match(part) and (d := _DEFINITION.match(part)):
            columns.append(make_column(split_name(d["name"], grammar.is_mysql)[0], d["kind"], grammar))
    return columns, outline[begin + 1 : end - 1], outline[end:]


def inherit(parents: list[list[Column]], own: list[Column]) -> list[Column]:
    """The columns of a child: its parents' first, each name once; none where those of a parent aren't known."""
    if not all(parents):
        return []
    return list({c.name: c for columns in [*parents, own] for c in columns}.values())
