"""What a row and a batch must satisfy beyond their fields: the rules, and the bands outside of which a batch is held."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from guiji.catalog.model_base import Indicator, Model, PhysicalName, Share


class Rule(Model):
    """A row rule: an SQL expression over field names that is true for a good row (null counts as good)."""

    id: PhysicalName
    """short ASCII name, unique in the resource"""
    title: str
    """what is demanded, in Chinese, as the department reads it"""
    expr: str
    """expression in DuckDB's SQL over the physical field names; parsed with an allow-list, never run as text"""
    fields: list[str] = []
    """the fields it is about; found in expr where absent"""
    indicator: Indicator = "0104"
    """GB/T 36344-2018 indicator code"""
    severity: Literal["reject", "warn"] = "reject"
    """reject: the row is kept out; warn: it is accepted and reported as suspicious"""
    tolerance: Share | None = None
    """tolerated share of rows that fail it; the resource's where absent"""
    standard: str | None = None
    """the standard or regulation the rule comes from"""
    mend: str
    """how the department mends it, in Chinese"""


class Tolerance(Model):
    """The bands of a batch. Outside one, the batch is held for a person to decide."""

    rejected: Share = 0.05
    """largest share of rejected rows; above, the batch is held"""
    deleted: Share = 0.2
    """largest share of keys that may disappear from a snapshot"""
    shrink: Share = 0.3
    """largest share by which a snapshot may be smaller than the one that serves"""
    grow: float = Field(default=2.0, ge=0)
    """largest share by which a snapshot may be larger than the one that serves (2.0 = three times as large)"""
    min_rows: int = Field(default=1, ge=0)
    """fewer rows than this refuse the delivery (F-11)"""
    max_rows: int | None = None
    """more rows than this hold the batch"""
    completeness: Share | None = None
    """smallest share of assigned values over all fields (0201)"""
    nulls: dict[str, Share] = {}
    """field -> largest share of rows in which it may be empty; of changes, fewer than 100 rows are not judged by it"""
    distribution: dict[str, Share] = {}
    """field with a code table, or bool -> how far its values may move against what serves: total variation distance,
    half the sum over all values of how far each one's share moved; fewer than 100 rows are not judged by it"""
