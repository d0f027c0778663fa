"""Whether what a file says of measuring shapes fits its other fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guiji.catalog.models import FieldSpec
from guiji.projection import check_projection, is_known

#: path in the tree, message, allowed words, the word that is none of them
Finding = tuple[tuple[int | str, ...], str, Sequence[str], str | None]


def check_shapes(fields: Sequence[FieldSpec], *, known: bool) -> Iterator[Finding]:
    """What is wrong with ``by_shape`` and ``overlap``; whether a projection is known is looked up where ``known``."""
    shapes = [f.name for f in fields if f.type == "geometry"]
    for i, spec in enumerate(fields):
        by_shape = spec.by_shape
        if by_shape is not None:
            where = ("fields", i, "by_shape")
            if spec.type not in ("int64", "float64") and not spec.type.startswith("decimal128"):
                yield where, f"field {spec.name}: by_shape is for numbers, not {spec.type}", (), None
            if by_shape.of not in shapes:
                message = f"field {spec.name}: by_shape.of names {by_shape.of!r}, which is no geometry field"
                yield (*where, "of"), message, shapes, by_shape.of
        overlap = spec.overlap
        if overlap is not None and spec.type != "geometry":
            message = f"field {spec.name}: overlap is for type geometry, not {spec.type}"
            yield ("fields", i, "overlap"), message, (), None
        crs = next(
            (f.crs for f in fields if by_shape is not None and f.name == by_shape.of), spec.crs if overlap else None
        )
        if known and crs is not None and not is_known(crs):
            what = f"field {spec.name}: shapes in {crs!r} can't be measured, for that system is not known"
            yield ("fields", i, "by_shape" if by_shape else "overlap"), what, (), None
        for key, declared in (("by_shape", by_shape), ("overlap", overlap)):
            if declared is not None and known and (problem := check_projection(declared.projection)):
                yield ("fields", i, key, "projection"), f"field {spec.name}: {problem}", (), None
