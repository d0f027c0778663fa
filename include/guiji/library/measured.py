"""Numbers with units in a library: converted on the way in, and never compared where their units can't be.

The source layer keeps what was delivered. A feed shifts the decimal point (``guiji.measures``), so 亿元 and 万元 meet as
the same number; a value and its unit always come from the same source row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from guiji.library.tables import pg_type
from guiji.measures import digits_kept, list_convertible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guiji.catalog.models import FieldSpec, LibraryField, LibraryModel
    from guiji.library.feeds import Feed


def value_sql(feed: Feed, field: LibraryField) -> sql.Composable:
    """The value of a source row ``x`` in the unit that the library keeps; null where that can't be done exactly.

    Such rows are set aside by the check (``standardize/measure.py``); here are those that serve from before it.
    """
    spec = _source_field(feed, field)
    shifts = {name: shift for name, (_, shift) in list_convertible(field.units).items()}
    number = sql.SQL("{}::numeric").format(sql.Identifier("x", spec.name))
    if spec.unit is not None:
        factor = _power(shifts[spec.unit]) if spec.unit in shifts else sql.SQL("NULL::numeric")
    else:
        factor = _case(spec, {name: _power(shift) for name, shift in shifts.items()}, "numeric")
    whole, places = digits_kept(field.type)
    return sql.SQL(
        "(SELECT CASE WHEN abs(v) < 1e{} AND v = round(v, {}) THEN v::{} END FROM (SELECT {} * {} AS v) c)"
    ).format(sql.SQL(str(whole)), sql.SQL(str(places)), sql.SQL(pg_type(field.type)), number, factor)


def unit_sql(library: LibraryModel, feed: Feed, field: LibraryField) -> sql.Composable:
    """The library's unit of the value that ``field`` says the unit of; null where there is none."""
    measured = value_of(library, field)
    spec = _source_field(feed, measured)
    units = {name: target for name, (target, _) in list_convertible(measured.units).items()}
    if spec.unit is not None:
        target = units.get(spec.unit)
        return sql.SQL("NULL::text") if target is None else _quote(target)
    return _case(spec, {name: _quote(target) for name, target in units.items()}, "text")


def value_of(library: LibraryModel, unit: LibraryField) -> LibraryField:
    """The field whose unit ``unit`` says."""
    return next(f for f in library.fields if f.name == unit.unit_of)


def unit_of(library: LibraryModel, field: LibraryField) -> LibraryField | None:
    """The field that says the unit of ``field``'s values; None where there is none."""
    return next((f for f in library.fields if f.unit_of == field.name), None)


def with_unit(value: sql.Composable, unit: sql.Composable | None) -> sql.Composable:
    """A number as text, with its unit where it has one."""
    if unit is None:
        return sql.SQL("{}::text").format(value)
    return sql.SQL("(trim_scale({}::numeric)::text || ' ' || {})").format(value, unit)


def describe_units(feeds: Iterable[Feed]) -> list[list[str | None]]:
    """How each feed's numbers say their units: part of what decides the library's rows."""
    return [
        [f.resource.id, spec.name, spec.unit, spec.unit_field]
        for f in feeds
        for spec in f.resource.model.fields
        if spec.unit is not None or spec.unit_field is not None
    ]


def _source_field(feed: Feed, field: LibraryField) -> FieldSpec:
    return feed.resource.model.field(feed.mapping.fields[field.name])


def _power(shift: int) -> sql.Composable:
    return sql.SQL(f"1{'0' * shift}::numeric" if shift >= 0 else f"0.{'0' * (-shift - 1)}1::numeric")


def _case(spec: FieldSpec, values: dict[str, sql.Composable], kind: str) -> sql.Composable:
    """``values`` by the unit that the row says; a number without any unit is no value of the library."""
    if spec.unit_field is None or not values:
        return sql.SQL("NULL::{}").format(sql.SQL(kind))
    whens = [sql.SQL("WHEN {} THEN {}").format(_quote(name), value) for name, value in values.items()]
    return sql.SQL("(CASE {} {} END)::{}").format(
        sql.Identifier("x", spec.unit_field), sql.SQL(" ").join(whens), sql.SQL(kind)
    )


def _quote(name: str) -> sql.Composable:
    """A unit's name as text without ``%``, which the driver takes for a parameter where a statement has some."""
    parts = [sql.Literal(part) for part in name.split("%")]
    return sql.SQL("({})::text").format(sql.SQL(" || chr(37) || ").join(parts))
