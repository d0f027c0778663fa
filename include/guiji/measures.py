"""Units of measurement: which can stand for each other, and by how many decimal places they differ.

The table is ``quality/codes/unit.csv``. Units of one dimension differ by a power of ten, so that every conversion is a
shift of the decimal point: exact, or not possible at all. What no power of ten joins (亩 and 平方米, 元 and 美元, an index
and a growth rate) is of another dimension and never meets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

#: name of the code table in quality/codes
UNIT_TABLE = "unit"

_DECIMAL = re.compile(r"decimal128\((\d+),\s*(\d+)\)")


@dataclass(frozen=True)
class Unit:
    """``power``: one of it is ten to this power of its dimension's base unit."""

    name: str
    dimension: str
    power: int


def load_units() -> Mapping[str, Unit]:
    """Every unit by its name. Raises CodeTableError for a power that is no whole number."""
    from guiji.codes import CodeTableError, load_code_table

    table = load_code_table(UNIT_TABLE)
    found = {}
    for name, row in table.rows.items():
        if not re.fullmatch(r"-?\d{1,2}", row.get("power", "")) or not row.get("dimension"):
            raise CodeTableError(
                f"{table.path}: unit {name} needs a dimension and a whole power of ten. Mend the code table; nothing was "
                "judged by it.",
                path=table.path,
            )
        found[name] = Unit(name, row["dimension"], int(row["power"]))
    return found


def kept_unit(unit: str, kept: Sequence[str]) -> str | None:
    """The one of ``kept`` that ``unit`` can be turned into; None where none is of its dimension, or it is unknown."""
    units = load_units()
    if unit not in units:
        return None
    return next((k for k in kept if k in units and units[k].dimension == units[unit].dimension), None)


def shift_between(unit: str, target: str) -> int:
    """By how many places the decimal point moves to the right from ``unit`` to ``target``, of one dimension."""
    units = load_units()
    return units[unit].power - units[target].power


def list_convertible(kept: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Every unit that can be kept: its name -> the unit it is kept in, and the shift to it."""
    units = load_units()
    found = {}
    for name in units:
        target = kept_unit(name, kept)
        if target is not None:
            found[name] = (target, shift_between(name, target))
    return found


def convert(value: Decimal, unit: str, target: str) -> Decimal:
    """``value`` exactly in another unit of its dimension; for single values, columns are converted by the engines."""
    return value.scaleb(shift_between(unit, target))


def is_exact(kind: str) -> bool:
    """True of the types that a shift of the decimal point can't spoil."""
    return kind == "int64" or _DECIMAL.fullmatch(kind) is not None


def digits_kept(kind: str) -> tuple[int, int]:
    """(whole digits, decimal places) that a number's type holds whatever the digits are."""
    return _digits_of(kind, widest=False)


def misfit_sql(column: str, kind: str, shift: int, kept: str) -> str:
    """The engine's condition that ``column``, of type ``kind``, doesn't fit the type ``kept`` once it is shifted.

    Too many decimal places or too many whole digits; ``false`` where every value fits. Never raises, whatever the value.
    """
    whole, places = _digits_of(kind, widest=True)
    kept_whole, kept_places = _digits_of(kept, widest=False)
    left = kept_places + shift  # decimal places of the delivered value that there is room for
    tests = []
    if left < 0:
        if places:
            tests.append(f"{column} <> trunc({column})")
        tests.append(f"trunc({column})::HUGEINT % 1{'0' * -left}::HUGEINT <> 0")
    elif left < places:
        tests.append(f"{column} <> round({column}, {left})")
    room = max(kept_whole - shift, 0)
    if room < whole:
        bound = f"CAST('1{'0' * room}' AS DECIMAL(38,{places}))"
        tests.append(f"{column} >= {bound} OR {column} <= -{bound}")
    return f"({' OR '.join(tests)})" if tests else "false"


def _digits_of(kind: str, *, widest: bool) -> tuple[int, int]:
    """(whole digits, decimal places) of a number's type; of int64 what it can hold at most, or always."""
    if found := _DECIMAL.fullmatch(kind):
        return int(found[1]) - int(found[2]), int(found[2])
    return (19 if widest else 18), 0
