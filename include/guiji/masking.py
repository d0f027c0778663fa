"""The one way a personal value may be shown."""

from __future__ import annotations

import re

_PERSONAL = re.compile(
    r"(?<![0-9A-Za-z])(?:[1-9]\d{5}(?:18|19|20)\d{9}[\dXx]|[1-9]\d{14}|(?:86)?1[3-9]\d{9}|\d{16,19})(?![0-9A-Za-z])"
)


def mask(value: object) -> str:
    """``value`` with its middle starred out.

    Long identifiers keep the first four and last two characters, names keep the first character, anything
    of one character becomes one star. The length is kept, so that a clerk recognises the row.
    """
    text = "" if value is None else str(value)
    n = len(text)
    if n <= 1:
        return "*" * n
    if n <= 4:
        return text[0] + "*" * (n - 1)
    if n <= 8:
        return text[:2] + "*" * (n - 3) + text[-1]
    return text[:4] + "*" * (n - 6) + text[-2:]


def scrub(text: str) -> str:
    """``text`` with everything that looks like a citizen id, phone or card number masked (logs, foreign errors)."""
    return _PERSONAL.sub(lambda m: mask(m.group()), text)
