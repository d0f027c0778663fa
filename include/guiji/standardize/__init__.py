"""Rename, trim, normalise, map codes and cast: each declared field as SQL expressions over the staged columns.

The text of a field is normalised first, then cast to its declared type exactly once. What can't be cast exactly is
null and fails the field's ``type`` check; nothing is rounded, guessed or coerced. Columns that a database delivers
in their declared type don't go through text. The expressions stand in layers, so that each is computed once:

``_s<i>`` the staged column · ``_k<i>`` its text without what nobody sees · ``_g<i>`` whether it is garbled (in rows that
may hold a damaged cell) · ``_d<i>`` how it was damaged before it came (``damage.py``; 0: not) · ``_t<i>`` its
normalised text (null when empty or damaged) · ``_m<i>`` after the code map ·
``_c<i>`` cast · ``_e<i>`` whether that is a time the clocks skipped or showed twice
(``local_time.py``; 0: neither) · ``_n<i> _v<i> _r<i>`` what identifiers.py made of it, where that is not "in order as it stands"
(``quality/identify.py``) · ``"<name>"`` the value.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from guiji.errors import CatalogError, DeliveryRefused
from guiji.standardize.companions import find_companions
from guiji.standardize.field import EARLIEST, LATEST, find_column, join_cells, place_geometry, plan_field, tell_time
from guiji.standardize.measure import measure_number
from guiji.standardize.plan import FieldPlan
from guiji.standardize.survey import plan_survey
from guiji.standardize.text import clean_cells, damaged_flag, dirty_flags, find_garbled

if TYPE_CHECKING:
    from guiji.catalog.models import Resource
    from guiji.records import StagedBatch

#: counts in the resource's fingerprint: raise it when a row could be judged or hashed differently than before
VERSION = 5


def plan_fields(resource: Resource, staged: StagedBatch) -> tuple[FieldPlan, ...]:
    """The plan of every declared field, in declared order.

    Raises DeliveryRefused when a required column is not in the package, naming the nearest one that is (F-16), and
    CatalogError when two columns differ in case only.
    """
    from guiji.catalog.models import FieldSpec

    model = resource.model
    _demand_distinct(resource, staged.columns)
    types = dict(zip(staged.columns, staged.types, strict=True))
    spare = [c for c in staged.columns if c not in {f.source_column for f in model.fields}]
    missing: list[str] = []
    plans = []
    companions = find_companions(model.fields)
    keys = {*model.key, *(name for mapping in model.mappings for name in mapping.key)}
    for i, spec in enumerate(model.fields):
        assert isinstance(spec, FieldSpec)
        column = find_column(spec, types)
        if spec.is_made:
            column = None
        elif column is None and spec.required:
            near = difflib.get_close_matches(spec.source_column, spare, n=1, cutoff=0.5)
            missing.append(f"“{spec.source_column}”" + (f"（是否写成了“{near[0]}”？）" if near else ""))
        made = join_cells([model.field(name) for name in spec.joined], types) if spec.joined else None
        plan = plan_field(spec, i, column, types.get(column or "", "string"), companions, spec.name in keys, made)
        if spec.type == "geometry":
            plan = place_geometry(plan, resource.city_bounds)
        elif spec.type == "timestamp":
            plan = tell_time(plan, types.get(column or "", "string"), model.time_zone)
        plans.append(plan_survey(measure_number(plan, resource), resource))
    if missing:
        raise DeliveryRefused(
            f"{model.name}：缺少必需的列 {'、'.join(missing)}。现有数据继续有效；请补上这些列后重新提供。",
            rule_id="delivery.missing_column",
        )
    return tuple(plans)


def _demand_distinct(resource: Resource, columns: Sequence[str]) -> None:
    """The engine does not tell upper from lower case in names: of two such columns one would be read twice."""
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            raise CatalogError(
                f"{resource.path}: the columns {other!r} and {column!r} of {resource.id} differ in case only. "
                "Nothing was judged; rename one of them in the source's view."
            )


__all__ = [
    "EARLIEST",
    "LATEST",
    "VERSION",
    "FieldPlan",
    "clean_cells",
    "damaged_flag",
    "dirty_flags",
    "find_garbled",
    "plan_fields",
]
