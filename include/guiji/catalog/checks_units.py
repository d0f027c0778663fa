"""What a catalog file says of units, and of texts that are made of several columns: whether it can be kept to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji.measures import UNIT_TABLE, is_exact, kept_unit, load_units

if TYPE_CHECKING:
    from guiji.catalog.checker import Checker
    from guiji.catalog.models import FieldSpec, LibraryField, LibraryModel, ResourceModel


def check_unit(c: Checker, path: tuple[str, int], spec: FieldSpec) -> None:
    if spec.unit is None and spec.unit_field is None:
        return
    if spec.unit is not None and spec.unit_field is not None:
        mend = "Keep unit where all rows have the same one, unit_field where each row says its own."
        c.add((*path, "unit"), f"field {spec.name}: unit and unit_field exclude each other", mend=mend)
    if not is_exact(spec.type):
        mend = "Use decimal128(p,s) or int64."
        c.add((*path, "type"), f"field {spec.name}: a {spec.type} can't be converted between units exactly", mend=mend)
    if spec.unit is not None and spec.unit not in load_units():
        what = f"field {spec.name}: unit is {spec.unit!r}, which is not in quality/codes/unit.csv"
        c.add((*path, "unit"), what, allowed=load_units(), word=spec.unit)


def check_unit_fields(c: Checker, model: ResourceModel) -> None:
    """The field that says a number's unit is there, is judged by the table of units, and constants are in it."""
    names = [f.name for f in model.fields]
    for i, spec in enumerate(model.fields):
        if spec.unit_field is None:
            continue
        path = ("fields", i, "unit_field")
        if spec.unit_field not in names:
            what = f"field {spec.name}: unit_field is {spec.unit_field!r}, which is no field"
            c.add(path, what, allowed=names, word=spec.unit_field)
            continue
        said = model.field(spec.unit_field)
        if said.codes != UNIT_TABLE:
            mend = f"Write codes: {UNIT_TABLE} there, so that an unknown unit is told."
            c.add(path, f"field {spec.name}: {spec.unit_field} is not judged by the table of units", mend=mend)
        if said.constant is not None and said.constant not in load_units():
            what = f"field {spec.unit_field}: constant is {said.constant!r}, which is no unit of the table"
            c.add(("fields", names.index(said.name), "constant"), what, allowed=load_units(), word=said.constant)


def check_joined(c: Checker, model: ResourceModel) -> None:
    """A joined text is made of two or more columns of the delivery, and has none itself."""
    texts = [f.name for f in model.fields if f.type == "string" and not f.joined]
    for i, spec in enumerate(model.fields):
        if not spec.joined:
            continue
        path = ("fields", i, "joined")
        c.check_names(path, spec.joined, texts, "text field of its own")
        if len(spec.joined) < 2:
            c.add(path, f"field {spec.name}: joined names one field; what is to be joined with it?")
        if spec.type != "string":
            c.add(("fields", i, "type"), f"field {spec.name}: joined is for type string, not {spec.type}")
        if spec.column is not None or spec.aliases or spec.constant is not None:
            c.add(path, f"field {spec.name}: a joined text has no column, no aliases and no constant")


def check_library_units(c: Checker, model: LibraryModel) -> None:
    """Numbers that are kept in units of several dimensions say in which; what a number alone can't say isn't asked."""
    units = load_units()
    for i, spec in enumerate(model.key):
        if spec.units or spec.unit_of:
            c.add(("key", i), f"key field {spec.name}: a key has no unit")
    measured = {f.name: f for f in model.fields if f.units}
    said: dict[str, str] = {}
    for i, spec in enumerate(model.fields):
        path: tuple[str, int] = ("fields", i)
        c.check_names((*path, "units"), spec.units, units, "unit of quality/codes/unit.csv")
        dimensions: dict[str, str] = {}
        for unit in spec.units:
            other = dimensions.setdefault(units[unit].dimension, unit) if unit in units else unit
            if other != unit:
                mend = "Keep one of them; the other is converted."
                c.add((*path, "units"), f"field {spec.name}: {other} and {unit} are of one dimension", mend=mend)
        if spec.units and not is_exact(spec.type):
            mend = "Use decimal128(p,s) or int64."
            c.add((*path, "type"), f"field {spec.name}: a {spec.type} can't keep converted numbers exactly", mend=mend)
        if len(spec.units) > 1 and spec.strategy == "most_frequent":
            c.add(
                (*path, "strategy"), f"field {spec.name}: most_frequent would count numbers of different units together"
            )
        if len(spec.units) > 1 and spec.tolerance is not None:
            mend = "Write tolerance_share."
            c.add(
                (*path, "tolerance"), f"field {spec.name}: tolerance is in one unit, but units has several", mend=mend
            )
        if spec.unit_of is None:
            continue
        if spec.unit_of not in measured:
            what = f"field {spec.name}: unit_of is {spec.unit_of!r}, which is no field with units"
            c.add((*path, "unit_of"), what, allowed=measured, word=spec.unit_of)
        if spec.type != "string":
            c.add((*path, "type"), f"field {spec.name}: the unit of a value is a string, not {spec.type}")
        if spec.unit_of in said:
            c.add((*path, "unit_of"), f"{said[spec.unit_of]} and {spec.name} are both the unit of {spec.unit_of}")
        said.setdefault(spec.unit_of, spec.name)
    for name, spec in measured.items():
        if len(spec.units) > 1 and name not in said:
            what = f"field {name} has units of several dimensions, but no field says which a value has"
            c.add(("fields", model.fields.index(spec)), what, mend=f"Add a field with unit_of: {name}.")


def check_measured(
    c: Checker,
    where: tuple[str | int, ...],
    library: LibraryModel,
    field: LibraryField,
    spec: FieldSpec,
    model: ResourceModel,
) -> None:
    """A number whose unit the library keeps comes with a unit that can be turned into one of the library's."""
    target = f"{library.name}.{field.name}"
    if not field.units:
        return
    if spec.unit is None and spec.unit_field is None:
        mend = "Write unit (all rows in one unit) or unit_field (the field that says it) there."
        c.add(where, f"{spec.name} says no unit, but {target} is kept in {', '.join(field.units)}", mend=mend)
        return
    said = spec.unit
    if said is None:
        said = next((f.constant for f in model.fields if f.name == spec.unit_field), None)
    units = load_units()
    if said is not None and said in units and kept_unit(said, field.units) is None:
        c.add(
            where,
            f"{spec.name} is in {said} ({units[said].dimension}), which can't be turned into a unit of {target}",
            allowed=field.units,
        )
