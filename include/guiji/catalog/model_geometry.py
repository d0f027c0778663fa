"""What a field may say of shapes: the number that a shape must confirm, and how far shapes may lie upon each other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from guiji.catalog.model_base import Model, PhysicalName, Share


class ByShape(Model):
    """An area or length that the department states and that the shape of the same row must confirm."""

    of: PhysicalName
    """the geometry field"""
    unit: Literal["平方米", "公顷", "亩", "平方公里", "米", "公里"]
    """what the number counts: 平方米, 公顷, 亩 or 平方公里 of a surface, 米 or 公里 of a line"""
    projection: str
    """where the shape is measured: ``EPSG:n`` of a projected system in metres (EPSG:4524 is CGCS2000, 3 degrees, zone
    36), or ``ellipsoid`` (椭球面积)"""
    tolerance: Share = 0.05
    """largest difference, as a share of what the shape says"""
    slack: Annotated[float, Field(ge=0)] = 0
    """a difference of no more than this, in ``unit``, never counts"""
    severity: Literal["reject", "warn"] = "warn"
    """what a number that the shape contradicts does to the row; which of the two is wrong is not known"""


class Overlap(Model):
    """How far the surfaces of two rows may lie upon each other. Shared boundaries, points and lines never count."""

    projection: str
    """where the overlap is measured, as of ``by_shape``"""
    area_m2: Annotated[float, Field(ge=0)] = 10
    """an overlap of no more than this, in square metres, never counts"""
    share: Share = 0.01
    """an overlap of no more than this share of the smaller shape never counts"""
    severity: Literal["reject", "warn"] = "warn"
    """what an overlap does to both rows; which of them is wrong is not known"""
