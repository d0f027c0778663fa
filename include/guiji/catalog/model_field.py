"""What a field (信息项) may say: its column, its type and all that a single value must satisfy. Type names are Arrow's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from guiji.catalog.model_base import TYPE_PATTERN, Model, PhysicalName, Share
from guiji.catalog.model_geometry import ByShape, Overlap


class CodeMap(Model):
    """How this department writes a code. A code that is in no list and not in the table is rejected with its value."""

    fixable: dict[str, str] = {}
    """codes that mean a standard code: written -> standard; counted as mended"""
    ignored: list[str] = []
    """codes that mean 'no value' here: become null, counted as mended"""


class FieldSpec(Model):
    """信息项."""

    name: PhysicalName
    """physical name: short ASCII"""
    title: str
    """信息项名称 (Chinese), the COMMENT of the column"""
    column: str | None = None
    """the column's name in the delivery; the title where absent"""
    aliases: list[str] = []
    """other names the department has used for the column"""
    type: str = "string"
    """string, int64, float64, bool, date32, timestamp, geometry or decimal128(p,s)"""
    length: int | None = Field(default=None, ge=1)
    """longest allowed text, in characters"""
    nullable: bool = True
    """may be empty; an empty value in a field that may not be rejects the row"""
    required: bool = True
    """the column itself must be there; a missing required column refuses the delivery"""
    sensitivity: Literal[1, 2, 3, 4] = 1
    """分级: 1 public, 2 internal, 3 personal (masked everywhere), 4 strictly personal"""
    identifier: Literal["citizen_id", "credit_code", "registration_number", "division"] | None = None
    """checked and normalised as this identifier"""
    codes: str | None = None
    """code table in quality/codes"""
    code_map: CodeMap = CodeMap()
    """how this department writes the codes"""
    formats: list[str] = []
    """strptime formats of a date or timestamp, tried in order; ISO 8601 where empty"""
    minimum: float | str | None = None
    """smallest allowed value (ISO date for dates)"""
    maximum: float | str | None = None
    """largest allowed value"""
    pattern: str | None = None
    """regular expression (RE2) the whole text must match"""
    null_tokens: list[str] = []
    """texts that mean 'no value'; the empty text always does"""
    unit: str | None = None
    """计量单位 of every value of this number, a unit of quality/codes/unit.csv (万元)"""
    unit_field: str | None = None
    """the field of the same row that holds the unit of this number; it has ``codes: unit``"""
    crs: str | None = None
    """coordinate reference system of a geometry, for instance EPSG:4490"""
    bounds: list[float] | None = Field(default=None, min_length=4, max_length=4)
    """west, south, east, north in units of ``crs``: a geometry that leaves this box breaks the rule ``<field>.bounds``;
    the city's box (``city.yml``) where absent and ``crs`` has degrees. Longitude and latitude in the wrong order break
    ``<field>.axis_order``"""
    encoding: Literal["wkt", "wkb", "geojson"] = "wkt"
    """how a geometry is written in the delivery"""
    overlap: Overlap | None = None
    """surfaces of different rows must not lie upon each other; looked for where it is declared only"""
    by_shape: ByShape | None = None
    """of a number: the shape of the same row that must say the same area or length"""
    constant: str | None = None
    """the value of every row, where the delivery has no such column"""
    joined: list[str] = []
    """text fields whose cells, one after another, are this text, which has no column of its own (累计 + 不变价)"""
    tolerance: Share | None = None
    """tolerated share of rows that fail this field's checks; the resource's where absent"""
    severity: Literal["reject", "warn"] = "reject"
    """what a failed check of this field does to the row"""
    registered: dict[str, str] = {}
    """cells of the department's catalog sheet that say this in other words: column of the sheet -> text as written"""

    @property
    def source_column(self) -> str:
        return self.column or self.title

    @property
    def is_made(self) -> bool:
        """True when the delivery has no column for it."""
        return self.constant is not None or bool(self.joined)

    @model_validator(mode="after")
    def _type_is_known(self) -> FieldSpec:
        if not TYPE_PATTERN.match(self.type):
            raise ValueError(
                f"type is {self.type!r}; allowed: string, int64, float64, bool, date32, timestamp, geometry, decimal128(p,s)"
            )
        if self.type == "geometry" and not self.crs:
            raise ValueError("a geometry needs crs, for instance EPSG:4490")
        return self
