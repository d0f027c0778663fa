"""Which columns the values of a statement are: those it lists, else those of CREATE TABLE, against the declared ones."""

from __future__ import annotations

import re
from dataclasses import replace

from guiji.sources.columns import match_header
from guiji.sources.formats import sql_statements as statements
from guiji.sources.formats.sql_reading import FOLLOWS, Reading, read_outline
from guiji.sources.formats.sql_tables import CREATE, inherit, read_definitions
from guiji.sources.formats.sql_text import split_columns
from guiji.sources.formats.sql_values import Column


def read_create(reading: Reading, m: re.Match[str]) -> None:
    """Notes the columns of the table in order."""
    sql = reading.sql
    line = sql.find_line()
    key = ".".join(reading.find_whole(m["name"]))
    if key in reading.created and " EXISTS" not in re.sub(r"\s", " ", m.group().upper()):
        raise reading.refuse_statement("再次建立该表，无法判断以哪个为准")
    outline = read_outline(sql)
    head = CREATE.match(outline)
    assert head is not None
    columns, body, rest = read_definitions(outline, head.end() - 1, sql.grammar)
    reading.follows |= bool(FOLLOWS.search(body))
    if re.search(r"\bSELECT\b|\bAS\s+(?:TABLE|VALUES|EXECUTE)\b", statements.hide_quoted(rest), re.I):
        raise reading.refuse_statement("不是直接写出的数据（CREATE TABLE … AS）", line)
    parents = [reading.find_known(parent) for parent in statements.find_parents(outline)]
    reading.created.setdefault(key, inherit(parents, columns))


def find_columns(reading: Reading, name: str, said: str | None) -> list[Column]:
    """The columns of a statement's values: those it lists, else all of ``CREATE TABLE``."""
    created = reading.find_known(name)
    if said is None:
        if not created:
            raise reading.refuse_statement("没有写明列名，文件中也没有建表语句")
        return created
    mysql = reading.sql.grammar.is_mysql  # to it, names of columns that differ by case are one, quoted or not
    known = {c.name.lower() if mysql else c.name: c for c in created}
    names = split_columns(said, mysql)
    if not names:
        raise reading.refuse_statement("的列名无法读出")
    return [replace(found, name=n) if (found := known.get(n.lower() if mysql else n)) else Column(n) for n in names]


def match_columns(reading: Reading, columns: list[Column], whole: tuple[str, ...] = ()) -> dict[str, int]:
    """source name -> position among ``columns``. Raises DeliveryRefused as for the header of any file.

    Columns that a child has beside its parent's are none of the parent's."""
    from guiji.catalog.models import Layout

    parent = next(iter(reading.created.values()), []) if whole in reading.partitions else []
    own = {c.name for c in parent or columns}
    at = [i for i, c in enumerate(columns) if c.name in own]
    names = tuple(columns[i].name for i in at)
    key = (tuple(c.name for c in columns), names)
    if key not in reading.matched:
        kinds = [columns[i].kind for i in at]
        match = match_header(reading.expected, Layout(), names, reading.report, reading.what, kinds)
        reading.matched[key] = {source: at[position] for source, position in match.index.items()}
        _note_zone(reading, [columns[i] for i in reading.matched[key].values()])
    return reading.matched[key]


def _note_zone(reading: Reading, wanted: list[Column]) -> None:
    if reading.sql.grammar.zone is None and (instants := [c.name for c in wanted if c.is_instant]):
        reading.report.notes.append(
            f"{reading.what}：备份没有写明时区，TIMESTAMP 列 {'、'.join(instants)} 按 {reading.expected.zone} 时间归集"
        )
