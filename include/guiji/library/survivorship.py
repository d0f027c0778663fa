"""The library's fields out of its feeds, as SQL: whose value wins, who lost, and which losers no strategy calls wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from guiji.library.feeds import Feed, doubtful_fields
from guiji.library.measured import describe_units, unit_of, value_of, with_unit
from guiji.library.strategies import STRATEGIES, Cell, candidates, may_tie, ties_sql, value_sql, winner_sql
from guiji.library.tables import pg_type
from guiji.measures import load_units

if TYPE_CHECKING:
    from guiji.catalog.models import LibraryField, LibraryModel

#: grows whenever this code resolves the same rows to something else: every key is then resolved again
VERSION = 3

#: other signs for the dot that parts a name (买买提·艾力), as they are after NFKC
_DOTS = "•‧∙⋅・"
_BLANKS = " \t\r\n\u200b\u200c\u200d\u2060\ufeff"


def fingerprint(library: LibraryModel, feeds: Sequence[Feed]) -> str:
    """Changes whenever the same source rows could resolve to other library rows."""
    material = [
        VERSION,
        [f.model_dump(mode="json", exclude={"title", "sensitivity"}) for f in (*library.key, *library.fields)],
        [describe_units(feeds), sorted((u.name, u.dimension, u.power) for u in load_units().values())]
        if any(f.units for f in library.fields)
        else [],
        [link.model_dump(mode="json", exclude={"title"}) for link in library.links],
        [
            [
                f.ordinal,
                f.resource.id,
                f.mapping.model_dump(mode="json"),
                list(f.resource.model.order),
                sorted(doubtful_fields(f.resource) & set(f.mapping.fields.values())),
            ]
            for f in feeds
        ],
    ]
    return hashlib.sha256(json.dumps(material, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def chosen_sql(
    library: LibraryModel, field: LibraryField, feeds: Sequence[Feed]
) -> tuple[sql.Composable, sql.Composable]:
    """The value that wins and the ordinal of its feed, over the feeds' rows (``s<n>``); a unit is that of its value."""
    if field.unit_of is not None:
        measured = value_of(library, field)
        _, winner = chosen_sql(library, measured, feeds)
        able = candidates(measured, feeds)
        whens = [
            sql.SQL("WHEN {} THEN {}").format(sql.SQL(str(f.ordinal)), sql.Identifier(f.alias, f"f_{field.name}"))
            for f in able
        ]
        if not whens:
            return sql.SQL("NULL::text"), sql.SQL("NULL::smallint")
        return sql.SQL("CASE {} {} END").format(winner, sql.SQL(" ").join(whens)), winner
    cells = [
        Cell(
            f,
            sql.Identifier(f.alias, f"f_{field.name}"),
            sql.Identifier(f.alias, "_at"),
            # nobody has a row where the outer join found none: then its value is null, and its doubt says nothing
            sql.SQL("COALESCE({}, false)").format(sql.Identifier(f.alias, f"d_{field.name}"))
            if f.may_doubt(field)
            else None,
        )
        for f in candidates(field, feeds)
    ]
    winner = winner_sql(field, cells)
    return value_sql(field, cells, winner, pg_type(field.type)), winner


def contested(library: LibraryModel, feeds: Sequence[Feed]) -> list[tuple[LibraryField, list[Feed]]]:
    """The fields that more than one feed supplies, with those feeds; a unit is contested with its value."""
    found = []
    for field in library.fields:
        if field.unit_of is not None:
            continue
        able = [f for f in feeds if f.supplies(field)]
        if len(able) > 1:
            found.append((field, able))
    return found


def handed_on(library: LibraryModel, feeds: Sequence[Feed]) -> list[sql.Composable]:
    """Columns of the inner query that ``losers_sql`` and ``tied_sql`` need: what every feed had."""
    columns: dict[str, sql.Composable] = {}
    for field, able in contested(library, feeds):
        for f in able:
            columns[f"_{f.alias}_{field.name}"] = sql.Identifier(f.alias, f"f_{field.name}")
            if (unit := unit_of(library, field)) is not None:
                columns[f"_{f.alias}_{unit.name}"] = sql.Identifier(f.alias, f"f_{unit.name}")
            if f.may_doubt(field):
                columns[f"_{f.alias}_d_{field.name}"] = sql.Identifier(f.alias, f"d_{field.name}")
            if field.strategy == "newest_non_null":
                columns[f"_{f.alias}_at"] = sql.Identifier(f.alias, "_at")
    return [sql.SQL("{} AS {}").format(e, sql.Identifier(n)) for n, e in columns.items()]


def losers_sql(library: LibraryModel, feeds: Sequence[Feed]) -> sql.Composable:
    """{field: {ordinal: value}} of the values that lost and differ, over a row ``r`` that has the fields' values and
    what each feed had. Of a field whose values are joined: what each department contributed, or would have."""
    tests: list[sql.Composable] = []
    entries: list[tuple[str, sql.Composable]] = []
    for field, able in contested(library, feeds):
        differs = [(f.ordinal, _told(library, f, field), _differs(library, f, field)) for f in able]
        any_differs = sql.SQL(" OR ").join(d for _, _, d in differs)
        tests.append(any_differs)
        values = json_object([(str(n), sql.SQL("CASE WHEN {} THEN {} END").format(d, v)) for n, v, d in differs])
        entries.append((field.name, sql.SQL("CASE WHEN {} THEN {} END").format(any_differs, values)))
    if not tests:
        return sql.SQL("NULL::jsonb")
    return sql.SQL("CASE WHEN {} THEN jsonb_strip_nulls({}) END").format(
        sql.SQL(" OR ").join(tests), json_object(entries)
    )


def tied_sql(library: LibraryModel, feeds: Sequence[Feed]) -> sql.Composable:
    """``field:ordinal`` of the losers that nothing but the order of departments decided against, as text[]."""
    entries: list[sql.Composable] = []
    for field, able in contested(library, feeds):
        if STRATEGIES[field.strategy].joins or not may_tie(field, feeds):
            continue
        cells = {
            f.ordinal: Cell(
                f,
                _had(f, field),
                sql.Identifier("r", f"_{f.alias}_at"),
                sql.SQL("COALESCE({}, false)").format(sql.Identifier("r", f"_{f.alias}_d_{field.name}"))
                if f.may_doubt(field)
                else None,
            )
            for f in able
        }
        able_cells = [cells[f.ordinal] for f in candidates(field, feeds)]
        for f in able:
            cell = cells[f.ordinal]
            tie = ties_sql(field, cell, able_cells)
            if tie != sql.SQL("false"):
                entries.append(
                    sql.SQL("CASE WHEN {} AND {} THEN {} END").format(
                        _differs(library, f, field), tie, sql.Literal(f"{field.name}:{f.ordinal}")
                    )
                )
    if not entries:
        return sql.SQL("NULL::text[]")
    return sql.SQL("NULLIF(array_remove(ARRAY[{}], NULL), '{{}}')").format(sql.SQL(", ").join(entries))


def json_object(entries: Sequence[tuple[str, sql.Composable]]) -> sql.Composable:
    """A jsonb object of names and expressions; built in parts, for PostgreSQL's functions take 100 arguments at most."""
    parts = [
        sql.SQL("jsonb_build_object({})").format(
            sql.SQL(", ").join(sql.SQL("{}, {}").format(sql.Literal(n), e) for n, e in entries[i : i + 40])
        )
        for i in range(0, len(entries), 40)
    ]
    return parts[0] if len(parts) == 1 else sql.SQL("({})").format(sql.SQL(" || ").join(parts))


def _had(feed: Feed, field: LibraryField) -> sql.Composable:
    return sql.Identifier("r", f"_{feed.alias}_{field.name}")


def _differs(library: LibraryModel, feed: Feed, field: LibraryField) -> sql.Composable:
    """True when the feed's value is another than the library's: of numbers, when it is beyond the declared tolerance;
    of numbers of different dimensions always, whatever the numbers."""
    value, won = _had(feed, field), sql.Identifier("r", field.name)
    differs = differs_sql(field, value, won)
    unit = unit_of(library, field)
    if unit is None:
        return differs
    return sql.SQL("({} AND ({} IS DISTINCT FROM {} OR {}))").format(
        sql.SQL("{} IS NOT NULL AND {} IS NOT NULL").format(value, won),
        _had(feed, unit),
        sql.Identifier("r", unit.name),
        differs,
    )


def differs_sql(field: LibraryField, value: sql.Composable, won: sql.Composable) -> sql.Composable:
    """True when two values of the field differ, of numbers beyond the declared tolerance, of texts as a clerk reads
    them; null where one is null."""
    bounds = []
    if field.tolerance is not None:
        bounds.append(sql.SQL("{}").format(sql.Literal(field.tolerance)))
    if field.tolerance_share is not None:
        bounds.append(sql.SQL("{} * abs({}::double precision)").format(sql.Literal(field.tolerance_share), won))
    if not bounds and field.type == "string":
        # not AND, which asks its second side as well where the first is null: for every source without the value
        return sql.SQL("CASE WHEN {0} = {1} THEN false WHEN {0} <> {1} THEN {2} <> {3} END").format(
            value, won, _plain(value), _plain(won)
        )
    if not bounds:
        return sql.SQL("{} <> {}").format(value, won)
    # a hair beyond the bound is the arithmetic's, not the departments'
    return sql.SQL("abs({}::numeric - {}::numeric)::double precision > GREATEST({}) * (1 + 1e-9)").format(
        value, won, sql.SQL(", ").join(bounds)
    )


def _plain(text: sql.Composable) -> sql.Composable:
    """A text without what nobody disagrees about: blanks, width, case, and which of the dots parts a name."""
    return sql.SQL("lower(translate(normalize({}, NFKC), {}, {}))").format(
        text, sql.Literal(_DOTS + _BLANKS), sql.Literal("·" * len(_DOTS))
    )


def _told(library: LibraryModel, feed: Feed, field: LibraryField) -> sql.Composable:
    """A losing value in the provenance, with its unit; of a geometry its md5, for it may be large."""
    value = _had(feed, field)
    if field.type == "geometry":
        return sql.SQL("'md5:' || md5({})").format(value)
    unit = unit_of(library, field)
    return with_unit(value, _had(feed, unit) if unit else None)
