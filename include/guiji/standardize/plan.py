"""What is planned for one field: its expressions, layer by layer, and the checks that can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from guiji.engine import quote_identifier

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec


@dataclass(frozen=True)
class Check:
    """One thing that can be said of a row: ``kind`` is the last part of the rule's id, ``condition`` is true when
    it is to be said, ``verdict`` what is then the matter (``failed`` becomes rejected or suspicious by severity)."""

    kind: str
    verdict: str  # failed | suspicious | unjudged | mended
    condition: str


@dataclass(frozen=True)
class Identified:
    """An identifier's text, and the fields that say the same in other words: (role, index, expression)."""

    kind: str
    subject: str
    companions: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class FieldPlan:
    """How one field is made; every expression reads the layer below."""

    spec: FieldSpec
    index: int
    column: str | None  # the staged column; None for a constant or an optional column that is not there
    source: str  # over the staged Parquet
    #: the flag of rows whose text needs cleaning: _nd one-byte characters (codes, numbers, dates), _kd text of a key,
    #: _wd other text; None: not text
    dirty: str | None
    damaged: str | None  # over _k, _g, _od
    text: str | None  # over _k, _d
    mapped: str | None
    cast: str | None
    identified: Identified | None
    value: str
    checks: tuple[Check, ...]
    doubt: str | None = None  # over _s, _t, _m, _c

    @property
    def name(self) -> str:
        return quote_identifier(self.spec.name)

    def hashed(self) -> str:
        """The value as text for the row hash: the same in every version of the engine."""
        if self.spec.type == "string":
            text = self.name
        elif self.spec.type == "timestamp":
            text = f"epoch_us({self.name})::VARCHAR"
        elif self.spec.type == "geometry":
            text = f"md5({self.name})"
        else:
            text = f"{self.name}::VARCHAR"
        return f"coalesce({text}, '')"
