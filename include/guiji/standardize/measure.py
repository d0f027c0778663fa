"""A number with its unit: whether the unit is one that can be kept, and the number one that survives the conversion.

Rows stay as they were delivered; the library converts. What it could not convert exactly is set aside here, with the
number and its unit, so that nothing is mixed, rounded or dropped there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from guiji.engine import quote_identifier
from guiji.measures import list_convertible, load_units, misfit_sql, shift_between
from guiji.standardize.plan import Check, FieldPlan
from guiji.standardize.text import quote_texts

if TYPE_CHECKING:
    from guiji.catalog.models import Resource

#: the unit is missing, or of a dimension that the library doesn't keep
UNIT = "unit"
#: converted to the library's unit the number would have more places than the library keeps
UNIT_FIT = "unit_fit"


def measure_number(plan: FieldPlan, resource: Resource) -> FieldPlan:
    """The plan of a number that has a unit; of any other the plan as it is."""
    spec = plan.spec
    kept, kept_type = resource.kept_units.get(spec.name, ((), spec.type))
    if spec.unit is not None:
        shift = _shift_of(spec.unit, kept)
        misfit = misfit_sql(plan.name, spec.type, shift, kept_type) if shift is not None else "false"
        return _add(plan, {UNIT_FIT: misfit})
    if spec.unit_field is None:
        return plan
    unit = quote_identifier(spec.unit_field)
    wrong = [f"{unit} IS NULL"] if resource.model.field(spec.unit_field).nullable else []
    misfits: dict[str, str] = {}
    if kept:
        convertible = list_convertible(kept)
        # a unit that is in no table is told of the unit's own field (codes)
        other = sorted(set(load_units()) - set(convertible))
        wrong += [f"coalesce({unit} IN ({quote_texts(other)}), false)"] if other else []
        misfits = {n: misfit_sql(plan.name, spec.type, shift, kept_type) for n, (_, shift) in convertible.items()}
    unkept = f"({plan.name} IS NOT NULL AND ({' OR '.join(wrong)}))" if wrong else "false"
    return _add(plan, {UNIT: unkept, UNIT_FIT: _by_unit(unit, misfits)})


def _shift_of(unit: str, kept: tuple[str, ...]) -> int | None:
    found = list_convertible(kept).get(unit)
    return None if found is None else shift_between(unit, found[0])


def _by_unit(unit: str, conditions: Mapping[str, str]) -> str:
    """Each unit's condition where it is the row's; units with the same condition together."""
    together: dict[str, list[str]] = {}
    for name, condition in conditions.items():
        if condition != "false":
            together.setdefault(condition, []).append(name)
    if not together:
        return "false"
    whens = [f"WHEN {unit} IN ({quote_texts(names)}) THEN {condition}" for condition, names in together.items()]
    return f"CASE {' '.join(whens)} ELSE false END"


def _add(plan: FieldPlan, conditions: Mapping[str, str]) -> FieldPlan:
    checks = [Check(kind, "failed", f"coalesce({c}, false)") for kind, c in conditions.items() if c != "false"]
    return replace(plan, checks=(*plan.checks, *checks))
