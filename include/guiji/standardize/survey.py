"""The checks that need shapes measured, or compared with each other or with the city's boundary.

``quality/survey.py`` makes them beside the one pass; here is what the pass then reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from guiji.standardize.plan import Check, FieldPlan

if TYPE_CHECKING:
    from guiji.catalog.models import Resource

#: a number and the area or length of the shape; a shape and the city's boundary; shapes and each other
BY_SHAPE, BOUNDARY, OVERLAP = SURVEYED = ("by_shape", "boundary", "overlap")


def verdict_of(kind: str, index: int) -> str:
    """The column that says how the survey judged a row: 1 failed, 2 suspicious, 3 unjudged, null in order."""
    return f"_v_{kind}_{index}"


def said_by(kind: str, index: int) -> str:
    """The column that says in words what the survey found."""
    return f"_y_{kind}_{index}"


def plan_survey(plan: FieldPlan, resource: Resource) -> FieldPlan:
    """The plan with what the survey will say of the field; as it is where there is nothing to look at."""
    spec = plan.spec
    if plan.column is None and spec.constant is None:
        return plan
    checks: list[Check] = []
    if spec.by_shape is not None:
        checks += _read_verdicts(BY_SHAPE, plan, {"failed": 1, "unjudged": 3})
    if spec.type == "geometry" and resource.city_boundary is not None and spec.bounds is None:
        # what lies outside the box is told by that rule: one fault, one finding
        outside_box = [c.condition for c in plan.checks if c.kind in ("bounds", "axis_order")]
        placed = "".join(f" AND NOT ({condition})" for condition in outside_box)
        checks += _read_verdicts(BOUNDARY, plan, {"failed": 1, "suspicious": 2}, placed)
    if spec.overlap is not None:
        checks += _read_verdicts(OVERLAP, plan, {"failed": 1, "unjudged": 3})
    return replace(plan, checks=(*plan.checks, *checks)) if checks else plan


def _read_verdicts(kind: str, plan: FieldPlan, verdicts: dict[str, int], only: str = "") -> list[Check]:
    column = verdict_of(kind, plan.index)
    return [Check(kind, name, f"(coalesce({column} = {number}, false){only})") for name, number in verdicts.items()]
