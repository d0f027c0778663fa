"""Whether a number says a sixteenth digit, or calculating added it.

The double nearest to a quotient differs from its fifteen digits by up to half a unit of the fifteenth, as one does that was
written with sixteen: the distance alone tells nothing. What tells is that a written number is the double nearest to sixteen
digits, where most doubles are not, and to no simple ratio; and that others of its column are so too. Where every double is near sixteen digits nothing is told, and
fifteen are what the spreadsheet shows. Of a number so large that fifteen lack the cents of an amount, no difference is
forgiven.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

#: in units of the last place: what adding and multiplying leave is less
_NOISE = 4
#: from here on the second place behind the point, which amounts have, is the sixteenth digit
_LARGE = 1e13
#: of the doubles at least this many lie between two numbers of sixteen digits where such a number is told from others
_DOUBLES = 4
#: numerator × denominator: of other numbers not one in a hundred lies within _NOISE of such a ratio
_SIMPLE = 1 << 43


def is_calculated(values: Iterable[object]) -> bool:
    """Whether a column holds what nobody writes: a number that needs seventeen digits."""
    return any(isinstance(v, float) and abs(v) < _LARGE and float(f"{v:.16g}") != v for v in values)


def says_sixteenth(value: float, *, calculated: bool = False) -> bool:
    """True where a finite number below 1e15 has a digit beyond fifteen that was written and not calculated, as
    ``calculated`` says of all that are small enough."""
    lacking = abs(value - float(f"{value:.15g}"))
    if abs(value) >= _LARGE:
        return lacking > 0
    if calculated or lacking <= _NOISE * math.ulp(value):
        return False
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 15)
    if _DOUBLES * math.ulp(value) > unit or float(f"{value:.16g}") != value:
        return False
    return not _is_ratio(value)


def _is_ratio(value: float) -> bool:
    """Whether ``value`` is what dividing two whole numbers gives, with what few more steps leave."""
    exact = Fraction(value)
    largest = max(1, math.isqrt(int(_SIMPLE / abs(exact))))
    return abs(exact.limit_denominator(largest) - exact) <= _NOISE * Fraction(math.ulp(value))
