"""Which department's value wins, field by field, as SQL over the source tables. Nothing here touches a database.

A *feed* is one mapping of one resource into the library; its ordinal stands for it in the provenance. Every feed
gives at most one row per library key: its newest. What wins depends on the rows that serve alone, never on the order
in which they arrived: ties are broken by the department's rank, then by resource id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from guiji.errors import CatalogError
from guiji.library.tables import pg_type, source_table

if TYPE_CHECKING:
    from guiji.catalog.models import LibraryField, LibraryMapping, LibraryModel, Resource

_NEVER = sql.SQL("'-infinity'::timestamptz")


@dataclass(frozen=True)
class Feed:
    ordinal: int
    resource: Resource
    mapping: LibraryMapping

    @property
    def alias(self) -> str:
        return f"s{self.ordinal}"

    @property
    def department(self) -> str:
        return self.resource.model.department_id

    @property
    def is_unique(self) -> bool:
        """True when the source's primary key is the library's key, so that no key has two rows."""
        return set(self.resource.model.key) == set(self.mapping.key)

    def supplies(self, field: LibraryField) -> bool:
        return field.name in self.mapping.fields


def fingerprint(library: LibraryModel, feeds: Sequence[Feed]) -> str:
    """Changes whenever the same source rows could resolve to other library rows."""
    material = [
        [f.model_dump(mode="json", exclude={"title", "sensitivity"}) for f in (*library.key, *library.fields)],
        [[f.ordinal, f.resource.id, f.mapping.model_dump(mode="json"), list(f.resource.model.order)] for f in feeds],
    ]
    return hashlib.sha256(json.dumps(material, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def candidates(field: LibraryField, feeds: Sequence[Feed]) -> list[Feed]:
    """The feeds that may supply the field, best first; under ``authority`` only the named departments."""
    rank = {d: i for i, d in enumerate(field.authority)}
    able = [f for f in feeds if f.supplies(field)]
    if field.strategy == "authority":
        able = [f for f in able if f.department in rank]
    return sorted(able, key=lambda f: (rank.get(f.department, len(rank)), f.department, f.resource.id, f.ordinal))


def winner_sql(field: LibraryField, feeds: Sequence[Feed]) -> sql.Composable:
    """The ordinal of the feed whose value wins; null where nobody has one."""
    able = candidates(field, feeds)
    if not able:
        return sql.SQL("NULL::smallint")
    whens = []
    for i, feed in enumerate(able):
        mine = sql.Identifier(feed.alias, f"f_{field.name}")
        condition = sql.SQL("{} IS NOT NULL").format(mine)
        if field.strategy == "newest_non_null":
            # whoever is not beaten by a later candidate; an earlier one has been beaten already
            for other in able[i + 1 :]:
                condition = sql.SQL("{} AND ({} IS NULL OR {} >= {})").format(
                    condition,
                    sql.Identifier(other.alias, f"f_{field.name}"),
                    sql.Identifier(feed.alias, "_at"),
                    sql.Identifier(other.alias, "_at"),
                )
        whens.append(sql.SQL("WHEN {} THEN {}").format(condition, sql.SQL(str(feed.ordinal))))
    return sql.SQL("(CASE {} END)::smallint").format(sql.SQL(" ").join(whens))


def value_sql(field: LibraryField, feeds: Sequence[Feed], winner: sql.Composable) -> sql.Composable:
    """The winning value."""
    able = candidates(field, feeds)
    if not able:
        return sql.SQL("NULL::{}").format(sql.SQL(pg_type(field.type)))
    values = [sql.Identifier(f.alias, f"f_{field.name}") for f in able]
    if len(able) == 1:
        return values[0]
    if field.strategy == "authority":
        return sql.SQL("COALESCE({})").format(sql.SQL(", ").join(values))
    whens = [sql.SQL("WHEN {} THEN {}").format(sql.SQL(str(f.ordinal)), v) for f, v in zip(able, values, strict=True)]
    return sql.SQL("CASE {} {} END").format(winner, sql.SQL(" ").join(whens))


def losers_sql(library: LibraryModel, feeds: Sequence[Feed]) -> sql.Composable:
    """{field: {ordinal: value}} of the values that lost and differ, over a row ``r`` that has the fields' values and
    what each feed had (``_s<ordinal>_<field>``)."""
    tests: list[sql.Composable] = []
    entries: list[tuple[str, sql.Composable]] = []
    for field in library.fields:
        able = [f for f in feeds if f.supplies(field)]
        if len(able) < 2:
            continue
        won = sql.Identifier("r", field.name)
        differs = [
            (f.ordinal, v, sql.SQL("{} <> {}").format(v, won))
            for f, v in ((f, sql.Identifier("r", f"_{f.alias}_{field.name}")) for f in able)
        ]
        any_differs = sql.SQL(" OR ").join(d for _, _, d in differs)
        tests.append(any_differs)
        values = json_object(
            [(str(n), sql.SQL("CASE WHEN {} THEN {} END").format(d, _shown(field, v))) for n, v, d in differs]
        )
        entries.append((field.name, sql.SQL("CASE WHEN {} THEN {} END").format(any_differs, values)))
    if not tests:
        return sql.SQL("NULL::jsonb")
    return sql.SQL("CASE WHEN {} THEN jsonb_strip_nulls({}) END").format(
        sql.SQL(" OR ").join(tests), json_object(entries)
    )


def json_object(entries: Sequence[tuple[str, sql.Composable]]) -> sql.Composable:
    """A jsonb object of names and expressions; built in parts, for PostgreSQL's functions take 100 arguments at most."""
    parts = [
        sql.SQL("jsonb_build_object({})").format(
            sql.SQL(", ").join(sql.SQL("{}, {}").format(sql.Literal(n), e) for n, e in entries[i : i + 40])
        )
        for i in range(0, len(entries), 40)
    ]
    return parts[0] if len(parts) == 1 else sql.SQL("({})").format(sql.SQL(" || ").join(parts))


def contested(library: LibraryModel, feeds: Sequence[Feed]) -> list[tuple[LibraryField, Feed]]:
    """The field and feed of every value that can lose; the inner query hands these on to ``losers_sql``."""
    found = []
    for field in library.fields:
        able = [f for f in feeds if f.supplies(field)]
        if len(able) > 1:
            found += [(field, f) for f in able]
    return found


def feed_sql(library: LibraryModel, feed: Feed, *, of: str | None = None) -> sql.Composable:
    """The feed's row per key: ``k_<key>``, ``f_<field>``, ``_batch``, ``_hash``, ``_pub`` and ``_at`` (how new it is).

    ``of``: alias of a table of keys in an enclosing query; the rows of those keys only.
    """
    model, mapping = feed.resource.model, feed.mapping
    if len(mapping.key) != len(library.key):
        raise CatalogError(
            f"{feed.resource.path}: the mapping into {library.name} has {len(mapping.key)} key fields, the library has "
            f"{len(library.key)}. Nothing was resolved; correct the mapping.",
            resource_id=feed.resource.id,
        )
    keys: list[sql.Composable] = [
        _cast(feed.resource, name, spec.type) for name, spec in zip(mapping.key, library.key, strict=True)
    ]
    at = _age(feed.resource)
    columns: list[sql.Composable] = [
        *(sql.SQL("{} AS {}").format(e, sql.Identifier(f"k_{k.name}")) for e, k in zip(keys, library.key, strict=True)),
        *(
            sql.SQL("{} AS {}").format(
                _cast(feed.resource, mapping.fields[f.name], f.type), sql.Identifier(f"f_{f.name}")
            )
            for f in library.fields
            if feed.supplies(f)
        ),
        sql.SQL("x._batch_id AS _batch, x._row_hash AS _hash, x._published_at AS _pub"),
        sql.SQL("{} AS _at").format(at),
    ]
    conditions: list[sql.Composable] = [sql.SQL("x._deleted_at IS NULL")]
    conditions += [sql.SQL("x.{} IS NOT NULL").format(sql.Identifier(k)) for k in mapping.key if k not in model.key]
    if mapping.where:
        conditions.append(sql.SQL("({})").format(compile_condition(feed.resource, mapping.where)))
    if of:
        conditions += [
            sql.SQL("{} = {}").format(e, sql.Identifier(of, k.name)) for e, k in zip(keys, library.key, strict=True)
        ]
    newest_first = sql.SQL(", ").join(
        [sql.SQL("{} DESC").format(at), *(sql.SQL("x.{}").format(sql.Identifier(k)) for k in model.key)]
    )
    distinct: sql.Composable = sql.SQL("")
    order: sql.Composable = sql.SQL("")
    if not feed.is_unique and of:
        order = sql.SQL(" ORDER BY {} LIMIT 1").format(newest_first)
    elif not feed.is_unique:
        listed = sql.SQL(", ").join(keys)
        distinct = sql.SQL("DISTINCT ON ({}) ").format(listed)
        order = sql.SQL(" ORDER BY {}, {}").format(listed, newest_first)
    return sql.SQL("SELECT {}{} FROM {} x WHERE {}{}").format(
        distinct,
        sql.SQL(", ").join(columns),
        source_table(feed.resource),
        sql.SQL(" AND ").join(conditions),
        order,
    )


def compile_condition(resource: Resource, text: str) -> sql.SQL:
    """A mapping's ``where`` for PostgreSQL; parsed by the catalog's allow-list, never run as written."""
    from guiji.catalog.expressions import parse_expression

    tree = parse_expression(text, [f.name for f in resource.model.fields])
    return sql.SQL(tree.sql(dialect="postgres", identify=True).replace("{", "{{").replace("}", "}}"))


def _age(resource: Resource) -> sql.Composable:
    """How new a row is: its own order time where it has one, never later than its publication (F-07)."""
    for name in resource.model.order:
        if resource.model.field(name).type in ("timestamp", "date32"):
            return sql.SQL(
                "CASE WHEN x.{0} IS NULL THEN {1} ELSE LEAST(x.{0}::timestamptz, x._published_at) END"
            ).format(sql.Identifier(name), _NEVER)
    return sql.SQL("x._published_at")


def _cast(resource: Resource, name: str, wanted: str) -> sql.Composable:
    column = sql.SQL("x.{}").format(sql.Identifier(name))
    have = pg_type(resource.model.field(name).type)
    return column if have == pg_type(wanted) else sql.SQL("{}::{}").format(column, sql.SQL(pg_type(wanted)))


def _shown(field: LibraryField, value: sql.Composable) -> sql.Composable:
    """A losing value in the provenance; of a geometry its md5, for it may be large."""
    if field.type == "geometry":
        return sql.SQL("'md5:' || md5({})").format(value)
    return sql.SQL("{}::text").format(value)
